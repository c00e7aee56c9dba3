//! An installed runtime: its directory and its checked `runtime.yml`.

use crate::error::Error;
use crate::fs::beneath::{self, Create, Escape};
use crate::fs::{directory, trust, walk};
use joblet_format::text::nests_too_deeply;
use joblet_format::{Arch, MAX_RUNTIME_YML_BYTES, RuntimeYml};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, fstat, open, openat},
    io::Errno,
};
use std::{
    cell::RefCell,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// A runtime that jobs can run in.
#[derive(Debug)]
pub struct Runtime {
    /// The directory with `runtime.yml` and `isolated/`.
    pub dir: OwnedFd,
    /// The path it was opened by.
    pub path: PathBuf,
    /// Its `runtime.yml`.
    pub config: RuntimeYml,
    /// The source of each mount of `config`, in the same order.
    pub sources: Vec<Source>,
    /// Where the child sends the device of the file system that the runtime is served by, if its files are
    /// not in `dir` yet.
    pub server: Option<OwnedFd>,
    /// Why others than root and the caller can change its files, if they can. A job then sees them in overlays, since
    /// the sockets and FIFOs among them would connect it to processes of those users.
    pub of_others: Option<String>,
    /// Device and inode of each source of a read-only mount. If it is not [`Runtime::of_others`], only they are mounted.
    pub checked: Vec<(u64, u64)>,
}

/// The kind of a mount's source, after following links inside the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A directory.
    Directory,
    /// An empty directory, and its permission bits. Only the sources of writable mounts and of `/tmp`
    /// are checked for entries: for read-only mounts it makes no difference.
    Empty(u32),
    /// A regular file.
    File,
    /// It does not exist: the mount is omitted.
    ///
    /// Archives that Joblet itself made declare directories they do not contain (`isolated/lib64`
    /// on arm64), and its client mounts those that exist.
    Missing,
}

/// As [`load_open`], for the runtime in the directory `path`, on this machine.
#[cfg(test)]
pub(crate) fn load(path: &Path) -> Result<Runtime, Error> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = open(path, flags, Mode::empty()).map_err(Error::file("open", path))?;
    load_open(dir, path, Arch::NATIVE)
}

/// Loads and checks the runtime that is open as `dir`, for programs of `arch`; `path` is for messages.
///
/// # Errors
/// [`Error::Config`] naming the rule, with the line or the entry, and [`Error::File`] if something
/// in it cannot be opened.
pub(crate) fn load_open(dir: OwnedFd, path: &Path, arch: Arch) -> Result<Runtime, Error> {
    let bytes = read(dir.as_fd(), &path.join("runtime.yml"))?;
    let found = RefCell::new(Vec::new());
    let (config, sources) = check(&bytes, path, arch, |at, look_inside| {
        let (source, what) = source(dir.as_fd(), at, look_inside)?;
        found.borrow_mut().push(what);
        Ok(source)
    })?;
    // Those of writable mounts are the lower layers of overlays anyway, and often of mode 1777.
    let bound = config.mounts().iter().zip(found.into_inner()).filter(|(mount, _)| mount.readonly);
    let bound: Vec<_> = bound.filter_map(|(mount, found)| Some((&*mount.source, found?))).collect();
    let of_others = of_others(dir.as_fd(), &bound).map_err(Error::file("read", path))?;
    let checked = bound.iter().map(|(_, found)| found.file).collect();
    Ok(Runtime { dir, path: path.to_owned(), config, sources, server: None, of_others, checked })
}

