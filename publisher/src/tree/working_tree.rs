//! A tree on disk, in which its programs run as jobs; their changes are read back into the tree.
//!
//! In: a tree. Out: the tree with the changes of jobs of `joblet-exec`, normalized: without owners and times, with
//! modes reduced to executable or not. Jobs have no network, a fixed environment and no files of the host.

use crate::{
    error::{Error, tail},
    fs::paths,
    tree::{Node, Tree, content::Content, joblet_exec::JobletExec, link_path, relative},
};
use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

/// Directories and files of temporary data, whose changes are ignored.
const TEMPORARY: [&str; 9] = [
    "tmp", "var/backups", "var/cache/ldconfig", "var/lib/dpkg", "var/lib/ucf", "var/lock",
    "var/log", "var/run", "var/tmp",
];

/// Directories created for jobs if the tree lacks them.
const VAR: [&str; 5] = ["var", "var/cache", "var/lib", "var/log", "var/tmp"];

/// A tree on disk, with the state of its files before any job ran.
pub struct WorkingTree {
    joblet_exec: JobletExec,
    before: BTreeMap<String, FileState>,
    /// `SOURCE_DATE_EPOCH` of every job.
    epoch: String,
}

/// Attributes that change with a file, including ctime, which a program cannot set.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    inode: u64,
    changed: (i64, i64),
    mode: u32,
}

impl FileState {
    fn new(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        }
    }
}

impl WorkingTree {
    /// Uses the whole tree written by `joblet_exec`. `epoch` is `SOURCE_DATE_EPOCH`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(joblet_exec: JobletExec, epoch: u64) -> Result<Self, Error> {
        for dir in VAR {
            paths::create_dirs(&joblet_exec.root().join(dir))?;
        }
        let before = states(&joblet_exec.root())?;
        Ok(Self { joblet_exec, before, epoch: epoch.to_string() })
    }

    /// Runs `words` as root in the tree, which is writable.
    ///
    /// # Errors
    /// [`Error::Tool`] with the end of its output, if it fails or cannot be started.
    pub fn run(&self, words: &[String]) -> Result<(), Error> {
        let failed =
            |reason: String| Error::Tool { tool: format!("`{}`", words.join(" ")), reason };
        let mut command = self.joblet_exec.command();
        command.args(["--user", "0:0", "--workdir", "/"]);
        let root = self.joblet_exec.root();
        for entry in fs::read_dir(&root).map_err(Error::file("list", &root))? {
            let entry = entry.map_err(Error::file("list", &root))?;
            // A symlink, such as `lib`, is a mount of its own.
            if entry.path().is_dir() && entry.file_name() != "tmp" {
                let place = fs::canonicalize(entry.path());
                let mut bind = place.map_err(Error::file("find", entry.path()))?.into_os_string();
                bind.push(":/");
                bind.push(entry.file_name());
                bind.push(":rw");
                command.arg("--bind").arg(bind);
            }
        }
        for (name, value) in [
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC0"),
            ("SOURCE_DATE_EPOCH", &self.epoch),
            ("FORCE_SOURCE_DATE", "1"), // TeX's own dates, too
        ] {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg("--").args(words);
        let (status, end) =
            tail::run(command.stdin(Stdio::null())).map_err(|error| failed(error.to_string()))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(format!("{status}:\n  {end}")))
    }

    /// Reads the changes back into `tree`; contents are in an unlinked file in `spool_dir`. Returns the changed paths.
    ///
    /// # Errors
    /// [`Error::Tool`] for anything but files, directories and symlinks, and for names that are not UTF-8;
    /// [`Error::File`].
    pub fn take(&mut self, tree: &mut Tree, spool_dir: &Path) -> Result<Vec<String>, Error> {
        let root = &self.joblet_exec.root();
        let after = states(root)?;
        let mut changed = Vec::new();
        let gone = self.before.keys().rev().filter(|path| !after.contains_key(*path));
        for path in gone.filter(|path| !is_temporary(path)) {
            if tree.get(path).is_some() {
                tree.remove(path);
                changed.push(path.clone());
            }
        }
        let mut spool = Spool::new(spool_dir)?;
        let new = after.iter().filter(|(path, state)| self.before.get(*path) != Some(*state));
        for (path, _) in new.filter(|(path, _)| !is_temporary(path)) {
            if let Some(node) = read(&root.join(path), path, &mut spool)? {
                if matches!(tree.get(path), Some(Node::Dir)) {
                    tree.remove(path); // a symlink or file replaced an empty directory
                }
                let failed = |reason| Error::Tool { tool: "run".into(), reason };
                tree.replace(path, node).map_err(failed)?;
                changed.push(path.clone());
            }
        }
        self.before = after;
        Ok(changed)
    }
}

