//! `--tmp DIR`: a job's `/tmp` in a directory of the host.

use crate::error::Error;
use crate::fs::directory::Directory;
use crate::sandbox::{Bind, Job};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat, mkdirat};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A temporary directory, removed with its content when dropped.
pub(super) struct Scratch {
    around: Directory,
    name: String,
}

impl Scratch {
    /// Makes a directory in `around` that no other user can enter, and mounts it in `job` as `/tmp`. Mounts
    /// of the job's own options below it are kept.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn make(around: &Path, job: &mut Job) -> Result<Self, Error> {
        let around = Directory::open(around).map_err(Error::file("open", around))?;
        let pid = std::process::id();
        let mut number = 0_u32;
        // Process IDs are not unique across machines and PID namespaces.
        let name = loop {
            let name = format!("joblet-tmp-{pid}-{number}");
            match mkdirat(around.as_fd(), name.as_str(), Mode::RWXU) {
                Err(Errno::EXIST) if number < u32::MAX => number += 1,
                made => break made.map(|()| name).map_err(Error::file("create", around.path()))?,
            }
        };
        let scratch = Self { around, name };
        let path = scratch.around.path_of(&scratch.name);
        // Mount points are made before any other process can enter it.
        let tmpfs = job.tmpfs.iter().map(|tmpfs| (&*tmpfs.target, true));
        let binds = job.binds.iter().map(|bind| (&*bind.target, bind.source.is_dir()));
        for (target, directory) in binds.chain(tmpfs) {
            let Ok(below) = target.strip_prefix("/tmp") else { continue };
            mount_point(&path.join(below), directory).map_err(Error::file("create", target))?;
        }
        if let Some(ids) = job.user.filter(|_| rustix::process::geteuid().is_root()) {
            let (uid, gid) = (Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)));
            let name = scratch.name.as_str();
            let done = chownat(scratch.around.as_fd(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
            done.map_err(Error::file("chown", &path))?;
        }
        job.binds.insert(0, Bind { source: path, target: "/tmp".into(), writable: true });
        Ok(scratch)
    }
}

/// Makes a mount point for a directory or a file.
fn mount_point(path: &Path, directory: bool) -> io::Result<()> {
    if directory {
        return fs::create_dir_all(path);
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(path).map(drop)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left in the caller's DIR.
        _ = self.around.remove_tree(&self.name);
    }
}
