//! argv → [`Cli`]. Reads no environment, file or clock.
//!
//! In: argv. Out: a [`Command`] and the options of all commands, or [`Error::Usage`] with a hint.

mod values;
mod words;

use crate::cli::completions::SHELLS;
use crate::error::Error;
use crate::gpu::Wanted;
use joblet_format::{Arch, RuntimeName, Spec};
use pico_args::Arguments;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;
pub(crate) use values::env_line;
use values::{
    arch, bind, count, descriptor, duration, file, gpus, memory, positive, processors, tmpfs, user,
    utf8, variable,
};
use words::{Words, is_option, sort};

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Cli {
    /// Options that every command takes.
    pub global: Global,
    /// What to do.
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// `--registry`
    pub registry: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--store`
    pub store: Option<PathBuf>,
    /// `--offline`
    pub offline: bool,
    /// `--refresh`
    pub refresh: bool,
    /// `--json`
    pub json: bool,
    /// `--quiet`
    pub quiet: bool,
    /// `--verbose`
    pub verbose: bool,
    /// `--color`
    pub color: Color,
}

/// When messages are coloured.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the help of one command, or of the program.
    Help(Option<&'static str>),
    /// Print the version.
    Version,
    /// Run a job.
    Run(Box<Run>),
    /// Install runtimes.
    Install(Vec<Spec>),
    /// Remove installed runtimes.
    Remove(Vec<Spec>),
    /// List runtimes.
    List {
        /// Those of the registry.
        available: bool,
        /// Every version of them.
        all_versions: bool,
    },
    /// List installed runtimes that have a newer version.
    Outdated,
    /// Install the latest version of these runtimes; of all that are installed if empty.
    Upgrade(Vec<RuntimeName>),
    /// Show details of a runtime.
    Info(Spec),
    /// Remove old versions.
    Prune(Prune),
    /// Write a bundle.
    Export {
        /// Of these runtimes.
        specs: Vec<Spec>,
        /// The new directory.
        to: PathBuf,
        /// The hosts it is for.
        arch: Arch,
    },
    /// Install the runtimes of a bundle.
    Import(PathBuf),
    /// Print the completions of a shell.
    Completions(&'static str),
    /// Print the manual page.
    Man,
    /// Look at what jobs and installations need.
    Doctor {
        /// Print the profile for AppArmor instead.
        apparmor: bool,
    },
    /// Print a runtime's directory.
    Path(Spec),
    /// Compare installed runtimes with their indexes.
    Verify {
        /// Which; all if empty.
        specs: Vec<Spec>,
        /// Fetch again what is damaged.
        repair: bool,
    },
}

/// What `prune` may remove.
#[derive(Debug, PartialEq, Eq)]
pub struct Prune {
    /// How many versions of each runtime stay.
    pub keep: usize,
    /// Only what was installed longer ago.
    pub older_than: Option<Duration>,
    /// Only say it.
    pub dry_run: bool,
}

/// What `run` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime.
    pub spec: Spec,
    /// `--env K=V`, or `--env K` with no value.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// `--env-file`
    pub env_files: Vec<PathBuf>,
    /// `--upload`
    pub uploads: Vec<PathBuf>,
    /// `--bind`
    pub binds: Vec<BindArg>,
    /// `--tmpfs`
    pub tmpfs: Vec<TmpfsArg>,
    /// `--workdir`
    pub workdir: Option<PathBuf>,
    /// `--user`, as user and group
    pub user: Option<(u32, u32)>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--network host`
    pub host_network: bool,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--memory`, in bytes
    pub memory: Option<u64>,
    /// `--cpu`, in thousandths
    pub cpu: Option<u32>,
    /// `--pids`
    pub pids: Option<u32>,
    /// `--gpu`
    pub gpu: Option<Wanted>,
    /// `--init`
    pub init: bool,
    /// `--tty`
    pub terminal: Terminal,
    /// `--status-fd`
    pub status_fd: Option<i32>,
    /// `--dry-run`
    pub dry_run: bool,
    /// The job's command and its arguments.
    pub argv: Vec<OsString>,
}

/// Whether a job gets a terminal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// `--tty=never`: its files are pipes.
    Never,
    /// `--tty`: it gets one, or is not run.
    Always,
    /// It gets one where the caller has one.
    Auto,
}

/// One `--bind SRC:DST[:rw]`.
#[derive(Debug, PartialEq, Eq)]
pub struct BindArg {
    /// On the host.
    pub source: PathBuf,
    /// In the job.
    pub target: PathBuf,
    /// Whether the job may write.
    pub writable: bool,
}

/// One `--tmpfs DST[:SIZE]`.
#[derive(Debug, PartialEq, Eq)]
pub struct TmpfsArg {
    /// In the job.
    pub target: PathBuf,
    /// How much it may hold, in bytes.
    pub size: Option<u64>,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`] with the word that is wrong, and the nearest right one.
