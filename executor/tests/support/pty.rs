//! A caller's terminal.

use rustix::{
    fs::{OFlags, fcntl_setfl},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The test writes to and reads from the near end; the session has the far end.
pub(crate) struct Pty {
    pub(crate) near: File,
    far: OwnedFd,
    seen: String,
}

impl Pty {
    pub(crate) fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = openpt(flags).unwrap();
        unlockpt(&near).unwrap();
        let far = ioctl_tiocgptpeer(&near, flags).unwrap();
        fcntl_setfl(&near, OFlags::NONBLOCK).unwrap();
        let pty = Self { near: near.into(), far, seen: String::new() };
        pty.resize(31, 99);
        pty
    }

    pub(crate) fn resize(&self, ws_row: u16, ws_col: u16) {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.near, size).unwrap();
    }

    /// Starts a login session with this terminal: it runs `words`, then the script `after`, and
    /// ends with the status of the first.
    pub(crate) fn start(&self, user: Option<u32>, words: &[OsString], after: &str) -> Child {
        let session = format!("\"$@\"; s=$?; {after}; exit $s");
        let mut run = Command::new("setsid");
        run.args(["--ctty", "--wait", "bash", "-c", &session, "bash"]).args(words);
        run.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "dumb");
        let far = || Stdio::from(self.far.try_clone().unwrap());
        run.stdin(far()).stdout(far()).stderr(far());
        if let Some(user) = user {
            self.give_to(user);
            run.uid(user).gid(user);
        }
        run.spawn().unwrap()
    }

    /// Makes this user the owner, as a login does.
    pub(crate) fn give_to(&self, user: u32) {
        std::os::unix::fs::fchown(&self.far, Some(user), Some(user)).unwrap();
    }

    /// Its far end, as a standard file.
    pub(crate) fn far(&self) -> Stdio {
        self.far.try_clone().unwrap().into()
    }

    /// Its output so far.
    pub(crate) fn shown(&mut self) -> String {
        let mut bytes = Vec::new();
        // It ends with `WouldBlock`, since the far end stays open.
        _ = self.near.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the terminal shows `text`.
    pub(crate) fn expect(&mut self, text: &str) {
        self.until(text);
    }

    /// As [`Pty::expect`]; the output up to the end of `text`.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let begin = Instant::now();
        while !self.seen.contains(text) {
            assert!(begin.elapsed() < Duration::from_secs(10), "no {text:?} in {:?}", self.seen);
            let mut buffer = [0; 4096];
            let len = self.near.read(&mut buffer).unwrap_or(0);
            if len == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at).collect()
    }
}
