//! The system calls that a job may not make.
//!
//! A job has no capabilities, so the kernel refuses most of these anyway. The filter is the second
//! lock: it keeps code of the kernel out of reach that has had holes (user namespaces, bpf,
//! `io_uring`, keys), and denies the few calls that need no capability and reach out of a sandbox
//! (a terminal's input, the keyring, hypervisor sockets).
//!
//! Calls are looked up by a binary search over ranges of equal answers. Every call of a job passes
//! this, and the kernel runs it once for each known call when it is installed.

use super::sys::{self, Instruction};
use nix::libc::{self, c_long};

/// What is answered to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is made.
    Allow,
    /// It fails with this error.
    Fail(i32),
    /// It fails with this error if its argument at this place is one of these, as 32 bits.
    FailIf(u8, &'static [u32], i32),
    /// It fails with `EPERM` if its first argument has any of these bits.
    FailBits(u32),
}

use Answer::{Allow, Fail, FailBits, FailIf};

/// `AUDIT_ARCH_…` of linux/audit.h for this architecture.
const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// The last call this table was checked against (`file_setattr`, Linux 6.17). Later ones do not
/// exist for a job, which libraries expect of older kernels; nor do those of x32, far above.
const LAST: u32 = 469;

/// `open_tree_attr` (Linux 6.15), which the C library's headers do not have yet.
const OPEN_TREE_ATTR: c_long = 467;

/// `kexec_file_load`, which some headers lack.
const KEXEC_FILE_LOAD: c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// All `CLONE_NEW…` that clone(2) takes. The low byte there is a signal.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// The same for unshare(2), which also takes `CLONE_NEWTIME`.
const UNSHARE_NAMESPACES: u32 = NEW_NAMESPACES | 0x80;

/// Requests that put characters into a terminal's input: TIOCSTI and TIOCLINUX. The kernel looks
/// at 32 bits of a request, and so does the filter.
const TERMINAL_INPUT: &[u32] = &[0x5412, 0x541c];

/// Families of sockets that no network namespace bounds (`AF_VSOCK`), or that are an interface to
/// kernel code rather than to a network (`AF_ALG`).
const FAMILIES: &[u32] = &[40, 38];

/// Calls that fail with `EPERM` on every architecture.
const DENIED: [c_long; 42] = [
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

/// All calls that are not simply made.
fn rules() -> Vec<(u32, Answer)> {
    let number = |nr: c_long| u32::try_from(nr).expect("numbers of calls are small");
    let denied = DENIED.iter().chain(&DENIED_HERE).chain([&KEXEC_FILE_LOAD]);
    let mut rules: Vec<_> = denied.map(|nr| (number(*nr), Fail(libc::EPERM))).collect();
    rules.extend([
        (number(libc::SYS_clone), FailBits(NEW_NAMESPACES)),
        (number(libc::SYS_unshare), FailBits(UNSHARE_NAMESPACES)),
        // Its flags lie in memory, where a filter cannot look. C libraries fall back to clone.
        (number(libc::SYS_clone3), Fail(libc::ENOSYS)),
        // As on a kernel without it: programs then use what they used before.
        (number(libc::SYS_io_uring_setup), Fail(libc::ENOSYS)),
        (number(libc::SYS_io_uring_enter), Fail(libc::ENOSYS)),
        (number(libc::SYS_io_uring_register), Fail(libc::ENOSYS)),
        (number(libc::SYS_ioctl), FailIf(1, TERMINAL_INPUT, libc::EPERM)),
        (number(libc::SYS_socket), FailIf(0, FAMILIES, libc::EAFNOSUPPORT)),
        (number(libc::SYS_socketpair), FailIf(0, FAMILIES, libc::EAFNOSUPPORT)),
        (LAST + 1, Fail(libc::ENOSYS)),
    ]);
    rules
}

/// The first call and the answer of each range of calls with equal answers, in order.
fn ranges(mut rules: Vec<(u32, Answer)>) -> Vec<(u32, Answer)> {
    rules.sort_by_key(|rule| rule.0);
    let mut ranges = vec![(0, Allow)];
    let mut push = |start, answer| {
        if ranges.last().is_some_and(|last: &(u32, Answer)| last.0 == start) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|last: &(u32, Answer)| last.1 != answer) {
            ranges.push((start, answer));
        }
    };
    for (nr, answer) in rules {
        push(nr, answer);
        if nr <= LAST {
            push(nr + 1, Allow);
        }
    }
    ranges
}

/// Places in `struct seccomp_data` of linux/seccomp.h. Arguments are 64 bits, low half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn load(place: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place)
}

