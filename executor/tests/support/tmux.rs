//! A real terminal: a window of tmux, with keys that are typed and what it shows.

use crate::common::skip::skip;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A window, in a server of its own that ends when this is dropped.
pub(crate) struct Tmux {
    /// Makes the command of a program, in the wanted environment and as the wanted user.
    starts: Box<dyn Fn(&str) -> Command>,
    socket: PathBuf,
}

impl Tmux {
    /// A window of so many columns in which `words` run; `socket` is a new path, which the user may make.
    /// None, with a word about it, where there is no tmux.
    pub(crate) fn start(
        starts: impl Fn(&str) -> Command + 'static,
        socket: PathBuf,
        columns: usize,
        words: &[&str],
    ) -> Option<Self> {
        if !Command::new("tmux").arg("-V").output().is_ok_and(|it| it.status.success()) {
            skip("there is no tmux (.ci/deps terminal)");
            return None;
        }
        let window = Self { starts: Box::new(starts), socket };
        let columns = columns.to_string();
        let first = [
            "set",
            "-g",
            "history-limit",
            "50000",
            ";",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            "24",
        ];
        // It ends by itself, too: if the test is killed, nobody else would end its server.
        let last = ["timeout", "--foreground", "900"];
        window.call(&[&first[..], &last, words].concat());
        Some(window)
    }

    fn call(&self, words: &[&str]) -> String {
        let mut tmux = (self.starts)("tmux");
        // Nothing of the user's own configuration.
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(words);
        let Output { status, stdout, stderr } = tmux.output().unwrap();
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Types keys, by their names in tmux, or texts.
    pub(crate) fn types(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    /// All that it has shown, with the lines that it has wrapped as one.
    pub(crate) fn shown(&self) -> String {
        self.call(&["capture-pane", "-p", "-J", "-S", "-", "-E", "-"])
    }

    /// Waits until `look` finds something in what it has shown.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let begin = Instant::now();
        for round in 1.. {
            let shown = self.shown();
            if let Some(found) = look(&shown) {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {shown}");
            std::thread::sleep(Duration::from_millis(20 * round.min(10)));
        }
        unreachable!("it has found it, or given up")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // A server whose program has ended is gone already.
        let mut kill = (self.starts)("tmux");
        _ = kill.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}
