//! A job's network namespace, made while the rest of the sandbox is.
//!
//! To make one takes the kernel as long as a third of all other steps together, and none of them
//! needs it. So a process of its own makes it on another processor, with its loopback interface up,
//! and sends it to the child, which enters it when everything else is done. Where that process could
//! not be started, or failed, the child makes the namespace itself: what is refused is refused there.

use super::{descriptors, failure::Failure};
use crate::sandbox::sys;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair},
    thread::{LinkNameSpaceType as Kind, move_into_link_name_space as enter_namespace},
};

/// Starts the process that makes the namespace. Returns the child's end of the socket that it is sent
/// over. With a `user_namespace` it is made in that of the child, which sends it first.
pub(crate) fn begin(user_namespace: bool) -> Result<OwnedFd, Errno> {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (not_mine, not_ours) = (near.as_raw_fd(), far.as_raw_fd());
    let started = sys::clone_beside(Box::new(move || {
        // When nobody has the other end any more, nobody is waited for.
        sys::close(not_mine);
        // What fails here, the child does itself: it finds the socket at its end.
        _ = send_new(far.as_fd(), user_namespace);
        sys::exit_now(0)
    }));
    sys::close(not_ours); // its owner is the new process's, and never dropped here
    started.map(|()| near)
}

/// In the process of its own: neither allocates nor calls the C library, whose `errno` is the launcher's.
fn send_new(socket: BorrowedFd<'_>, user_namespace: bool) -> Result<(), Errno> {
    if user_namespace {
        let user = descriptors::wait(socket).ok_or(Errno::PIPE)?;
        enter_namespace(user.as_fd(), Some(Kind::User))?;
    }
    let inside = make()?;
    descriptors::send(socket, &[sys::network_namespace(inside.as_fd())?.as_fd()])
}

/// Moves this process into a new namespace, and brings its loopback interface up. Returns a socket in it.
fn make() -> Result<OwnedFd, Errno> {
    sys::new_network()?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::loopback_up(socket.as_fd())?;
    Ok(socket)
}

/// In the child, which is in its own user namespace: sends it.
pub(crate) fn send_user_namespace(socket: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    // Without /proc the next step fails, and says so.
    if let Ok(user) = openat(CWD, "/proc/self/ns/user", flags, Mode::empty()) {
        descriptors::send(socket, &[user.as_fd()])?;
    }
    Ok(())
}

/// In the child: enters the namespace that comes over `socket`, or a new one.
pub(crate) fn enter(socket: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    let enter = |network: OwnedFd| enter_namespace(network.as_fd(), Some(Kind::Network)).ok();
    match socket.and_then(descriptors::wait).and_then(enter) {
        Some(()) => Ok(()),
        None => Ok(make().map(drop)?),
    }
}
