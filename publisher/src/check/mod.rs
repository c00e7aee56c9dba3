//! Runs a manifest's `check` commands in the packed archive, through `joblet-exec`.
//!
//! In: a packed archive, its record and its manifest. Out: what the commands read, if that is recorded, or the first
//! one that failed.

pub(crate) mod qemu;

use crate::{
    check::qemu::Emulator,
    env,
    error::{Error, tail},
    fs::paths,
    pack, record,
    registry::document,
    source::Source,
};
use joblet_format::{Arch, Artifact, Record};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Parameters of a check.
pub(crate) struct Check<'c> {
    /// The manifest.
    pub source: &'c Source,
    /// Directory of the manifest: `/work` of every command.
    pub source_dir: &'c Path,
    /// Output directory of `build`.
    pub out: &'c Path,
    /// Architecture of the archive.
    pub arch: Arch,
    /// Emulator for its programs, if this machine cannot run them.
    pub emulator: Option<&'c Emulator>,
    /// Path of `joblet-exec`.
    pub joblet_exec: &'c Path,
    /// Whether what the commands read is recorded.
    pub record: bool,
}

/// The result of checks.
#[derive(Debug)]
pub(crate) struct Done {
    /// Number of commands.
    pub count: usize,
    /// The files that they read, a line for each read, as written by `joblet-exec`.
    pub read: String,
}

/// The record of `source` if its archive for `arch` is in `out`.
///
/// # Errors
/// [`Error::File`] and [`Error::Config`] for a record that cannot be read.
pub(crate) fn built(source: &Source, out: &Path, arch: Arch) -> Result<Option<Record>, Error> {
    let (name, version) = (&source.name, &source.version);
    let archive = out.join(name.archive(version, arch));
    let record = record::read(out, &record::path(&out.join("records"), name, version))?;
    let there = |artifact: &Artifact| files(&archive, artifact).iter().all(|it| paths::is_file(it));
    Ok(record.filter(|it| it.release.artifacts.get(&arch).is_some_and(there)))
}

/// Installs the archive into a store of its own and runs every command there; to record what they read, each in
/// a runtime that is served, out of a store of its own.
///
/// # Errors
/// [`Error::NotFound`] if it was not built; [`Error::Check`] with the first command that fails and
/// the end of its output; [`Error::Tool`].
pub(crate) fn run(check: &Check, note: &dyn Fn(&str)) -> Result<Done, Error> {
    let Check { source, out, arch, .. } = *check;
    let (name, version) = (&source.name, &source.version);
    let out = &std::path::absolute(out).map_err(Error::file("find", out))?;
    let archive = out.join(name.archive(version, arch));
    let Some(record) = built(source, out, arch)? else {
        let archive = archive.display();
        return Err(Error::NotFound(format!(
            "{archive} does not exist; run `joblet-publish build {name}`"
        )));
    };
    let work = tempfile::Builder::new().prefix(".check-").tempdir_in(out);
    let work = work.map_err(Error::file("create below", out))?;
    let registry = work.path().join("registry");
    lay_out(&registry, &archive, record, arch)?;
    let (store, reads) = (work.path().join("store"), work.path().join("reads"));
    let mut read = String::new();
    for words in &source.check {
        note(&format!("check {name}@{version} {arch}: {}", words.join(" ")));
        let arguments = arguments(&registry, &store, check.record, source, words);
        run_one(check, &arguments, &reads, words)?;
        if check.record {
            let text = std::fs::read_to_string(&reads).map_err(Error::file("read", &reads))?;
            read.push_str(&text);
            std::fs::remove_dir_all(&store).map_err(Error::file("remove", &store))?;
        }
    }
    Ok(Done { count: source.check.len(), read })
}

/// Makes a registry of one archive in `dir`.
fn lay_out(dir: &Path, archive: &Path, mut record: Record, arch: Arch) -> Result<(), Error> {
    paths::create_dirs(dir)?;
    let release = &mut record.release;
    release.artifacts.retain(|known, _| *known == arch);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(artifact) = release.artifacts.get_mut(&arch) {
        for file in files(archive, artifact) {
            place(&file, dir)?;
        }
        if artifact.index.is_some() {
            place(&pack::index_path(archive), dir)?;
        }
        artifact.download_url = name(archive);
        // The .tar.gz is checked; `build` has generated the .tar.zst from it.
        artifact.zstd = None;
        for (number, part) in artifact.parts.iter_mut().enumerate() {
            part.download_url = name(&pack::part_path(archive, number));
        }
        (release.checksum, release.size) = (artifact.checksum, artifact.size);
    }
    release.download_url = name(archive);
    let registry = document::make(&[record]);
    let place = dir.join("registry.json");
    paths::write(&place, document::render(&registry, &place)?.as_bytes())
}

/// The files of `archive`, which may be in parts.
fn files(archive: &Path, artifact: &Artifact) -> Vec<PathBuf> {
    match artifact.parts.len() {
        0 => vec![archive.to_owned()],
        parts => (0..parts).map(|number| pack::part_path(archive, number)).collect(),
    }
}

/// Links `file` into `dir`, or copies it.
fn place(file: &Path, dir: &Path) -> Result<(), Error> {
    let target = dir.join(file.file_name().unwrap_or_default());
    if std::fs::hard_link(file, &target).is_err() {
        std::fs::copy(file, &target).map_err(Error::file("copy", file))?;
    }
    Ok(())
}

