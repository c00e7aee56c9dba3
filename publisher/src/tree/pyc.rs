//! Compilation of Python modules to `__pycache__`, so that programs start faster.
//!
//! The interpreter is that of the same lock for the building machine's architecture, in a sandbox of `joblet-exec`
//! without network or writable files. Its output depends only on the module and the version of Python.

use crate::{
    error::{Error, tail},
    tree::{Node, Tree, content::Content, joblet_exec::JobletExec},
};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    num::NonZero,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

/// The program that the interpreter runs.
const PROGRAM: &str = include_str!("compile.py");
/// Maximum size of a module, in bytes.
const MAX_MODULE: u64 = 64 << 20;
/// Maximum size of a compiled module, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// Path and source of a module.
type Module = (String, Content);

/// Adds compiled modules to `tree`, for Python `version`, with `command`, which runs an interpreter with further
/// arguments. `jobs` of them run in parallel, without an effect on the output.
///
/// Tests are omitted: they are rarely imported.
///
/// # Errors
/// [`Error::Tool`] if the interpreter fails; [`Error::File`].
pub(crate) fn compile(
    tree: &mut Tree,
    version: &str,
    joblet_exec: &JobletExec,
    spool_dir: &Path,
    jobs: NonZero<usize>,
) -> Result<(), Error> {
    let modules = modules(tree, version);
    let size = modules.len().div_ceil(jobs.get()).max(1);
    let results = thread::scope(|scope| {
        let one = |chunk| scope.spawn(move || run(joblet_exec, version, chunk, spool_dir));
        let workers: Vec<_> = modules.chunks(size).map(one).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, Error>>()
    })?;
    let tag = version.replace('.', "");
    for ((path, _), content) in modules.iter().zip(results.into_iter().flatten()) {
        let Some(content) = content else { continue };
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = name.trim_end_matches(".py");
        let target = format!("{dir}/__pycache__/{stem}.cpython-{tag}.pyc");
        let origin = tree.origin(path).map(Arc::from);
        let node = Node::File { executable: false, content };
        tree.replace(&target, node).map_err(|rule| tool(&rule))?;
        if let Some(origin) = origin {
            tree.set_origin(target, origin);
        }
    }
    Ok(())
}

fn tool(reason: &str) -> Error {
    Error::Tool { tool: "compiling Python modules".into(), reason: reason.to_owned() }
}

/// The modules to compile, in order.
fn modules(tree: &Tree, version: &str) -> Vec<Module> {
    let dirs = [
        format!("usr/lib/python{version}"),
        "usr/lib/python3".to_owned(),
        format!("usr/local/lib/python{version}"),
    ];
    let wanted = |path: &str| {
        let test = |part: &str| matches!(part, "test" | "tests");
        Path::new(path).extension().is_some_and(|it| it == "py") && !path.split('/').any(test)
    };
    let below = dirs.iter().flat_map(|dir| tree.below(dir));
    let module = |(path, node): (&str, &Node)| match node {
        // Larger ones are not compiled, which would take a multiple of their size in memory.
        Node::File { content, .. } if wanted(path) && content.len() <= MAX_MODULE => {
            Some((path.to_owned(), content.clone()))
        }
        _ => None,
    };
    below.filter_map(module).collect()
}

/// Compiles `modules` with one interpreter. The output is in an unlinked file in `spool_dir`.
fn run(
    joblet_exec: &JobletExec,
    version: &str,
    modules: &[Module],
    spool_dir: &Path,
) -> Result<Vec<Option<Content>>, Error> {
    let mut command = joblet_exec.command();
    // The order of a set of strings depends on their hashes.
    command.args(["--env", "PYTHONHASHSEED=0", "--", &format!("/usr/bin/python{version}")]);
    command.args(["-s", "-S", "-B", "-c", PROGRAM]);
    let mut child = start(command)?;
    let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    let Some(((questions, answers), complaints)) = pipes else {
        return Err(tool("no pipe to the interpreter"));
    };
    let (received, complaint) = thread::scope(|scope| {
        let asking = scope.spawn(move || send_modules(questions, modules));
        let complaint = scope.spawn(move || tail::read_end(complaints));
        let received = receive(answers, modules.len(), spool_dir);
        let received = match asking.join() {
            Ok(asked) => received.and_then(|received| asked.map(|()| received)),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (received, complaint.join().unwrap_or_default())
    });
    let status = child.wait().map_err(|error| tool(&error.to_string()))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&complaint);
        return Err(tool(&format!("{status}: {}", text.trim())));
    }
    received.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Error::file("write below", spool_dir)(error),
        _ => tool(&error.to_string()),
    })
}

