//! The system calls that a job may not make.
//!
//! A job has no capabilities, so the kernel refuses most of these anyway. The filter is the second
//! lock: it keeps code of the kernel out of reach that has had holes (user namespaces, bpf,
//! `io_uring`, keys), and denies the few calls that need no capability and reach out of a sandbox
//! (a terminal's input, the keyring, hypervisor sockets).
//!
//! Calls are looked up by a binary search over ranges of equal answers. Every call of a job passes
//! this, and the kernel runs it once for each known call when it is installed.

use crate::sandbox::sys::{self, Instruction};
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
    /// It fails with `EPERM` if its argument at this place has any of these bits.
    FailBits(u8, u32),
    /// As [`Answer::FailBits`] with [`SET_ID`] of a mode, if the flags in the argument before it
    /// say that a file is made: else there is no mode.
    FailCreate(u8),
    /// It fails with `EPERM` if it asks for another death signal than KILL.
    FailDeathSignal,
}

impl Answer {
    /// Whether it is this one: `==` is not for constants.
    const fn is(self, other: Self) -> bool {
        match (self, other) {
            (Allow, Allow) | (FailDeathSignal, FailDeathSignal) => true,
            (Fail(a), Fail(b)) => a == b,
            (FailBits(a, bits), FailBits(b, others)) => a == b && bits == others,
            (FailCreate(a), FailCreate(b)) => a == b,
            (FailIf(a, values, errno), FailIf(b, others, another)) => {
                a == b && errno == another && same(values, others)
            }
            _ => false,
        }
    }
}

const fn same(values: &[u32], others: &[u32]) -> bool {
    let mut index = 0;
    while index < values.len() && index < others.len() {
        if values[index] != others[index] {
            return false;
        }
        index += 1;
    }
    values.len() == others.len()
}

use Answer::{Allow, Fail, FailBits, FailCreate, FailDeathSignal, FailIf};

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

/// The bits of a mode that let a program run as its owner or group. Nothing a job makes may have
/// them: where it can write to the host, others could execute it there.
const SET_ID: u32 = 0o6000;

/// `O_CREAT`, and the bit that `O_TMPFILE` has beside that of a directory.
const CREATES: u32 = 0x40 | 0x40_0000;

/// `fchmodat2` (Linux 6.6), which some headers lack.
const FCHMODAT2: c_long = 452;

/// Commands of fcntl(2) by which a process delays or watches what others open: `F_SETLEASE`,
/// `F_NOTIFY`.
const LEASES: &[u32] = &[1024, 1026];

/// Requests of ioctl(2) that put characters into a terminal's input (TIOCSTI, TIOCLINUX), and those
/// that open the namespaces of a process by its descriptor (`PIDFD_GET_…_NAMESPACE`). The kernel
/// looks at 32 bits of a request, and so does the filter.
const REQUESTS: &[u32] = &[
    0x5412, 0x541c, 0xff01, 0xff02, 0xff03, 0xff04, 0xff05, 0xff06, 0xff07, 0xff08, 0xff09, 0xff0a,
];

/// The process that an init is, whose limits are not the job's to set.
const INIT: &[u32] = &[1];

/// Families of sockets that no network namespace bounds (`AF_VSOCK`), or that are an interface to
/// kernel code rather than to a network (`AF_ALG`).
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
    // Any socket tells who is at its other end by a descriptor of that process.
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

/// Calls that are not simply refused, and what else is answered.
const ANSWERS: [(c_long, Answer); 20] = [
    (libc::SYS_clone, FailBits(0, NEW_NAMESPACES)),
    (libc::SYS_unshare, FailBits(0, UNSHARE_NAMESPACES)),
    (libc::SYS_fchmod, FailBits(1, SET_ID)),
    (libc::SYS_fchmodat, FailBits(2, SET_ID)),
    (FCHMODAT2, FailBits(2, SET_ID)),
    (libc::SYS_mkdirat, FailBits(2, SET_ID)),
    (libc::SYS_mknodat, FailBits(2, SET_ID)),
    (libc::SYS_openat, FailCreate(3)),
    // Its mode is in memory. Programs fall back to openat.
    (libc::SYS_openat2, Fail(libc::ENOSYS)),
    (libc::SYS_fcntl, FailIf(1, LEASES, libc::EPERM)),
    (libc::SYS_prctl, FailDeathSignal),
    (libc::SYS_prlimit64, FailIf(0, INIT, libc::EPERM)),
    // Its flags are in memory, where a filter cannot look. C libraries fall back to clone.
    (libc::SYS_clone3, Fail(libc::ENOSYS)),
    // As on a kernel without it: programs then use what they used before.
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
const ANSWERS_HERE: [(c_long, Answer); 5] = [
    (libc::SYS_chmod, FailBits(1, SET_ID)),
    (libc::SYS_creat, FailBits(1, SET_ID)),
    (libc::SYS_mkdir, FailBits(1, SET_ID)),
    (libc::SYS_mknod, FailBits(1, SET_ID)),
    (libc::SYS_open, FailCreate(2)),
];
#[cfg(not(target_arch = "x86_64"))]
const ANSWERS_HERE: [(c_long, Answer); 0] = [];

/// A call by its number, and what is answered to it.
type Rule = (u32, Answer);

/// All calls that are not simply made, by their numbers.
const RULES: [Rule; 1 + DENIED.len() + DENIED_HERE.len() + ANSWERS.len() + ANSWERS_HERE.len()] = {
    let mut rules = [(number(KEXEC_FILE_LOAD), Fail(libc::EPERM));
        1 + DENIED.len() + DENIED_HERE.len() + ANSWERS.len() + ANSWERS_HERE.len()];
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
    while at < ANSWERS.len() {
        rules[len] = (number(ANSWERS[at].0), ANSWERS[at].1);
        (len, at) = (len + 1, at + 1);
    }
    at = 0;
    while at < ANSWERS_HERE.len() {
        rules[len] = (number(ANSWERS_HERE[at].0), ANSWERS_HERE[at].1);
        (len, at) = (len + 1, at + 1);
    }
    rules
};

/// The filter of jobs, made when this program is compiled.
static FILTER: Filter = Filter::compile(&RULES);

#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "checked")]
const fn number(nr: c_long) -> u32 {
    assert!(nr >= 0 && nr <= u32::MAX as c_long, "a number of a call");
    nr as u32
}
/// Places in `struct seccomp_data` of linux/seccomp.h. Arguments are 64 bits, low half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const fn load(place: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place)
}

