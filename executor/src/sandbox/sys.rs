//! System calls without a safe wrapper. The other unsafe code of this program is in `setup/trampoline.rs` and `heap.rs`.
#![allow(unsafe_code)]

use nix::{
    errno::Errno,
    libc::{self, c_long},
    unistd::Pid,
};
use rustix::{
    event::{PollFd, Timespec, poll},
    io,
    ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl},
    thread::{UnshareFlags, unshare_unsafe},
};
use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr, thread,
    time::Duration,
};

/// One instruction of a seccomp filter, `struct sock_filter` of linux/filter.h.
pub(super) type Instruction = libc::sock_filter;

/// Read-only, for [`set_mount_flags`]. The values are linux/mount.h's `MOUNT_ATTR_*`.
pub(super) const RDONLY: u64 = 0x1;
/// Set-user-ID bits have no effect.
pub(super) const NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub(super) const NODEV: u64 = 0x4;
/// Nothing can be executed.
pub(super) const NOEXEC: u64 = 0x8;

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Adds `flags` to the mount at `path` in `dir`, or at `dir` itself if that is empty, and, if
/// `recursive`, to every mount below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EPERM` without `CAP_SYS_ADMIN` over the mount namespace.
pub(super) fn set_mount_flags(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: u64,
    recursive: bool,
) -> Result<(), Errno> {
    let attr = MountAttr { set: flags, ..MountAttr::default() };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (nr, fd, size) = (libc::SYS_mount_setattr, dir.as_raw_fd(), size_of::<MountAttr>());
    // SAFETY: the kernel reads the NUL-terminated `path` and `size` bytes at `attr`; both outlive
    // the call, it keeps neither pointer and writes no memory of ours.
    let rc = unsafe { libc::syscall(nr, fd, path.as_ptr(), at, &raw const attr, size) };
    Errno::result(rc).map(drop)
}

/// `struct clone_args` of linux/sched.h, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    ids: [u64; 3],
    exit_signal: u64,
    stack_and_tls: [u64; 3],
    set_tid: [u64; 2],
    cgroup: u64,
}

/// How a process that [`clone_alone`] makes has its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// A copy of this process's, as after fork(2).
    Copied,
    /// This process's own, as after vfork(2): the call returns when the new process has executed
    /// a program or ended. Nothing is copied, neither at the clone nor when it writes.
    Shared,
}

/// Starts a process in new namespaces (`CLONE_NEW…` in `flags`) and, if given, the control group
/// whose directory is `cgroup`. It runs `child`, on the stack of the caller, and cannot return.
///
/// With [`Memory::Shared`] all that `child` writes is seen here afterwards, but descriptors that it
/// opens or closes are its own: `child` must not store an `OwnedFd` in borrowed memory.
///
/// # Errors
/// As clone(2); with a group also `ENOSYS`, `EINVAL` or `E2BIG` before Linux 5.7. Panics if this
/// process has more than one thread.
pub(super) fn clone_alone(
    flags: libc::c_int,
    memory: Memory,
    cgroup: Option<BorrowedFd<'_>>,
    mut child: &mut dyn FnMut() -> Infallible,
) -> Result<Pid, Errno> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    assert!(is_alone(), "clone with several threads: the child could inherit a held lock");
    let shared = if memory == Memory::Shared { libc::CLONE_VM | libc::CLONE_VFORK } else { 0 };
    // None of them is negative.
    let bits = |number: libc::c_int| u64::try_from(number).unwrap_or(0);
    let flags = bits(flags | shared);
    let child = (&raw mut child).cast();
    let result = if let Some(cgroup) = cgroup {
        let args = CloneArgs {
            flags: flags | INTO_CGROUP,
            exit_signal: bits(libc::SIGCHLD),
            cgroup: bits(cgroup.as_raw_fd()),
            ..CloneArgs::default()
        };
        let args = (&raw const args).addr() as u64;
        // SAFETY: the kernel reads that many bytes at `args`, which outlives the call.
        unsafe { clone(libc::SYS_clone3, args, size_of::<CloneArgs>(), child) }
    } else {
        // The second argument is the stack: none, so that of the caller.
        // SAFETY: no memory is passed to the kernel.
        unsafe { clone(libc::SYS_clone, flags | bits(libc::SIGCHLD), 0, child) }
    };
    // A process id, or below zero an error number.
    match i32::try_from(result).map_err(|_| Errno::EINVAL)? {
        pid if pid >= 0 => Ok(Pid::from_raw(pid)),
        errno => Err(Errno::from_raw(-errno)),
    }
}

/// The size of the stack of a process that [`clone_beside`] makes, in bytes.
const STACK: usize = 1 << 16;

