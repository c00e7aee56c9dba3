//! A job's `/proc`: its own processes, without files that change the kernel or expose the host.
//!
//! Most files there check capabilities, of which a job has none. Those that check only the user, or
//! expose the host to all users, are read-only or masked (the OCI specification's `readonlyPaths` and
//! `maskedPaths`).

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::RootFs,
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

/// Paths that root may write without any capability: sysctls, interrupts, devices. Made read-only.
const READ_ONLY: [&CStr; 5] = [c"sys", c"sysrq-trigger", c"irq", c"bus", c"fs"];

/// Masked directories: they expose the host's hardware to all users.
const DIRECTORIES: [&CStr; 3] = [c"acpi", c"asound", c"scsi"];
/// Directories masked for the host's root, who needs no capability for them: switches of kernel messages.
const DIRECTORIES_OF_ROOT: [&CStr; 1] = [c"dynamic_debug"];

/// Masked files: they expose the host's keys, timers and scheduling to all users.
const FILES: [&CStr; 5] = [c"key-users", c"keys", c"latency_stats", c"sched_debug", c"timer_list"];
/// Files masked for the host's root, who needs no capability for them: the host's memory and its use.
const FILES_OF_ROOT: [&CStr; 7] = [
    c"kcore", c"kpagecgroup", c"kpagecount", c"kpageflags", c"pagetypeinfo", c"slabinfo",
    c"vmallocinfo",
];

/// Temporary name of the empty file that is mounted over masked files.
const FILE: &str = ".empty-file";
/// Temporary name of the empty directory that is mounted over masked directories.
const DIRECTORY: &str = ".empty-directory";

/// Mounts a new `/proc`, with `protect` if the job's user is the host's root.
pub(crate) fn mount(rootfs: &RootFs, protect: bool) -> Result<(), Failure> {
    let target = rootfs.target(Path::new("/proc"), false)?;
    let flags = NOSUID | NODEV | NOEXEC;
    let proc = mount_calls::filesystem("proc", &[], flags).map_err(|errno| match errno {
        // The kernel mounts proc in a user namespace only if an unmasked proc is visible already.
        Errno::PERM => Failure::launch(
            "the /proc of this host is missing or partly hidden, as in containers; mount it, or \
             start the container with an unmasked /proc (systempaths=unconfined, unmask=ALL)",
        ),
        errno => errno.into(),
    })?;
    mount_calls::attach(&proc, here(&target))?;
    rootfs.layers.dir.get_or_init(|| target);
    // All names in /proc are the kernel's, without symlinks of a job, so that mount(2) can use them: one
    // system call for each.
    fchdir(rootfs.proc.get_or_init(|| proc))?;
    let protect = protect && !weaken::without("kernel-settings");
    if protect {
        for name in READ_ONLY {
            if bind(name, name)? {
                seal::seal_here(&rootfs.proc, name, RDONLY)?;
            }
        }
    }
    // Both are unlinked again: the mounts keep the files, and nothing can be created in the directory.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&rootfs.root, FILE, flags, Mode::from_raw_mode(0o444))?;
    cover(rootfs, file.as_fd(), &FILES, protect.then_some(&FILES_OF_ROOT))?;
    unlinkat(&rootfs.root, FILE, AtFlags::empty())?;
    let directory = mount_calls::make_directory(&rootfs.root, DIRECTORY, 0o555)?;
    cover(rootfs, directory.as_fd(), &DIRECTORIES, protect.then_some(&DIRECTORIES_OF_ROOT))?;
    unlinkat(&rootfs.root, DIRECTORY, AtFlags::REMOVEDIR)?;
    Ok(fchdir(&rootfs.cwd)?)
}

/// Masks these names in the current directory by mounting `empty` over them.
fn cover(
    rootfs: &RootFs,
    empty: BorrowedFd<'_>,
    names: &[&CStr],
    more: Option<&[&CStr]>,
) -> Result<(), Failure> {
    let mut sealed = None;
    for &name in names.iter().chain(more.unwrap_or_default()) {
        if let Some(sealed) = sealed {
            // A bind mount of a sealed mount inherits its flags.
            bind(sealed, name)?;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(found) = openat(CWD, name, flags, Mode::empty()) {
            let tree = mount_calls::clone_tree(empty, false)?;
            let flags = RDONLY | NOSUID | NODEV | NOEXEC;
            seal::attach_sealed(&rootfs.proc, &tree, here(&found), flags, false)?;
            sealed = Some(name);
        }
    }
    Ok(())
}

/// Mounts `source` on `target`, both in the current directory. Returns whether `target` exists, which
/// depends on the kernel's configuration.
fn bind(source: &CStr, target: &CStr) -> Result<bool, Failure> {
    match mount_bind(source, target) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
