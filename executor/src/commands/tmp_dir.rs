//! `--tmp DIR`: a job's `/tmp` in a directory of the host.
//!
//! A user who can write to DIR can move the directory, and put another one in its place, at any time. So it is used by
//! descriptor, the job's mount is refused where it is of another directory, and it is removed by a thread with the
//! privileges of the job, without entering other mounts.

use crate::env::weaken;
use crate::error::Error;
use crate::fs::beneath::{self, Create, Escape};
use crate::fs::directory::{Directory, enter_own_mount, identity, remove_content};
use crate::fs::trust::{REPLACED, is_fresh};
use crate::sandbox::{CreatedDir, Job};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Gid, Mode, Stat, Uid, chownat, fchmod, fchown, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups};
use std::ffi::OsStr;
use std::path::Path;
use std::thread;

/// A temporary directory, removed with its content when dropped.
pub(super) struct TmpDir {
    around: Directory,
    name: String,
    /// The directory itself.
    own: Directory,
    /// Its device and inode number.
    identity: (u64, u64),
    /// User and group ID of the job, if the launcher is root.
    owner: Option<(u32, u32)>,
}

impl TmpDir {
    /// Makes a directory in `around` that no other user can enter.
    fn create(around: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
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
        let gone = || Error::file("open", around.path_of(&name))(Errno::NOENT);
        let own = around.enter(&name)?.ok_or_else(gone)?;
        let is_fresh = is_fresh(&around, &own, 0o077).map_err(Error::file("read", own.path()))?;
        if !is_fresh && !weaken::without("tmp") {
            let (path, reason) = (own.path().into(), REPLACED.into());
            return Err(Error::Untrusted { path, reason, option: "--tmp DIR" });
        }
        let identity = identity(&own.stat()?);
        Ok(Self { around, name, own, identity, owner })
    }

    /// Makes a directory in `around` that no other user can enter, and mounts it in `job` as `/tmp`. Mounts
    /// of the job's own options below it are kept.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn make(around: &Path, job: &mut Job) -> Result<Self, Error> {
        let is_root = rustix::process::geteuid().is_root();
        let owner = is_root.then(|| job.user.map_or((0, 0), |ids| (ids.uid, ids.gid)));
        let tmp = Self::create(around, owner)?;
        let device = [tmp.identity.0];
        // Mount points are made before any other process can enter it.
        let tmpfs = job.tmpfs.iter().map(|tmpfs| (&*tmpfs.target, true));
        let binds = job.binds.iter().map(|bind| (&*bind.target, bind.source.is_dir()));
        for (target, directory) in binds.chain(tmpfs) {
            let Ok(below) = target.strip_prefix("/tmp") else { continue };
            let create = if directory { Create::Directory(&device) } else { Create::File(&device) };
            beneath::open(tmp.own.as_fd(), below, Escape::Clamp, create)
                .map_err(Error::file("create", target))?;
            // They are removed with the job's privileges.
            if let Some((uid, gid)) = tmp.owner {
                for made in below.ancestors().filter(|made| !made.as_os_str().is_empty()) {
                    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                    chownat(&tmp.own, made, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(Error::file("chown", target))?;
                }
            }
        }
        if let Some(ids) = job.user.filter(|_| is_root) {
            let (uid, gid) = (Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)));
            fchown(&tmp.own, uid, gid).map_err(Error::file("chown", tmp.own.path()))?;
        }
        job.tmp = Some(CreatedDir { path: tmp.own.path().into(), identity: tmp.identity });
        Ok(tmp)
    }
}