/// Starts a process that runs `child` beside this one: in its memory, on a stack of its own, with a
/// copy of its descriptors. This process has it as a child that it must reap.
///
/// `child` must neither allocate nor call the C library: locks and `errno` are this process's. The
/// stack and what `child` owns are leaked: it is not known when they are unused.
///
/// # Errors
/// As clone(2).
pub(super) fn clone_beside(child: Box<dyn FnMut() -> Infallible>) -> Result<(), io::Errno> {
    let stack = Box::leak(Box::<[u128]>::new_uninit_slice(STACK / size_of::<u128>()));
    let child: *mut &mut dyn FnMut() -> Infallible = Box::into_raw(Box::new(Box::leak(child)));
    // Neither is negative.
    let flags = (libc::CLONE_VM | libc::SIGCHLD).unsigned_abs().into();
    let top = stack.as_mut_ptr_range().end.addr();
    // SAFETY: the stack is the new process's alone, aligned for every use, and is never freed; nor is
    // `child`, which only the new process uses.
    let result = unsafe { clone(libc::SYS_clone, flags, top, child) };
    match i32::try_from(result) {
        Ok(errno @ ..0) => Err(io::Errno::from_raw_os_error(-errno)),
        _ => Ok(()),
    }
}

/// Calls clone(2) or clone3(2), number `nr`, with two arguments and zeros. The new process calls
/// what is at `child`; the old one gets what the kernel answered.
///
/// # Safety
/// The arguments must give the new process this stack, and share memory with it only while this
/// thread, which is the only one, is suspended (`CLONE_VFORK`); or a stack of its own, and a `child`
/// that does only what [`clone_beside`] allows. `child` must be valid for as long as it runs.
///
/// Then the new process may run any code: no lock is held by another thread. It calls from below
/// this frame, which with shared memory is what the suspended thread still needs of the stack.
unsafe fn clone(
    nr: c_long,
    first: u64,
    second: usize,
    child: *mut &mut dyn FnMut() -> Infallible,
) -> c_long {
    unsafe extern "C" fn enter(child: *mut &mut dyn FnMut() -> Infallible) -> ! {
        // SAFETY: valid, as the caller of `clone` promised, and used in the new process only.
        match unsafe { (*child)() } {}
    }
    let result: c_long;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as the caller promised. In the old process only rax, rcx and r11 change; the new one
    // never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call {enter}",
            "2:",
            enter = sym enter,
            inlateout("rax") nr => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") 0_u64,
            in("r10") 0_u64,
            in("r8") 0_u64,
            in("r12") child,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; only x0 changes.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x5",
            "bl {enter}",
            "2:",
            enter = sym enter,
            in("x8") nr,
            inlateout("x0") first => result,
            in("x1") second,
            in("x2") 0_u64,
            in("x3") 0_u64,
            in("x4") 0_u64,
            in("x5") child,
        );
    }
    result
}

/// Starts a process that runs `child`, and then ends, in a copy of this one's memory, as fork(2) does, and may make threads.
///
/// # Errors
/// As fork(2). Panics if this process has more than one thread.
pub(super) fn fork_alone(child: &mut dyn FnMut()) -> Result<Pid, Errno> {
    assert!(is_alone(), "fork with several threads: the child could inherit a held lock");
    // SAFETY: the child may run any code, since no other thread held a lock.
    let forked = unsafe { nix::unistd::fork() }?;
    if let nix::unistd::ForkResult::Parent { child } = forked {
        return Ok(child);
    }
    child();
    exit_now(0)
}

/// Whether this process has one thread. Waits up to one second for joined threads to exit.
fn is_alone() -> bool {
    (0..1000).any(|_| {
        // SAFETY: unshare(CLONE_THREAD) changes nothing: it answers EINVAL to a process with other
        // threads and 0 to one without. Unlike /proc/self/task it needs no mounted /proc.
        let alone = unsafe { libc::unshare(libc::CLONE_THREAD) } == 0;
        if !alone {
            thread::sleep(Duration::from_millis(1));
        }
        alone
    })
}

/// Ends this process without running anything of the process it was copied from.
pub(super) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit runs no destructor and no handler, so nothing can observe half-dropped state.
    unsafe { libc::_exit(status) }
}

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the network namespace.
pub(super) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), io::Errno> {
    const SIOCSIFFLAGS: Opcode = 0x8914; // linux/sockios.h
    // SAFETY: `ifreq` is plain data of integers, bytes and unions of them: all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // ASCII is the same whether or not this architecture's char has a sign.
    #[allow(clippy::cast_possible_wrap)]
    {
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    }
    request.ifr_ifru.ifru_flags = 1; // IFF_UP
    // SAFETY: SIOCSIFFLAGS reads one `ifreq` and writes nothing.
    unsafe { ioctl(socket, Setter::<SIOCSIFFLAGS, libc::ifreq>::new(request)) }
}

