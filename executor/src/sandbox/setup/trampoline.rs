//! The trampoline: a program that the child executes, and that executes the job's program.
//!
//! While execve(2) resolves the job's program, its `#!` line and its ELF interpreter, it follows paths that
//! the job chooses, and `/proc/self` is the calling process: a descriptor or program of the host in that
//! process could be executed, and be written to as `/proc/self/exe` afterwards (CVE-2019-5736). So the child
//! first becomes a program of a hundred bytes, in an unlinked file in the job's own root. It has standard
//! input, output and error, the descriptors of `--keep-fd`, the pipe for its report, and no other descriptor, memory or
//! program of the host.
#![allow(unsafe_code, reason = "machine code, and its bounds")]

use crate::sandbox::sys;
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{BorrowedFd, OwnedFd, RawFd},
    fs::{AtFlags, Mode, OFlags, openat, unlinkat},
    io::{self, Errno},
};
use std::{arch::global_asm, convert::Infallible, ffi::CString};

/// The first byte of what the trampoline reports; `Kind::Exec` of `failure.rs`.
pub(crate) const EXEC_FAILED: u8 = 4;
/// The name of the file until it is unlinked.
const NAME: &str = ".trampoline";

// Arguments: a path, a text for the report, and the arguments of the program at that path. The
// environment is the program's. REPORT, the number of the pipe, is the last word of the code; the job
// keeps no descriptor of that number. The code marks the pipe as close-on-exec and executes the program.
// If that fails it reports EXEC_FAILED, a step number of 32 bits (zero), the error number of 32 bits, and
// its first two arguments with their NULs, which are adjacent in memory.
//
// Executed without the pipe, as the interpreter `/proc/self/exe` of a job's script, it does nothing
// and exits with 126: "not executable".
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.trampoline, \"a\"",
    ".global joblet_trampoline",
    ".hidden joblet_trampoline",
    "joblet_trampoline:",
    "mov rax, [rsp]", // argc
    "lea rbx, [rsp + 8]", // argv
    "lea rbp, [rbx + rax * 8 + 8]", // envp
    "mov eax, 72", // fcntl(REPORT, F_SETFD, FD_CLOEXEC)
    "mov edi, dword ptr [rip + 3f]",
    "mov esi, 2",
    "mov edx, 1",
    "syscall",
    "mov edi, 126",
    "test eax, eax",
    "js 2f",
    "mov eax, 59", // execve(argv[0], argv + 2, envp)
    "mov rdi, [rbx]",
    "lea rsi, [rbx + 16]",
    "mov rdx, rbp",
    "syscall",
    "neg eax",
    "sub rsp, 16",
    "mov byte ptr [rsp], {failed}",
    "mov dword ptr [rsp + 1], 0",
    "mov [rsp + 5], eax",
    "mov eax, 1", // write(REPORT, rsp, 9)
    "mov edi, dword ptr [rip + 3f]",
    "mov rsi, rsp",
    "mov edx, 9",
    "syscall",
    "mov eax, 1", // write(REPORT, argv[0], argv[2] - argv[0])
    "mov edi, dword ptr [rip + 3f]",
    "mov rsi, [rbx]",
    "mov rdx, [rbx + 16]",
    "sub rdx, rsi",
    "syscall",
    "mov edi, 125",
    "2:",
    "mov eax, 231", // exit_group
    "syscall",
    "3:", // REPORT, see `image`
    ".long 0",
    ".global joblet_trampoline_end",
    ".hidden joblet_trampoline_end",
    "joblet_trampoline_end:",
    ".popsection",
    failed = const EXEC_FAILED,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .rodata.trampoline, \"a\"",
    ".balign 4",
    ".global joblet_trampoline",
    ".hidden joblet_trampoline",
    "joblet_trampoline:",
    "ldr x19, [sp]", // argc
    "add x20, sp, #8", // argv
    "add x21, x20, x19, lsl #3",
    "add x21, x21, #8", // envp
    "mov x8, #25", // fcntl(REPORT, F_SETFD, FD_CLOEXEC)
    "ldr w0, 3f",
    "mov x1, #2",
    "mov x2, #1",
    "svc #0",
    "mov w22, #126",
    "tbnz w0, #31, 2f",
    "mov x8, #221", // execve(argv[0], argv + 2, envp)
    "ldr x0, [x20]",
    "add x1, x20, #16",
    "mov x2, x21",
    "svc #0",
    "neg w0, w0",
    "sub sp, sp, #16",
    "mov w1, #{failed}",
    "strb w1, [sp]",
    "stur wzr, [sp, #1]",
    "stur w0, [sp, #5]",
    "mov x8, #64", // write(REPORT, sp, 9)
    "ldr w0, 3f",
    "mov x1, sp",
    "mov x2, #9",
    "svc #0",
    "mov x8, #64", // write(REPORT, argv[0], argv[2] - argv[0])
    "ldr w0, 3f",
    "ldr x1, [x20]",
    "ldr x2, [x20, #16]",
    "sub x2, x2, x1",
    "svc #0",
    "mov w22, #125",
    "2:",
    "mov w0, w22",
    "mov x8, #94", // exit_group
    "svc #0",
    "3:", // REPORT, see `image`
    ".long 0",
    ".global joblet_trampoline_end",
    ".hidden joblet_trampoline_end",
    "joblet_trampoline_end:",
    ".popsection",
    failed = const EXEC_FAILED,
);

