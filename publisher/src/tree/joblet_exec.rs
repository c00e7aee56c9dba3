//! Execution of a tree's programs as jobs of `joblet-exec`, without installing the tree.

use crate::{
    env,
    error::Error,
    fs::paths,
    tree::{Node, Tree},
};
use joblet_format::Arch;
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const PROGRAM: &str = "joblet-exec";
/// Name and version of the only runtime in the temporary store.
const RUNTIME: &str = "tool-1.0.0";

/// Finds `joblet-exec`: `option`, `JOBLET_EXEC`, the directory of this program, `dist/bin`, `PATH`.
///
/// # Errors
/// [`Error::Tool`] with a hint.
pub fn find(option: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) =
        option.map(Path::to_owned).or_else(|| env::var(env::JOBLET_EXEC).map(Into::into))
    {
        if path.is_file() {
            return std::path::absolute(&path).map_err(Error::file("find", path));
        }
        let reason = format!("{} does not exist", path.display());
        return Err(Error::Tool { tool: PROGRAM.into(), reason });
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let dirs = beside.into_iter().chain([PathBuf::from("dist/bin")]).chain(env::path());
    let found = dirs.map(|dir| dir.join(PROGRAM)).find(|path| path.is_file());
    let found = found.and_then(|path| std::path::absolute(path).ok());
    found.ok_or_else(|| Error::Tool {
        tool: PROGRAM.into(),
        reason: format!("not found; use --joblet-exec FILE or set {}", env::JOBLET_EXEC),
    })
}

/// A tree written to disk, to run its programs. Removed when dropped.
pub struct JobletExec {
    program: PathBuf,
    store: TempDir,
    /// The architecture of the tree.
    arch: Arch,
    /// Runs `joblet-exec` with an emulator for another architecture.
    emulator: Option<Box<Emulated>>,
}

/// Makes a command that executes a program by an emulator; arguments are added to it.
pub type Emulated = dyn Fn(&OsStr) -> Command + Send + Sync;

impl JobletExec {
    /// Writes the `wanted` paths of `tree` below `dir`; `backwards` in reverse order, on which programs must not
    /// depend.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(
        program: PathBuf,
        tree: &Tree,
        runtime_yml: &str,
        dir: &Path,
        wanted: impl Fn(&str) -> bool,
        backwards: bool,
    ) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(Error::file("find", dir))?;
        let store = tempfile::Builder::new().prefix(".tool-").tempdir_in(&dir);
        let store = store.map_err(Error::file("create below", dir))?;
        let runtime = store.path().join(RUNTIME);
        // `joblet-exec` refuses a store that others may write to, as with a umask of 0.
        paths::create_dirs(&runtime.join("isolated"))?;
        for dir in [store.path(), &runtime, &runtime.join("isolated")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
                .map_err(Error::file("change the mode of", dir))?;
        }
        // No path of a tree is below a symlink, so none redirects a write.
        let mut nodes: Vec<_> = tree.iter().filter(|(path, _)| wanted(path)).collect();
        if backwards {
            nodes.reverse();
        }
        for (path, node) in nodes {
            let target = runtime.join("isolated").join(path);
            match node {
                Node::Dir => paths::create_dirs(&target)?,
                Node::Link(to) => {
                    make_parent(&target)?;
                    symlink(to, &target).map_err(Error::file("write", &target))?;
                }
                Node::File { executable, content } => {
                    make_parent(&target)?;
                    let mut file =
                        fs::File::create(&target).map_err(Error::file("write", &target))?;
                    std::io::copy(&mut content.reader(), &mut file)
                        .map_err(Error::file("write", &target))?;
                    let mode = if *executable { 0o755 } else { 0o644 };
                    file.set_permissions(fs::Permissions::from_mode(mode))
                        .map_err(Error::file("write", &target))?;
                }
            }
        }
        for dir in tree.iter().filter(|(path, _)| !path.contains('/')).map(|(path, _)| path) {
            if tree.is_dir(dir) && tree.get(dir).is_some_and(|node| matches!(node, Node::Dir)) {
                paths::create_dirs(&runtime.join("isolated").join(dir))?; // each is mounted
            }
        }
        let text =
            runtime_yml.replacen("name:", "# name:", 1).replacen("version:", "# version:", 1);
        paths::write(
            &runtime.join("runtime.yml"),
            format!("name: tool\nversion: 1.0.0\n{text}").as_bytes(),
        )?;
        Ok(Self { program, store, arch: Arch::NATIVE, emulator: None })
    }

    /// Sets the architecture and the emulator of the tree's programs.
    #[must_use]
    pub fn emulated(self, arch: Arch, emulator: Box<Emulated>) -> Self {
        Self { arch, emulator: Some(emulator), ..self }
    }

    /// The root directory of the tree.
    pub(super) fn root(&self) -> PathBuf {
        self.store.path().join(RUNTIME).join("isolated")
    }

    /// The command `joblet-exec … run …`, to be completed by options and the job's command line.
    pub fn command(&self) -> Command {
        let mut command = match &self.emulator {
            None => Command::new(&self.program),
            Some(emulator) => emulator(self.program.as_os_str()),
        };
        // The tree's architecture may differ from this host's.
        command.env(env::JOBLET_EXEC_ARCH, self.arch.as_str());
        command.env(env::JOBLET_EXEC_PROFILE, "none");
        command.arg("--offline").arg("--store").arg(self.store.path());
        command.args(["run", "--runtime=tool@1.0.0"]).current_dir(self.store.path());
        command
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), paths::create_dirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_joblet_exec_is_reported() {
        let error = find(Some(Path::new("/nowhere/x"))).unwrap_err().to_string();
        assert_eq!(error, "joblet-exec: /nowhere/x does not exist");
    }
}
