//! The seccomp filter: system calls that a job may not make.
//!
//! A job has no capabilities, so the kernel refuses most of these anyway. The filter is defence in depth:
//! it removes kernel code with a history of vulnerabilities (user namespaces, bpf, `io_uring`, keys) from
//! the attack surface, and denies the few calls that need no capability and have effects outside of a
//! sandbox (a terminal's input, the keyring, hypervisor sockets).
//!
//! Calls are found by a binary search over ranges of equal actions: the filter runs for every system call
//! of a job, and once for each known call when it is installed.

mod filter;

use crate::sandbox::sys;
use filter::Filter;
use nix::libc::{self, c_long};

/// Action for a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The call is executed.
    Allow,
    /// It fails with this error.
    Fail(i32),
    /// It fails with this error if the low 32 bits of this argument are one of these values.
    FailIf(u8, &'static [u32], i32),
    /// It fails with `EPERM` if this argument has any of these bits.
    FailBits(u8, u32),
    /// [`Action::FailBits`] with [`SET_ID`] for this argument, a mode, if the flags in the argument before it
    /// create a file: without that, the mode is ignored.
    FailCreate(u8),
    /// It does nothing if it asks for a parent-death signal other than SIGKILL, and fails with `EPERM` if it asks
    /// for none: the first process of a job keeps its own. Failing for a signal would end programs (PyTorch's
    /// processes, PostgreSQL) that have it set in others than the first, where it does no harm.
    DeathSignal,
}

use Action::{DeathSignal, Fail, FailBits, FailCreate, FailIf};

/// `AUDIT_ARCH_…` of linux/audit.h for this architecture.
const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// The last call that this table was reviewed for (`file_setattr`, Linux 6.17). Later ones fail with
/// `ENOSYS`, which libraries expect of older kernels; so do those of x32, far above.
const LAST: u32 = 469;

/// `open_tree_attr` (Linux 6.15), which the C library's headers do not have yet.
const OPEN_TREE_ATTR: c_long = 467;

/// `kexec_file_load`, which some headers lack.
const KEXEC_FILE_LOAD: c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// All `CLONE_NEW…` flags of clone(2). The low byte of its flags is a signal.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// The same for unshare(2), which also takes `CLONE_NEWTIME`.
const UNSHARE_NAMESPACES: u32 = NEW_NAMESPACES | 0x80;

/// Set-user-ID and set-group-ID bits. No file of a job may have them: in a writable directory of the host,
/// other users could execute it.
const SET_ID: u32 = 0o6000;

/// `O_CREAT`, and the bit that `O_TMPFILE` has in addition to `O_DIRECTORY`.
const CREATES: u32 = 0x40 | 0x40_0000;

/// `fchmodat2` (Linux 6.6), which some headers lack.
const FCHMODAT2: c_long = 452;

/// Commands of fcntl(2) that delay or observe other processes' open(2): `F_SETLEASE`, `F_NOTIFY`.
const LEASES: &[u32] = &[1024, 1026];

/// Requests of ioctl(2) that insert characters into a terminal's input (TIOCSTI, TIOCLINUX), and those
/// that open the namespaces of a process (`PIDFD_GET_…_NAMESPACE`). Like the kernel, the filter compares
/// 32 bits.
const REQUESTS: &[u32] = &[
    0x5412, 0x541c, 0xff01, 0xff02, 0xff03, 0xff04, 0xff05, 0xff06, 0xff07, 0xff08, 0xff09, 0xff0a,
];

/// PID 1, an init, whose limits a job may not set.
const INIT: &[u32] = &[1];

/// Address families of sockets that are not confined to a network namespace (`AF_VSOCK`), or that are an
/// interface to kernel code rather than to a network (`AF_ALG`).
const FAMILIES: &[u32] = &[40, 38];

/// Calls that fail with `EPERM` on every architecture.
const DENIED: [c_long; 43] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    // SO_PEERPIDFD of any socket is a descriptor of the process at its other end.
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    OPEN_TREE_ATTR,
];

/// Calls of this architecture alone that fail with `EPERM`.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: [c_long; 6] = [
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS__sysctl,
    libc::SYS_sysfs,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: [c_long; 0] = [];

