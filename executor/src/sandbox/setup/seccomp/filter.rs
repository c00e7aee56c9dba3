//! Compiler from a table of actions to a BPF program for seccomp(2): a binary search over ranges of equal
//! actions.

use super::{
    ARCH,
    Action::{self, Allow, DeathSignal, Fail, FailBits, FailCreate, FailIf},
    CREATES, LAST, Rule, SET_ID,
};
use crate::sandbox::sys::Instruction;
use nix::libc;

impl Action {
    /// Equality: `==` is not available in constants.
    const fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Allow, Allow) | (DeathSignal, DeathSignal) => true,
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

/// Offsets in `struct seccomp_data` of linux/seccomp.h. Arguments are 64 bits, low half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const fn load(place: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, place)
}

/// Loads the low half of an argument: the kernel uses only that half of all arguments compared here.
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

/// A filter, generated from its end, since BPF jumps forward only.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    /// Its instructions; those from `start` on are complete.
    code: [Instruction; Self::MOST],
    start: usize,
    /// Actions generated already, with the positions of their code.
    actions: [(Action, usize); Self::ACTIONS],
    known: usize,
}

impl Filter {
    /// Capacity in instructions.
    const MOST: usize = 256;
    /// Capacity in different actions.
    const ACTIONS: usize = 32;

    /// Compiles a table of rules.
    pub(super) const fn compile(rules: &[Rule]) -> Self {
        const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let mut filter = Self {
            code: [reply(0); Self::MOST],
            start: Self::MOST,
            actions: [(Allow, 0); Self::ACTIONS],
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

    /// Its instructions, in order.
    pub(super) fn code(&self) -> &[Instruction] {
        &self.code[self.start..]
    }

    /// Generates a binary search for the loaded number among the ranges `first..end`. Returns the position of
    /// its code.
    const fn search(&mut self, ranges: &Ranges, first: usize, end: usize) -> usize {
        if end - first == 1 {
            return self.action(ranges[first].1);
        }
        let middle = first + (end - first) / 2;
        let high = self.search(ranges, middle, end);
        let low = self.search(ranges, first, middle);
        self.jump(libc::BPF_JGE, ranges[middle].0, high, low)
    }

    /// The position of the code of `action`, which is generated if needed.
    const fn action(&mut self, action: Action) -> usize {
        let mut index = 0;
        while index < self.known {
            if action.equals(self.actions[index].0) {
                return self.actions[index].1;
            }
            index += 1;
        }
        let at = match action {
            Allow => self.push(reply(libc::SECCOMP_RET_ALLOW)),
            Fail(errno) => self.push(fail(errno)),
            FailBits(argument, bits) => {
                let (allow, fail) = (self.action(Allow), self.action(Fail(libc::EPERM)));
                self.jump(libc::BPF_JSET, bits, fail, allow);
                self.push(load_argument(argument))
            }
            FailCreate(mode) => {
                let (allow, check) = (self.action(Allow), self.action(FailBits(mode, SET_ID)));
                self.jump(libc::BPF_JSET, CREATES, check, allow);
                self.push(load_argument(mode - 1))
            }
            DeathSignal => {
                let (allow, fail) = (self.action(Allow), self.action(Fail(libc::EPERM)));
                // An error of 0 is success.
                let ignored = self.action(Fail(0));
                let other = self.jump(libc::BPF_JEQ, 0, fail, ignored);
                self.jump(libc::BPF_JEQ, libc::SIGKILL.unsigned_abs(), allow, other);
                let check = self.push(load_argument(1));
                self.jump(libc::BPF_JEQ, libc::PR_SET_PDEATHSIG.unsigned_abs(), check, allow);
                self.push(load_argument(0))
            }
            FailIf(argument, values, errno) => {
                let (mut next, fail) = (self.action(Allow), self.action(Fail(errno)));
                let mut index = 0;
                while index < values.len() {
                    next = self.jump(libc::BPF_JEQ, values[index], fail, next);
                    index += 1;
                }
                self.push(load_argument(argument))
            }
        };
        self.actions[self.known] = (action, at);
        self.known += 1;
        at
    }

    const fn push(&mut self, instruction: Instruction) -> usize {
        self.start -= 1;
        self.code[self.start] = instruction;
        self.start
    }

    /// Compares the loaded value with `k`.
    const fn jump(&mut self, test: u32, k: u32, yes: usize, no: usize) -> usize {
        let code = libc::BPF_JMP | test | libc::BPF_K;
        self.push(jump(code, k, yes - self.start, no - self.start))
    }
}

/// The first system call and the action of each range with equal actions, in order.
pub(super) type Ranges = [Rule; 192];

/// Converts a table of rules to ranges; returns their number too.
pub(super) const fn ranges(rules: &[Rule]) -> (Ranges, usize) {
    let mut ranges = [(0, Allow); 192];
    let (mut count, mut next) = (1, 0);
    // The remaining rule with the smallest number.
    while let Some((nr, action)) = first_from(rules, next) {
        // Adjacent to the range before: the gap between them is empty.
        if ranges[count - 1].0 == nr {
            count -= 1;
        }
        if count == 0 || !action.equals(ranges[count - 1].1) {
            ranges[count] = (nr, action);
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

/// The rule with the smallest number that is at least `least`.
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
