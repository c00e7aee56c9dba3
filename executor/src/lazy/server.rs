//! A FUSE server: names and attributes are answered from the index, content as soon as it has been fetched.
//!
//! One thread reads requests. A read of content that is missing is queued, and answered by the thread that fetches
//! it, so that other requests do not wait. The kernel bounds the queue: one request for each blocked thread of the
//! job and 64 of readahead.

use super::content::Content;
use super::protocol::{Answer, Attributes, HEADER, MAX_READ, MAX_REQUEST, Message, Request};
use super::tree::Tree;
use crate::archive::members::Availability;
use crate::cli::ui::Ui;
use crate::fs::walk::Walk;
use joblet_format::index::Body;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Maximum number of files that are kept open.
const OPEN: usize = 32;

/// The server of one file system.
pub(super) struct Server<'a, 'c, 'u> {
    tree: &'a Tree<'a>,
    content: &'a Content<'c>,
    device: OnceLock<OwnedFd>,
    files: Mutex<Files>,
    waiting: Mutex<Vec<Waiting>>,
    messages: Mutex<Messages<'a, 'u>>,
    /// A log with a line for each read: offset and length in bytes, path. Nothing is read twice, unless memory is
    /// short.
    reads: Option<File>,
}

/// The files that were read last, each with the index of its entry.
struct Files {
    walk: Walk,
    open: VecDeque<(usize, File)>,
}

/// A read that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    unique: u64,
    entry: usize,
    offset: u64,
    length: u32,
}

/// Messages to the caller, each printed once.
struct Messages<'a, 'u> {
    ui: &'a mut Ui<'u>,
    /// Whether they go to a terminal.
    terminal: bool,
    /// Whether the loss of the network was reported.
    away: bool,
    /// Whether a failed read was reported.
    failed: bool,
}

