//! argv → [`Cli`]. Reads no environment, file or clock.

use crate::cli::{COMMANDS, Cmd, GLOBAL, Opt};
use crate::error::Error;
use joblet_format::{Spec, nearest};
use pico_args::Arguments;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

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
    /// Print a runtime's directory.
    Path(Spec),
}

/// What `run` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime.
    pub spec: Spec,
    /// `--env K=V`, or `--env K` with no value.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// `--bind`
    pub binds: Vec<BindArg>,
    /// `--workdir`
    pub workdir: Option<PathBuf>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--network host`
    pub host_network: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// The job's command and its arguments.
    pub argv: Vec<OsString>,
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

/// The words of a command line, sorted by what they are.
struct Words {
    command: Option<&'static Cmd>,
    options: Vec<OsString>,
    operands: Vec<OsString>,
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

/// Whether the command line is one of `run`, whose failures have statuses of their own.
pub fn runs_job(args: &[OsString]) -> bool {
    sort(args.to_vec()).map_or_else(
        // A broken line: `run` is recognised by the first words that are no options.
        |_| {
            let words: Vec<_> = args.iter().filter(|w| !is_option(w)).take(2).collect();
            words.first().is_some_and(|word| *word == "run")
                || matches!(words[..], [job, run] if job == "job" && run == "run")
        },
        |words| words.command.is_some_and(|command| command.runs_job),
    )
}

/// Tells options, command and operands apart and checks that each option exists.
///
/// `--key=value` comes out as two words: pico-args takes `=` only from text that is UTF-8.
fn sort(args: Vec<OsString>) -> Result<Words, Error> {
    let mut words = Words { command: None, options: Vec::new(), operands: Vec::new() };
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        if word == "--" {
            words.operands.extend(args.by_ref());
        } else if is_option(&word) {
            let (name, inline) = split_value(&word);
            let option = option(&name, words.command)?;
            words.options.push(option.long.into());
            match (option.value.is_empty(), inline) {
                (true, None) => {}
                (true, Some(_)) => {
                    return Err(Error::Usage(format!("{} takes no value", option.long)));
                }
                (false, inline) => {
                    let value = inline.or_else(|| args.next()).ok_or_else(|| {
                        Error::Usage(format!("{} needs a value: {}", option.long, option.value))
                    })?;
                    words.options.push(value);
                }
            }
        } else if let Some(command) = words.command {
            words.operands.push(word);
            if command.runs_job {
                words.operands.extend(args.by_ref());
            }
        } else {
            words.command = Some(command(&word, &mut args)?);
        }
    }
    Ok(words)
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes()[0] == b'-'
}

/// `--key=value` as its two halves.
fn split_value(word: &OsStr) -> (String, Option<OsString>) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes.starts_with(b"--"));
    let (name, value) = at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
    let value = value.map(|value| OsStr::from_bytes(value).to_owned());
    (String::from_utf8_lossy(name).into_owned(), value)
}

/// The option called `name`, among those of the program and of `command`.
fn option(name: &str, command: Option<&'static Cmd>) -> Result<&'static Opt, Error> {
    let own = command.map_or(&[][..], |command| command.options);
    let all = || own.iter().chain(GLOBAL);
    if let Some(option) = all().find(|option| name == option.long || name == option.short) {
        return Ok(option);
    }
    let hint = nearest(name, all().map(|option| option.long)).map_or_else(
        || match command {
            Some(command) => format!("joblet-exec {} --help lists them", command.name),
            None => "options of a command stand after it".to_owned(),
        },
        |near| format!("did you mean {near}?"),
    );
    Err(Error::Usage(format!("unknown option {name:?}; {hint}")))
}

/// The command that `word` names, or that it and the next word name together.
fn command(word: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<&'static Cmd, Error> {
    let word = word.to_string_lossy();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        return Ok(command);
    }
    let pairs = || COMMANDS.iter().filter(|command| !command.also.is_empty());
    let typed = if pairs().any(|command| command.also.starts_with(&format!("{word} "))) {
        let second = rest.next().unwrap_or_default();
        format!("{word} {}", second.to_string_lossy())
    } else {
        word.into_owned()
    };
    if let Some(command) = pairs().find(|command| command.also == typed) {
        return Ok(command);
    }
    let known = COMMANDS.iter().flat_map(|command| [command.name, command.also]);
    let hint = nearest(&typed, known.filter(|name| !name.is_empty())).map_or_else(
        || "joblet-exec --help lists them".to_owned(),
        |near| format!("did you mean {near:?}?"),
    );
    Err(Error::Usage(format!("unknown command {:?}; {hint}", typed.trim_end())))
}

fn global(options: &mut Arguments) -> Result<Global, Error> {
    let global = Global {
        registry: text(options, "--registry")?,
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
        "run" => return run(options, operands).map(|run| Command::Run(Box::new(run))),
        "install" => Command::Install(specs(operands, name)?),
        "remove" => Command::Remove(specs(operands, name)?),
        "path" => match <[Spec; 1]>::try_from(specs(operands, name)?) {
            Ok([spec]) => Command::Path(spec),
            Err(_) => return Err(Error::Usage("path takes one SPEC".into())),
        },
        "list" => {
            none(&operands)?;
            Command::List {
                available: options.contains("--available"),
                all_versions: options.contains("--all-versions"),
            }
        }
        _ => {
            none(&operands)?;
            Command::Version
        }
    };
    finished(options)?;
    Ok(command)
}

fn run(options: &mut Arguments, argv: Vec<OsString>) -> Result<Run, Error> {
    let spec = text(options, "--runtime")?.ok_or_else(|| {
        Error::Usage("run needs --runtime=SPEC; joblet-exec list shows what is installed".into())
    })?;
    let run = Run {
        spec: parse_spec(&spec)?,
        env: many(options, "--env", |word| variable(word))?,
        binds: many(options, "--bind", |word| bind(word))?,
        workdir: path(options, "--workdir")?,
        hostname: text(options, "--hostname")?,
        host_network: match text(options, "--network")?.as_deref() {
            None | Some("none") => false,
            Some("host") => true,
            Some(other) => {
                return Err(Error::Usage(format!("--network is none or host, not {other:?}")));
            }
        },
        dry_run: options.contains("--dry-run"),
        argv,
    };
    finished(options)?;
    if run.argv.is_empty() {
        return Err(Error::Usage("run needs a COMMAND after its options".into()));
    }
    Ok(run)
}

/// `K=V`, or `K` for the caller's value.
fn variable(word: &OsStr) -> Result<(OsString, Option<OsString>), String> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=');
    let (name, value) = at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
    if name.is_empty() {
        return Err(format!("{word:?} has no name before `=`"));
    }
    let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Ok((own(name), value.map(own)))
}

/// `SRC:DST` or `SRC:DST:rw` or `SRC:DST:ro`.
fn bind(word: &OsStr) -> Result<BindArg, String> {
    let text = word.to_str().ok_or_else(|| format!("{word:?} is not UTF-8"))?;
    let (paths, writable) = match text.rsplit_once(':') {
        Some((paths, "rw")) => (paths, true),
        Some((paths, "ro")) => (paths, false),
        _ => (text, false),
    };
    let (source, target) =
        paths.split_once(':').ok_or_else(|| format!("{text:?} is not SRC:DST or SRC:DST:rw"))?;
    if source.is_empty() || !target.starts_with('/') || target.contains(':') {
        return Err(format!("{text:?}: SRC is a path of the host, DST an absolute one of the job"));
    }
    Ok(BindArg { source: source.into(), target: target.into(), writable })
}

fn specs(operands: Vec<OsString>, command: &str) -> Result<Vec<Spec>, Error> {
    if operands.is_empty() {
        return Err(Error::Usage(format!("{command} needs a runtime: NAME or NAME@VERSION")));
    }
    operands.iter().map(|word| parse_spec(&word.to_string_lossy())).collect()
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
        Some(extra) => Err(Error::Usage(format!("option {} is given twice", extra.display()))),
    }
}

fn text(options: &mut Arguments, name: &'static str) -> Result<Option<String>, Error> {
    let read = |word: &OsStr| word.to_str().map(str::to_owned).ok_or("is not UTF-8");
    options.opt_value_from_os_str(name, read).map_err(|error| usage(name, &error))
}

fn path(options: &mut Arguments, name: &'static str) -> Result<Option<PathBuf>, Error> {
    let read = |word: &OsStr| match word.is_empty() {
        true => Err("is empty"),
        false => Ok(PathBuf::from(word)),
    };
    options.opt_value_from_os_str(name, read).map_err(|error| usage(name, &error))
}

fn many<T>(
    options: &mut Arguments,
    name: &'static str,
    read: fn(&OsStr) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    options.values_from_os_str(name, read).map_err(|error| usage(name, &error))
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
    fn binds() {
        let read = |text| bind(OsStr::new(text));
        let want = BindArg { source: "a b".into(), target: "/data".into(), writable: false };
        assert_eq!(read("a b:/data").unwrap(), want);
        assert_eq!(read("a b:/data:ro").unwrap(), want);
        assert!(read("a:/data:rw").unwrap().writable);
        for bad in ["a", "a:b", ":/b", "a:/b:rx", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
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
            ("run ls", "run needs --runtime=SPEC"),
            ("run --runtime=a", "run needs a COMMAND"),
            ("run --runtime=a --network=lan ls", "--network is none or host"),
            ("run --runtime=a --env =x ls", "--env: \"=x\" has no name"),
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
        assert!(!runs_job(&words("install run")));
        assert!(!runs_job(&words("lst --bogus")));
    }
}
