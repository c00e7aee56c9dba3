//! `versions.lock`: the inputs of a runtime, identified by their content, not by a location.
//!
//! In: a manifest and resolved inputs. Out: `versions.lock`; its [`Input`]s, if it matches the manifest.

pub mod wheel_tags;

use crate::{
    error::{Error, shown},
    fs::paths,
    lock::wheel_tags::{WheelName, normalized},
    net::http::percent_decoded,
    source::{Source, is_address},
};
use joblet_format::{Arch, Checksum, RuntimeName};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The version of the format. Part of the format.
const FORMAT: u32 = 1;

/// A lock file.
///
/// Format (JSON, one input a line, sorted by `kind` and `name`, so that a diff reads well):
///
/// ```json
/// {
///   "format": 1,
///   "manifest": "sha256:…",
///   "timestamp": "2026-01-31T12:00:00Z",
///   "inputs": {
///     "amd64": [
///       {"kind":"deb","name":"debian/pool/main/b/bash/bash_5.2_amd64.deb","size":1,"sha256":"…"}
///     ]
///   }
/// }
/// ```
///
/// Unknown keys and other formats are refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// [`digest`] of the manifest it was resolved from.
    pub manifest: Checksum,
    /// When it was resolved: RFC 3339, in UTC. A Debian snapshot of that time has all packages.
    pub timestamp: String,
    /// The inputs of each architecture.
    pub inputs: BTreeMap<Arch, Vec<Input>>,
}

/// A file that a runtime is built from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its kind.
    pub kind: Kind,
    /// Its name, independent of a mirror. A deb: `ARCHIVE/pool/…`, percent-encoded as on the mirror. A
    /// wheel: its file name. A tar: its only address, from the manifest. An image: the SHA-256 that names it;
    /// its layers: 001 for the lowest, and so on.
    pub name: String,
    /// Length, in bytes. `null` if it has not been fetched yet and only its hash is known; `lock` fills
    /// it in when the address can be reached. Never `null` for a deb.
    pub size: Option<u64>,
    /// SHA-256, 64 hex digits in the file.
    #[serde(with = "hex_digits")]
    pub sha256: Checksum,
}

/// The kinds of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Debian package.
    Deb,
    /// A built Python package.
    Wheel,
    /// An upstream archive: tar or zip.
    Tar,
    /// The configuration of an image of containers.
    Image,
    /// A layer of it.
    Layer,
}

impl Input {
    /// Checks the name for its kind.
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match self.kind {
            Kind::Deb if !is_pool_path(name) => {
                Err(format!("{name:?} is not the pool path of a deb"))
            }
            Kind::Deb if self.size.is_none() => Err(format!("{name:?} has no size")),
            Kind::Wheel if WheelName::parse(name).is_none() => {
                Err(format!("{name:?} is not the file name of a wheel"))
            }
            Kind::Tar if !is_address(name) => {
                Err(format!("{:?} is not an http or https address", shown::address(name)))
            }
            Kind::Tar if shown::secret(name).is_some() => {
                Err(format!("{:?} has a secret in it, and locks are public", shown::address(name)))
            }
            Kind::Image if name.parse::<Checksum>().is_err() => {
                Err(format!("{name:?} is not what names an image"))
            }
            Kind::Layer if name.len() < 3 || !name.bytes().all(|it| it.is_ascii_digit()) => {
                Err(format!("{name:?} is not the number of a layer"))
            }
            _ => Ok(()),
        }
    }

    /// The package that it is, by the name of its file: name and version. A version of Debian's has no epoch
    /// there. None for an archive.
    pub(crate) fn package(&self) -> Option<(String, String)> {
        match self.kind {
            Kind::Deb => {
                let file = percent_decoded(self.file_name());
                let mut parts = file.split('_');
                Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
            }
            Kind::Wheel => {
                let wheel = WheelName::parse(&self.name)?;
                Some((normalized(wheel.name), wheel.version.to_owned()))
            }
            Kind::Tar | Kind::Image | Kind::Layer => None,
        }
    }

    /// The last component of its name, without a query, for display.
    pub fn file_name(&self) -> &str {
        let name = match self.kind {
            Kind::Tar => self.name.split(['?', '#']).next().unwrap_or_default(),
            _ => &self.name,
        };
        name.rsplit('/').next().unwrap_or(name)
    }
}

impl Lock {
    /// The inputs for `arch`; `None` if it was never resolved.
    pub(crate) fn inputs_for(&self, arch: Arch) -> Option<&[Input]> {
        self.inputs.get(&arch).map(Vec::as_slice)
    }
}

