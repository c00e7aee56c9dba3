//! `run` and `shell`.

use super::output;
use super::tmp_dir::TmpDir;
use super::{Session, job, missing_paths, profile, protected_stores, serve};
use crate::archive::image::Image;
use crate::cli::args::Run;
use crate::cli::escape::visible;
use crate::cli::ui::Ui;
use crate::env::Environment;
use crate::error::Error;
use crate::gpu::{self, Allotted};
use crate::runtime::{self, Runtime};
use crate::sandbox::{self, Exit, Given, Job, Limits, Results, Upload};
use crate::store;
use crate::store::{Installed, Store};
use joblet_format::Spec;
use joblet_format::image::Settings;
use rustix::fd::OwnedFd;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Number and interval of further attempts to open a runtime that was removed or replaced after it was
/// found.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

impl Session<'_> {
    pub(crate) fn run(&self, mut run: Run, ui: &mut Ui<'_>) -> Result<u8, Error> {
        let profiles = self.profiles(&run.shared.profiles)?;
        profile::add(&mut run, &profiles)?;
        if run.dry_run && !self.global.json {
            for profile in &profiles {
                ui.data(&format!("profile {}\n", visible(&profile.shown())))?;
            }
        }
        job::check_descriptors(&run.shared.descriptors)?;
        let status = run.status_fd.map(status_file).transpose()?;
        let mut incomplete = false;
        let result = self.start(run, &mut incomplete, ui);
        if let Some(mut file) = status {
            // The reader may have closed it, which does not change the job's result.
            _ = file.write_all(ended(&result, incomplete).as_bytes());
        }
        result.map(|exit| exit.map_or(0, Exit::status))
    }

    /// Runs the job, unless `--dry-run`, and returns its exit. Sets `incomplete` if it ran in a runtime whose
    /// installation failed meanwhile.
    fn start(
        &self,
        run: Run,
        incomplete: &mut bool,
        ui: &mut Ui<'_>,
    ) -> Result<Option<Exit>, Error> {
        let (mut spec, dry_run, gpu, start) = (run.spec.clone(), run.dry_run, run.gpu, run.start);
        let image = run.image.clone();
        if let (Some(place), true) = (&image, run.argv.is_empty()) {
            let Settings { entrypoint, cmd, .. } =
                Image::open(place, self.store()?.arch())?.settings;
            let own = [entrypoint, cmd].map(Option::unwrap_or_default).concat().join(" ");
            let what = "run --image needs a COMMAND; an image's own is not run: ";
            return Err(Error::Usage([what, &own].concat()));
        }
        let (output, tmp) = (run.output.clone(), run.shared.tmp.clone());
        let private = !run.here && run.binds.iter().all(|bind| bind.target != Path::new("/work"));
        if output.is_some() && !private {
            let reason = "--output copies what a job leaves in its private /work; with --here, or with /work \
                          bound, it is in that directory already";
            return Err(Error::Usage(reason.into()));
        }
        // Before its runtime is installed: a mistake in an option costs no download.
        let mut job = job::wanted(run, self.env)?;
        let store = self.store()?;
        let output = output.filter(|_| !dry_run);
        let output = output.map(|path| Output::prepare(path, &self.store_paths()?)).transpose()?;
        if let Some(image) = image {
            spec = store::image::provide(&Image::open(&image, store.arch())?, &store, ui)?;
        }
        let with_notes = private && (self.env.terminals.error || ui.is_verbose());
        if with_notes && std::env::current_dir().is_ok_and(|here| here == Path::new("/")) {
            ui.note("/work is empty: the current directory is /, which no job sees");
        }
        // For --output, or for a note on standard error.
        job.results = output.is_some() || with_notes;
        if dry_run && store.find(&spec)?.is_none() {
            let why =
                "is not installed, and --dry-run installs nothing; joblet-exec install it first";
            return Err(Error::NotFound(format!("{spec} {why}")));
        }
        let lazy = self.serve(start, &spec, &store, (&job, gpu.is_some() || dry_run), ui)?;
        // After the installation, which makes the store. Most jobs have no writable directory of the host: they save
        // looking up the stores.
        if job.binds.iter().any(|bind| bind.writable) {
            protected_stores::cover(&mut job, &self.store_paths()?);
        }
        if let Some((runtime, serving)) = lazy {
            // Removed when it goes out of scope.
            let _tmp_dir = tmp.map(|tmp| TmpDir::make(&tmp, &mut job)).transpose()?;
            let (ended, installed) = serve::run(&runtime, &job, serving, ui);
            *incomplete = !installed;
            let ended = ended?;
            return report_end(ended, output.as_ref(), (&job, &runtime), with_notes, ui).map(Some);
        }
        let (mut installed, mut runtime) = self.hold(&spec, &store, ui)?;
        if ui.is_verbose() && !runtime.config.ignored().is_empty() {
            let ignored = runtime.config.ignored().join(", ");
            ui.detail(&format!("of runtime.yml, without effect here: {ignored}"));
        }
        if let Some(wanted) = gpu {
            let directories = self.env.cdi.as_deref().unwrap_or(gpu::SPECIFICATIONS);
            let mut variables = Environment::gpus();
            let allotted = variables.find_map(|(name, value)| Allotted::parse(name, &value));
            let gpus = gpu::find(wanted, directories, &runtime, allotted.as_ref())?;
            gpus.notes.iter().chain(&gpus.missing).for_each(|note| ui.detail(note));
            job::add_gpus(&mut job, gpus);
        }
        if dry_run {
            let steps = sandbox::plan(&runtime, &job, &sandbox::Host::observe(job.user))?;
            ui.data(&output::plan(&steps, self.global.json))?;
            return Ok(None);
        }
        // Removed when it goes out of scope.
        let _tmp_dir = tmp.map(|tmp| TmpDir::make(&tmp, &mut job)).transpose()?;
        let mut tries = 0;
        let ended = loop {
            match sandbox::run(&runtime, &job) {
                // The runtime was replaced before the sandbox opened it; no job was started.
                Err(Error::Launch { .. })
                    if tries < TRIES && !store.is_current(&installed, &runtime.dir) =>
                {
                    tries += 1;
                    (installed, runtime) = self.hold(&spec, &store, ui)?;
                }
                ended => break ended?,
            }
        };
        report_end(ended, output.as_ref(), (&job, &runtime), with_notes, ui).map(Some)
    }

    /// Opens the job's runtime, installed if necessary. Its files are kept as long as it is open.
    fn hold(
        &self,
        spec: &Spec,
        store: &Store,
        ui: &mut Ui<'_>,
    ) -> Result<(Installed, Runtime), Error> {
        let mut tries = 0;
        loop {
            let found = self.provide(spec, store, ui)?;
            let loaded = store.open(&found).and_then(|directory| {
                store::hold(&directory);
                let loaded = runtime::load_open(directory, &found.path, store.arch())?;
                store.add_owner(&found, loaded)
            });
            tries += 1;
            match loaded {
                Ok(runtime) if tries > TRIES || store.is_current(&found, &runtime.dir) => {
                    return Ok((found, runtime));
                }
                // Removed after it was found: retry.
                Err(error) if tries > TRIES || found.path.exists() => return Err(error),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// Reports the end of a job.
fn report_end(
    (exit, results): (Exit, Option<Results>),
    output: Option<&Output>,
    (job, runtime): (&Job, &Runtime),
    with_notes: bool,
    ui: &mut Ui<'_>,
) -> Result<Exit, Error> {
    let mounts = || runtime.config.mounts().iter().map(|mount| mount.target.as_str());
    if with_notes
        && !matches!(exit, Exit::Code(0))
        && let Some(path) = missing_paths::first(job, &mounts().collect::<Vec<_>>())
    {
        let path = Path::new(path).display();
        ui.note(&format!(
            "{path} is not in the job, which sees the current directory as /work; --upload {path} puts a copy there"
        ));
    }
    if exit == Exit::OutOfMemory {
        let memory = Limits { memory: job.limits.memory, ..Limits::default() };
        ui.note(&format!("the job was killed: it needed more than its {memory} (--memory)"));
    }
    match (results, output) {
        (Some(results), _) => keep(&results, output, job, ui)?,
        (None, Some(to)) => {
            return Err(Error::Launch {
                step: format!("cannot copy the job's files to {}", to.path.display()),
                reason: "the current directory was shown in too many parts; use --here, or start \
                         from another one"
                    .to_owned(),
            });
        }
        (None, None) => {}
    }
    Ok(exit)
}

/// The directory of `--output`, opened before the job, so that a mistake in its path does not cost hours of computation.
struct Output {
    path: PathBuf,
    directory: OwnedFd,
    /// Identities of directories below it into which nothing is copied.
    protected: Vec<(u64, u64)>,
}

impl Output {
    fn prepare(path: PathBuf, stores: &[PathBuf]) -> Result<Self, Error> {
        let protected = protected_stores::check_output(&path, stores)?;
        let refuse = |error: io::Error| {
            let reason = match error.kind() {
                io::ErrorKind::AlreadyExists => "it is a file, not a directory",
                _ => &error.to_string(),
            };
            Error::Usage(format!("--output {}: {reason}", path.display()))
        };
        let directory = Results::prepare(&path).map_err(refuse)?;
        Ok(Self { path, directory, protected })
    }
}

/// Copies the files that the job left in `/work` to `to`, or reports that they are discarded.
fn keep(results: &Results, to: Option<&Output>, job: &Job, ui: &mut Ui<'_>) -> Result<(), Error> {
    let given = |upload: &'_ Upload| {
        let host = fs::metadata(&upload.source).ok()?;
        Some((i64::try_from(host.size()).ok()?, host.mtime(), host.mtime_nsec()))
    };
    let given: Vec<_> = job
        .uploads
        .iter()
        .filter_map(|upload| Some(Given { name: &upload.name, state: given(upload)? }))
        .collect();
    let Some(to) = to else {
        let files = results.count(&given).files;
        if files > 0 {
            let them = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
            ui.note(&format!(
                "{them} written in /work discarded; --output DIR or --here keeps them"
            ));
        }
        return Ok(());
    };
    let path = to.path.display();
    let found =
        results.copy(&to.directory, &given, &to.protected).map_err(|error| Error::Launch {
            step: format!("cannot copy the job's files to {path}"),
            reason: format!("{error}; files that were not copied are lost, run the job again"),
        })?;
    if found.others > 0 {
        ui.note(&format!("links and special files that were not copied: {}", found.others));
    }
    ui.detail(&format!("{} files copied to {path}", found.files));
    Ok(())
}

fn status_file(fd: i32) -> Result<File, Error> {
    sandbox::duplicate_descriptor(fd)
        .map_err(|error| Error::Usage(format!("--status-fd {fd} cannot be written to: {error}")))
}

/// The line for `--status-fd`: a JSON object.
///
/// `status` is this program's exit status and `by` its cause: `job` (with the job's exit `code`, or the `signal`
/// that killed it), `timeout`, `memory` (it exceeded its limit), or `joblet-exec` (with the `class` of the failure; no
/// job was run). `"runtime":"incomplete"` is added if the installation of the job's runtime failed meanwhile. Readers ignore
/// unknown members.
fn ended(result: &Result<Option<Exit>, Error>, incomplete: bool) -> String {
    let (status, by, more) = match result {
        Ok(None) => (0, "joblet-exec", String::new()),
        Ok(Some(exit)) => match exit {
            Exit::Code(code) => (exit.status(), "job", format!(",\"code\":{code}")),
            Exit::Signal(signal) => (exit.status(), "job", format!(",\"signal\":{signal}")),
            Exit::TimedOut => (exit.status(), "timeout", String::new()),
            Exit::OutOfMemory => (exit.status(), "memory", String::new()),
        },
        Err(error) => {
            let class = error.class();
            (
                class.exit_code_beside_job(),
                "joblet-exec",
                format!(",\"class\":\"{}\"", class.word()),
            )
        }
    };
    let runtime = if incomplete { ",\"runtime\":\"incomplete\"" } else { "" };
    format!("{{\"by\":\"{by}\",\"status\":{status}{more}{runtime}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        for (result, want) in [
            (Ok(None), r#"{"by":"joblet-exec","status":0}"#),
            (Ok(Some(Exit::Code(125))), r#"{"by":"job","status":125,"code":125}"#),
            (Ok(Some(Exit::Signal(9))), r#"{"by":"job","status":137,"signal":9}"#),
            (Ok(Some(Exit::OutOfMemory)), r#"{"by":"memory","status":137}"#),
            (Ok(Some(Exit::TimedOut)), r#"{"by":"timeout","status":124}"#),
            (
                Err(Error::NotFound("x".into())),
                r#"{"by":"joblet-exec","status":125,"class":"NOTFOUND"}"#,
            ),
        ] {
            let line = ended(&result, false);
            assert_eq!(line.trim_end(), want);
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }
}
