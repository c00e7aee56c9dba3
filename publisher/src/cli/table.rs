//! The table of commands and options. `--help` and suggestions come from here.

use crate::error::{Class, Error};
use joblet_format::nearest;
use std::fmt::Write as _;

/// One command: its name, positionals, summary and options.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    positionals: &'static str,
    summary: &'static str,
    pub(crate) options: &'static [Opt],
}

/// One option: its name, the placeholder of its value (empty for a flag), its meaning.
pub(crate) type Opt = (&'static str, &'static str, &'static str);

const ALL: Opt = ("--all", "", "every runtime below the sources directory");
const SOURCES: Opt = ("--sources", "DIR", "where NAME/manifest.yaml lies [runtimes-src]");
const ARCH: Opt = ("--arch", "ARCH", "amd64, arm64 or all [all of the manifest]");
const MIRROR: Opt =
    ("--mirror", "URL", "where debian/ and debian-security/ lie [as the host's apt]");
const OUT_DIST: Opt = ("--out", "DIR", "where archives and records/ lie [dist]");
const JOBLET_EXEC: Opt =
    ("--joblet-exec", "FILE", "the joblet-exec to use [$JOBLET_EXEC, beside, dist/bin, PATH]");
const TAG: Opt = ("--tag", "TAG", "NAME@X.Y.Z, or vX.Y.Z for every runtime of that version");
const HOST: Opt = ("--host", "HOST", "github:OWNER/REPO, or a directory used as a release host");
const CACHE: Opt = ("--cache", "DIR", "where fetched inputs are kept [the user's cache]");
const JOBS: Opt = ("--jobs", "N", "threads [as many as there are processors]");
const OFFLINE: Opt = ("--offline", "", "fetch nothing: every input must be in the cache");
const RECORDS: Opt = ("--records", "DIR", "the published records [registry-site/records]");
const PASSWORD_FILE: Opt = (
    "--password-file",
    "FILE",
    "the key's password [$JOBLET_PUBLISH_SIGN_PASSWORD, else the terminal]",
);

pub(crate) const VERBS: [Verb; 14] = [
    Verb {
        name: "check",
        positionals: "NAME…|--all",
        summary: "run the manifest's check commands in the packed runtime",
        options: &[
            ALL,
            SOURCES,
            ("--arch", "ARCH", "amd64, arm64 or all [this machine's, and what qemu-user can run]"),
            OUT_DIST,
            JOBLET_EXEC,
        ],
    },
    Verb {
        name: "lock",
        positionals: "NAME…|--all",
        summary: "resolve every input and write versions.lock (needs apt-get and, for `python`, uv)",
        options: &[ALL, SOURCES, ARCH, CACHE, MIRROR],
    },
    Verb {
        name: "build",
        positionals: "NAME…|--all",
        summary: "make OUT/NAME-VERSION-ARCH.tar.gz, its index and OUT/records/NAME/VERSION.json",
        options: &[
            ALL,
            SOURCES,
            ARCH,
            OUT_DIST,
            CACHE,
            JOBS,
            OFFLINE,
            ("--base-url", "URL", "where the archives will be published [beside registry.json]"),
            ("--part-size", "BYTES", "cut larger archives into parts [2147483647]"),
            JOBLET_EXEC,
            MIRROR,
            RECORDS,
            ("--json", "", "print the list of archives as JSON"),
        ],
    },
    Verb {
        name: "index",
        positionals: "",
        summary: "write registry.json from the records",
        options: &[RECORDS, ("--out", "FILE", "the registry to write [registry.json]")],
    },
    Verb {
        name: "site",
        positionals: "",
        summary: "write the static site and its registry.json from the records",
        options: &[
            RECORDS,
            ("--theme", "DIR", "templates/ and assets/ of the site [registry-site]"),
            ("--out", "DIR", "the directory to write [dist/site]"),
        ],
    },
    Verb {
        name: "verify",
        positionals: "NAME[@VERSION]…",
        summary: "build a published version once more and compare every entry",
        options: &[
            (
                "--against",
                "REGISTRY",
                "a registry to compare with: its registry.json and its archive",
            ),
            ("--arch", "ARCH", "amd64, arm64 or all [all that were published]"),
            CACHE,
            JOBS,
            OFFLINE,
            JOBLET_EXEC,
            MIRROR,
            RECORDS,
        ],
    },
    Verb {
        name: "diff",
        positionals: "A[@VERSION] B[@VERSION]",
        summary: "say which packages were added, removed and changed, and what they weigh",
        options: &[
            ("--arch", "ARCH", "amd64, arm64 or all [all that both have]"),
            RECORDS,
            ("--json", "", "print the report as JSON"),
        ],
    },
    Verb {
        name: "serve",
        positionals: "[DIR]",
        summary: "show a site and its registry on loopback [dist/site]",
        options: &[("--port", "N", "where to listen; 0: at a port that is free [8000]")],
    },
    Verb {
        name: "sign",
        positionals: "[FILE]",
        summary: "write FILE.minisig, the signature of a registry [registry.json]",
        options: &[
            ("--key", "FILE", "the secret key, as keygen or minisign wrote it"),
            PASSWORD_FILE,
            ("--expires", "DAYS", "days until the signature expires [never]"),
            ("--add", "", "keep the signatures by other keys"),
        ],
    },
    Verb {
        name: "keygen",
        positionals: "FILE",
        summary: "write a new secret key to FILE and its public key to FILE.pub",
        options: &[PASSWORD_FILE, ("--no-password", "", "leave the secret key unencrypted")],
    },
    Verb {
        name: "new",
        positionals: "NAME",
        summary: "write a first runtimes-src/NAME/manifest.yaml",
        options: &[SOURCES],
    },
    Verb {
        name: "plan",
        positionals: "",
        summary: "say what a tag releases, checked, as JSON (in a git checkout of the tag)",
        options: &[
            TAG,
            SOURCES,
            RECORDS,
            ("--branch", "REF", "the branch that releases come from [origin/main]"),
        ],
    },
    Verb {
        name: "release",
        positionals: "",
        summary: "publish what was built: draft, upload, download, compare, publish",
        options: &[
            TAG,
            HOST,
            ("--out", "DIR", "where archives and records/ lie; several add up [dist]"),
        ],
    },
    Verb {
        name: "reconcile",
        positionals: "",
        summary: "record what is published and push registry.json, of one tag or of all",
        options: &[
            TAG,
            HOST,
            ("--repository", "URL", "the git repository of the registry"),
            ("--branch", "NAME", "its branch [main]"),
            RECORDS,
            ("--key", "FILE", "sign registry.json with this minisign key"),
        ],
    },
];

/// The command called `word`; none for `help`.
pub(crate) fn verb(word: &str) -> Result<Option<&'static Verb>, Error> {
    if word == "help" {
        return Ok(None);
    }
    if let Some(verb) = VERBS.iter().find(|verb| verb.name == word) {
        return Ok(Some(verb));
    }
    let names = VERBS.iter().map(|verb| verb.name).chain(["help"]);
    Err(Error::Usage(format!("unknown command `{word}`{}", did_you_mean(word, names))))
}