impl<'a, 'c, 'u> Server<'a, 'c, 'u> {
    /// A server of `tree`, whose files `content` writes to the directory `root`. Messages go to `ui`, which may be a
    /// `terminal`, and the log of reads to `reads`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(super) fn new(
        tree: &'a Tree<'a>,
        content: &'a Content<'c>,
        root: &OwnedFd,
        (ui, terminal, reads): (&'a mut Ui<'u>, bool, Option<File>),
    ) -> Result<Self, Errno> {
        let files = Files { walk: Walk::new(root.as_fd())?, open: VecDeque::new() };
        let messages = Messages { ui, terminal, away: false, failed: false };
        Ok(Self {
            tree,
            content,
            device: OnceLock::new(),
            files: Mutex::new(files),
            waiting: Mutex::default(),
            messages: Mutex::new(messages),
            reads,
        })
    }

    /// Reads files from the same tree in another directory `root` from now on, if a descriptor is left: most often it
    /// is the same directory under another name.
    pub(super) fn read_from(&self, root: &OwnedFd) {
        if let Ok(walk) = Walk::new(root.as_fd()) {
            *lock(&self.files) = Files { walk, open: VecDeque::new() };
        }
    }

    /// Answers the requests of `device` until its file system is unmounted.
    pub(super) fn run(&self, device: OwnedFd) {
        let device = self.device.get_or_init(|| device);
        let mut buffer = vec![0; MAX_REQUEST];
        loop {
            match rustix::io::read(device, &mut buffer) {
                Ok(length) => {
                    let message = buffer.get(..length).and_then(Message::parse);
                    if let Some(answer) = message.and_then(|message| self.answer(&message)) {
                        self.send(&answer);
                    }
                }
                // The request was interrupted before it was read.
                Err(Errno::INTR | Errno::NOENT | Errno::AGAIN) => {}
                // `ENODEV`: unmounted.
                Err(_) => return,
            }
        }
    }

    /// Answers the queued reads whose content has been fetched or cannot be, and reports loss of the network.
    pub(super) fn answer_ready(&self) {
        let mut waiting = lock(&self.waiting);
        let mut ready = Vec::new();
        waiting.retain(|read| match self.availability(read) {
            Availability::Awaited => true,
            found => {
                ready.push((*read, found));
                false
            }
        });
        let first = waiting.first().copied();
        drop(waiting);
        self.report_network(first);
        for (read, found) in ready {
            self.send(&self.read(&read, found));
        }
    }

    fn answer(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let mut answer = Answer::to(message.unique);
        let done = match message.request {
            Request::Forget => return None,
            Request::Interrupt(unique) => return self.interrupt(unique),
            Request::Read { offset, size } => match self.begin_read(message, offset, size) {
                Ok(Some(bytes)) => return Some(bytes),
                Ok(None) => return None,
                Err(errno) => Err(errno),
            },
            Request::Init { minor, flags, readahead } => {
                answer.init(minor, flags, readahead).ok_or(Errno::PROTO)
            }
            Request::Nothing => Ok(()),
            // `ENOSYS` to an open disables such requests; to others it means that they are not supported, as for extended
            // attributes.
            Request::Other => Err(Errno::NOSYS),
            _ => self.about_node(message, &mut answer),
        };
        Some(match done {
            Ok(()) => answer.done(),
            Err(errno) => Answer::refused(message.unique, errno),
        })
    }

    /// Answers a request from the index.
    fn about_node(&self, message: &Message<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let number = self.tree.entry_of(message.node)?;
        let entry = self.tree.entry(number);
        let directory = || (entry.body == Body::Directory).then_some(()).ok_or(Errno::NOTDIR);
        match message.request {
            Request::Lookup(name) => {
                directory()?;
                let found = self.tree.lookup(number, name);
                answer.entry(found.map(|found| self.tree.attributes(found)).as_ref());
            }
            Request::Attributes => answer.attributes(&self.tree.attributes(number)),
            Request::Link => match &entry.body {
                Body::Symlink(target) => answer.bytes(target.as_bytes()),
                _ => return Err(Errno::INVAL),
            },
            Request::Names { offset, size, plus } => {
                directory()?;
                self.names(number, (offset, size.min(MAX_READ) as usize), plus, answer);
            }
            Request::FileSystem => answer.file_system(self.tree.bytes(), self.tree.count()),
            _ => return Err(Errno::NOSYS),
        }
        Ok(())
    }

    /// Adds the entries of the directory `number`, beginning with `.` and `..`.
    fn names(
        &self,
        number: usize,
        (skip, max_size): (u64, usize),
        plus: bool,
        answer: &mut Answer,
    ) {
        let dots = [(number, "."), (self.tree.parent(number), "..")];
        let children = self.tree.children(number).iter();
        let all = dots.into_iter().chain(children.map(|child| (*child, self.tree.name(*child))));
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX);
        for ((child, name), next) in all.zip(1..).skip(skipped) {
            let attributes = self.tree.attributes(child);
            // The kernel does not cache `.` and `..`.
            let known = if next > 2 { attributes } else { Attributes::default() };
            let of = (attributes.node, attributes.mode, name.as_bytes());
            if !answer.dirent(of, next, plus.then_some(&known), max_size) {
                break;
            }
        }
    }

    /// Reads, or queues the read and returns `None`.
    fn begin_read(
        &self,
        message: &Message<'_>,
        offset: u64,
        size: u32,
    ) -> Result<Option<Vec<u8>>, Errno> {
        let entry = self.tree.entry_of(message.node)?;
        let left = self.tree.entry(entry).size().saturating_sub(offset);
        let length = size.min(MAX_READ).min(u32::try_from(left).unwrap_or(u32::MAX));
        let read = Waiting { unique: message.unique, entry, offset, length };
        if let Some(mut reads) = self.reads.as_ref() {
            let line = format!("{offset} {length} {}\n", self.tree.entry(entry).path);
            // A log that cannot be written is incomplete, which its reader sees.
            _ = reads.write_all(line.as_bytes());
        }
        // Held until the read is queued: the fetching thread looks at the queue afterwards.
        let mut waiting = lock(&self.waiting);
        let found = self.availability(&read);
        if found == Availability::Awaited {
            waiting.push(read);
            return Ok(None);
        }
        drop(waiting);
        Ok(Some(self.read(&read, found)))
    }

    fn availability(&self, read: &Waiting) -> Availability {
        self.content.ask(read.entry, read.offset, read.length.into())
    }

    /// The answer to a read that does not wait.
    fn read(&self, read: &Waiting, found: Availability) -> Vec<u8> {
        let path = &self.tree.entry(read.entry).path;
        let mut answer = Answer::to(read.unique);
        let done = match found {
            _ if read.length == 0 => Ok(()),
            Availability::Here => answer.fill(read.length as usize, |bytes| {
                let mut files = lock(&self.files);
                let file = files.open(read.entry, path)?;
                let count = file.read_at(bytes, read.offset);
                count.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }),
            _ => Err(Errno::IO),
        };
        if done.is_err() {
            self.report_failed(path);
            return Answer::refused(read.unique, Errno::IO);
        }
        answer.done()
    }

    /// Ends the queued read `unique`: its process was killed, and cannot end without an answer.
    fn interrupt(&self, unique: u64) -> Option<Vec<u8>> {
        let mut waiting = lock(&self.waiting);
        let at = waiting.iter().position(|read| read.unique == unique)?;
        waiting.swap_remove(at);
        Some(Answer::refused(unique, Errno::INTR))
    }

    fn send(&self, answer: &[u8]) {
        debug_assert!(answer.len() >= HEADER, "every answer has a header");
        if let Some(device) = self.device.get() {
            // Fails if the request was interrupted.
            _ = rustix::io::write(device, answer);
        }
    }

    /// Reports once that the network is down, if a read waits for it.
    fn report_network(&self, first: Option<Waiting>) {
        let mut messages = lock(&self.messages);
        let away = self.content.away();
        if away.is_none() {
            (messages.away, messages.failed) = (false, false);
        }
        if let (Some(false), Some(read), false, true) =
            (away, first, messages.away, messages.terminal)
        {
            messages.away = true;
            let path = &self.tree.entry(read.entry).path;
            let message = format!("the job waits for {path} of its runtime: the network is down");
            messages.ui.warning(&message);
        }
    }

    /// Reports once that a file could not be read.
    fn report_failed(&self, path: &str) {
        let mut messages = lock(&self.messages);
        if !std::mem::replace(&mut messages.failed, true) {
            let why = if self.content.away().is_some() { ": the network is down" } else { "" };
            let message =
                format!("{path} of the runtime cannot be read{why}; the job got an I/O error");
            messages.ui.warning(&message);
        }
    }
}

impl Files {
    fn open(&mut self, entry: usize, path: &str) -> Result<&File, Errno> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == entry) {
            return Ok(&self.open[at].1);
        }
        let file = self.walk.open_file(path)?.into();
        self.open.truncate(OPEN - 1);
        self.open.push_front((entry, file));
        Ok(&self.open[0].1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
