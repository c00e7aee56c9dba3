//! A real terminal: a window of tmux, its input and output.

use crate::common::skip::skip;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A window in its own server, which ends on drop.
pub(crate) struct Tmux {
    /// Makes the command of a program, with environment and user.
    starts: Box<dyn Fn(&str) -> Command>,
    socket: PathBuf,
}

impl Tmux {
    /// A window of this width in which `words` run; `socket` is a new path that the user can
    /// create. Reports a skip without tmux.
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
            "set", "-g", "history-limit", "50000", ";", "new-session", "-d", "-x", &columns, "-y",
            "24",
        ];
        // The window also ends by itself: a killed test would not end the server.
        let last = ["timeout", "--foreground", "900"];
        window.call(&[&first[..], &last, words].concat());
        Some(window)
    }

    fn call(&self, words: &[&str]) -> String {
        let mut tmux = (self.starts)("tmux");
        // Without the user's configuration.
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(words);
        let Output { status, stdout, stderr } = tmux.output().unwrap();
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Types keys, by their names in tmux, or texts.
    pub(crate) fn types(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    /// Its output so far, with wrapped lines joined.
    pub(crate) fn shown(&self) -> String {
        self.call(&["capture-pane", "-p", "-J", "-S", "-", "-E", "-"])
    }

    /// Waits until `look` returns a value for the output.
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
        // The server may have ended with its program.
        let mut kill = (self.starts)("tmux");
        _ = kill.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}