impl Verb {
    /// The error for an option that it does not have.
    pub(crate) fn unknown(&self, option: &str) -> Error {
        let option = option.split('=').next().unwrap_or(option);
        let hint = did_you_mean(option, self.options.iter().map(|known| known.0));
        Error::Usage(format!("`{}` has no option `{option}`{hint}", self.name))
    }

    /// The text of its `--help`.
    pub(crate) fn help(&self) -> String {
        let mut text = format!(
            "joblet-publish {}: {}\n\nUsage: joblet-publish {} {} [options]\n\nOptions:\n",
            self.name, self.summary, self.name, self.positionals
        );
        for (name, value, meaning) in self.options {
            _ = writeln!(text, "  {:<20} {meaning}", format!("{name} {value}")); // never fails
        }
        text
    }
}

/// `; did you mean …?`, or nothing.
fn did_you_mean<'c>(typed: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    nearest(typed, known)
        .map_or_else(|| "; see --help".to_owned(), |known| format!("; did you mean `{known}`?"))
}

/// The text of `--help` without a command.
pub(crate) fn overview() -> String {
    let mut text = "joblet-publish builds Joblet runtimes from locked inputs and publishes their \
                    registry\n\nCommands (each has its own --help):\n"
        .to_owned();
    for verb in &VERBS {
        _ = writeln!(text, "  {:<6} {:<12} {}", verb.name, verb.positionals, verb.summary);
    }
    text.push_str("\nExit status: 0 done");
    for (_, word, code, meaning) in Class::TABLE {
        _ = write!(text, "\n  {code:>2} {word:<10} {meaning}");
    }
    text.push('\n');
    text
}
