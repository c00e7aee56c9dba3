//! A job's network namespace, made in parallel with the rest of the sandbox.
//!
//! Making one takes a third of the time of all other steps, none of which needs it. A helper process
//! makes it on another processor, brings its loopback interface up and sends it to the child, which
//! enters it as one of the last steps. If the helper could not be started, or failed, the child makes
//! the namespace itself, and reports the error.

use super::{failure::Failure, fd_passing};
use crate::sandbox::sys;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair},
    thread::{LinkNameSpaceType as Kind, move_into_link_name_space as enter_namespace},
};

/// Starts the helper process. Returns the child's end of the socket that the namespace is sent over.
/// With a `user_namespace` the helper first receives the child's, and makes the namespace in it.
pub(crate) fn start_helper(user_namespace: bool) -> Result<OwnedFd, Errno> {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (not_mine, not_ours) = (near.as_raw_fd(), far.as_raw_fd());
    let started = sys::clone_beside(Box::new(move || {
        // Closed, so that the helper sees the end of the file when the child has closed its end.
        sys::close(not_mine);
        // After a failure the child receives the end of the file, and makes the namespace itself.
        _ = send_new(far.as_fd(), user_namespace);
        sys::exit_now(0)
    }));
    sys::close(not_ours); // its `OwnedFd` is in the helper, and not dropped here
    started.map(|()| near)
}

/// Makes the namespace and sends it, in the helper: without allocations, and without the C library,
/// whose `errno` is the launcher's.
fn send_new(socket: BorrowedFd<'_>, user_namespace: bool) -> Result<(), Errno> {
    if user_namespace {
        let user = fd_passing::receive_one(socket).ok_or(Errno::PIPE)?;
        enter_namespace(user.as_fd(), Some(Kind::User))?;
    }
    let inside = make()?;
    fd_passing::send(socket, &[sys::network_namespace(inside.as_fd())?.as_fd()])
}

/// Moves this process into a new namespace, and brings its loopback interface up. Returns a socket in it.
fn make() -> Result<OwnedFd, Errno> {
    sys::new_network()?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::loopback_up(socket.as_fd())?;
    Ok(socket)
}

/// Sends the child's user namespace to the helper. Called in the child.
pub(crate) fn send_user_namespace(socket: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    // Without /proc the next step fails, with a message.
    if let Ok(user) = openat(CWD, "/proc/self/ns/user", flags, Mode::empty()) {
        fd_passing::send(socket, &[user.as_fd()])?;
    }
    Ok(())
}

/// Enters the namespace received over `socket`, or else a new one. Called in the child.
pub(crate) fn enter(socket: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    let enter = |network: OwnedFd| enter_namespace(network.as_fd(), Some(Kind::Network)).ok();
    match socket.and_then(fd_passing::receive_one).and_then(enter) {
        Some(()) => Ok(()),
        None => Ok(make().map(drop)?),
    }
}