/// Whether `path` is temporary data.
fn is_temporary(path: &str) -> bool {
    TEMPORARY.iter().any(|dir| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The state of everything below `root`.
fn states(root: &Path) -> Result<BTreeMap<String, FileState>, Error> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![(root.to_owned(), String::new())]);
    while let Some((dir, prefix)) = todo.pop() {
        for entry in fs::read_dir(&dir).map_err(Error::file("list", &dir))? {
            let entry = entry.map_err(Error::file("list", &dir))?;
            let name = entry.file_name().into_string().map_err(|name| Error::Tool {
                tool: "run".into(),
                reason: format!("left {} in /{prefix}, which is not UTF-8", name.to_string_lossy()),
            })?;
            let path = format!("{prefix}{name}");
            let metadata = entry.metadata().map_err(Error::file("read", entry.path()))?;
            if metadata.is_dir() {
                todo.push((entry.path(), format!("{path}/")));
            }
            found.insert(path, FileState::new(&metadata));
        }
    }
    Ok(found)
}

/// Reads `file`, which is `path` in the tree; `None` for a directory, which is implied by its entries.
fn read(file: &Path, path: &str, spool: &mut Spool) -> Result<Option<Node>, Error> {
    let metadata = fs::symlink_metadata(file).map_err(Error::file("read", file))?;
    let refused = |what: &str| {
        let reason = format!("left /{path}, {what}");
        Err(Error::Tool { tool: "run".into(), reason })
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(None);
    }
    if kind.is_symlink() {
        let target = fs::read_link(file).map_err(Error::file("read", file))?;
        let Some(target) = target.to_str() else { return refused("a link that is not UTF-8") };
        return Ok(Some(Node::Link(relative(path, &link_path(path, target)))));
    }
    if !kind.is_file() {
        return refused("which is not a file, directory or link");
    }
    let content = spool.copy(file)?;
    Ok(Some(Node::File { executable: metadata.mode() & 0o100 != 0, content }))
}

/// An unlinked file with the concatenated contents of others.
struct Spool {
    file: Arc<File>,
    dir: PathBuf,
    length: u64,
}

impl Spool {
    fn new(dir: &Path) -> Result<Self, Error> {
        let file = tempfile::tempfile_in(dir).map_err(Error::file("write below", dir))?;
        Ok(Self { file: Arc::new(file), dir: dir.to_owned(), length: 0 })
    }

    fn copy(&mut self, path: &Path) -> Result<Content, Error> {
        let mut from = File::open(path).map_err(Error::file("read", path))?;
        let copied = io::copy(&mut from, &mut &*self.file);
        let copied = copied.map_err(Error::file("write below", &self.dir))?;
        let content = Content::stretch(Arc::clone(&self.file), self.length, copied);
        self.length += copied;
        Ok(content)
    }
}

/// The paths whose content, target or mode differs between `a` and `b`.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn differences(a: &Tree, b: &Tree) -> Result<Vec<String>, Error> {
    let same = |path: &str, node: &Node| {
        Ok::<bool, Error>(match (node, b.get(path)) {
            (Node::Dir, Some(Node::Dir)) => true,
            (Node::Link(a), Some(Node::Link(b))) => a == b,
            (
                Node::File { executable, content },
                Some(Node::File { executable: other, content: bytes }),
            ) => executable == other && content.equals(bytes).map_err(Error::file("read", path))?,
            _ => false,
        })
    };
    let mut found = Vec::new();
    for (path, node) in a.iter() {
        if !same(path, node)? {
            found.push(path.to_owned());
        }
    }
    found.extend(
        b.iter().filter(|(path, _)| a.get(path).is_none()).map(|(path, _)| path.to_owned()),
    );
    Ok(found)
}
