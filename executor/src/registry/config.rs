//! The configured registries: `~/.rnx/config.yaml`, else `/etc/joblet/config.yaml`.

use super::signature::PublicKey;
use crate::cli::escape::{shown, shown_in};
use crate::error::Error;
use crate::fs::trust::{self, distrust};
use crate::net::location::Location;
use crate::net::transfer::fetch;
use joblet_format::text::nests_too_deeply;
use joblet_format::{Origin, unknown_key};
use rustix::fd::AsFd;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::cmp::Reverse;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest configuration that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A registry's location, keys and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its name in the configuration: `ORIGIN/NAME@VERSION` is a runtime from it.
    pub origin: Option<Origin>,
    /// The location of its document.
    pub location: Location,
    /// The trusted keys; empty for a registry that need not be signed.
    pub keys: Vec<PublicKey>,
    /// How many of them must have signed the document.
    pub threshold: usize,
    /// The environment variable with its token.
    pub token_env: Option<String>,
}

impl Source {
    /// Keys and threshold as one string, to compare.
    pub(crate) fn trust(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(PublicKey::to_string).collect();
        format!("{} of {}", self.threshold, keys.join(","))
    }

    /// A registry without configuration: no keys, no token.
    pub(crate) fn plain(location: Location) -> Self {
        Self { origin: None, location, keys: Vec::new(), threshold: 1, token_env: None }
    }
}

/// The file, which it shares with Joblet's client: members beside `runtimes` are the client's, and so
/// are some of `runtimes` ([`Config::ignored`]).
///
/// ```yaml
/// runtimes:
///   registries:
///     - name: company
///       url: https://example.org/runtimes      # or owner/repo, or an absolute path
///       enabled: true                          # the default
///       order: 1                               # lower values come first; the default is 100
///       priority: 10                           # as Joblet has it: of the same order, the highest is first
///       public_key: RWQ…                       # or public_keys: [RWQ…, RWR…] and threshold: 2
///       auth: { type: token, token_env: COMPANY_TOKEN }
///       insecure: true                         # plain http is allowed: with public_key, without auth
///   profiles:                                  # for --profile: options of run
///     default: [--init]                        # of jobs that name none
///     gpu: [--here, --network=host, --gpu=1, "--tmp=${TMPDIR:-/scratch}", "--env=SLURM_*"]
/// ```
#[derive(Deserialize)]
#[serde(expecting = "a mapping")]
struct Document {
    #[serde(default)]
    runtimes: Option<Runtimes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
struct Runtimes {
    #[serde(default)]
    registries: Vec<Entry>,
    #[serde(default)]
    profiles: Value,
    cache_dir: Option<IgnoredAny>,
    cache_max_size_gb: Option<IgnoredAny>,
    cache_retention_days: Option<IgnoredAny>,
    cache_enabled: Option<IgnoredAny>,
    download: Option<IgnoredAny>,
    install: Option<IgnoredAny>,
    version_resolution: Option<IgnoredAny>,
    default_runtime: Option<IgnoredAny>,
    aliases: Option<IgnoredAny>,
}

impl Runtimes {
    /// The members that are of Joblet's client alone, as [`Config::ignored`].
    fn ignored(&self) -> Vec<&'static str> {
        let members = [
            ("cache_dir", &self.cache_dir),
            ("cache_max_size_gb", &self.cache_max_size_gb),
            ("cache_retention_days", &self.cache_retention_days),
            ("cache_enabled", &self.cache_enabled),
            ("download", &self.download),
            ("install", &self.install),
            ("version_resolution", &self.version_resolution),
            ("default_runtime", &self.default_runtime),
            ("aliases", &self.aliases),
        ];
        let there = members.into_iter().filter(|(_, member)| member.is_some());
        let unverified = self.registries.iter().any(|entry| entry.verify_checksums == Some(false));
        let unverified = unverified.then_some("registries[].verify_checksums: false");
        there.map(|(name, _)| name).chain(unverified).collect()
    }
}

