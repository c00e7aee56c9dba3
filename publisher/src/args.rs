//! The command line: argv → [`Command`]. Reads no environment, file or clock.

mod published;

pub use published::{Diff, Verify};

use crate::{
    error::Error,
    pack::MAX_PART,
    release::Tag,
    verbs::{Verb, overview, verb},
};
use joblet_format::{Arch, RuntimeName};
use pico_args::Arguments;
use std::{ffi::OsString, num::NonZero, path::PathBuf};

/// Where records lie unless an option says otherwise.
const RECORDS: &str = "registry-site/records";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print this text.
    Help(String),
    /// Print the version.
    Version,
    /// Resolve inputs and write `versions.lock`.
    Lock(Lock),
    /// Make archives and records.
    Build(Build),
    /// Run a runtime's check commands.
    Check(Check),
    /// Write `registry.json` from the records.
    Index(Index),
    /// Write the site from the records.
    Site(Site),
    /// Show a directory on loopback.
    Serve {
        /// The directory.
        root: PathBuf,
        /// Where to listen; 0: at a port that is free.
        port: u16,
    },
    /// Sign a registry.
    Sign(Sign),
    /// Make a pair of keys.
    Keygen(Keygen),
    /// Say what a tag releases.
    Plan(Plan),
    /// Publish what was built.
    Release(Release),
    /// Record what is published.
    Reconcile(Reconcile),
    /// Build what was published once more, and compare.
    Verify(Verify),
    /// Say what differs between two versions.
    Diff(Diff),
    /// Write a first manifest.
    New {
        /// The runtime.
        name: RuntimeName,
        /// Where runtimes lie.
        sources: PathBuf,
    },
}

/// Which runtimes are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every directory with a manifest.
    All,
    /// These.
    Names(Vec<RuntimeName>),
}

/// `lock`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Resolve these alone and keep the others as locked; empty: all of the manifest.
    pub arches: Vec<Arch>,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
}

/// `build`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Build these alone; empty: all of the manifest.
    pub arches: Vec<Arch>,
    /// Where archives and records go.
    pub out: PathBuf,
    /// Records of what was published, whose times are kept.
    pub records: PathBuf,
    /// Address of the archives' directory for `download_url`; none: relative to the registry.
    pub base_url: Option<String>,
    /// Larger archives are cut into parts of at most so many bytes.
    pub part_size: u64,
    /// How trees are made.
    pub making: Making,
    /// Report as JSON.
    pub json: bool,
}

/// How a tree is made of its inputs: what `build` and `verify` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
    /// Threads; none: as many as there are processors.
    pub jobs: Option<NonZero<usize>>,
    /// Fetch nothing.
    pub offline: bool,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// The `joblet-exec` that compiles Python modules.
    pub joblet_exec: Option<PathBuf>,
}

/// `check`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Check these, or fail; empty: all that were built and can be run here.
    pub arches: Vec<Arch>,
    /// Where `build` wrote.
    pub out: PathBuf,
    /// The `joblet-exec` to use.
    pub joblet_exec: Option<PathBuf>,
}

/// `index`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Where the records lie.
    pub records: PathBuf,
    /// The `registry.json` to write.
    pub out: PathBuf,
}

/// `site`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where the records lie.
    pub records: PathBuf,
    /// Where the templates and assets lie.
    pub source: PathBuf,
    /// The directory to write.
    pub out: PathBuf,
}

/// `sign`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The `registry.json` to sign.
    pub registry: PathBuf,
    /// The secret key.
    pub key: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// After how many days the signature is no longer to be believed.
    pub expires: Option<NonZero<u32>>,
    /// Keep the signatures by other keys.
    pub add: bool,
}

/// `keygen`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keygen {
    /// Where the secret key goes.
    pub key: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// Leave it unencrypted.
    pub no_password: bool,
}

/// `plan`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is to be released.
    pub tag: Tag,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Where the records lie, from the top of the repository.
    pub records: PathBuf,
    /// The branch that releases come from.
    pub branch: String,
}

/// `release`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What is released.
    pub tag: Tag,
    /// Where to.
    pub host: String,
    /// Where `build` wrote, on one machine or more.
    pub outs: Vec<PathBuf>,
}