fn start(mut command: Command) -> Result<Child, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| tool(&format!("cannot start joblet-exec: {error}")))
}

fn send_modules(to: impl Write, modules: &[Module]) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    let length =
        |length: usize| u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other);
    for (path, content) in modules {
        let (path, source) = (format!("/{path}"), content.whole(MAX_MODULE)?);
        to.write_all(&length(path.len())?)?;
        to.write_all(&length(source.len())?)?;
        to.write_all(path.as_bytes())?;
        to.write_all(&source)?;
    }
    to.flush()
}

fn receive(from: impl Read, count: usize, spool_dir: &Path) -> io::Result<Vec<Option<Content>>> {
    let (mut from, mut spool) = (BufReader::new(from), tempfile::tempfile_in(spool_dir)?);
    let mut stretches = Vec::new();
    for _ in 0..count {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        let offset = spool.stream_position()?;
        let copied = io::copy(&mut from.by_ref().take(length.min(MAX_ANSWER)), &mut spool)?;
        if copied != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stretches.push((offset, length));
    }
    let spool: Arc<File> = Arc::new(spool);
    let content = |(offset, length)| {
        (length > 0).then(|| Content::stretch(Arc::clone(&spool), offset, length))
    };
    Ok(stretches.into_iter().map(content).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const DIR: &str = "usr/local/lib/python3.11/dist-packages/d";

    /// Modules compiled by this machine's Python, instead of one in a sandbox.
    fn compiled(jobs: usize, interpreter: &str) -> Result<Tree, Error> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("joblet-exec");
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift 2; exec {interpreter} \"$@\"\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut tree = Tree::default();
        for (path, text) in [
            ("a.py", "def f(x):\n    return x in {'a', 'b', 'c'}\n"),
            ("b.py", "X = ('text', 1.5)\n"),
            ("bad.py", "print 1\n"),
            ("tests/c.py", "X = 1\n"),
            ("c.txt", "X = 1\n"),
            ("sub/__init__.py", ""),
        ] {
            let content = text.as_bytes().to_vec().into();
            tree.insert(&format!("{DIR}/{path}"), Node::File { executable: false, content })
                .unwrap();
        }
        let exec = JobletExec::new(program, &tree, "mounts: []\n", dir.path(), |_| true, false)?;
        let jobs = NonZero::new(jobs).unwrap();
        compile(&mut tree, "3.11", &exec, dir.path(), jobs).map(|()| tree)
    }

    fn files(tree: &Tree) -> Vec<(String, Vec<u8>)> {
        let compiled =
            tree.iter().filter(|(path, _)| path.contains("/__pycache__/") && !tree.is_dir(path));
        let file = |(path, _)| {
            let content = tree.file(path).unwrap().1.read().unwrap();
            (path.trim_start_matches(DIR).to_owned(), content)
        };
        compiled.map(file).collect()
    }

    #[test]
    fn compiled_modules_do_not_depend_on_the_number_of_processes() {
        let one = files(&compiled(1, "python3").unwrap());
        let names: Vec<_> = one.iter().map(|(path, _)| path.as_str()).collect();
        let want =
            ["a.cpython-311.pyc", "b.cpython-311.pyc"].map(|it| format!("/__pycache__/{it}"));
        assert_eq!(names[..2], want);
        assert_eq!(names[2..], ["/sub/__pycache__/__init__.cpython-311.pyc"]);
        assert!(one.iter().all(|(_, bytes)| bytes[4..8] == [1, 0, 0, 0]), "unchecked hashes");
        for jobs in [2, 5] {
            assert_eq!(files(&compiled(jobs, "python3").unwrap()), one, "{jobs}");
        }
    }

    #[test]
    fn a_failed_interpreter_is_reported() {
        let error = compiled(1, "sh -c 'cat >/dev/null; echo no room >&2; exit 3'").unwrap_err();
        let want = "compiling Python modules: exit status: 3: no room";
        assert_eq!((error.class().word(), error.to_string().as_str()), ("TOOL", want));
    }
}
