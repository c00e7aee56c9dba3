//! What a job has left in its private `/work`: the child sends the directory before it becomes the job,
//! and the launcher looks into it when nobody can change it any more.
//!
//! All names and files in it are the job's choice: no link is followed, nothing is waited for, and what
//! is copied replaces what had its name, below the directory that was named and nowhere else.

use super::signals::Signals;
use crate::{fs::beneath::POINT, sandbox::setup::descriptors::receive};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, accessat, chmodat,
        fchmod, fgetxattr, fstat, linkat, mkdirat, openat, renameat, seek, unlinkat,
    },
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// How many entries are counted, and how deep: enough to say "many".
const MOST: u64 = 100_000;
const DEEPEST: u32 = 256;

/// Bytes that are copied before the next look for a signal.
const PIECE: u64 = 64 << 20;

/// Where the directory comes from.
pub(crate) struct Expected {
    near: OwnedFd,
    /// For the child.
    pub far: OwnedFd,
}

/// A directory that a finished job has left.
#[derive(Debug)]
pub struct Results {
    /// What the job made and changed.
    layer: OwnedFd,
    /// That over what was there before.
    work: OwnedFd,
    /// Directories that were covered while the job ran, each with what has the job's changes there.
    parts: Vec<[OwnedFd; 2]>,
    /// One that would end the launcher ends the copying instead.
    signals: Option<Signals>,
}

/// How directories are opened: no link is followed.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The attribute of a directory that was renamed: what is below it in the layer is what was changed there
/// alone.
const RENAMED: &str = "trusted.overlay.redirect";

/// What was found in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Files that the job made or changed.
    pub files: u64,
    /// Links and other things that are no files.
    pub others: u64,
}

impl Expected {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { near, far })
    }

    /// The directory, if it came.
    pub(crate) fn take(self, signals: Signals) -> Option<Results> {
        let [layer, work] = receive(self.near.as_fd())?;
        let parts = std::iter::from_fn(|| receive(self.near.as_fd())).collect();
        Some(Results { layer, work, parts, signals: Some(signals) })
    }
}

/// A file that a job was given a copy of: it is no result while it is as it was.
#[derive(Debug)]
pub struct Given<'a> {
    /// Its name in the directory.
    pub name: &'a OsStr,
    /// Its length in bytes, and when it was changed, in seconds and nanoseconds.
    pub state: (i64, i64, i64),
}