/// Why users other than root and the caller can change files of the runtime `dir`, judged by its directory, its top-level
/// directories and the sources `bound`.
fn of_others(dir: BorrowedFd<'_>, bound: &[(&str, Found)]) -> Result<Option<String>, Errno> {
    let mut found = trust::open_to_others(&trust::stat(dir)?, dir);
    let mut last = "";
    for (path, source) in bound {
        // A user who cannot write `dir` cannot replace its entries.
        let top = path.split('/').next().unwrap_or_default();
        if found.is_none() && top != last {
            last = top;
            let top = openat(dir, top, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            found = trust::open_to_others(&trust::stat(&top)?, top.as_fd());
        }
        found = found.or_else(|| source.of_others.clone());
    }
    Ok(found)
}

/// Checks `bytes` as the `runtime.yml` of a runtime at `path`; `source` looks for what a mount is made of.
///
/// # Errors
/// As [`load_open`].
pub(crate) fn check(
    bytes: &[u8],
    path: &Path,
    arch: Arch,
    source: impl Fn(&str, bool) -> Result<Source, Errno>,
) -> Result<(RuntimeYml, Vec<Source>), Error> {
    let file = path.join("runtime.yml");
    let refuse = |reason: String| Error::Config { path: file.clone(), reason };
    let config = parse(bytes).map_err(refuse)?;
    if !config.runs_on(arch) {
        let declared = config.requirements().architectures.join(", ");
        return Err(refuse(format!(
            "runs on {declared}, not on {arch}: install its {arch} version"
        )));
    }
    let sources = config.mounts().iter().enumerate().map(|(index, mount)| {
        let refuse =
            |rule: &str| refuse(format!("mounts[{index}]: source {:?} {rule}", mount.source));
        match source(&mount.source, !mount.readonly || mount.target == "/tmp") {
            Ok(Source::File) if !mount.readonly => Err(refuse("is a file: it must be readonly")),
            Ok(source) => Ok(source),
            Err(Errno::XDEV) => Err(refuse("leads out of the runtime's directory by a link")),
            Err(Errno::LOOP) => Err(refuse("is a loop of links")),
            Err(Errno::NOTDIR) => Err(refuse("is below a file, or is neither file nor directory")),
            Err(errno) => Err(Error::file("open", path.join(&mount.source))(errno)),
        }
    });
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    if !sources.is_empty() && sources.iter().all(|source| *source == Source::Missing) {
        return Err(refuse("none of its mounts exists; install the runtime again".into()));
    }
    Ok((config, sources))
}

/// A runtime without files, to test what every job needs.
///
/// # Errors
/// [`Error::File`] if `/` cannot be opened.
pub(crate) fn empty() -> Result<Runtime, Error> {
    let path = PathBuf::from("/");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(&path, flags, Mode::empty()).map_err(Error::file("open", &path))?;
    let config = parse(b"name: none\nmounts: []\n");
    let config = config.map_err(|reason| Error::Config { path: path.clone(), reason })?;
    let (sources, checked) = (Vec::new(), Vec::new());
    Ok(Runtime { dir, path, config, sources, server: None, of_others: None, checked })
}

/// Reads `runtime.yml` in `dir`. `path` is for messages only.
fn read(dir: BorrowedFd<'_>, path: &Path) -> Result<Vec<u8>, Error> {
    let refuse = |reason: &str| Error::Config { path: path.to_owned(), reason: reason.to_owned() };
    // O_NONBLOCK: opening a FIFO would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, "runtime.yml", flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(refuse("is missing: this directory is not a runtime")),
        Err(Errno::LOOP | Errno::NXIO) => return Err(refuse("is not a regular file")),
        Err(errno) => return Err(Error::file("open", path)(errno)),
    };
    let stat = fstat(&file).map_err(Error::file("read", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("is not a regular file"));
    }
    let size = usize::try_from(stat.st_size).unwrap_or(0).min(1 << 16);
    let mut bytes = Vec::with_capacity(size + 1);
    let file = File::from(file).take(MAX_RUNTIME_YML_BYTES + 1).read_to_end(&mut bytes);
    let read = file.map_err(Error::file("read", path))?;
    if read as u64 > MAX_RUNTIME_YML_BYTES {
        return Err(refuse(&format!("is larger than {MAX_RUNTIME_YML_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Parses the bytes of a `runtime.yml`.
pub(crate) fn parse(bytes: &[u8]) -> Result<RuntimeYml, String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("line 1 begins with a byte order mark; save it as plain UTF-8".into());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
        format!("line {line} is not UTF-8")
    })?;
    if let Some(line) = nests_too_deeply(text) {
        return Err(format!("line {line} nests too deeply"));
    }
    yaml_serde::from_str(text).map_err(|error| error.to_string())
}

/// What a source refers to.
struct Found {
    /// Device and inode.
    file: (u64, u64),
    /// Why others than root and the caller can change it, if they can.
    of_others: Option<String>,
}

/// The kind of `source` in the runtime `dir`, and what it refers to; with `look_inside`, whether a directory is empty.
fn source(
    dir: BorrowedFd<'_>,
    source: &str,
    look_inside: bool,
) -> Result<(Source, Option<Found>), Errno> {
    let found = match beneath::open(dir, Path::new(source), Escape::Refuse, Create::Nothing) {
        Err(Errno::NOENT) => return Ok((Source::Missing, None)),
        other => other?,
    };
    let stat = trust::stat(&found)?;
    let of_others = trust::open_to_others(&stat, found.as_fd());
    let what = Some(Found { file: directory::identity(&stat), of_others });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok((Source::File, what)),
        FileType::Directory if look_inside => {}
        FileType::Directory => return Ok((Source::Directory, what)),
        _ => return Err(Errno::NOTDIR),
    }
    if walk::is_empty(&found)? {
        return Ok((Source::Empty(stat.st_mode & 0o7777), what));
    }
    Ok((Source::Directory, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn runtime(yaml: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("isolated/usr/lib64")).unwrap();
        fs::create_dir(dir.path().join("isolated/tmp")).unwrap();
        fs::write(dir.path().join("isolated/hosts"), "").unwrap();
        for (link, target) in
            [("lib64", "usr/lib64"), ("data", "/etc"), ("up", "../.."), ("loop", "loop")]
        {
            symlink(target, dir.path().join("isolated").join(link)).unwrap();
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("isolated/fifo"), Mode::RUSR)
            .unwrap();
        fs::write(dir.path().join("runtime.yml"), yaml).unwrap();
        dir
    }

    fn mounts(sources: &[(&str, bool)]) -> String {
        let entry = |(n, (source, readonly)): (usize, &(&str, bool))| {
            format!("  - {{ source: {source}, target: /m{n}, readonly: {readonly} }}\r\n")
        };
        format!(
            "name: d\r\nmounts:\r\n{}",
            sources.iter().enumerate().map(entry).collect::<String>()
        )
    }

    #[test]
    fn sources_are_resolved_inside_the_runtime() {
        let yaml = mounts(&[
            ("isolated/usr", true),
            ("isolated/lib64", true),
            ("isolated/lib64", false),
            ("isolated/usr", false),
            ("isolated/hosts", true),
            ("isolated/lib32", true),
        ]);
        let loaded = load(runtime(yaml.as_bytes()).path()).unwrap();
        let (full, empty) = (Source::Directory, Source::Empty(0o755));
        assert_eq!(loaded.sources, [full, full, empty, full, Source::File, Source::Missing]);
    }

    #[test]
    fn a_refusal_names_the_entry_or_the_line() {
        let arm = if Arch::NATIVE == Arch::Arm64 { "amd64" } else { "arm64" };
        let bomb = b"a: &a [x,x]\nb: &b [*a,*a]\nname: d\nmounts: []\n".as_slice();
        for (yaml, reason) in [
            (
                mounts(&[("isolated/usr", true), ("isolated/data", true)]),
                "mounts[1]: source \"isolated/data\" leads out",
            ),
            (mounts(&[("isolated/up", true)]), "leads out"),
            (mounts(&[("isolated/loop", true)]), "mounts[0]: source \"isolated/loop\" is a loop"),
            (mounts(&[("isolated/fifo", true)]), "neither file nor directory"),
            (mounts(&[("isolated/hosts", false)]), "must be readonly"),
            (mounts(&[("isolated/no", true)]), "none of its mounts exists"),
            ("\u{feff}name: d\nmounts: []\n".into(), "byte order mark"),
            ("name: d\nmounts: []\nfoo: 1\n".into(), "line 3"),
            (
                format!("name: d\nmounts: []\nrequirements: {{ architectures: [{arm}] }}\n"),
                "not on",
            ),
            ("name: d\n".repeat(40_000), "larger than"),
            (format!("name: d\nmounts: {}\n", "[".repeat(10_000)), "line 2"),
            (format!("# {}\nname: {}\n", "]".repeat(10_000), "{a: ".repeat(10_000)), "line 2"),
            (String::from_utf8(bomb.to_vec()).unwrap(), "unknown field"),
        ] {
            let error = load(runtime(yaml.as_bytes()).path()).unwrap_err();
            assert!(
                matches!(error, Error::Config { .. }) && error.to_string().contains(reason),
                "{error}"
            );
        }
        let error = load(runtime(b"name: d\nmounts: []\n# \xff\n").path()).unwrap_err();
        assert!(error.to_string().contains("line 3 is not UTF-8"), "{error}");
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let dir = runtime(b"");
        let file = dir.path().join("runtime.yml");
        let reason = || load(dir.path()).unwrap_err().to_string();
        fs::remove_file(&file).unwrap();
        assert!(reason().contains("is missing"));
        symlink("isolated/hosts", &file).unwrap();
        assert!(reason().contains("not a regular file"));
        fs::remove_file(&file).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::RUSR).unwrap();
        assert!(reason().contains("not a regular file"));
    }
}