/// Loads the low half of an argument: the kernel looks at no more of those that are compared.
const fn load_argument(argument: u8) -> Instruction {
    load(ARGUMENTS + 8 * argument as u32)
}

const fn reply(value: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

const fn fail(errno: i32) -> Instruction {
    reply(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs())
}

const fn statement(code: u32, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

#[allow(clippy::cast_possible_truncation, reason = "checked")]
const fn jump(code: u32, k: u32, yes: usize, no: usize) -> Instruction {
    assert!(yes < 256 && no < 256, "the table is short enough");
    assert!(code < 1 << 16, "codes of instructions are 16 bits");
    Instruction { code: code as u16, jt: yes as u8, jf: no as u8, k }
}

/// A filter while it is made, from its end: jumps go forward only.
#[derive(Clone, Copy)]
struct Filter {
    /// Its instructions; those from `start` on are made.
    code: [Instruction; Self::MOST],
    start: usize,
    /// What answers are in it already, and where.
    answers: [(Answer, usize); Self::ANSWERS],
    known: usize,
}

impl Filter {
    /// More instructions than it has.
    const MOST: usize = 256;
    /// More different answers than it has.
    const ANSWERS: usize = 32;

    /// The whole filter for a table of rules.
    const fn compile(rules: &[Rule]) -> Self {
        const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let mut filter = Self {
            code: [reply(0); Self::MOST],
            start: Self::MOST,
            answers: [(Allow, 0); Self::ANSWERS],
            known: 0,
        };
        let (ranges, count) = ranges(rules);
        filter.search(&ranges, 0, count);
        filter.push(load(NUMBER));
        filter.push(fail(libc::ENOSYS));
        filter.push(jump(EQUAL, ARCH, 1, 0));
        filter.push(load(ARCHITECTURE));
        filter
    }

    /// Its instructions, the first one first.
    fn code(&self) -> &[Instruction] {
        &self.code[self.start..]
    }

    /// A binary search for the range of the loaded number, among those from `first` to before
    /// `end`. Returns where it begins.
    const fn search(&mut self, ranges: &Ranges, first: usize, end: usize) -> usize {
        if end - first == 1 {
            return self.answer(ranges[first].1);
        }
        let middle = first + (end - first) / 2;
        let high = self.search(ranges, middle, end);
        let low = self.search(ranges, first, middle);
        self.jump(libc::BPF_JGE, ranges[middle].0, high, low)
    }

    /// Where the code of `answer` begins.
    const fn answer(&mut self, answer: Answer) -> usize {
        let mut index = 0;
        while index < self.known {
            if answer.is(self.answers[index].0) {
                return self.answers[index].1;
            }
            index += 1;
        }
        let at = match answer {
            Allow => self.push(reply(libc::SECCOMP_RET_ALLOW)),
            Fail(errno) => self.push(fail(errno)),
            FailBits(argument, bits) => {
                let (allow, fail) = (self.answer(Allow), self.answer(Fail(libc::EPERM)));
                self.jump(libc::BPF_JSET, bits, fail, allow);
                self.push(load_argument(argument))
            }
            FailCreate(mode) => {
                let (allow, check) = (self.answer(Allow), self.answer(FailBits(mode, SET_ID)));
                self.jump(libc::BPF_JSET, CREATES, check, allow);
                self.push(load_argument(mode - 1))
            }
            FailDeathSignal => {
                let (allow, fail) = (self.answer(Allow), self.answer(Fail(libc::EPERM)));
                self.jump(libc::BPF_JEQ, libc::SIGKILL.unsigned_abs(), allow, fail);
                let check = self.push(load_argument(1));
                self.jump(libc::BPF_JEQ, libc::PR_SET_PDEATHSIG.unsigned_abs(), check, allow);
                self.push(load_argument(0))
            }
            FailIf(argument, values, errno) => {
                let (mut next, fail) = (self.answer(Allow), self.answer(Fail(errno)));
                let mut index = 0;
                while index < values.len() {
                    next = self.jump(libc::BPF_JEQ, values[index], fail, next);
                    index += 1;
                }
                self.push(load_argument(argument))
            }
        };
        self.answers[self.known] = (answer, at);
        self.known += 1;
        at
    }

    const fn push(&mut self, instruction: Instruction) -> usize {
        self.start -= 1;
        self.code[self.start] = instruction;
        self.start
    }

    /// Compares what is loaded with `k`.
    const fn jump(&mut self, test: u32, k: u32, yes: usize, no: usize) -> usize {
        let code = libc::BPF_JMP | test | libc::BPF_K;
        self.push(jump(code, k, yes - self.start, no - self.start))
    }
}

/// The first call and the answer of each range of calls with equal answers, in order.
type Ranges = [Rule; 192];

/// The ranges of a table of rules, and how many there are.
const fn ranges(rules: &[Rule]) -> (Ranges, usize) {
    let mut ranges = [(0, Allow); 192];
    let (mut count, mut next) = (1, 0);
    // Of those rules that are left, the one with the smallest number.
    while let Some((nr, answer)) = first_from(rules, next) {
        // What it follows on directly is not a range of its own.
        if ranges[count - 1].0 == nr {
            count -= 1;
        }
        if count == 0 || !answer.is(ranges[count - 1].1) {
            ranges[count] = (nr, answer);
            count += 1;
        }
        if nr > LAST {
            break;
        }
        ranges[count] = (nr + 1, Allow);
        (count, next) = (count + 1, nr + 1);
    }
    (ranges, count)
}

/// Of the rules for calls from `least` on, the first.
const fn first_from(rules: &[Rule], least: u32) -> Option<Rule> {
    let mut found: Option<Rule> = None;
    let mut index = 0;
    while index < rules.len() {
        let rule = rules[index];
        let before = match found {
            Some((nr, _)) => rule.0 < nr,
            None => true,
        };
        if rule.0 >= least && before {
            found = Some(rule);
        }
        index += 1;
    }
    found
}

/// Installs the filter of jobs. Needs `no_new_privs`, or `CAP_SYS_ADMIN`.
pub(crate) fn install() -> Result<(), nix::errno::Errno> {
    sys::install_filter(FILTER.code())
}

/// Makes `calls` fail with `ENOSYS` from now on, as on a kernel that does not have them.
///
/// For tests of what this program does on older kernels.
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
    use super::*;

    /// What the filter answers: a value of `SECCOMP_RET_*`.
    fn answer(filter: &[Instruction], arch: u32, nr: u32, arguments: [u64; 4]) -> u32 {
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
                | Some(Allow | FailBits(..) | FailCreate(_) | FailDeathSignal | FailIf(..)) => MADE,
                Some(Fail(errno)) => failed(*errno),
            };
            assert_eq!(answer(filter, ARCH, nr, [0; 4]), want, "call {nr}");
        }
        for nr in [LAST + 1, 1000, 0x4000_0000, 0x4000_003b, u32::MAX] {
            assert_eq!(answer(filter, ARCH, nr, [0; 4]), failed(libc::ENOSYS), "call {nr}");
        }
        assert_eq!(answer(filter, 0x4000_0003, 1, [0; 4]), failed(libc::ENOSYS), "i386");
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
            // Without a file to be made, the place of the mode holds anything.
            (libc::SYS_openat, [0, 0, 0x1_0000, 0o6000], MADE),
            (libc::SYS_fcntl, [0, 1, 0, 0], MADE),
            (libc::SYS_fcntl, [0, 1024, 0, 0], eperm),
            (libc::SYS_fcntl, [0, 1026, 0, 0], eperm),
            (libc::SYS_prctl, [1, 9, 0, 0], MADE),
            (libc::SYS_prctl, [1, 0, 0, 0], eperm),
            (libc::SYS_prctl, [1, 15, 0, 0], eperm),
            (libc::SYS_prctl, [0x1_0000_0001, 0, 0, 0], eperm),
            (libc::SYS_prctl, [15, 0, 0, 0], MADE),
        ] {
            let nr = u32::try_from(nr).unwrap();
            assert_eq!(answer(filter, ARCH, nr, arguments), want, "call {nr} {arguments:x?}");
        }
    }

    #[test]
    fn the_search_is_short() {
        assert!(ranges(&RULES).1 <= 128, "{}", ranges(&RULES).1);
    }
}