impl Results {
    /// Opens the directory `to` for what a job will leave; it is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or this process may not make files in it.
    pub fn prepare(to: &Path) -> io::Result<OwnedFd> {
        std::fs::create_dir_all(to)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = openat(CWD, to, flags, Mode::empty())?;
        accessat(&to, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
        Ok(to)
    }

    /// Counts what is there, but for what was `given` and is as it was.
    pub fn count(&self, given: &[Given<'_>]) -> Found {
        let mut found = Found::default();
        let from = self.opened();
        // What cannot be read any more is not worth a message.
        _ = visit((from, &self.parts), None, (DEEPEST, given), &mut found);
        found
    }

    /// Copies that to the directory `to`: whatever can be copied, also after a failure.
    ///
    /// # Errors
    /// When something cannot be read or written; the first such file is named.
    pub fn copy(&self, to: &OwnedFd, given: &[Given<'_>]) -> io::Result<Found> {
        let mut found = Found::default();
        let mut copying = Copying::new(to.as_fd(), self.signals.as_ref());
        let from = (self.opened(), self.parts.as_slice());
        visit(from, Some((to.as_fd(), &mut copying)), (DEEPEST, given), &mut found)?;
        copying.failed.map_or(Ok(found), Err)
    }

    /// The directory, accessible to its user.
    fn opened(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        if let Ok(stat) = fstat(&self.layer)
            && stat.st_mode & 0o500 != 0o500
        {
            // If it is refused, what follows says why.
            _ = fchmod(&self.work, Mode::RUSR | Mode::XUSR);
        }
        (self.layer.as_fd(), Some(self.work.as_fd()))
    }
}

/// A copy in the making.
struct Copying<'a> {
    /// The directory that is copied to.
    root: BorrowedFd<'a>,
    /// The names that lead from it to the directory that is being filled.
    path: Vec<CString>,
    /// Of files that have more than one name: device and inode number, and the path of the copy below `root`. The
    /// other names become hard links to it, since a job can give one file so many names that their copies fill a disk.
    copies: HashMap<(u64, u64), Vec<CString>>,
    /// See [`Results`].
    signals: Option<&'a Signals>,
    stopped: bool,
    /// The first failure, with the path.
    failed: Option<io::Error>,
}

impl<'a> Copying<'a> {
    fn new(root: BorrowedFd<'a>, signals: Option<&'a Signals>) -> Self {
        let (path, copies) = (Vec::new(), HashMap::new());
        Self { root, path, copies, signals, stopped: false, failed: None }
    }

    /// Fails once a signal has come that would have ended the launcher.
    fn go_on(&mut self) -> io::Result<()> {
        while let Some((signal, _)) = self.signals.and_then(|all| all.queue.read().ok().flatten()) {
            if signal.is_ending() {
                self.stopped = true;
            }
        }
        if self.stopped {
            return Err(io::Error::other("stopped by a signal"));
        }
        Ok(())
    }

    /// Copies the regular file `source` to `name` in `to`, which has the old file until the new one is whole.
    fn copy_file(
        &mut self,
        source: &mut File,
        (to, name): (BorrowedFd<'_>, &CStr),
        mode: Mode,
    ) -> io::Result<()> {
        let part = format!(".joblet-exec-{}", std::process::id());
        // Of a launcher that was killed.
        _ = unlinkat(to, &part, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut copy = File::from(openat(to, &part, flags, Mode::from_raw_mode(0o600))?);
        let done = self
            .copy_data(source, &mut copy)
            .and_then(|()| Ok(fchmod(&copy, mode)?))
            .and_then(|()| Ok(renameat(to, &part, to, name)?));
        if done.is_err() {
            _ = unlinkat(to, &part, AtFlags::empty());
        }
        done
    }

    /// Copies what a file holds; its holes stay holes, which take no room.
    fn copy_data(&mut self, from: &mut File, to: &mut File) -> io::Result<()> {
        let length = from.metadata()?.len();
        let mut end = 0;
        loop {
            let start = match seek(&*from, SeekFrom::Data(end)) {
                Ok(start) => start,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => return to.set_len(length),
                Err(errno) => return Err(errno.into()),
            };
            end = seek(&*from, SeekFrom::Hole(start))?.min(start + PIECE);
            seek(&*from, SeekFrom::Start(start))?;
            seek(&*to, SeekFrom::Start(start))?;
            io::copy(&mut from.take(end - start), to)?;
            self.go_on()?;
        }
    }

    /// Notes that `name` could not be copied.
    fn failed(&mut self, name: &CStr, error: &io::Error) {
        let path = self.path.iter().map(CString::as_c_str).chain([name]);
        let path: Vec<_> = path.map(CStr::to_string_lossy).collect();
        let error = || io::Error::other(format!("{}: {error}", path.join("/")));
        self.failed.get_or_insert_with(error);
    }

    /// Makes `name` in `to` a link to the copy of the file that `stat` describes. Returns whether there is
    /// one; if not, `name` is noted as the copy.
    fn link(&mut self, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(copy) = self.copies.get(&(stat.st_dev, stat.st_ino)) else {
            let path = self.path.iter().cloned().chain([name.to_owned()]).collect();
            self.copies.insert((stat.st_dev, stat.st_ino), path);
            return Ok(false);
        };
        let (last, parents) = copy.split_last().ok_or(Errno::INVAL)?;
        let mut directory = openat(self.root, ".", DIRECTORY, Mode::empty())?;
        for parent in parents {
            directory = openat(&directory, parent, DIRECTORY, Mode::empty())?;
        }
        match unlinkat(to, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        match linkat(&directory, last, to, name, AtFlags::empty()) {
            // A file system without hard links, or a file that has too many.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }
}

/// Opens a file or directory of the job, from which the job may have taken its user's permissions: they are
/// given back in the `whole`, since the layer is mounted read-only.
fn open_own(
    (from, whole): (BorrowedFd<'_>, Option<BorrowedFd<'_>>),
    (name, mode): (&CStr, Mode),
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let search = if flags.contains(OFlags::DIRECTORY) { Mode::XUSR } else { Mode::empty() };
    let needed = Mode::RUSR | search;
    if !mode.contains(needed) {
        // If it is refused, what follows says why.
        _ = chmodat(whole.unwrap_or(from), name, mode | needed, AtFlags::empty());
    }
    openat(from, name, flags, Mode::empty())
}

/// Whether a file was made as a mount point.
fn is_point(stat: &Stat) -> bool {
    stat.st_mode & POINT != 0 && stat.st_size == 0
}

impl Given<'_> {
    fn is(&self, name: &CStr, stat: &Stat) -> bool {
        let state = (stat.st_size, stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        name.to_bytes() == self.name.as_bytes() && state == self.state
    }
}

/// Directories that [`visit`] looks into: one that has the job's changes, the same place in all of `/work`, and the parts.
type From<'a> = ((BorrowedFd<'a>, Option<BorrowedFd<'a>>), &'a [[OwnedFd; 2]]);

/// Counts what is in `from`, and copies it to `to` if that is given. Of a directory that was renamed it is
/// what the same place in the `whole` has. What fails for one entry does not concern the others.
fn visit(
    from: From<'_>,
    mut to: Option<(BorrowedFd<'_>, &mut Copying<'_>)>,
    deeper: (u32, &[Given<'_>]),
    found: &mut Found,
) -> io::Result<()> {
    let directory = from.0.0;
    let device = fstat(directory)?.st_dev;
    for entry in Dir::new(openat(directory, ".", DIRECTORY, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if to.is_none() && found.files + found.others >= MOST {
            return Ok(());
        }
        let into = to.as_mut().map(|(to, copying)| (*to, &mut **copying));
        let done = visit_entry(from, (name, device), into, deeper, found);
        if let (Err(error), Some((_, copying))) = (done, &mut to) {
            copying.failed(name, &error);
        }
    }
    Ok(())
}

/// The same for one entry of the directory, which is on `device`.
fn visit_entry(
    ((from, whole), parts): From<'_>,
    (name, device): (&CStr, u64),
    to: Option<(BorrowedFd<'_>, &mut Copying<'_>)>,
    (deeper, given): (u32, &[Given<'_>]),
    found: &mut Found,
) -> io::Result<()> {
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stat = fstat(openat(from, name, look, Mode::empty())?)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    match FileType::from_raw_mode(stat.st_mode) {
        // Something else is mounted there, a directory of the host perhaps.
        FileType::Directory if stat.st_dev != device => {}
        // A file was mounted on it, which is none of the job's.
        FileType::RegularFile if is_point(&stat) => {}
        FileType::RegularFile if given.iter().any(|given| given.is(name, &stat)) => {}
        FileType::Directory if deeper > 0 => {
            let below = open_own((from, whole), (name, mode), DIRECTORY)?;
            let all = whole.and_then(|all| openat(all, name, DIRECTORY, Mode::empty()).ok());
            let renamed = fgetxattr(&below, RENAMED, &mut [0_u8; 0]).is_ok();
            let is_it = |at: &BorrowedFd<'_>| {
                fstat(at).is_ok_and(|at| (at.st_dev, at.st_ino) == (stat.st_dev, stat.st_ino))
            };
            let part = parts.iter().find(|[point, _]| is_it(&point.as_fd()));
            let below = match (&all, part) {
                (_, Some([_, layer])) => (layer.as_fd(), None),
                (Some(all), _) if renamed => (all.as_fd(), None),
                (all, _) => (below.as_fd(), all.as_ref().map(AsFd::as_fd)),
            };
            let Some((to, copying)) = to else {
                return visit((below, parts), None, (deeper - 1, &[]), found);
            };
            let old = match mkdirat(to, name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) => true,
                new => new.map(|()| false)?,
            };
            let into = openat(to, name, DIRECTORY, Mode::empty())?;
            copying.path.push(name.to_owned());
            let done =
                visit((below, parts), Some((into.as_fd(), copying)), (deeper - 1, &[]), found);
            copying.path.pop();
            match fchmod(&into, mode) {
                Err(Errno::PERM) if old => {} // somebody else's
                done => done?,
            }
            done?;
        }
        FileType::RegularFile => {
            found.files += 1;
            let Some((to, copying)) = to else { return Ok(()) };
            copying.go_on()?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = File::from(open_own((from, whole), (name, mode), flags)?);
            if !copying.link(&stat, to, name)? {
                copying.copy_file(&mut source, (to, name), mode)?;
            }
        }
        FileType::Directory if to.is_some() => {
            return Err(io::Error::other(format!("deeper than {DEEPEST} directories")));
        }
        // The overlay's mark of a name that the job removed.
        FileType::CharacterDevice => {}
        _ => found.others += 1,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::MetadataExt};

    #[test]
    fn names_of_one_file_stay_names_of_one_file() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("d/e")).unwrap();
        std::fs::write(from.path().join("d/e/first"), "new").unwrap();
        for name in ["second", "d/third"] {
            std::fs::hard_link(from.path().join("d/e/first"), from.path().join(name)).unwrap();
        }
        std::fs::write(from.path().join("alone"), "new").unwrap();
        std::fs::write(to.path().join("second"), "old").unwrap();
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        let (layer, work) = (open(from.path()), open(from.path()));
        let results = Results { layer, work, parts: Vec::new(), signals: None };
        let found = results.copy(&open(to.path()), &[]).unwrap();
        assert_eq!(found, Found { files: 4, others: 0 });
        let seen = |name| {
            let file = to.path().join(name);
            (std::fs::read_to_string(&file).unwrap(), file.metadata().unwrap().nlink())
        };
        for name in ["d/e/first", "second", "d/third"] {
            assert_eq!(seen(name), ("new".to_owned(), 3), "{name}");
        }
        assert_eq!(seen("alone").1, 1);
    }

    #[test]
    fn a_signal_stops_the_copy_and_leaves_the_old_file() {
        use nix::sys::signal::{Signal::SIGTERM, raise};
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, text) in [(&from, "new"), (&to, "old")] {
            std::fs::write(directory.path().join("file"), text).unwrap();
        }
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        let signals = Signals::block().unwrap();
        raise(SIGTERM).unwrap();
        let (layer, work) = (open(from.path()), open(from.path()));
        let results = Results { layer, work, parts: Vec::new(), signals: Some(signals) };
        let error = results.copy(&open(to.path()), &[]).unwrap_err();
        assert_eq!(error.to_string(), "file: stopped by a signal");
        assert_eq!(std::fs::read_to_string(to.path().join("file")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 1);
        // The signal has been received: it does not end this process when the mask is restored.
        drop(results);
    }

    #[test]
    fn holes_stay_holes() {
        const MIB: u64 = 1 << 20;
        let directory = File::open("/").unwrap();
        for (data, length) in [(vec![], 0), (vec![], 4096 * MIB), (vec![0, 700 * MIB], 800 * MIB)] {
            let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            for at in &data {
                seek(&from, SeekFrom::Start(*at)).unwrap();
                from.write_all(b"data").unwrap();
            }
            from.set_len(length).unwrap();
            let mut copying = Copying::new(directory.as_fd(), None);
            copying.copy_data(&mut from, &mut to).unwrap();
            assert_eq!(to.metadata().unwrap().len(), length);
            assert!(to.metadata().unwrap().blocks() < 1000);
            for at in &data {
                let mut bytes = [0; 4];
                std::os::unix::fs::FileExt::read_exact_at(&to, &mut bytes, *at).unwrap();
                assert_eq!(&bytes, b"data");
            }
        }
    }
}