pub fn parse(args: Vec<OsString>) -> Result<Cli, Error> {
    let Words { command, options, operands } = sort(args)?;
    let mut options = Arguments::from_vec(options);
    let help = options.contains("--help");
    let version = options.contains("--version");
    let global = global(&mut options)?;
    let command = match command {
        command if help => Command::Help(command.map(|command| command.name)),
        _ if version => Command::Version,
        None => return Err(Error::Usage("no command given; joblet-exec --help lists them".into())),
        Some(command) => one(command.name, &mut options, operands)?,
    };
    Ok(Cli { global, command })
}

/// Whether the command line is one of `run` or `shell`, whose failures have statuses of their own.
pub fn runs_job(args: &[OsString]) -> bool {
    sort(args.to_vec()).map_or_else(
        // A broken line: they are recognised by the first words that are not options.
        |_| {
            let words: Vec<_> = args.iter().filter(|w| !is_option(w)).take(2).collect();
            words.first().is_some_and(|word| *word == "run" || *word == "shell")
                || matches!(words[..], [job, run] if job == "job" && run == "run")
        },
        |words| words.command.is_some_and(|command| command.runs_job),
    )
}

fn global(options: &mut Arguments) -> Result<Global, Error> {
    let global = Global {
        registry: text(options, "--registry")?,
        config: path(options, "--config")?,
        store: path(options, "--store")?,
        offline: options.contains("--offline"),
        refresh: options.contains("--refresh"),
        json: options.contains("--json"),
        quiet: options.contains("--quiet"),
        verbose: options.contains("--verbose"),
        color: match text(options, "--color")?.as_deref() {
            None | Some("auto") => Color::Auto,
            Some("always") => Color::Always,
            Some("never") => Color::Never,
            Some(other) => {
                return Err(Error::Usage(format!(
                    "--color is auto, always or never, not {other:?}"
                )));
            }
        },
    };
    if global.offline && global.refresh {
        return Err(Error::Usage("--offline and --refresh exclude each other".into()));
    }
    Ok(global)
}

