//! The walk through the directory that a job has left.

use super::{Covered, DEEPEST, DIRECTORY, Found, Given, copy::Copying};
use crate::env::weaken;
use crate::fs::beneath::POINT;
use crate::fs::directory::identity;
use crate::fs::trust::{self, is_fresh, is_ours, user};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, chmodat, fchmod, fgetxattr, fstat, mkdirat,
        openat,
    },
    io::Errno,
};
use std::{ffi::CStr, fs::File, io};

/// Number of entries that are counted: enough to report "many".
const MOST: u64 = 100_000;

/// The attribute of a renamed directory, whose layer has only the changes below it.
const RENAMED: &str = "trusted.overlay.redirect";

/// A directory of the job.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The job's changes in it.
    pub layer: BorrowedFd<'a>,
    /// All of it, in `/work`; `None` if `layer` is all of it.
    pub work: Option<BorrowedFd<'a>>,
}

impl Place<'_> {
    /// Opens a file or directory, whose permissions the job may have removed: they are restored in `work`, since the
    /// layer is mounted read-only.
    fn open(self, name: &CStr, mode: Mode, flags: OFlags) -> Result<OwnedFd, Errno> {
        let search = if flags.contains(OFlags::DIRECTORY) { Mode::XUSR } else { Mode::empty() };
        let needed = Mode::RUSR | search;
        if !mode.contains(needed) {
            // If this fails, opening reports the reason.
            let directory = self.work.unwrap_or(self.layer);
            _ = chmodat(directory, name, mode | needed, AtFlags::empty());
        }
        openat(self.layer, name, flags, Mode::empty())
    }
}

/// A directory to visit.
#[derive(Clone, Copy)]
pub(super) struct Visit<'a> {
    pub from: Place<'a>,
    pub covered: &'a [Covered],
    /// Files that are not results while they are unchanged.
    pub given: &'a [Given<'a>],
    /// Levels of directories that are visited below it.
    pub depth: u32,
}

/// The directory to copy to.
pub(super) struct Target<'t, 'c> {
    pub directory: BorrowedFd<'t>,
    pub copying: &'t mut Copying<'c>,
}

/// Counts the entries of a directory, and copies them to the target, if any. A failure of one entry is recorded and
/// does not stop the others.
pub(super) fn visit(
    at: &Visit<'_>,
    mut target: Option<Target<'_, '_>>,
    found: &mut Found,
) -> io::Result<()> {
    let directory = at.from.layer;
    let device = fstat(directory)?.st_dev;
    for entry in Dir::new(openat(directory, ".", DIRECTORY, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if target.is_none() && found.files + found.others >= MOST {
            return Ok(());
        }
        let into = target
            .as_mut()
            .map(|target| Target { directory: target.directory, copying: target.copying });
        let done = visit_entry(at, (name, device), into, found);
        if let (Err(error), Some(target)) = (done, &mut target) {
            target.copying.fail(name, &error);
        }
    }
    Ok(())
}

/// The same for the entry `name` of the directory, which is on `device`.
fn visit_entry(
    at: &Visit<'_>,
    (name, device): (&CStr, u64),
    target: Option<Target<'_, '_>>,
    found: &mut Found,
) -> io::Result<()> {
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stat = fstat(openat(at.from.layer, name, look, Mode::empty())?)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    match FileType::from_raw_mode(stat.st_mode) {
        // Another file system is mounted there, perhaps a directory of the host.
        FileType::Directory if stat.st_dev != device => {}
        // A mount point, which the job did not make.
        FileType::RegularFile if is_point(&stat) => {}
        FileType::RegularFile if at.given.iter().any(|given| given.is(name, &stat)) => {}
        FileType::Directory if at.depth > 0 => visit_below(at, (name, &stat), target, found)?,
        FileType::RegularFile => {
            found.files += 1;
            let Some(Target { directory: to, copying }) = target else { return Ok(()) };
            copying.check_signals()?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = File::from(at.from.open(name, mode, flags)?);
            if !copying.link(&stat, to, name)? {
                copying.copy_file(&mut source, (to, name), mode)?;
            }
        }
        FileType::Directory if target.is_some() => {
            return Err(io::Error::other(format!("deeper than {DEEPEST} directories")));
        }
        // overlayfs's whiteout of a removed name.
        FileType::CharacterDevice => {}
        _ => found.others += 1,
    }
    Ok(())
}

/// Visits the directory `name`. Of a renamed one, `work` has the content, and of a covered one, its own layer.
fn visit_below(
    at: &Visit<'_>,
    (name, stat): (&CStr, &Stat),
    target: Option<Target<'_, '_>>,
    found: &mut Found,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    let own = at.from.open(name, mode, DIRECTORY)?;
    let work = at.from.work.and_then(|work| openat(work, name, DIRECTORY, Mode::empty()).ok());
    let renamed = fgetxattr(&own, RENAMED, &mut [0_u8; 0]).is_ok();
    let is_it = |it: &&Covered| {
        let it = fstat(&it.point);
        it.is_ok_and(|it| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino))
    };
    let from = match (&work, at.covered.iter().find(is_it)) {
        (_, Some(covered)) => Place { layer: covered.layer.as_fd(), work: None },
        (Some(work), _) if renamed => Place { layer: work.as_fd(), work: None },
        (work, _) => Place { layer: own.as_fd(), work: work.as_ref().map(AsFd::as_fd) },
    };
    let below = Visit { from, covered: at.covered, given: &[], depth: at.depth - 1 };
    let Some(Target { directory: to, copying }) = target else { return visit(&below, None, found) };
    let old = match mkdirat(to, name, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => true,
        new => new.map(|()| false)?,
    };
    let into = openat(to, name, DIRECTORY, Mode::empty())?;
    let stat = trust::stat(&into)?;
    // Whoever can rename in `to` may have put any other directory there.
    let trusted = if old { user() != 0 || is_ours(&stat) } else { is_fresh(to, &into, 0o077)? };
    if !trusted && !weaken::without("output") {
        return Err(io::Error::other(trust::REPLACED));
    }
    let identity = identity(&stat);
    if copying.protected.contains(&identity) {
        return Err(io::Error::other("a store of runtimes, which no job may change"));
    }
    copying.path.push(name.to_owned());
    let target = Target { directory: into.as_fd(), copying: &mut *copying };
    let done = visit(&below, Some(target), found);
    copying.path.pop();
    if !old {
        fchmod(&into, mode)?;
    }
    done
}

/// Whether a file was made as a mount point.
fn is_point(stat: &Stat) -> bool {
    stat.st_mode & POINT != 0 && stat.st_size == 0
}