unsafe extern "C" {
    /// The first byte of the machine code.
    #[link_name = "joblet_trampoline"]
    static TRAMPOLINE: u8;
    /// What follows its last byte.
    #[link_name = "joblet_trampoline_end"]
    static TRAMPOLINE_END: u8;
}

/// The machine code, position-independent.
fn code() -> &'static [u8] {
    let start = &raw const TRAMPOLINE;
    let len = (&raw const TRAMPOLINE_END).addr() - start.addr();
    // SAFETY: both symbols are in one read-only section, in this order, with the code between them.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Writes the trampoline to a file in the job's `root`, which must still be writable, and unlinks it.
/// Returns a read-only descriptor. `report` is the number of the report's pipe when it is executed.
pub(crate) fn prepare(root: &OwnedFd, report: RawFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(root, NAME, flags, Mode::from_raw_mode(0o555))?;
    let image = image(code(), report);
    if io::write(&file, &image)? != image.len() {
        return Err(Errno::NOSPC);
    }
    // A file open for writing cannot be executed (ETXTBSY).
    drop(file);
    let file = openat(root, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    unlinkat(root, NAME, AtFlags::empty())?;
    Ok(file)
}

/// Executes the trampoline, which executes the program `path` with the arguments `words` and the environment
/// `variables`. Returns only if the trampoline itself cannot be executed. `interpreter` is for the report,
/// written to `writer` under the number passed to [`prepare`].
pub(crate) fn execute(
    trampoline: BorrowedFd<'_>,
    (writer, report): (BorrowedFd<'_>, RawFd),
    (path, interpreter): (CString, CString),
    words: Vec<CString>,
    variables: &[CString],
) -> Result<Infallible, NixErrno> {
    let words: Vec<_> = [path, interpreter].into_iter().chain(words).collect();
    sys::duplicate_to(writer, report)?;
    sys::execute_file(trampoline, &words, variables)
}

/// Builds an ELF file, elf(5), with one segment: headers, and `code`, the entry point, with `report` as its
/// last word.
fn image(code: &[u8], report: RawFd) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 2 * 56;
    let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let size = HEADERS + code.len() as u64;
    // Values and their widths, in bytes.
    let fields: [(u64, usize); 29] = [
        (0x0001_0102_464c_457f, 8), // magic number, 64 bits, little-endian, version 1
        (0, 8),
        (2, 2), // ET_EXEC
        (machine, 2),
        (1, 4),
        (BASE + HEADERS, 8), // entry point
        (64, 8),             // offset of the program headers
        (0, 8),              // no section headers
        (0, 4),
        (64, 2),
        (56, 2),
        (2, 2),
        (0, 6),
        (1, 4), // PT_LOAD
        (5, 4), // readable and executable
        (0, 8),
        (BASE, 8),
        (BASE, 8),
        (size, 8),
        (size, 8),
        (0x1_0000, 8),    // the largest page of both architectures
        (0x6474_e551, 4), // PT_GNU_STACK
        (6, 4),           // readable and writable
        (0, 8),
        (0, 8),
        (0, 8),
        (0, 8),
        (0, 8),
        (16, 8),
    ];
    let mut file = Vec::with_capacity(512);
    for (value, width) in fields {
        file.extend(&value.to_le_bytes()[..width]);
    }
    file.extend(&code[..code.len() - 4]);
    file.extend(report.to_le_bytes());
    file
}