/// The command `name` with its options and operands.
fn one(name: &str, options: &mut Arguments, operands: Vec<OsString>) -> Result<Command, Error> {
    let command = match name {
        "run" => return run(options, None, operands).map(Command::Run),
        "shell" => {
            let (spec, argv) = (one_spec(&operands, name)?, SHELL.map(Into::into));
            return run(options, Some(spec), argv.into()).map(Command::Run);
        }
        "install" => Command::Install(specs(&operands, name)?),
        "remove" => Command::Remove(specs(&operands, name)?),
        "path" => Command::Path(one_spec(&operands, name)?),
        "info" => Command::Info(one_spec(&operands, name)?),
        "upgrade" => Command::Upgrade(names(&operands)?),
        "prune" => {
            none(&operands)?;
            Command::Prune(Prune {
                keep: one_of(options, "--keep", count)?.unwrap_or(1),
                older_than: one_of(options, "--older-than", duration)?,
                dry_run: options.contains("--dry-run"),
            })
        }
        "verify" => Command::Verify {
            specs: if operands.is_empty() { Vec::new() } else { specs(&operands, name)? },
            repair: options.contains("--repair"),
        },
        "list" => {
            none(&operands)?;
            let outdated = options.contains("--outdated");
            let available = options.contains("--available");
            let all_versions = options.contains("--all-versions");
            match outdated {
                true if available || all_versions => {
                    return Err(Error::Usage("--outdated stands alone".into()));
                }
                true => Command::Outdated,
                false => Command::List { available, all_versions },
            }
        }
        "export" => Command::Export {
            specs: specs(&operands, name)?,
            to: path(options, "--to")?
                .ok_or_else(|| Error::Usage("export needs --to=DIR, a new directory".into()))?,
            arch: one_of(options, "--arch", arch)?.unwrap_or(Arch::NATIVE),
        },
        "import" => match operands.as_slice() {
            [directory] => Command::Import(PathBuf::from(directory)),
            _ => return Err(Error::Usage("import takes the directory of one bundle".into())),
        },
        "doctor" => {
            none(&operands)?;
            Command::Doctor { apparmor: options.contains("--apparmor") }
        }
        "completions" => {
            let found = SHELLS.into_iter().find(|shell| operands.as_slice() == [*shell]);
            let usage = || Error::Usage("completions takes one of bash, zsh and fish".into());
            Command::Completions(found.ok_or_else(usage)?)
        }
        "man" => {
            none(&operands)?;
            Command::Man
        }
        "outdated" => {
            none(&operands)?;
            Command::Outdated
        }
        _ => {
            none(&operands)?;
            Command::Version
        }
    };
    finished(options)?;
    Ok(command)
}