/// The path of a runtime's lock file.
pub fn path(sources: &Path, name: &RuntimeName) -> PathBuf {
    sources.join(name.as_str()).join("versions.lock")
}

/// SHA-256 of the fields of a manifest that determine its inputs.
pub fn digest(source: &Source) -> Checksum {
    /// The fields in a fixed order. Part of the format: another order makes every lock stale.
    #[derive(Serialize)]
    struct Fields<'s> {
        suite: Option<&'s str>,
        packages: Vec<&'s str>,
        python: &'s Option<crate::source::Python>,
        urls: &'s [crate::source::Url],
        architectures: Vec<Arch>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image: &'s Option<crate::source::Image>,
    }
    let fields = Fields {
        suite: source.debian.as_ref().map(|debian| debian.suite.as_str()),
        packages: source.packages().into_iter().collect(),
        python: &source.python,
        urls: &source.urls,
        architectures: source.arches().into_iter().collect(),
        image: &source.image,
    };
    let json = serde_json::to_vec(&fields).expect("texts and lists are JSON");
    Checksum::of_bytes(json)
}

fn is_pool_path(name: &str) -> bool {
    let (archive, pool) = name.split_once('/').unwrap_or_default();
    let known = matches!(archive, "debian" | "debian-security") && pool.starts_with("pool/");
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+%~".contains(&byte);
    known && name.bytes().all(clean) && name.split('/').all(plain)
}

/// Makes a lock with sorted inputs. If they equal those of `before`, its timestamp is kept.
pub fn make(
    source: &Source,
    mut inputs: BTreeMap<Arch, Vec<Input>>,
    now: String,
    before: Option<&Lock>,
) -> Lock {
    for list in inputs.values_mut() {
        list.sort();
        list.dedup();
    }
    let manifest = digest(source);
    let unchanged = before.filter(|lock| lock.manifest == manifest && lock.inputs == inputs);
    let timestamp = unchanged.map_or(now, |lock| lock.timestamp.clone());
    Lock { format: FORMAT, manifest, timestamp, inputs }
}

/// Reads the lock of `source`.
///
/// # Errors
/// [`Error::Config`] if it does not exist, is refused, or was made from another manifest.
pub fn read(sources: &Path, source: &Source) -> Result<Lock, Error> {
    let path = path(sources, &source.name);
    let name = &source.name;
    let Some(bytes) = paths::read_below(sources, &path)? else {
        let reason = format!("does not exist; run `joblet-publish lock {name}`");
        return Err(Error::config(path, reason));
    };
    let lock = parse(&bytes).map_err(|reason| Error::config(&path, reason))?;
    if lock.manifest != digest(source) {
        let reason =
            format!("is stale: the manifest has changed; run `joblet-publish lock {name}`");
        return Err(Error::config(path, reason));
    }
    for (arch, inputs) in &lock.inputs {
        let fits = |input: &Input| input.kind != Kind::Wheel || fits(&input.name, source, *arch);
        if let Some(wheel) = inputs.iter().find(|input| !fits(input)) {
            let version = source.python.as_ref().map_or("", |python| &python.version);
            let wheel = &wheel.name;
            let reason = format!(
                "{wheel} is not for Python {version} on {arch}; run `joblet-publish lock {name}`"
            );
            return Err(Error::config(path, reason));
        }
    }
    Ok(lock)
}

/// Whether the wheel is compatible with the manifest's Python.
fn fits(wheel: &str, source: &Source, arch: Arch) -> bool {
    let minor = source.python.as_ref().map(crate::source::Python::minor);
    minor.is_some_and(|minor| {
        WheelName::parse(wheel).is_some_and(|it| it.fit(minor, arch).is_some())
    })
}

/// Parses a lock file and checks its names.
///
/// # Errors
/// The rule it breaks.
pub fn parse(bytes: &[u8]) -> Result<Lock, String> {
    let lock: Lock = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if lock.format != FORMAT {
        return Err(format!("has format {}; this program reads {FORMAT}", lock.format));
    }
    for input in lock.inputs.values().flatten() {
        input.check()?;
    }
    Ok(lock)
}