/// The words behind `joblet-exec` that run one command.
fn arguments(
    registry: &Path,
    store: &Path,
    served: bool,
    source: &Source,
    words: &[String],
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec!["--registry".into(), registry.into(), "--store".into(), store.into(), "run".into()];
    arguments.extend(served.then(|| "--lazy".into()));
    arguments.extend([format!("--runtime={}@{}", source.name, source.version).into(), "--".into()]);
    arguments.extend(words.iter().map(OsString::from));
    arguments
}

fn run_one(
    check: &Check,
    arguments: &[OsString],
    reads: &Path,
    words: &[String],
) -> Result<(), Error> {
    let Check { source, source_dir, arch, joblet_exec, .. } = *check;
    let failed = |reason: String| Error::Tool { tool: joblet_exec.display().to_string(), reason };
    let mut command = match check.emulator {
        Some(emulator) => emulator.command(joblet_exec.as_os_str()),
        None => Command::new(joblet_exec),
    };
    command.env(env::JOBLET_EXEC_ARCH, arch.as_str());
    command.env_remove(env::JOBLET_EXEC_PROFILE);
    if check.record {
        command.env(env::JOBLET_EXEC_READS, reads);
    }
    command.args(arguments).current_dir(source_dir).stdin(Stdio::null());
    // The output may be of any length: its end is kept.
    let (status, end) = tail::run(&mut command).map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let reason = format!("`{}` failed ({status}):\n  {end}", words.join(" "));
    if status.code() == Some(125) {
        return Err(failed(reason)); // an error of joblet-exec, not of the runtime
    }
    let runtime = match check.emulator {
        Some(_) => format!("{} ({arch})", source.directory()),
        None => source.directory(),
    };
    Err(Error::Check { runtime, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, num::NonZero, os::unix::fs::PermissionsExt};

    fn source() -> Source {
        crate::source::parse(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n\
             check: [[python3, -c, 'print(1)'], [fail, me]]\n",
        )
        .unwrap()
    }

    /// A directory with an archive, its record, and a `joblet-exec` that is this script.
    fn made(script: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join(source().name.archive(&source().version, Arch::NATIVE));
        let tree = crate::tree::Tree::default();
        let packed = pack::pack(
            &tree,
            "name: d\nmounts: []\n",
            "d-1.0.0",
            &archive,
            pack::MAX_PART,
            NonZero::<usize>::MIN,
        )
        .unwrap();
        let base = Some("https://example.org/r");
        let record = record::make(
            &source(),
            &BTreeMap::from([(Arch::NATIVE, packed)]),
            &record::files::Files::new(),
            base,
            "1".into(),
            None,
        );
        let path = record::path(&dir.path().join("records"), &record.name, &record.release.version);
        paths::write(&path, record::render(&record).as_bytes()).unwrap();
        let exec = dir.path().join("joblet-exec");
        std::fs::write(&exec, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&exec, PermissionsExt::from_mode(0o755)).unwrap();
        (dir, exec)
    }

    fn check(dir: &Path, joblet_exec: &Path, record: bool) -> Result<Done, Error> {
        let (source, arch, emulator) = (&source(), Arch::NATIVE, None);
        let check =
            Check { source, source_dir: dir, out: dir, arch, emulator, joblet_exec, record };
        run(&check, &|_| ())
    }

    #[test]
    fn commands_run_through_joblet_exec() {
        let words = ["python3".to_owned(), "-c".into(), "import x".into()];
        let arguments = arguments(Path::new("/r"), Path::new("/s"), false, &source(), &words);
        let want = [
            "--registry", "/r", "--store", "/s", "run", "--runtime=d@1.0.0", "--", "python3", "-c",
            "import x",
        ];
        assert_eq!(arguments, want);
        let script = r#"test -f "$2"/registry.json && test -f "$2"/d-1.0.0-*.tar.gz &&
            test -f "$2"/d-1.0.0-*.tar.gz.index &&
            grep -q '"download_url": "d-1.0.0' "$2"/registry.json"#;
        let (dir, exec) = made(script);
        assert_eq!(check(dir.path(), &exec, false).unwrap().count, 2);
        let left = paths::list(dir.path()).unwrap();
        assert!(left.iter().all(|path| !path.to_string_lossy().contains(".check-")), "{left:?}");
    }

    #[test]
    fn reads_of_commands_are_recorded_each_in_a_new_store() {
        let script =
            r#"[ "$6" = --lazy ] && mkdir "$4" && echo "0 5 isolated/$9" >>"$JOBLET_EXEC_READS""#;
        let (dir, exec) = made(script);
        let done = check(dir.path(), &exec, true).unwrap();
        assert_eq!(
            (done.count, done.read.as_str()),
            (2, "0 5 isolated/python3\n0 5 isolated/python3\n0 5 isolated/fail\n")
        );
    }

    #[test]
    fn failures_are_distinguished() {
        for (script, class, message) in [
            (
                "if [ \"$8\" = fail ]; then echo no such module >&2; exit 3; fi",
                "CHECK",
                "d-1.0.0: `fail me` failed (exit status: 3):\n  no such module",
            ),
            ("echo no user namespaces >&2; exit 125", "TOOL", "  no user namespaces"),
        ] {
            let (dir, exec) = made(script);
            let error = check(dir.path(), &exec, false).unwrap_err();
            assert_eq!(error.class().word(), class);
            assert!(error.to_string().contains(message), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let error = check(dir.path(), Path::new("/x"), false).unwrap_err().to_string();
        assert!(error.ends_with("does not exist; run `joblet-publish build d`"), "{error}");
    }
}