/// What `shell` runs: the shell that people expect, or the one that is there.
const SHELL: [&str; 3] = ["sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/// The options of `run`, or of `shell` if there is a spec already.
fn run(
    options: &mut Arguments,
    shell: Option<Spec>,
    argv: Vec<OsString>,
) -> Result<Box<Run>, Error> {
    let terminal = match text(options, "--tty")?.as_deref() {
        None | Some("auto") => Terminal::Auto,
        Some("" | "always") => Terminal::Always,
        Some("never") => Terminal::Never,
        Some(other) => {
            return Err(Error::Usage(format!("--tty is auto, always or never, not {other:?}")));
        }
    };
    let spec = match shell {
        Some(spec) => spec,
        None => parse_spec(&text(options, "--runtime")?.ok_or_else(|| {
            Error::Usage(
                "run needs --runtime=SPEC; joblet-exec list shows what is installed".into(),
            )
        })?)?,
    };
    let run = Run {
        spec,
        env: many(options, "--env", variable)?,
        env_files: many(options, "--env-file", file)?,
        uploads: many(options, "--upload", file)?,
        binds: many(options, "--bind", bind)?,
        tmpfs: many(options, "--tmpfs", tmpfs)?,
        workdir: path(options, "--workdir")?,
        user: one_of(options, "--user", user)?,
        hostname: text(options, "--hostname")?,
        host_network: match text(options, "--network")?.as_deref() {
            None | Some("none") => false,
            Some("host") => true,
            Some(other) => {
                return Err(Error::Usage(format!("--network is none or host, not {other:?}")));
            }
        },
        timeout: one_of(options, "--timeout", duration)?,
        memory: one_of(options, "--memory", memory)?,
        cpu: one_of(options, "--cpu", processors)?,
        pids: one_of(options, "--pids", positive)?,
        gpu: one_of(options, "--gpu", gpus)?,
        init: options.contains("--init"),
        terminal,
        status_fd: one_of(options, "--status-fd", descriptor)?,
        dry_run: options.contains("--dry-run"),
        argv,
    };
    finished(options)?;
    if run.argv.is_empty() {
        return Err(Error::Usage("run needs a COMMAND after its options".into()));
    }
    Ok(Box::new(run))
}

fn specs(operands: &[OsString], command: &str) -> Result<Vec<Spec>, Error> {
    if operands.is_empty() {
        return Err(Error::Usage(format!("{command} needs a runtime: NAME or NAME@VERSION")));
    }
    operands.iter().map(|word| parse_spec(&word.to_string_lossy())).collect()
}

fn one_spec(operands: &[OsString], command: &str) -> Result<Spec, Error> {
    match <[Spec; 1]>::try_from(specs(operands, command)?) {
        Ok([spec]) => Ok(spec),
        Err(_) => Err(Error::Usage(format!("{command} takes one SPEC"))),
    }
}

fn names(operands: &[OsString]) -> Result<Vec<RuntimeName>, Error> {
    let name = |word: &OsString| {
        let text = word.to_string_lossy();
        text.parse().map_err(|error| Error::Usage(format!("{error}")))
    };
    operands.iter().map(name).collect()
}

fn parse_spec(text: &str) -> Result<Spec, Error> {
    text.parse().map_err(|error| Error::Usage(format!("{error}")))
}

fn none(operands: &[OsString]) -> Result<(), Error> {
    match operands.first() {
        None => Ok(()),
        Some(extra) => Err(Error::Usage(format!("unexpected argument {extra:?}"))),
    }
}

/// All options were taken: one that is left was given twice.
fn finished(options: &mut Arguments) -> Result<(), Error> {
    let rest = std::mem::replace(options, Arguments::from_vec(Vec::new())).finish();
    match rest.first() {
        None => Ok(()),
        Some(extra) => {
            Err(Error::Usage(format!("option {} is given twice", extra.to_string_lossy())))
        }
    }
}

fn text(options: &mut Arguments, name: &'static str) -> Result<Option<String>, Error> {
    one_of(options, name, |word| utf8(word).map(str::to_owned))
}

fn path(options: &mut Arguments, name: &'static str) -> Result<Option<PathBuf>, Error> {
    one_of(options, name, file)
}

fn many<T>(
    options: &mut Arguments,
    name: &'static str,
    read: fn(&OsStr) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    options.values_from_os_str(name, read).map_err(|error| usage(name, &error))
}

fn one_of<T>(
    options: &mut Arguments,
    name: &'static str,
    read: fn(&OsStr) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    options.opt_value_from_os_str(name, read).map_err(|error| usage(name, &error))
}

fn usage(name: &str, error: &pico_args::Error) -> Error {
    let reason = match error {
        pico_args::Error::Utf8ArgumentParsingFailed { cause, .. }
        | pico_args::Error::ArgumentParsingFailed { cause } => cause.clone(),
        other => other.to_string(),
    };
    Error::Usage(format!("{name}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Cli, Error> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn command(line: &str) -> Command {
        parse_words(line).unwrap().command
    }

    fn spec(text: &str) -> Spec {
        text.parse().unwrap()
    }

    #[test]
    fn joblets_own_spellings_mean_the_same() {
        for (ours, theirs) in [
            ("install a b@1.0.0", "runtime install a b@1.0.0"),
            ("remove a@1.0.0", "runtime remove a@1.0.0"),
            ("list --available", "runtime list --available"),
            ("outdated", "list --outdated"),
            ("info a", "runtime info a"),
            ("upgrade", "runtime upgrade"),
            ("prune --keep 2 --older-than 30d", "runtime prune --older-than 720h --keep=2"),
            ("run --runtime=a python x.py", "job run --runtime=a python x.py"),
        ] {
            assert_eq!(command(ours), command(theirs), "{ours}");
        }
    }

    #[test]
    fn options_end_where_the_job_begins() {
        for line in [
            "run --runtime=a@1.0.0 -e K=V -q ls --runtime=b -la -- x",
            "run --runtime a@1.0.0 --env K=V -q -- ls --runtime=b -la -- x",
            "-q job run -e K=V --runtime a@1.0.0 ls --runtime=b -la -- x",
        ] {
            let cli = parse_words(line).unwrap();
            assert!(cli.global.quiet, "{line}");
            let Command::Run(run) = cli.command else { panic!("{line}") };
            assert_eq!(run.spec, spec("a@1.0.0"));
            assert_eq!(run.env, [("K".into(), Some("V".into()))]);
            assert_eq!(run.argv, ["ls", "--runtime=b", "-la", "--", "x"]);
        }
    }

    #[test]
    fn values_may_be_anything() {
        let Command::Run(run) = command("run --runtime a -e A= -e B -e C=D=E --workdir -x ls")
        else {
            panic!()
        };
        let variable = |k: &str, v: Option<&str>| (k.into(), v.map(Into::into));
        let env = [variable("A", Some("")), variable("B", None), variable("C", Some("D=E"))];
        assert_eq!(run.env, env);
        assert_eq!(run.workdir, Some("-x".into()));
    }

    #[test]
    fn a_shell_is_a_job() {
        let Command::Run(run) = command("shell a@1.0.0 --init --network host") else { panic!() };
        assert_eq!((run.spec, run.terminal), (spec("a@1.0.0"), Terminal::Auto));
        assert!(run.init && run.host_network && run.argv == SHELL);
        let Command::Run(run) = command("run -t --runtime a --status-fd 3 ls") else { panic!() };
        assert_eq!((run.terminal, run.status_fd), (Terminal::Always, Some(3)));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("", "no command given; joblet-exec --help lists them"),
            ("instal a", "unknown command \"instal\"; did you mean \"install\"?"),
            ("frobnicate", "unknown command \"frobnicate\"; joblet-exec --help lists them"),
            ("runtime instal a", "did you mean \"runtime install\"?"),
            ("runtime", "unknown command \"runtime\""),
            ("list --availible", "unknown option \"--availible\"; did you mean --available?"),
            ("list --zzz", "joblet-exec list --help lists them"),
            ("--runtime=a run ls", "options of a command stand after it"),
            ("list x", "unexpected argument \"x\""),
            ("list --json=yes", "--json takes no value"),
            ("list --store", "--store needs a value: DIR"),
            ("list --store a --store b", "option --store is given twice"),
            ("list --color=blue", "--color is auto, always or never, not \"blue\""),
            ("list --offline --refresh", "exclude each other"),
            ("install", "install needs a runtime"),
            ("install A", "\"A\" is not a runtime name"),
            ("install a@1.0", "\"1.0\" is not a version like 1.4.0"),
            ("path a b", "path takes one SPEC"),
            ("info", "info needs a runtime"),
            ("upgrade a@1.0.0", "\"a@1.0.0\" is not a runtime name"),
            ("list --outdated --available", "--outdated stands alone"),
            ("outdated x", "unexpected argument"),
            ("prune x", "unexpected argument"),
            ("export a", "export needs --to=DIR"),
            ("export --to=x", "export needs a runtime"),
            ("export --to=x --arch=mips a", "--arch: \"mips\" is neither amd64 nor arm64"),
            ("import", "import takes the directory of one bundle"),
            ("completions tcsh", "one of bash, zsh and fish"),
            ("man ls", "unexpected argument"),
            ("prune --keep some", "--keep: \"some\" is not a number"),
            ("prune --older-than 1y", "--older-than: \"1y\" is not a time"),
            ("run ls", "run needs --runtime=SPEC"),
            ("run --runtime=a", "run needs a COMMAND"),
            ("run --runtime=a --network=lan ls", "--network is none or host"),
            ("run --runtime=a --env =x ls", "--env: \"=x\" has no name"),
            ("run --runtime=a --upload= ls", "--upload: is empty"),
            ("run --runtime=a --status-fd 0 ls", "--status-fd: \"0\" is not a descriptor"),
            ("shell", "shell needs a runtime"),
            ("shell a b", "shell takes one SPEC"),
            ("shell a --runtime b", "unknown option \"--runtime\""),
            ("run --runtime=a --bind x ls", "--bind: \"x\" is not SRC:DST"),
        ] {
            match parse_words(line) {
                Err(Error::Usage(text)) => assert!(text.contains(message), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        assert_eq!(command("--help"), Command::Help(None));
        assert_eq!(command("install -h"), Command::Help(Some("install")));
        assert_eq!(command("runtime install --help"), Command::Help(Some("install")));
        assert_eq!(command("-V"), Command::Version);
        assert_eq!(command("version"), Command::Version);
    }

    #[test]
    fn a_broken_run_is_still_a_run() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(runs_job(&words("run --bogus ls")));
        assert!(runs_job(&words("job run ls")));
        assert!(runs_job(&words("shell --bogus a")));
        assert!(!runs_job(&words("install run")));
        assert!(!runs_job(&words("lst --bogus")));
    }
}