/// `reconcile`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconcile {
    /// This release alone.
    pub tag: Option<Tag>,
    /// Where releases are.
    pub host: String,
    /// The repository of the registry.
    pub repository: String,
    /// Its branch.
    pub branch: String,
    /// Where the records lie in it.
    pub records: PathBuf,
    /// The secret key that signs `registry.json`.
    pub key: Option<PathBuf>,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`], with the nearest known command or option where one is near.
pub fn parse(args: Vec<OsString>) -> Result<Command, Error> {
    let mut args = Arguments::from_vec(args);
    let help = args.contains(["-h", "--help"]);
    if args.contains(["-V", "--version"]) {
        return Ok(Command::Version);
    }
    let word = args.subcommand().map_err(usage)?;
    let Some(verb) = word.as_deref().map(verb).transpose()?.flatten() else {
        if help || word.is_some() {
            return Ok(Command::Help(overview()));
        }
        let rest = rest(args)?;
        return Err(match rest.iter().find(|word| word.starts_with('-')) {
            Some(option) => Error::Usage(format!("unknown option `{option}`; see --help")),
            None => Error::Usage("no command given; see --help".into()),
        });
    };
    if help {
        return Ok(Command::Help(verb.help()));
    }
    let args = Arguments::from_vec(split_values(verb, args.finish()));
    Values { verb, args }.command()
}

/// Makes `--option=value` two words, for the options of `verb` that take a value.
fn split_values(verb: &Verb, words: Vec<OsString>) -> Vec<OsString> {
    let takes_value =
        |name: &str| verb.options.iter().any(|known| known.0 == name && !known.1.is_empty());
    let split = |word: OsString| match word.to_str().and_then(|word| word.split_once('=')) {
        Some((name, value)) if takes_value(name) => vec![name.into(), value.into()],
        _ => vec![word],
    };
    words.into_iter().flat_map(split).collect()
}

/// The words behind a command, on their way into a [`Command`].
struct Values {
    verb: &'static Verb,
    args: Arguments,
}

impl Values {
    fn command(mut self) -> Result<Command, Error> {
        let all = self.args.contains("--all");
        let sources = self.path("--sources", "runtimes-src")?;
        let mut command = match self.verb.name {
            "check" => Command::Check(Check {
                selection: Selection::All,
                sources,
                arches: self.arches()?,
                out: self.path("--out", "dist")?,
                joblet_exec: self.value("--joblet-exec")?.map(PathBuf::from),
            }),
            "lock" => Command::Lock(Lock {
                selection: Selection::All,
                sources,
                arches: self.arches()?,
                mirror: self.text("--mirror")?,
                cache: self.value("--cache")?.map(PathBuf::from),
            }),
            "build" => Command::Build(Build {
                selection: Selection::All,
                sources,
                arches: self.arches()?,
                out: self.path("--out", "dist")?,
                records: self.path("--records", RECORDS)?,
                base_url: self.text("--base-url")?,
                part_size: self.part_size()?,
                making: self.making()?,
                json: self.args.contains("--json"),
            }),
            "index" => Command::Index(Index {
                records: self.path("--records", RECORDS)?,
                out: self.path("--out", "registry.json")?,
            }),
            "site" => Command::Site(Site {
                records: self.path("--records", RECORDS)?,
                source: self.path("--theme", "registry-site")?,
                out: self.path("--out", "dist/site")?,
            }),
            "serve" => return self.serve(all),
            "sign" => return self.sign(),
            "keygen" => return self.keygen(),
            "plan" => Command::Plan(Plan {
                tag: self.needed_tag()?,
                sources,
                records: self.path("--records", RECORDS)?,
                branch: self.text("--branch")?.unwrap_or_else(|| "origin/main".into()),
            }),
            "release" => Command::Release(Release {
                tag: self.needed_tag()?,
                host: self.needed("--host")?,
                outs: self.paths("--out", "dist")?,
            }),
            "reconcile" => Command::Reconcile(Reconcile {
                tag: self.tag()?,
                host: self.needed("--host")?,
                repository: self.needed("--repository")?,
                branch: self.text("--branch")?.unwrap_or_else(|| "main".into()),
                records: self.path("--records", RECORDS)?,
                key: self.value("--key")?.map(PathBuf::from),
            }),
            "verify" => return self.verify().map(Command::Verify),
            "diff" => return self.diff().map(Command::Diff),
            _ => return self.new_runtime(sources),
        };
        match &mut command {
            Command::Check(Check { selection, .. })
            | Command::Lock(Lock { selection, .. })
            | Command::Build(Build { selection, .. }) => *selection = self.selection(all)?,
            _ if all => return Err(self.unknown("--all")),
            _ => {
                if let Some(extra) = self.positionals()?.first() {
                    return Err(Error::Usage(format!("unexpected argument `{extra}`")));
                }
            }
        }
        Ok(command)
    }

    fn serve(mut self, all: bool) -> Result<Command, Error> {
        let port = match self.text("--port")? {
            None => 8000,
            Some(port) => port.parse().map_err(|_| {
                Error::Usage(format!("--port needs a number up to 65535, not `{port}`"))
            })?,
        };
        match self.positionals()?.as_slice() {
            _ if all => Err(Error::Usage("`serve` has no option `--all`; see --help".into())),
            [] => Ok(Command::Serve { root: "dist/site".into(), port }),
            [root] => Ok(Command::Serve { root: root.into(), port }),
            [_, extra, ..] => Err(Error::Usage(format!("unexpected argument `{extra}`"))),
        }
    }

    fn sign(mut self) -> Result<Command, Error> {
        let key = self.value("--key")?.map(PathBuf::from);
        let key = key.ok_or_else(|| Error::Usage("`sign` needs --key FILE".into()))?;
        let password_file = self.value("--password-file")?.map(PathBuf::from);
        let expires = match self.text("--expires")? {
            None => None,
            Some(days) => Some(days.parse().map_err(|_| {
                Error::Usage(format!("--expires needs a number of days from 1, not `{days}`"))
            })?),
        };
        let add = self.args.contains("--add");
        let registry = match self.positionals()?.as_slice() {
            [] => "registry.json".into(),
            [file] => file.into(),
            [_, extra, ..] => return Err(Error::Usage(format!("unexpected argument `{extra}`"))),
        };
        Ok(Command::Sign(Sign { registry, key, password_file, expires, add }))
    }

    fn keygen(mut self) -> Result<Command, Error> {
        let password_file = self.value("--password-file")?.map(PathBuf::from);
        let no_password = self.args.contains("--no-password");
        match self.positionals()?.as_slice() {
            [file] => Ok(Command::Keygen(Keygen { key: file.into(), password_file, no_password })),
            _ => Err(Error::Usage("`keygen` needs one FILE".into())),
        }
    }

    fn new_runtime(self, sources: PathBuf) -> Result<Command, Error> {
        match <[RuntimeName; 1]>::try_from(self.names()?) {
            Ok([name]) => Ok(Command::New { name, sources }),
            Err(_) => Err(Error::Usage("`new` needs one NAME".into())),
        }
    }

    fn selection(self, all: bool) -> Result<Selection, Error> {
        let verb = self.verb.name;
        match (self.names()?, all) {
            (names, true) if names.is_empty() => Ok(Selection::All),
            (_, true) => Err(Error::Usage("give names or --all, not both".into())),
            (names, false) if names.is_empty() => {
                Err(Error::Usage(format!("`{verb}` needs a runtime's NAME or --all")))
            }
            (names, false) => Ok(Selection::Names(names)),
        }
    }

    fn names(self) -> Result<Vec<RuntimeName>, Error> {
        self.positionals()?
            .iter()
            .map(|name| name.parse().map_err(|error| Error::Usage(format!("{error}"))))
            .collect()
    }

    /// The words that are no option. All options must have been taken before.
    fn positionals(self) -> Result<Vec<String>, Error> {
        let verb = self.verb;
        let words = rest(self.args)?;
        match words.iter().find(|word| word.starts_with('-')) {
            Some(option) => Err(verb.unknown(option)),
            None => Ok(words),
        }
    }

    fn unknown(&self, option: &str) -> Error {
        self.verb.unknown(option)
    }

    fn value(&mut self, option: &'static str) -> Result<Option<OsString>, Error> {
        if !self.verb.options.iter().any(|known| known.0 == option) {
            return Ok(None);
        }
        self.args
            .opt_value_from_os_str(option, |value| Ok::<_, std::convert::Infallible>(value.into()))
            .map_err(usage)
    }

    fn text(&mut self, option: &'static str) -> Result<Option<String>, Error> {
        let Some(value) = self.value(option)? else { return Ok(None) };
        let text = value.into_string();
        text.map(Some).map_err(|_| Error::Usage(format!("the value of {option} is not UTF-8")))
    }

    fn path(&mut self, option: &'static str, default: &str) -> Result<PathBuf, Error> {
        Ok(self.value(option)?.map_or_else(|| default.into(), PathBuf::from))
    }

    fn making(&mut self) -> Result<Making, Error> {
        Ok(Making {
            cache: self.value("--cache")?.map(PathBuf::from),
            jobs: self.jobs()?,
            offline: self.args.contains("--offline"),
            mirror: self.text("--mirror")?,
            joblet_exec: self.value("--joblet-exec")?.map(PathBuf::from),
        })
    }

    fn part_size(&mut self) -> Result<u64, Error> {
        let Some(size) = self.text("--part-size")? else { return Ok(MAX_PART) };
        let number = size.parse().ok().filter(|size| (1..=MAX_PART).contains(size));
        number.ok_or_else(|| {
            Error::Usage(format!("--part-size needs a number from 1 to {MAX_PART}, not `{size}`"))
        })
    }

    fn tag(&mut self) -> Result<Option<Tag>, Error> {
        self.text("--tag")?.map(|text| text.parse().map_err(Error::Usage)).transpose()
    }

    fn needed_tag(&mut self) -> Result<Tag, Error> {
        self.tag()?.ok_or_else(|| self.lacks("--tag"))
    }

    fn needed(&mut self, option: &'static str) -> Result<String, Error> {
        self.text(option)?.ok_or_else(|| self.lacks(option))
    }

    fn lacks(&self, option: &str) -> Error {
        Error::Usage(format!("`{}` needs {option}; see --help", self.verb.name))
    }

    /// The values of an option that may be given more than once.
    fn paths(&mut self, option: &'static str, default: &str) -> Result<Vec<PathBuf>, Error> {
        let mut all = Vec::new();
        while let Some(value) = self.value(option)? {
            all.push(value.into());
        }
        Ok(if all.is_empty() { vec![default.into()] } else { all })
    }

    fn jobs(&mut self) -> Result<Option<NonZero<usize>>, Error> {
        let Some(jobs) = self.text("--jobs")? else { return Ok(None) };
        let number = jobs.parse().map(Some);
        number.map_err(|_| Error::Usage(format!("--jobs needs a number from 1, not `{jobs}`")))
    }

    fn arches(&mut self) -> Result<Vec<Arch>, Error> {
        match self.text("--arch")?.as_deref() {
            None | Some("all") => Ok(Vec::new()),
            Some(arch) => arch.parse().map(|arch| vec![arch]).map_err(|_| {
                Error::Usage(format!("unknown architecture `{arch}`; use amd64, arm64 or all"))
            }),
        }
    }
}

/// Whatever was not taken yet, as text.
fn rest(args: Arguments) -> Result<Vec<String>, Error> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::Usage(format!("`{}` is not UTF-8", word.to_string_lossy())))
    };
    args.finish().into_iter().map(text).collect()
}

fn usage(error: pico_args::Error) -> Error {
    match error {
        pico_args::Error::OptionWithoutAValue(option) => {
            Error::Usage(format!("{option} needs a value"))
        }
        error => Error::Usage(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Class, verbs::VERBS};

    fn parse(line: &str) -> Result<Command, Error> {
        super::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn commands() {
        let names = |names: &[&str]| {
            Selection::Names(names.iter().map(|name| name.parse().unwrap()).collect())
        };
        let Command::Build(build) = parse(
            "build --arch=arm64 a b --out o --jobs 3 --offline --base-url https://example.org/r --json",
        )
        .unwrap() else {
            panic!()
        };
        assert_eq!(build.selection, names(&["a", "b"]));
        assert_eq!((build.arches, build.out), (vec![Arch::Arm64], "o".into()));
        assert_eq!(build.base_url.as_deref(), Some("https://example.org/r"));
        assert_eq!(build.making.jobs, NonZero::new(3));
        assert!(build.making.offline && build.json && build.making.cache.is_none());
        let Command::Lock(lock) = parse("lock --all --mirror https://example.org").unwrap() else {
            panic!()
        };
        assert_eq!((lock.selection, lock.arches), (Selection::All, vec![]));
        let Command::Check(check) = parse("check a --joblet-exec x").unwrap() else { panic!() };
        assert_eq!(check.joblet_exec, Some("x".into()));
        let index = Index { records: RECORDS.into(), out: "r.json".into() };
        assert_eq!(parse("index --out r.json").unwrap(), Command::Index(index));
        assert!(matches!(parse("site").unwrap(), Command::Site(_)));
        let Command::Sign(sign) = parse("sign --key k --expires 30").unwrap() else { panic!() };
        assert_eq!((sign.registry, sign.key), ("registry.json".into(), "k".into()));
        assert_eq!((sign.expires, sign.add), (NonZero::new(30), false));
        assert!(matches!(parse("keygen k --no-password").unwrap(), Command::Keygen(_)));
        assert!(matches!(parse("new a").unwrap(), Command::New { .. }));
        let serve = |root: &str, port| Command::Serve { root: root.into(), port };
        assert_eq!(parse("serve").unwrap(), serve("dist/site", 8000));
        assert_eq!(parse("serve dist/mine --port=0").unwrap(), serve("dist/mine", 0));
        assert_eq!(parse("--version").unwrap(), Command::Version);
    }

    #[test]
    fn every_command_has_help() {
        for verb in &VERBS {
            let Command::Help(text) = parse(&format!("{} --help", verb.name)).unwrap() else {
                panic!()
            };
            assert!(verb.options.iter().all(|option| text.contains(option.0)), "{text}");
        }
        for line in ["--help", "help", "-h"] {
            let Command::Help(text) = parse(line).unwrap() else { panic!() };
            assert!(text.contains("10 NET") && text.contains("  build  NAME"), "{text}");
        }
    }

    #[test]
    fn slips_are_answered() {
        for (line, message) in [
            ("", "no command given; see --help"),
            ("--all", "unknown option `--all`; see --help"),
            ("bulid a", "unknown command `bulid`; did you mean `build`?"),
            ("frobnicate", "unknown command `frobnicate`; see --help"),
            ("build a --ofline", "`build` has no option `--ofline`; did you mean `--offline`?"),
            ("build a --cahce=x", "`build` has no option `--cahce`; did you mean `--cache`?"),
            ("lock a --offline", "`lock` has no option `--offline`; see --help"),
            ("index --sources x", "`index` has no option `--sources`; see --help"),
            ("index --all", "`index` has no option `--all`; see --help"),
            ("build", "`build` needs a runtime's NAME or --all"),
            ("build a --all", "give names or --all, not both"),
            ("build a --arch i386", "unknown architecture `i386`; use amd64, arm64 or all"),
            ("build a --out", "--out needs a value"),
            ("build a --jobs 0", "--jobs needs a number from 1, not `0`"),
            ("build a --jobs=many", "--jobs needs a number from 1, not `many`"),
            (
                "build a --part-size 2147483648",
                "--part-size needs a number from 1 to 2147483647, not `2147483648`",
            ),
            ("new", "`new` needs one NAME"),
            ("new a b", "`new` needs one NAME"),
            ("index x", "unexpected argument `x`"),
            ("serve a b", "unexpected argument `b`"),
            ("serve --port 65536", "--port needs a number up to 65535, not `65536`"),
            ("serve --all", "`serve` has no option `--all`; see --help"),
            ("sign", "`sign` needs --key FILE"),
            ("sign --key k a b", "unexpected argument `b`"),
            ("sign --key k --expires 0", "--expires needs a number of days from 1, not `0`"),
            ("keygen", "`keygen` needs one FILE"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(
                (error.class(), error.to_string().as_str()),
                (Class::Usage, message),
                "{line}"
            );
        }
        let hostile = "n".repeat(65);
        for name in ["..", "a/b", "A", "a..b", ".a", "a%2fb", "foo-1.0.0", &hostile] {
            assert_eq!(parse(&format!("new {name}")).unwrap_err().class(), Class::Usage, "{name}");
        }
    }
}