/// Calls with other actions than `EPERM`.
const ACTIONS: [(c_long, Action); 20] = [
    (libc::SYS_clone, FailBits(0, NEW_NAMESPACES)),
    (libc::SYS_unshare, FailBits(0, UNSHARE_NAMESPACES)),
    (libc::SYS_fchmod, FailBits(1, SET_ID)),
    (libc::SYS_fchmodat, FailBits(2, SET_ID)),
    (FCHMODAT2, FailBits(2, SET_ID)),
    (libc::SYS_mkdirat, FailBits(2, SET_ID)),
    (libc::SYS_mknodat, FailBits(2, SET_ID)),
    (libc::SYS_openat, FailCreate(3)),
    // Its mode is in memory, which a filter cannot read. Programs fall back to openat.
    (libc::SYS_openat2, Fail(libc::ENOSYS)),
    (libc::SYS_fcntl, FailIf(1, LEASES, libc::EPERM)),
    (libc::SYS_prctl, DeathSignal),
    (libc::SYS_prlimit64, FailIf(0, INIT, libc::EPERM)),
    // Its flags are in memory too. C libraries fall back to clone.
    (libc::SYS_clone3, Fail(libc::ENOSYS)),
    // As on a kernel without it: programs fall back to epoll or threads.
    (libc::SYS_io_uring_setup, Fail(libc::ENOSYS)),
    (libc::SYS_io_uring_enter, Fail(libc::ENOSYS)),
    (libc::SYS_io_uring_register, Fail(libc::ENOSYS)),
    (libc::SYS_ioctl, FailIf(1, REQUESTS, libc::EPERM)),
    (libc::SYS_socket, FailIf(0, FAMILIES, libc::EAFNOSUPPORT)),
    (libc::SYS_socketpair, FailIf(0, FAMILIES, libc::EAFNOSUPPORT)),
    (LAST as c_long + 1, Fail(libc::ENOSYS)),
];

/// The same for calls of this architecture alone.
#[cfg(target_arch = "x86_64")]
const ACTIONS_HERE: [(c_long, Action); 5] = [
    (libc::SYS_chmod, FailBits(1, SET_ID)),
    (libc::SYS_creat, FailBits(1, SET_ID)),
    (libc::SYS_mkdir, FailBits(1, SET_ID)),
    (libc::SYS_mknod, FailBits(1, SET_ID)),
    (libc::SYS_open, FailCreate(2)),
];
#[cfg(not(target_arch = "x86_64"))]
const ACTIONS_HERE: [(c_long, Action); 0] = [];

/// The number of a system call, and its action.
type Rule = (u32, Action);

/// All calls that are not [`Allow`]ed, by their numbers.
const RULES: [Rule; 1 + DENIED.len() + DENIED_HERE.len() + ACTIONS.len() + ACTIONS_HERE.len()] = {
    let mut rules = [(number(KEXEC_FILE_LOAD), Fail(libc::EPERM));
        1 + DENIED.len() + DENIED_HERE.len() + ACTIONS.len() + ACTIONS_HERE.len()];
    let mut len = 1;
    let mut at = 0;
    while at < DENIED.len() {
        rules[len].0 = number(DENIED[at]);
        (len, at) = (len + 1, at + 1);
    }
    at = 0;
    while at < DENIED_HERE.len() {
        rules[len].0 = number(DENIED_HERE[at]);
        (len, at) = (len + 1, at + 1);
    }
    at = 0;
    while at < ACTIONS.len() {
        rules[len] = (number(ACTIONS[at].0), ACTIONS[at].1);
        (len, at) = (len + 1, at + 1);
    }
    at = 0;
    while at < ACTIONS_HERE.len() {
        rules[len] = (number(ACTIONS_HERE[at].0), ACTIONS_HERE[at].1);
        (len, at) = (len + 1, at + 1);
    }
    rules
};

/// The filter of jobs, computed at compile time.
static FILTER: Filter = Filter::compile(&RULES);

#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "checked")]
const fn number(nr: c_long) -> u32 {
    assert!(nr >= 0 && nr <= u32::MAX as c_long, "a number of a call");
    nr as u32
}
/// Installs the filter of jobs. Needs `no_new_privs`, or `CAP_SYS_ADMIN`.
pub(crate) fn install() -> Result<(), nix::errno::Errno> {
    sys::install_filter(FILTER.code())
}

/// Makes `calls` fail with `ENOSYS` from now on, as on a kernel without them.
///
/// For tests of this program's behaviour on older kernels.
///
/// # Errors
/// As seccomp(2).
pub fn pretend_without(calls: &[c_long]) -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let rules: Vec<_> = calls.iter().map(|nr| (number(*nr), Fail(libc::ENOSYS))).collect();
    Ok(sys::install_filter(Filter::compile(&rules).code())?)
}

#[cfg(test)]
mod tests {
    use super::{filter::ranges, *};
    use crate::sandbox::sys::Instruction;

    /// Interprets `filter` for a call: a value of `SECCOMP_RET_*`.
    fn action(filter: &[Instruction], arch: u32, nr: u32, arguments: [u64; 4]) -> u32 {
        let mut data = [nr.to_le_bytes(), arch.to_le_bytes(), [0; 4], [0; 4]].concat();
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = filter[at];
            let yes = match u32::from(code) {
                0x20 => {
                    let place = k as usize;
                    loaded = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
                    at += 1;
                    continue;
                }
                0x06 => return k,
                0x15 => loaded == k,
                0x35 => loaded >= k,
                0x45 => loaded & k != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += 1 + usize::from(if yes { jt } else { jf });
        }
    }

