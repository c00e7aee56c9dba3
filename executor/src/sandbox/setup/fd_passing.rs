//! Descriptors sent between processes over a Unix socket (`SCM_RIGHTS`, unix(7)).

use rustix::{
    cmsg_space,
    fd::{BorrowedFd, OwnedFd},
    io::{Errno, IoSlice, IoSliceMut},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use std::mem::MaybeUninit;

/// Sends `fds` in one message.
pub(crate) fn send(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(socket, &[IoSlice::new(b"t")], &mut message, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for one descriptor, without allocating. `None` if the other end was closed.
pub(crate) fn receive_one(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    while let Err(errno) = recvmsg(socket, &mut bytes, &mut message, RecvFlags::CMSG_CLOEXEC) {
        if errno != Errno::INTR {
            return None;
        }
    }
    let fds = message.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.flatten().next()
}

/// Receives `N` descriptors without waiting, or `None`.
pub(crate) fn receive<const N: usize>(socket: BorrowedFd<'_>) -> Option<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut message, flags).ok()?;
    let fds = message.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.flatten().collect::<Vec<_>>().try_into().ok()
}
