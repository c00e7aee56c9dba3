//! A runtime that jobs use while it is being installed.
//!
//! In: a version whose installation has begun. Out: a [`Runtime`] whose files a server process provides by FUSE
//! while it installs the version, or while another one does.
//!
//! ```text
//! launcher ── index, runtime.yml ── starts ─→ server process ── fetches, verifies, writes ─→ store
//!     │                                          ↑ device  ↑ reads
//!     └─ starts ─→ child: opens /dev/fuse, mounts ┘        │
//!                    └─ becomes the job ───────────────────┘
//! ```
//!
//! The server process of another job in the same runtime reads files where the first one writes them, and reads in a
//! [`crate::archive::members::ProgressFile`] which members are written. If the first one ends early, it continues the installation.

mod content;
mod protocol;
mod server;
mod tree;

use crate::archive::members::Duty;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::walk::Walk;
use crate::runtime::{self, Runtime};
use crate::sandbox::{self, fd_passing, helper};
use crate::store::{InProgress, TakeOver};
use crate::thread;
use content::Content;
use joblet_format::{Arch, MAX_RUNTIME_YML_BYTES};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use server::Server;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use tree::Tree;

/// Interval of looking whether another process has ended that installs the version.
const LOOK: Duration = Duration::from_millis(100);
/// First byte of the server's report: the version is installed, or another process installs it; or why it is not.
const INSTALLED: u8 = b'+';
const FAILED: u8 = b'-';

/// The launcher's connection to the server process.
#[derive(Debug)]
pub(crate) struct Serving {
    report: File,
    name: String,
}

/// The job that a runtime is served to.
pub(crate) struct Client {
    /// User and group ID of the runtime's files in the job.
    pub owner: (u32, u32),
    /// The architecture of the job.
    pub arch: Arch,
    /// Whether messages go to a terminal.
    pub terminal: bool,
    /// A log with a line for each read.
    pub reads: Option<File>,
}

/// Checks that this process may open `/dev/fuse`; else the reason, and how to fix it.
pub(crate) fn is_possible() -> Result<(), String> {
    use rustix::fs::{Mode, OFlags, open};
    open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(drop).map_err(|errno| {
        let remedy = match errno {
            Errno::ACCESS | Errno::PERM => "as root, chmod 0666 /dev/fuse",
            _ => "as root, modprobe fuse, or start the container with --device /dev/fuse",
        };
        format!("/dev/fuse cannot be opened ({errno}); {remedy}")
    })
}