impl Drop for TmpDir {
    fn drop(&mut self) {
        // Entries that cannot be removed stay in the caller's DIR.
        thread::scope(|scope| {
            let removal = scope.spawn(|| {
                if let Some(owner) = self.owner {
                    become_owner(owner)?;
                }
                // The job may have removed its own permissions.
                fchmod(&self.own, Mode::RWXU)?;
                enter_own_mount(self.own.as_fd(), OsStr::new(".")).and_then(remove_content)
            });
            _ = removal.join();
        });
        let is_own = |stat: Stat| identity(&stat) == self.identity;
        if self.around.stat_entry(&self.name).is_ok_and(is_own) {
            _ = unlinkat(&self.around, self.name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}

/// Gives this thread of root the privileges of a job that runs as `uid` and `gid`: no capabilities.
fn become_owner((uid, gid): (u32, u32)) -> Result<(), Errno> {
    set_thread_groups(&[])?;
    nix::unistd::setfsgid(gid.into());
    nix::unistd::setfsuid(uid.into());
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A temporary directory and the directory around it.
    fn tmp() -> (tempfile::TempDir, TmpDir) {
        let base = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().is_root().then_some((0, 0));
        let tmp = TmpDir::create(base.path(), owner).unwrap();
        (base, tmp)
    }

    /// SEC-B30: what could have been put in the place of a new directory, where others can rename.
    #[test]
    fn only_an_empty_private_directory_is_taken_for_the_new_one() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let base = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let own = base.path().join("own");
        let fresh = || {
            let open = |path: &Path| Directory::open(path).unwrap();
            is_fresh(open(base.path()), open(&own), 0o077).unwrap()
        };
        fs::create_dir(&own).unwrap();
        set(base.path(), 0o777);
        for (mode, want) in [(0o700, true), (0o710, false), (0o777, false), (0o700, true)] {
            set(&own, mode);
            assert_eq!(fresh(), want, "{mode:o}");
        }
        fs::write(own.join("file"), "").unwrap();
        assert!(!fresh());
        for (mode, want) in [(0o755, true), (0o775, false), (0o1777, true)] {
            set(base.path(), mode);
            assert_eq!(fresh(), want, "around {mode:o}");
        }
        fs::remove_file(own.join("file")).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(base.path(), Some(65534), None).unwrap();
            assert!(fresh());
            chown(&own, Some(65534), None).unwrap();
            assert!(!fresh());
        }
    }

    /// SEC-B21
    #[test]
    fn a_replaced_scratch_directory_is_not_removed() {
        let (base, tmp) = tmp();
        let path = base.path().join(&tmp.name);
        fs::write(path.join("own"), "").unwrap();
        fs::create_dir_all(base.path().join("neighbour/inner")).unwrap();
        fs::write(base.path().join("neighbour/inner/file"), "data").unwrap();
        fs::rename(&path, base.path().join("moved")).unwrap();
        fs::rename(base.path().join("neighbour"), &path).unwrap();
        drop(tmp);
        assert_eq!(fs::read_to_string(path.join("inner/file")).unwrap(), "data");
        assert!(!base.path().join("moved/own").exists());
    }

    /// SEC-B21: the thread that removes it has only the job's privileges.
    #[test]
    fn entries_that_the_job_could_not_remove_are_kept() {
        if !rustix::process::geteuid().is_root() {
            return; // as a user, the kernel refuses it anyway
        }
        let (base, tmp) = tmp();
        let path = base.path().join(&tmp.name);
        fs::create_dir_all(path.join("of-another")).unwrap();
        fs::write(path.join("of-another/file"), "data").unwrap();
        std::os::unix::fs::chown(path.join("of-another"), Some(65534), Some(65534)).unwrap();
        fs::write(path.join("own"), "").unwrap();
        drop(tmp);
        assert_eq!(fs::read_to_string(path.join("of-another/file")).unwrap(), "data");
        assert!(!path.join("own").exists());
    }

    #[test]
    fn directories_without_permissions_are_removed() {
        use std::os::unix::fs::PermissionsExt;
        let (base, tmp) = tmp();
        let path = base.path().join(&tmp.name);
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        for closed in [path.join("a/b"), path.join("a"), path.clone()] {
            fs::set_permissions(closed, fs::Permissions::from_mode(0o0)).unwrap();
        }
        drop(tmp);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