/// Serializes a lock.
pub(crate) fn render(lock: &Lock) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "{{\n  \"format\": {},\n  \"manifest\": {},\n  \"timestamp\": {},\n  \"inputs\": {{",
        lock.format,
        quote(&lock.manifest.to_string()),
        quote(&lock.timestamp)
    );
    for (index, (arch, inputs)) in lock.inputs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        _ = write!(text, "{comma}\n    \"{arch}\": ["); // writing to a String cannot fail
        for (index, input) in inputs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let line = serde_json::to_string(input).expect("texts and numbers are JSON");
            _ = write!(text, "{comma}\n      {line}");
        }
        text.push_str("\n    ]");
    }
    text.push_str("\n  }\n}\n");
    text
}

/// Serde: a checksum as hex digits only.
mod hex_digits {
    use joblet_format::Checksum;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(sum: &Checksum, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&sum.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Checksum, D::Error> {
        Checksum::from_hex(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(packages: &str) -> Source {
        crate::source::parse(&format!(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n\
             debian: {{ suite: bookworm, packages: [{packages}] }}\n"
        ))
        .unwrap()
    }

    fn input(name: &str) -> Input {
        let sha256 = Checksum::from_digest([7; 32]);
        Input { kind: Kind::Deb, name: name.into(), size: Some(5), sha256 }
    }

    fn inputs(names: &[&str]) -> BTreeMap<Arch, Vec<Input>> {
        BTreeMap::from([(Arch::Amd64, names.iter().map(|name| input(name)).collect())])
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let names = ["debian/pool/main/b/b/b_1%2b1_amd64.deb", "debian/pool/main/a/a/a_1_all.deb"];
        let lock = make(&source("aa, bb"), inputs(&names), "2026-01-31T12:00:00Z".into(), None);
        let text = render(&lock);
        assert_eq!(parse(text.as_bytes()).unwrap(), lock);
        let lines: Vec<_> = text.lines().filter(|line| line.contains("sha256\":\"")).collect();
        let (kind, sum) = (r#"{"kind":"deb","name":"#, "07".repeat(32));
        assert_eq!(
            lines[0],
            format!(
                r#"      {kind}"debian/pool/main/a/a/a_1_all.deb","size":5,"sha256":"{sum}"}},"#
            )
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_lock_keeps_its_time_while_nothing_changes() {
        let names = ["debian/pool/a.deb"];
        let first = make(&source("aa"), inputs(&names), "1".into(), None);
        let again = make(&source("aa"), inputs(&names), "2".into(), Some(&first));
        assert_eq!(again, first);
        let changed = make(&source("bb"), inputs(&names), "3".into(), Some(&first));
        assert_eq!(changed.timestamp, "3");
    }

    #[test]
    fn the_digest_depends_only_on_what_is_resolved() {
        let base = digest(&source("aa, bb"));
        assert_eq!(digest(&source("bb, aa")), base);
        assert_ne!(digest(&source("aa")), base);
        let mut other = source("aa, bb");
        other.description = "new".into();
        other.version = "2.0.0".parse().unwrap();
        assert_eq!(digest(&other), base);
    }

    #[test]
    fn missing_stale_and_malformed_locks_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let source = source("aa");
        let path = path(dir.path(), &source.name);
        let error = read(dir.path(), &source).unwrap_err().to_string();
        assert!(error.ends_with("does not exist; run `joblet-publish lock d`"), "{error}");
        let good = render(&make(&source, inputs(&["debian/pool/a.deb"]), "1".into(), None));
        for (from, to, message) in [
            ("\"manifest\": \"sha256:", "\"manifest\": \"sha256:0", "is not `sha256:`"),
            ("\"format\": 1", "\"format\": 2", "has format 2; this program reads 1"),
            ("\"kind\":\"deb\"", "\"kind\":\"rpm\"", "unknown variant `rpm`"),
            ("debian/pool", "debian/../pool", "is not the pool path of a deb"),
            ("debian/pool", "https://example.org/pool", "is not the pool path of a deb"),
            ("\"size\":5", "\"size\":5,\"x\":1", "unknown field `x`"),
        ] {
            paths::write(&path, good.replace(from, to).as_bytes()).unwrap();
            let error = read(dir.path(), &source).unwrap_err().to_string();
            assert!(error.contains(message), "{to}: {error}");
        }
        paths::write(&path, good.as_bytes()).unwrap();
        assert!(read(dir.path(), &source).is_ok());
        let mut changed = source.clone();
        changed.debian.as_mut().unwrap().packages.push("bb".into());
        let error = read(dir.path(), &changed).unwrap_err().to_string();
        assert!(error.contains("is stale: the manifest has changed; run"), "{error}");
    }
}