/// Checks that a runtime can be served on this host: mounts one, without a server.
///
/// # Errors
/// [`Error::NotServed`] with the reason; others if no job can be run at all.
pub(crate) fn check() -> Result<(), Error> {
    let (_near, far) = sockets()?;
    let runtime = Runtime { server: Some(far), ..runtime::empty()? };
    match sandbox::run(&runtime, &sandbox::probe_job()) {
        Err(Error::NoCommand { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A socket for the device: the server's end and the child's.
fn sockets() -> Result<(OwnedFd, OwnedFd), Error> {
    let made = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    made.map_err(Error::file("make", "a socket"))
}

/// Starts the process that serves the version and installs it.
///
/// # Errors
/// As an installation; then nothing is installed.
pub(crate) fn start(
    installation: InProgress<'_>,
    mut client: Client,
    ui: &mut Ui<'_>,
) -> Result<(Runtime, Serving), Error> {
    let content = Content::new(&installation)?;
    let tree = Tree::new(installation.index(), client.owner);
    let root = installation.tree()?;
    let path = Path::new(installation.index().directory());
    let bytes = runtime_yml(&content, &tree, &root, path)?;
    let (config, sources) =
        runtime::check(&bytes, path, client.arch, |at, look_inside| tree.source(at, look_inside))?;
    let failed = |errno: Errno| Error::file("start", "a process")(errno);
    let (near, far) = sockets()?;
    let (report, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    installation.share();
    let mut far = Some(far);
    let mut work = || {
        // Closed here, so that the socket reports end of file if the launcher and the child have closed it.
        far = None;
        let output = (&mut *ui, client.terminal, client.reads.take());
        let text = match serve(&installation, &content, (&tree, &root), &near, output) {
            Ok(()) => vec![INSTALLED],
            Err(error) => {
                installation.stop(&error);
                [&[FAILED], error.to_string().as_bytes()].concat()
            }
        };
        // Fails only if the launcher has ended.
        _ = rustix::io::write(&writer, &text);
    };
    helper::start(&mut work).map_err(Error::file("start", "a process"))?;
    let name = installation.name();
    drop((content, tree, writer));
    installation.leave();
    let runtime = Runtime { config, sources, server: far, ..runtime::empty()? };
    Ok((runtime, Serving { report: report.into(), name }))
}

/// The content of `runtime.yml`, which is fetched first, or is here if another process installs the version.
fn runtime_yml(
    content: &Content<'_>,
    tree: &Tree<'_>,
    root: &OwnedFd,
    path: &Path,
) -> Result<Vec<u8>, Error> {
    let refuse =
        |reason: &str| Error::Config { path: path.join("runtime.yml"), reason: reason.to_owned() };
    let found = tree.lookup(0, b"runtime.yml").filter(|number| tree.is_file(*number));
    let number = found.ok_or_else(|| refuse("is missing: this archive is not of a runtime"))?;
    if tree.entry(number).size() > MAX_RUNTIME_YML_BYTES {
        return Err(refuse(&format!("is larger than {MAX_RUNTIME_YML_BYTES} bytes")));
    }
    content.own().map(|own| own.fetch_now(number)).transpose()?;
    let file = Walk::new(root.as_fd()).and_then(|mut walk| walk.open_file("runtime.yml"));
    let mut bytes = Vec::new();
    let file = file.map(File::from).map_err(Error::file("open", path))?;
    file.take(MAX_RUNTIME_YML_BYTES).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    Ok(bytes)
}

/// The server process: answers requests while the runtime is mounted, and installs it, unless another process does.
fn serve<'a>(
    installation: &'a InProgress<'_>,
    content: &Content<'a>,
    (tree, root): (&Tree<'_>, &OwnedFd),
    socket: &OwnedFd,
    output: (&mut Ui<'_>, bool, Option<File>),
) -> Result<(), Error> {
    let server = Server::new(tree, content, root, output).map_err(Error::file("open", "files"))?;
    let progressed = || server.answer_ready();
    let mut done = Ok(());
    std::thread::scope(|scope| {
        let install = || {
            if content.own().is_none() {
                follow(installation, content, &server)?;
            }
            let Some(own) = content.own() else { return Ok(()) };
            // If the number of threads is limited, the other one does all the work.
            _ = thread::spawn(scope, Box::new(|| own.work(Duty::Asked, &progressed)));
            own.work(Duty::All, &progressed);
            own.finish().and_then(|()| installation.complete())
        };
        let done = &mut done;
        thread::spawn(scope, Box::new(move || *done = install()))?;
        if let Some(device) = device(socket) {
            server.run(device);
        }
        content.close();
        Ok::<_, Error>(())
    })?;
    done
}

/// Answers reads with what another process installs: until the end of the job or of the installation, or until this
/// process continues the installation.
///
/// # Errors
/// If the installation failed; reads fail then.
fn follow<'a>(
    installation: &'a InProgress<'_>,
    content: &Content<'a>,
    server: &Server<'_, '_, '_>,
) -> Result<(), Error> {
    let Some(other) = content.other() else { return Ok(()) };
    let mut looked = Instant::now();
    let mut look = |at_the_end: bool| {
        if !at_the_end && looked.elapsed() < LOOK {
            return Ok(true);
        }
        match installation.take_over() {
            Ok(TakeOver::Installed(root)) => {
                server.read_from(&root);
                other.complete();
                return Ok(false);
            }
            Ok(TakeOver::Own) => return content.install(installation).map(|_| false),
            Ok(TakeOver::Busy) => other.watch(),
            Err(error) => return Err(error),
        }
        looked = Instant::now();
        Ok(true)
    };
    loop {
        let at_the_end = !other.wait();
        let more = look(at_the_end).inspect_err(|_| other.fail());
        server.answer_ready();
        if at_the_end | !more? {
            return Ok(());
        }
    }
}

/// Receives the device that the child has opened; `None` if the child failed before.
fn device(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    while matches!(poll(&mut fds, None), Err(Errno::INTR)) {}
    let [device] = fd_passing::receive::<1>(socket.as_fd())?;
    Some(device)
}

impl Serving {
    /// Waits for the end of the installation, until `deadline` at most. Returns the reason if it is not complete;
    /// fetched content is kept.
    pub(crate) fn finish(mut self, deadline: Option<Instant>, ui: &mut Ui<'_>) -> Option<String> {
        ui.detail(&format!("{}: waiting until it is installed", self.name));
        let mut text = Vec::new();
        let why = match sandbox::wait_for(&self.report, deadline) {
            Ok(()) => {
                // Without a report it was killed.
                _ = self.report.read_to_end(&mut text);
                match text.split_first() {
                    Some((&INSTALLED, _)) => return None,
                    Some((_, why)) => String::from_utf8_lossy(why).into_owned(),
                    None => "the process that served the runtime was killed".to_owned(),
                }
            }
            // That process ends with this one.
            Err(why) => format!("the job has ended, and {why}"),
        };
        Some(format!("{} is not installed yet: {why}", self.name))
    }
}