/// Moves this process into a new network namespace.
///
/// # Errors
/// As unshare(2): `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces.
pub(super) fn new_network() -> Result<(), io::Errno> {
    // SAFETY: descriptors stay what they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// The network namespace that `socket` is in.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over it.
pub(super) fn network_namespace(socket: BorrowedFd<'_>) -> Result<OwnedFd, io::Errno> {
    /// `SIOCGSKNS` of linux/sockios.h: takes nothing, and returns a new descriptor.
    struct Namespace;
    // SAFETY: the request neither reads nor writes memory; what it returns has no other owner.
    unsafe impl Ioctl for Namespace {
        type Output = OwnedFd;
        const IS_MUTATING: bool = false;
        fn opcode(&self) -> Opcode {
            0x894c
        }
        fn as_ptr(&mut self) -> *mut libc::c_void {
            ptr::null_mut()
        }
        unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut libc::c_void) -> io::Result<OwnedFd> {
            // SAFETY: as just said.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
    }
    // SAFETY: as above.
    unsafe { ioctl(socket, Namespace) }
}

/// Gives this process a new, empty session keyring.
///
/// # Errors
/// As keyctl(2): `ENOSYS` where the kernel has no keys, `EDQUOT`, `EPERM` under a filter.
pub(super) fn new_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: c_long = 1;
    let name = ptr::null::<libc::c_char>();
    // SAFETY: the name may be null (an anonymous keyring); no memory is read or written.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name) }).map(drop)
}

/// Closes every descriptor from `first` to `last` of this process, which executes another program
/// or exits next: no owner of one may be used or dropped any more.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub(super) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the owners are neither used nor dropped, as the caller promises.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes the descriptor `fd` of this process, as [`close_range`] does. One that is not open is fine.
pub(super) fn close(fd: libc::c_int) {
    // SAFETY: as in `close_range`.
    unsafe { libc::close(fd) };
}

/// Closes the descriptor of this process that has the number of `fd`, whose owner is the process
/// that this one was cloned from: in memory that is shared nothing can be dropped.
pub(super) fn close_own(fd: BorrowedFd<'_>) {
    // SAFETY: `fd` is not used again here, nor is its owner: this process executes or exits.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Makes a second descriptor, close-on-exec, for what is open as `fd`.
///
/// # Errors
/// As fcntl(2): `EBADF` if it is not open.
pub(super) fn duplicate(fd: libc::c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl answers EBADF to a number that is not open. A new descriptor has no other owner.
    let new = unsafe { Errno::result(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)) }?;
    // SAFETY: as just said, and it is open.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Makes `number` a second descriptor for `fd` that stays open across execve(2).
///
/// # Errors
/// As dup2(2).
pub(super) fn duplicate_to(fd: BorrowedFd<'_>, number: libc::c_int) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        // SAFETY: only a flag of a descriptor changes.
        return Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: what was open as `number` has no owner that is used or dropped any more: this process
    // executes another program or exits next.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Executes the file that is open as `fd`, which is not a script.
///
/// # Errors
/// As execveat(2).
pub(super) fn execute_file(
    fd: BorrowedFd<'_>,
    words: &[CString],
    variables: &[CString],
) -> Result<Infallible, Errno> {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (words, variables) = (pointers(words), pointers(variables));
    let (nr, fd, empty) = (libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr());
    let (words, variables) = (words.as_ptr(), variables.as_ptr());
    // SAFETY: the kernel reads NUL-terminated texts and arrays of pointers to such that end with a
    // null pointer; all of them outlive the call, after which there is nothing if it succeeds.
    let rc = unsafe { libc::syscall(nr, fd, empty, words, variables, libc::AT_EMPTY_PATH) };
    Errno::result(rc).map(|_| unreachable!("execveat comes back with an error only"))
}

/// Puts every signal but those in `keep` back to its default action.
pub(super) fn reset_signals(keep: &[libc::c_int]) {
    // The kernel's `struct sigaction`, whose layout is the architecture's: all zero is SIG_DFL
    // without flags on each, and none is larger. Not the C library's call: it refuses its own
    // signals, which a caller may have left ignored.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| !keep.contains(signal)) {
        let (nr, old) = (libc::SYS_rt_sigaction, ptr::null_mut::<u64>());
        // SAFETY: the kernel reads one structure from `DEFAULT`, which is at least as large, and
        // writes none (`old` is null). The default action runs no code of ours. The call fails
        // for KILL and STOP, which cannot have been changed.
        unsafe { libc::syscall(nr, signal, DEFAULT.as_ptr(), old, size_of::<u64>()) };
    }
}

/// Whether this process ignores `signal`.
pub(super) fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: an all-zero `sigaction` is SIG_DFL without flags, a value of the type.
    let mut current: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; `current` is written and outlives the call.
    let rc = unsafe { libc::sigaction(signal, ptr::null(), &raw mut current) };
    rc == 0 && current.sa_sigaction == libc::SIG_IGN
}

