//! A job's `/proc`: its own processes, and no handle on the kernel.
//!
//! What most files there allow is decided by capabilities, which a job has none of. The rest
//! looks at the user alone, or shows the host to everybody: those files are covered.

use super::{
    apply::Failure,
    mounts::{self, Places},
    seal,
    sys::{NODEV, NOEXEC, NOSUID, RDONLY},
    weaken,
};
use crate::within::kind_at;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, unlinkat},
    io::Errno,
};
use std::path::Path;

/// What root may write without any capability: settings of the kernel, interrupts, devices.
const READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// What shows everybody the host's keys, timers, scheduling and hardware.
const COVERED: [&str; 8] =
    ["acpi", "asound", "key-users", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"];

/// What shows root the host's memory and switches, without any capability.
const COVERED_FROM_ROOT: [&str; 5] =
    ["dynamic_debug", "kcore", "kpagecgroup", "kpagecount", "kpageflags"];

/// Mounts a new `/proc`. `protect` if the job's user is the host's root.
pub(super) fn mount(places: &Places, protect: bool) -> Result<(), Failure> {
    let target = places.target(Path::new("/proc"), false)?;
    let flags = NOSUID | NODEV | NOEXEC;
    let proc = mounts::filesystem("proc", &[], flags).map_err(|errno| match errno {
        // The kernel gives a full view only where a full view is already.
        Errno::PERM => Failure::launch(
            "the /proc of this host is missing or partly hidden, as in containers; mount it, or \
             start the container with an unmasked /proc (systempaths=unconfined, unmask=ALL)",
        ),
        errno => errno.into(),
    })?;
    mounts::attach(&proc, target.as_fd())?;
    let proc = places.proc.get_or_init(|| proc);
    let protect = protect && !weaken::without("kernel-settings");
    if protect {
        for name in READ_ONLY {
            if let Some(found) = seal::find(proc.as_fd(), name) {
                let tree = mounts::clone_tree(found.as_fd(), true)?;
                seal::attach_sealed(places, &tree, found.as_fd(), RDONLY, true)?;
            }
        }
    }
    let from_root: &[&str] = if protect { &COVERED_FROM_ROOT } else { &[] };
    cover(places, proc.as_fd(), COVERED.iter().chain(from_root))
}

/// Covers files with an empty file and directories with an empty directory. Both are made in the
/// root and unlinked again: what is mounted lives on without a name, and can never be filled.
fn cover<'a>(
    places: &Places,
    proc: BorrowedFd<'_>,
    names: impl Iterator<Item = &'a &'a str>,
) -> Result<(), Failure> {
    const FILE: &str = ".empty-file";
    const DIRECTORY: &str = ".empty-directory";
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&places.root, FILE, flags, Mode::from_raw_mode(0o444))?;
    mkdirat(&places.root, DIRECTORY, Mode::from_raw_mode(0o555))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&places.root, DIRECTORY, flags, Mode::empty())?;
    for name in names {
        let Some(found) = seal::find(proc, name) else { continue };
        let empty = match kind_at(proc, name)? {
            FileType::Directory => &directory,
            _ => &file,
        };
        let tree = mounts::clone_tree(empty.as_fd(), false)?;
        seal::attach_sealed(places, &tree, found.as_fd(), RDONLY | NOSUID | NODEV | NOEXEC, false)?;
    }
    unlinkat(&places.root, FILE, AtFlags::empty())?;
    unlinkat(&places.root, DIRECTORY, AtFlags::REMOVEDIR)?;
    Ok(())
}
