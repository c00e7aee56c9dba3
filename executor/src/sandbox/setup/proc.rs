//! A job's `/proc`: its own processes, and no handle on the kernel.
//!
//! What most files there allow is decided by capabilities, which a job has none of. The rest
//! looks at the user alone, or shows the host to everybody: those files are covered.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::Places,
    seal,
};
use crate::env::weaken;
use crate::sandbox::sys::{NODEV, NOEXEC, NOSUID, RDONLY};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat},
    io::Errno,
    mount::mount_bind,
    process::fchdir,
};
use std::{ffi::CStr, path::Path};

/// What root may write without any capability: settings of the kernel, interrupts, devices.
const READ_ONLY: [&CStr; 5] = [c"sys", c"sysrq-trigger", c"irq", c"bus", c"fs"];

/// Directories that show everybody the host's hardware.
const DIRECTORIES: [&CStr; 3] = [c"acpi", c"asound", c"scsi"];
/// The one that shows root the switches of the kernel's messages, without any capability.
const DIRECTORIES_OF_ROOT: [&CStr; 1] = [c"dynamic_debug"];

/// Files that show everybody the host's keys, timers and scheduling.
const FILES: [&CStr; 5] = [c"key-users", c"keys", c"latency_stats", c"sched_debug", c"timer_list"];
/// Those that show root the host's memory, and how it is used, without any capability.
const FILES_OF_ROOT: [&CStr; 7] = [
    c"kcore",
    c"kpagecgroup",
    c"kpagecount",
    c"kpageflags",
    c"pagetypeinfo",
    c"slabinfo",
    c"vmallocinfo",
];

/// What is mounted over files, while it has a name.
const FILE: &str = ".empty-file";
/// What is mounted over directories.
const DIRECTORY: &str = ".empty-directory";

/// Mounts a new `/proc`. `protect` if the job's user is the host's root.
pub(crate) fn mount(places: &Places, protect: bool) -> Result<(), Failure> {
    let target = places.target(Path::new("/proc"), false)?;
    let flags = NOSUID | NODEV | NOEXEC;
    let proc = mount_calls::filesystem("proc", &[], flags).map_err(|errno| match errno {
        // The kernel gives a full view only where a full view is already.
        Errno::PERM => Failure::launch(
            "the /proc of this host is missing or partly hidden, as in containers; mount it, or \
             start the container with an unmasked /proc (systempaths=unconfined, unmask=ALL)",
        ),
        errno => errno.into(),
    })?;
    mount_calls::attach(&proc, here(&target))?;
    // The names here are the kernel's: mount(2) can use them, which takes one call for each.
    fchdir(places.proc.get_or_init(|| proc))?;
    let protect = protect && !weaken::without("kernel-settings");
    if protect {
        for name in READ_ONLY {
            if bind(name, name)? {
                seal::seal_here(&places.proc, name, RDONLY)?;
            }
        }
    }
    // Both are unlinked again: what is mounted lives on without a name, and can never be filled.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&places.root, FILE, flags, Mode::from_raw_mode(0o444))?;
    cover(places, file.as_fd(), &FILES, protect.then_some(&FILES_OF_ROOT))?;
    unlinkat(&places.root, FILE, AtFlags::empty())?;
    let directory = mount_calls::directory(&places.root, DIRECTORY, 0o555)?;
    cover(places, directory.as_fd(), &DIRECTORIES, protect.then_some(&DIRECTORIES_OF_ROOT))?;
    unlinkat(&places.root, DIRECTORY, AtFlags::REMOVEDIR)?;
    Ok(fchdir(&places.cwd)?)
}

/// Covers what has these names in the current directory with `empty`.
fn cover(
    places: &Places,
    empty: BorrowedFd<'_>,
    names: &[&CStr],
    more: Option<&[&CStr]>,
) -> Result<(), Failure> {
    let mut sealed = None;
    for &name in names.iter().chain(more.unwrap_or_default()) {
        if let Some(sealed) = sealed {
            // Another mount of what is sealed is sealed.
            bind(sealed, name)?;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(found) = openat(CWD, name, flags, Mode::empty()) {
            let tree = mount_calls::clone_tree(empty, false)?;
            let flags = RDONLY | NOSUID | NODEV | NOEXEC;
            seal::attach_sealed(&places.proc, &tree, here(&found), flags, false)?;
            sealed = Some(name);
        }
    }
    Ok(())
}

/// Mounts `source` on `target`, both in the current directory. Whether there is such a target:
/// kernels differ in what they show.
fn bind(source: &CStr, target: &CStr) -> Result<bool, Failure> {
    match mount_bind(source, target) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