    const MADE: u32 = libc::SECCOMP_RET_ALLOW;

    fn failed(errno: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
    }

    #[test]
    fn every_call_has_the_answer_of_the_table() {
        let filter = FILTER.code();
        let table: std::collections::BTreeMap<_, _> = RULES.into_iter().collect();
        for nr in 0..=LAST {
            let want = match table.get(&nr) {
                None
                | Some(Action::Allow | FailBits(..) | FailCreate(_) | DeathSignal | FailIf(..)) => {
                    MADE
                }
                Some(Fail(errno)) => failed(*errno),
            };
            assert_eq!(action(filter, ARCH, nr, [0; 4]), want, "call {nr}");
        }
        for nr in [LAST + 1, 1000, 0x4000_0000, 0x4000_003b, u32::MAX] {
            assert_eq!(action(filter, ARCH, nr, [0; 4]), failed(libc::ENOSYS), "call {nr}");
        }
        assert_eq!(action(filter, 0x4000_0003, 1, [0; 4]), failed(libc::ENOSYS), "i386");
    }

    #[test]
    fn arguments_decide() {
        let filter = FILTER.code();
        let eperm = failed(libc::EPERM);
        for (nr, arguments, want) in [
            (libc::SYS_ioctl, [0, 0x5401, 0, 0], MADE),
            (libc::SYS_ioctl, [0, 0x5412, 0, 0], eperm),
            (libc::SYS_ioctl, [0, 0xff0a, 0, 0], eperm),
            (libc::SYS_prlimit64, [0, 7, 0, 0], MADE),
            (libc::SYS_prlimit64, [1, 7, 0, 0], eperm),
            (libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0], eperm),
            (libc::SYS_ioctl, [0, 0xffff_ffff_0000_541c, 0, 0], eperm),
            (libc::SYS_clone, [0x0100_0011, 0, 0, 0], MADE),
            (libc::SYS_clone, [0x1000_0011, 0, 0, 0], eperm),
            (libc::SYS_clone, [0x0002_0000, 0, 0, 0], eperm),
            (libc::SYS_unshare, [0x400, 0, 0, 0], MADE),
            (libc::SYS_unshare, [0x80, 0, 0, 0], eperm),
            (libc::SYS_unshare, [0x1000_0000, 0, 0, 0], eperm),
            (libc::SYS_socket, [2, 0, 0, 0], MADE),
            (libc::SYS_socket, [40, 0, 0, 0], failed(libc::EAFNOSUPPORT)),
            (libc::SYS_socket, [38, 0, 0, 0], failed(libc::EAFNOSUPPORT)),
            (libc::SYS_fchmod, [3, 0o755, 0, 0], MADE),
            (libc::SYS_fchmod, [3, 0o4755, 0, 0], eperm),
            (libc::SYS_fchmod, [3, 0xffff_0000_0000_0000 | 0o2000, 0, 0], eperm),
            (libc::SYS_fchmodat, [0, 0, 0o1777, 0], MADE),
            (libc::SYS_fchmodat, [0, 0, 0o2755, 0], eperm),
            (FCHMODAT2, [0, 0, 0o6000, 0], eperm),
            (libc::SYS_mkdirat, [0, 0, 0o2755, 0], eperm),
            (libc::SYS_mknodat, [0, 0, 0o10_4644, 0], eperm),
            (libc::SYS_openat, [0, 0, 0x40, 0o644], MADE),
            (libc::SYS_openat, [0, 0, 0x41, 0o4755], eperm),
            (libc::SYS_openat, [0, 0, 0x41_0002, 0o2755], eperm),
            // If no file is created, the mode is not used.
            (libc::SYS_openat, [0, 0, 0x1_0000, 0o6000], MADE),
            (libc::SYS_fcntl, [0, 1, 0, 0], MADE),
            (libc::SYS_fcntl, [0, 1024, 0, 0], eperm),
            (libc::SYS_fcntl, [0, 1026, 0, 0], eperm),
            (libc::SYS_prctl, [1, 9, 0, 0], MADE),
            (libc::SYS_prctl, [1, 0, 0, 0], eperm),
            (libc::SYS_prctl, [1, 15, 0, 0], failed(0)),
            (libc::SYS_prctl, [1, 2, 0, 0], failed(0)),
            (libc::SYS_prctl, [0x1_0000_0001, 0, 0, 0], eperm),
            (libc::SYS_prctl, [15, 0, 0, 0], MADE),
        ] {
            let nr = u32::try_from(nr).unwrap();
            assert_eq!(action(filter, ARCH, nr, arguments), want, "call {nr} {arguments:x?}");
        }
    }

    #[test]
    fn the_search_is_short() {
        assert!(ranges(&RULES).1 <= 128, "{}", ranges(&RULES).1);
    }
}