fn reply(value: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn fail(errno: i32) -> Instruction {
    reply(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

fn statement(code: u32, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, yes: usize, no: usize) -> Instruction {
    let short = |distance| u8::try_from(distance).expect("the table is short enough");
    let code = u16::try_from(code).expect("codes of instructions are 16 bits");
    Instruction { code, jt: short(yes), jf: short(no), k }
}

/// The whole filter for a table of rules.
fn compile(rules: Vec<(u32, Answer)>) -> Vec<Instruction> {
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut tail = Tail::default();
    tail.search(&ranges(rules));
    let head = [load(ARCHITECTURE), jump(EQUAL, ARCH, 1, 0), fail(libc::ENOSYS), load(NUMBER)];
    head.into_iter().chain(tail.reversed.into_iter().rev()).collect()
}

/// The end of a filter. It grows at its beginning, for jumps go forward only.
#[derive(Default)]
struct Tail {
    /// Its instructions, the last one first.
    reversed: Vec<Instruction>,
    /// What answers stand in it already, and where: as an index of `reversed`.
    answers: Vec<(Answer, usize)>,
}

impl Tail {
    /// A binary search for the range of the loaded number. Returns where it begins.
    fn search(&mut self, ranges: &[(u32, Answer)]) -> usize {
        if let [(_, answer)] = ranges {
            return self.answer(*answer);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let start = high[0].0;
        let (high, low) = (self.search(high), self.search(low));
        self.jump(libc::BPF_JGE, start, high, low)
    }

    /// Where the code of `answer` begins.
    fn answer(&mut self, answer: Answer) -> usize {
        if let Some((_, at)) = self.answers.iter().find(|(known, _)| *known == answer) {
            return *at;
        }
        let at = match answer {
            Allow => self.push(reply(libc::SECCOMP_RET_ALLOW)),
            Fail(errno) => self.push(fail(errno)),
            FailBits(bits) => {
                let (allow, fail) = (self.answer(Allow), self.answer(Fail(libc::EPERM)));
                self.jump(libc::BPF_JSET, bits, fail, allow);
                self.push(load(ARGUMENTS))
            }
            FailIf(argument, values, errno) => {
                let (mut next, fail) = (self.answer(Allow), self.answer(Fail(errno)));
                for value in values {
                    next = self.jump(libc::BPF_JEQ, *value, fail, next);
                }
                self.push(load(ARGUMENTS + 8 * u32::from(argument)))
            }
        };
        self.answers.push((answer, at));
        at
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    /// Compares what is loaded with `k`.
    fn jump(&mut self, test: u32, k: u32, yes: usize, no: usize) -> usize {
        let here = self.reversed.len();
        let code = libc::BPF_JMP | test | libc::BPF_K;
        self.push(jump(code, k, here - yes - 1, here - no - 1))
    }
}

/// Installs the filter of jobs. Needs `no_new_privs`, or `CAP_SYS_ADMIN`.
pub(super) fn install() -> Result<(), nix::errno::Errno> {
    sys::install_filter(&mut compile(rules()))
}

/// Makes `calls` fail with `ENOSYS` from now on, as on a kernel that does not have them.
///
/// For tests of what this program does on older kernels.
///
/// # Errors
/// As seccomp(2).
pub fn pretend_without(calls: &[c_long]) -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let number = |nr: &c_long| u32::try_from(*nr).unwrap_or(u32::MAX);
    let rules = calls.iter().map(|nr| (number(nr), Fail(libc::ENOSYS))).collect();
    Ok(sys::install_filter(&mut compile(rules))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers: a value of `SECCOMP_RET_*`.
    fn answer(filter: &[Instruction], arch: u32, nr: u32, arguments: [u64; 2]) -> u32 {
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
        let filter = compile(rules());
        let table: std::collections::BTreeMap<_, _> = rules().into_iter().collect();
        for nr in 0..=LAST {
            let want = match table.get(&nr) {
                None | Some(Allow | FailBits(_) | FailIf(..)) => MADE,
                Some(Fail(errno)) => failed(*errno),
            };
            assert_eq!(answer(&filter, ARCH, nr, [0; 2]), want, "call {nr}");
        }
        for nr in [LAST + 1, 1000, 0x4000_0000, 0x4000_003b, u32::MAX] {
            assert_eq!(answer(&filter, ARCH, nr, [0; 2]), failed(libc::ENOSYS), "call {nr}");
        }
        assert_eq!(answer(&filter, 0x4000_0003, 1, [0; 2]), failed(libc::ENOSYS), "i386");
    }

    #[test]
    fn arguments_decide() {
        let filter = compile(rules());
        let eperm = failed(libc::EPERM);
        for (nr, arguments, want) in [
            (libc::SYS_ioctl, [0, 0x5401], MADE),
            (libc::SYS_ioctl, [0, 0x5412], eperm),
            (libc::SYS_ioctl, [0, 0x1_0000_5412], eperm),
            (libc::SYS_ioctl, [0, 0xffff_ffff_0000_541c], eperm),
            (libc::SYS_clone, [0x0100_0011, 0], MADE),
            (libc::SYS_clone, [0x1000_0011, 0], eperm),
            (libc::SYS_clone, [0x0002_0000, 0], eperm),
            (libc::SYS_unshare, [0x400, 0], MADE),
            (libc::SYS_unshare, [0x80, 0], eperm),
            (libc::SYS_unshare, [0x1000_0000, 0], eperm),
            (libc::SYS_socket, [2, 0], MADE),
            (libc::SYS_socket, [40, 0], failed(libc::EAFNOSUPPORT)),
            (libc::SYS_socket, [38, 0], failed(libc::EAFNOSUPPORT)),
        ] {
            let nr = u32::try_from(nr).unwrap();
            assert_eq!(answer(&filter, ARCH, nr, arguments), want, "call {nr} {arguments:x?}");
        }
    }

    #[test]
    fn the_search_is_short() {
        assert!(ranges(rules()).len() <= 96, "{}", ranges(rules()).len());
    }
}