/// Ignores `signal`, which no handler of ours may be set for.
pub(super) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Puts `signal` back to its default action.
pub(super) fn default_signal(signal: libc::c_int) {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Blocks the signals of `mask` (bit n-1 for signal n) as well. Returns what was blocked before.
///
/// # Errors
/// Never fails with valid arguments.
pub(super) fn block_signals(mask: u64) -> Result<u64, Errno> {
    change_blocked(libc::SIG_BLOCK, mask)
}

/// Blocks the signals of `mask`, and no others.
///
/// # Errors
/// Never fails with valid arguments.
pub(super) fn set_blocked_signals(mask: u64) -> Result<(), Errno> {
    change_blocked(libc::SIG_SETMASK, mask).map(drop)
}

/// As sigprocmask(2), of all signals: the C library's call leaves some out.
fn change_blocked(how: libc::c_int, mask: u64) -> Result<u64, Errno> {
    let (mut before, size) = (0_u64, size_of::<u64>());
    let nr = libc::SYS_rt_sigprocmask;
    // SAFETY: the kernel reads one mask and writes the other, of `size` bytes each.
    let rc = unsafe { libc::syscall(nr, how, &raw const mask, &raw mut before, size) };
    Errno::result(rc).map(|_| before)
}

/// A descriptor, which does not block, from which the blocked signals of `mask` can be read.
///
/// # Errors
/// As signalfd(2).
pub(super) fn signal_queue(mask: u64) -> Result<OwnedFd, Errno> {
    let (flags, size) = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK, size_of::<u64>());
    // SAFETY: the kernel reads one mask of `size` bytes.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, size, flags) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: a new descriptor has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `signal` to the process `pid`, or if that is negative to the process group.
///
/// # Errors
/// As kill(2).
pub(super) fn send_signal(pid: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: no memory is passed. A signal to this process itself is blocked, or stops it.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

unsafe extern "C" {
    /// Where the program begins in memory; defined by the linker.
    #[link_name = "__executable_start"]
    static PROGRAM_START: u8;
    /// Where what is only read ends, but for the initial values of thread-local variables;
    /// defined by the linker.
    #[link_name = "__init_array_start"]
    static READ_ONLY_END: u8;
}

/// Releases this program's clean file-backed pages (madvise(2)) before polling; the kernel reads them again on
/// access. To wait, one or two pages and what the kernel maps around them are needed.
///
/// # Errors
/// As ppoll(2).
#[inline(never)]
pub(super) fn poll_with_little_memory(
    fds: &mut [PollFd<'_>],
    timeout: Option<&Timespec>,
) -> io::Result<usize> {
    const PAGE: usize = 1 << 16; // the largest page of both architectures
    let start = (&raw const PROGRAM_START).addr().next_multiple_of(PAGE);
    let end = (&raw const READ_ONLY_END).addr() & !(PAGE - 1);
    if let Some(len) = end.checked_sub(start).filter(|len| *len > 0) {
        let at: *mut libc::c_void = (&raw const PROGRAM_START).with_addr(start).cast_mut().cast();
        // SAFETY: what is mapped here from the program's file is never written, so a page that is
        // dropped is read again with the same bytes. Only the initial values of thread-local
        // variables may have been, by the loader; they are for threads that are yet to be made,
        // and this process, which has one, makes none any more.
        unsafe { libc::syscall(libc::SYS_madvise, at, len, libc::MADV_DONTNEED) };
    }
    poll(fds, timeout)
}

/// Installs `filter` for this process and what it executes; cannot be undone.
///
/// # Errors
/// `EACCES` without `no_new_privs`, `EINVAL` where the kernel has no seccomp filters.
pub(super) fn install_filter(filter: &[Instruction]) -> Result<(), Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let (nr, op) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel reads `len` instructions from `filter`, which outlives the call, and
    // checks that every jump stays inside before it accepts them.
    Errno::result(unsafe { libc::syscall(nr, op, 0, &raw const program) }).map(drop)
}