/// A parsed file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Its registries, in the order in which they are queried.
    pub registries: Vec<Source>,
    /// Its profiles: lists of options of `run`, under their names.
    pub profiles: Value,
    /// The members of `runtimes` that have no effect here, as Joblet's client has them.
    pub ignored: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
struct Entry {
    name: Origin,
    url: String,
    enabled: Option<bool>,
    order: Option<i32>,
    priority: Option<i32>,
    verify_checksums: Option<bool>,
    public_key: Option<PublicKey>,
    #[serde(default)]
    public_keys: Vec<PublicKey>,
    threshold: Option<usize>,
    auth: Option<Auth>,
    #[serde(default)]
    insecure: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
struct Auth {
    #[serde(rename = "type")]
    kind: String,
    token_env: String,
}

/// The first of `files` that `wanted` accepts.
///
/// # Errors
/// [`Error::Config`] with line and rule, [`Error::File`] for one that is there but cannot be read.
pub(crate) fn read_first(
    files: &[PathBuf],
    wanted: &dyn Fn(&Config) -> bool,
) -> Result<Option<Config>, Error> {
    for file in files {
        match read(file, true) {
            Err(Error::File { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Ok(config) if !wanted(&config) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// Reads one file.
///
/// # Errors
/// As [`read_first`]; also when the file does not exist.
pub(crate) fn read_file(file: &Path) -> Result<Config, Error> {
    read(file, false)
}

/// Reads one file. A file at a default path (`found`) must belong to the caller or root and not be writable
/// by other users: its author decides whose runtimes are run.
fn read(file: &Path, found: bool) -> Result<Config, Error> {
    let opened = fetch::open(file)?;
    let stat = trust::stat(&opened).map_err(Error::file("stat", file))?;
    if let (true, Some(reason)) = (found, distrust(&stat, Some(opened.as_fd()))) {
        return Err(Error::Untrusted { path: file.to_owned(), reason, option: "--config FILE" });
    }
    let mut text = String::new();
    let read = opened.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(Error::file("read", file))?;
    let parsed = if text.len() as u64 > MAX_BYTES {
        Err(format!("it is longer than {MAX_BYTES} bytes"))
    } else {
        parse(&text)
    };
    parsed.map_err(|reason| Error::Config { path: file.to_owned(), reason })
}

/// Parses a configuration; its registries are sorted by order and priority.
///
/// # Errors
/// Line and rule.
pub(crate) fn parse(text: &str) -> Result<Config, String> {
    if let Some(line) = nests_too_deeply(text) {
        return Err(format!("line {line}: it nests too deeply"));
    }
    // An empty file, or one of comments only, parses as null, not as a map.
    let document: Option<Document> =
        yaml_serde::from_str(text).map_err(|error| shown_in(&explain(&error)))?;
    let Some(runtimes) = document.and_then(|document| document.runtimes) else {
        return Ok(Config::default());
    };
    let ignored = runtimes.ignored();
    let Runtimes { registries: mut entries, profiles, .. } = runtimes;
    let is_list =
        |value: &Value| value.as_array().is_some_and(|words| words.iter().all(Value::is_string));
    let known = profiles.as_object();
    if !profiles.is_null() && !known.is_some_and(|all| all.values().all(is_list)) {
        return Err("runtimes.profiles: a profile is NAME: [OPTION, …]".into());
    }
    entries.sort_by_key(|entry| {
        (entry.order.unwrap_or(100), Reverse(entry.priority.unwrap_or_default()))
    });
    let mut registries: Vec<Source> = Vec::new();
    for entry in entries {
        let (name, enabled) = (entry.name.clone(), entry.enabled != Some(false));
        let registry = checked(entry).map_err(|rule| format!("registry {name}: {rule}"))?;
        if registries.iter().any(|other| other.origin == registry.origin) {
            return Err(format!("two registries are called {name}"));
        }
        if enabled {
            registries.push(registry);
        }
    }
    Ok(Config { registries, profiles, ignored })
}

fn checked(entry: Entry) -> Result<Source, String> {
    // `file:///home/user/runtimes`, as in Joblet's own example.
    let path = entry.url.strip_prefix("file://").filter(|path| path.starts_with('/'));
    let location = Location::of_configured(path.unwrap_or(&entry.url), entry.insecure);
    let location = location.map_err(|error| error.to_string())?.ok_or_else(|| {
        format!("url {:?} is not an address, an owner/repo or an absolute path", shown(&entry.url))
    })?;
    let mut keys = entry.public_keys;
    keys.extend(entry.public_key);
    // A key that is listed twice counts once.
    keys.sort();
    keys.dedup();
    let threshold = entry.threshold.unwrap_or(1);
    if threshold == 0 || threshold > keys.len().max(1) {
        return Err(format!("threshold {threshold} of {} public keys", keys.len()));
    }
    // A signed document cannot be changed on the network; a token could be read.
    if entry.insecure && (keys.is_empty() || entry.auth.is_some()) {
        return Err("insecure is only for a registry with a public_key and without auth".into());
    }
    let token_env = match entry.auth {
        Some(Auth { kind, .. }) if kind != "token" => {
            return Err(format!("auth.type is token, not {kind:?}"));
        }
        auth => auth.map(|auth| auth.token_env),
    };
    Ok(Source { origin: Some(entry.name), location, keys, threshold, token_env })
}

/// Rewords the YAML parser's message on an unknown key, and puts the line first.
fn explain(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    let line = error.location().map_or_else(String::new, |at| format!("line {}: ", at.line()));
    let text = text.split(" at line ").next().unwrap_or_default();
    line + &unknown_key(text).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn registries(entries: &str) -> Result<Vec<Source>, String> {
        parse(&format!("nodes: {{ default: x }}\nruntimes:\n  registries:\n{entries}"))
            .map(|config| config.registries)
    }

    #[test]
    fn registries_come_in_order() {
        let found = registries(&format!(
            "    - {{ name: last, url: me/runtimes }}\n    \
             - {{ name: off, url: /r, enabled: false }}\n    \
             - {{ name: first, url: /r, order: 1, enabled: true }}\n    \
             - name: second\n      url: https://example.org/r\n      order: 2\n      \
             public_key: {KEY}\n      auth: {{ type: token, token_env: TOKEN }}\n"
        ));
        let found = found.unwrap();
        let names: Vec<_> = found.iter().map(|it| it.origin.as_ref().unwrap().as_str()).collect();
        assert_eq!(names, ["first", "second", "last"]);
        assert_eq!((found[1].keys.len(), found[1].threshold), (1, 1));
        assert_eq!(found[1].token_env.as_deref(), Some("TOKEN"));
        assert_eq!(found[0].location.to_string(), "/r");
        let raw = "https://raw.githubusercontent.com/me/runtimes/main/registry.json";
        assert_eq!(found[2].location.to_string(), raw);
        for nothing in ["", "# nothing\n", "nodes: 1\n", "runtimes:\n", "runtimes: {}\n"] {
            assert_eq!(parse(nothing), Ok(Config::default()), "{nothing:?}");
        }
    }

    /// As in Joblet's documentation, with every member.
    #[test]
    fn a_configuration_of_joblets_is_read_whole() {
        let found = parse(include_str!("../../tests/data/config-of-joblet.yaml")).unwrap();
        let of = |source: &Source| source.origin.as_ref().unwrap().to_string();
        let names: Vec<_> = found.registries.iter().map(of).collect();
        // There the highest priority is first; this program's own member is `order`.
        assert_eq!(names, ["local-dev", "company-private", "official"]);
        assert_eq!(found.registries[0].location.to_string(), "/home/user/joblet-runtimes");
        assert_eq!(found.registries[1].token_env.as_deref(), Some("GITHUB_TOKEN"));
        let official =
            "https://raw.githubusercontent.com/joblet/joblet-runtimes/main/registry.json";
        assert_eq!(found.registries[2].location.to_string(), official);
        let ignored = "cache_dir cache_max_size_gb cache_retention_days cache_enabled download install \
                       version_resolution default_runtime aliases registries[].verify_checksums: false";
        assert_eq!(found.ignored.join(" "), ignored);
        let both = registries(
            "    - { name: a, url: /a, priority: 9 }\n    - { name: b, url: /b, order: 99 }\n",
        );
        assert_eq!(both.unwrap()[0].location.to_string(), "/b");
    }

    #[test]
    fn a_configuration_that_nests_deeply_takes_no_time() {
        let error = parse(&format!("runtimes: {}", "{a: ".repeat(60_000))).unwrap_err();
        assert_eq!(error, "line 1: it nests too deeply");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let twice =
            format!("    - {{ name: a, url: /r, public_keys: [{KEY}, {KEY}], threshold: 2 }}\n");
        let token = format!(
            "    - {{ name: a, url: \"http://example.org\", insecure: true, public_key: {KEY}, \
             auth: {{ type: token, token_env: T }} }}\n"
        );
        let plain = token.replace(", auth: { type: token, token_env: T }", "");
        let plain = registries(&plain).unwrap().remove(0).location;
        assert_eq!(plain.to_string(), "http://example.org/registry.json");
        assert!(plain.of_archive("a.tar.gz").is_ok() && plain.of_archive("http://[::1]/").is_err());
        for (entries, message) in [
            (
                "    - { name: a, uri: /r }\n",
                "line 4: runtimes.registries[0]: unknown key `uri`; did you mean `url`?",
            ),
            (
                "    - a\n",
                "line 4: runtimes.registries[0]: invalid type: string \"a\", expected a mapping",
            ),
            ("    - { name: a, url: /r, zzzzzz: 1 }\n", "unknown key `zzzzzz`"),
            ("    - name: a\n      name: b\n      url: /r\n", "duplicate field `name`"),
            ("    - { name: a }\n", "line 4: runtimes.registries[0]: missing field `url`"),
            ("    - { name: a/b, url: /r }\n", "\"a/b\" is not a registry's name"),
            ("    - { name: a, url: rel }\n", "registry a: url \"rel\" is not an address"),
            (
                "    - { name: a, url: \"http://example.org\" }\n",
                "registry a: http://example.org: plain http",
            ),
            ("    - { name: a, url: /r, enabled: maybe }\n", "line 4: "),
            ("    - { name: a, url: /r, public_key: RWQ }\n", "is not a minisign public key"),
            (
                "    - { name: a, url: /r, threshold: 2 }\n",
                "registry a: threshold 2 of 0 public keys",
            ),
            ("    - { name: a, url: /r, threshold: 0 }\n", "threshold 0"),
            (&twice, "registry a: threshold 2 of 1 public keys"),
            (
                "    - { name: a, url: /r, auth: { type: basic, token_env: T } }\n",
                "auth.type is token, not \"basic\"",
            ),
            (
                "    - { name: a, url: /r }\n    - { name: a, url: /s }\n",
                "two registries are called a",
            ),
            (
                "    - { name: a, url: \"http://example.org\", insecure: true }\n",
                "registry a: insecure is only for a registry with a public_key and without auth",
            ),
            (&token, "insecure is only for a registry with a public_key and without auth"),
            // SEC-E14
            (
                "    - \"https://user:s3cret@example.org/?sig=s3cret\"\n",
                "invalid type: string \"https://…@example.org/?…\"",
            ),
            ("    - { name: a, url: \"user:s3cret@rel\" }\n", "registry a: url \"…@rel\" is no"),
            (
                "    - { name: a, url: \"https://u:s3cret@example.org/?s3cret\" }\n",
                "registry a: https://…@example.org/?…: an address must not carry",
            ),
            ("    - {\n", "line 5"),
        ] {
            let error = registries(entries).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
            assert!(error.contains(message), "{entries}: {error}");
        }
        assert!(
            parse("runtimes: { registires: [] }\n")
                .unwrap_err()
                .contains("did you mean `registries`?")
        );
    }
}
