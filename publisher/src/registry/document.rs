//! Generates `registry.json` from records, and checks that it only grows.

use crate::{env::cores::parallel_map, error::Error};
use joblet_format::{
    EPOCH, IndexFile, MAX_REGISTRY_BYTES, Record, Registry, Release, RuntimeName, Version,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    path::{Path, PathBuf},
};

/// The file name of a registry.
pub(crate) const FILE: &str = "registry.json";

/// The path of the document of a registry, which a user names by that path or by its directory.
pub(crate) fn path_of(named: &Path) -> PathBuf {
    if named.is_dir() { named.join(FILE) } else { named.to_owned() }
}

const HINT: &str = "a published version never changes, only `yanked` may be set; raise the version";

/// The registry of `records`. `updated_at` is the time of the newest record.
/// `platforms` of a release is limited to the architecture of the archive that Joblet's client would unpack: the client
/// compares no other member with its host.
pub(crate) fn make(records: &[Record]) -> Registry {
    let mut registry = Registry::default();
    let runtimes: Vec<_> = records.chunk_by(|one, next| one.name == next.name).collect();
    let releases = |records: &&[Record]| {
        let releases = records.iter().map(|it| (it.release.version.clone(), offered(&it.release)));
        Ok::<BTreeMap<_, _>, Infallible>(releases.collect())
    };
    let Ok(made) = parallel_map(&runtimes, releases);
    for (records, mut releases) in runtimes.into_iter().zip(made) {
        registry.runtimes.entry(records[0].name.clone()).or_default().append(&mut releases);
    }
    // RFC 3339 in UTC with whole seconds: lexical order is chronological.
    let newest = records.iter().map(|record| &record.published_at).max();
    registry.updated_at = newest.cloned().unwrap_or_else(|| EPOCH.to_owned());
    registry
}

/// A release, as listed in the registry.
fn offered(release: &Release) -> Release {
    let mut offered = release.clone();
    if let Some(main) = release.artifacts.keys().next() {
        offered.platforms.retain(|platform| platform.arch() == *main);
    }
    offered
}

/// Refuses a registry, made of the records in the directory `records`, in which a release of `before` is missing or
/// different.
///
/// Addresses (archives can move) and `yanked` may change, and an architecture may be added.
///
/// # Errors
/// [`Error::Differs`] with both values.
pub(crate) fn check(before: &Registry, after: &Registry, records: &Path) -> Result<(), Error> {
    for (name, releases) in &before.runtimes {
        for (version, old) in releases {
            let object = format!("{name}@{version}");
            let new = after.runtimes.get(name).and_then(|releases| releases.get(version));
            let Some(new) = new else {
                return Err(Error::Differs {
                    object,
                    field: "record",
                    expected: "one, as it is in the registry".into(),
                    actual: format!("none in {}", records.display()),
                    hint: "a published version must not disappear: name the directory of its record with --records DIR, \
                           restore the record, yank it, or, for a registry of other tools, run joblet-publish adopt",
                });
            };
            check_release(&object, old, new)?;
        }
    }
    Ok(())
}

fn check_release(object: &str, old: &Release, new: &Release) -> Result<(), Error> {
    let differs = |field, expected: &dyn ToString, actual: &dyn ToString| Error::Differs {
        object: object.to_owned(),
        field,
        expected: expected.to_string(),
        actual: actual.to_string(),
        hint: HINT,
    };
    for arch in old.architectures() {
        let Some((was, is)) = old.artifact(arch).zip(new.artifact(arch)) else {
            return Err(differs("list of architectures", &arch, &format!("none for {arch}")));
        };
        if was.checksum != is.checksum {
            return Err(differs("checksum", &was.checksum, &is.checksum));
        }
        if was.size != is.size {
            return Err(differs("size", &was.size, &is.size));
        }
        // Frames may be added later, and must not change then.
        if let Some(zstd) = was.zstd.as_ref().filter(|zstd| is.zstd.as_ref() != Some(zstd)) {
            let actual =
                is.zstd.map_or_else(|| "none".to_owned(), |zstd| zstd.checksum.to_string());
            return Err(differs(".tar.zst", &zstd.checksum, &actual));
        }
        if was.index != is.index {
            let text = |index: Option<IndexFile>| {
                index.map_or_else(|| "none".to_owned(), |index| index.checksum.to_string())
            };
            return Err(differs("index", &text(was.index), &text(is.index)));
        }
    }
    if old.description != new.description {
        return Err(differs("description", &old.description, &new.description));
    }
    Ok(())
}

/// Number of versions above which each of them is one line of `registry.json`: a quarter less, so that 1,000 × 50 of
/// them are below the 100 MiB that GitHub accepts as one file, and one line more in git for a version more.
const MAX_PRETTY: usize = 1000;

/// Serializes `registry.json`, the runtimes in parallel; equal to serde's indented output for the whole, but for
/// versions as [`MAX_PRETTY`] says.
///
/// # Errors
/// [`Error::Config`] about `place` if it is larger than its readers accept.
pub(crate) fn render(registry: &Registry, place: &Path) -> Result<String, Error> {
    let versions: usize = registry.runtimes.values().map(BTreeMap::len).sum();
    let text =
        render_as(registry, if versions > MAX_PRETTY { Layout::Lines } else { Layout::Indented });
    is_accepted(text.len() as u64, place)?;
    Ok(text)
}

fn is_accepted(bytes: u64, place: &Path) -> Result<(), Error> {
    if bytes <= MAX_REGISTRY_BYTES {
        return Ok(());
    }
    let reason = format!(
        "would have {bytes} bytes, and readers accept {MAX_REGISTRY_BYTES}: make two registries of these records"
    );
    Err(Error::config(place, reason))
}

/// How the versions of `registry.json` are written.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// As serde_json does.
    Indented,
    /// Each on one line.
    Lines,
}

/// Serializes `registry.json`.
fn render_as(registry: &Registry, layout: Layout) -> String {
    let frame = Registry { updated_at: registry.updated_at.clone(), ..Registry::default() };
    let frame = pretty(&frame);
    let mut text = frame.strip_suffix("{}\n}").expect("the last member is `runtimes`").to_owned();
    let runtimes: Vec<_> = registry.runtimes.iter().collect();
    let member = |extended: bool| {
        let lines = |&(name, releases): &(_, _)| Ok(lines(name, releases, extended, layout));
        let Ok(lines): Result<_, Infallible> = parallel_map(&runtimes, lines);
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        if lines.is_empty() { None } else { Some(format!("{{\n{}\n  }}", lines.join(",\n"))) }
    };
    text.push_str(member(false).as_deref().unwrap_or("{}"));
    if let Some(extended) = member(true) {
        text.push_str(",\n  \"extended\": ");
        text.push_str(&extended);
    }
    text.push_str("\n}\n");
    text
}

/// The lines of one runtime, with its releases that are, or are not, extended; `None` if there are none.
fn lines(
    name: &RuntimeName,
    releases: &BTreeMap<Version, Release>,
    extended: bool,
    layout: Layout,
) -> Option<String> {
    let releases = releases.iter().filter(|(_, release)| release.is_extended() == extended);
    let releases: BTreeMap<_, _> = releases.collect();
    if releases.is_empty() {
        return None;
    }
    if layout == Layout::Lines {
        let line = |(version, release)| format!("      {}: {}", compact(version), compact(release));
        let versions: Vec<_> = releases.iter().map(line).collect();
        return Some(format!("    {}: {{\n{}\n    }}", compact(name), versions.join(",\n")));
    }
    let text = pretty(&BTreeMap::from([("", BTreeMap::from([(name, releases)]))]));
    // Nested as deep as in the document, for the same indentation.
    let lines = text.strip_prefix("{\n  \"\": {\n").and_then(|it| it.strip_suffix("\n  }\n}"));
    Some(lines.expect("the layout of maps").to_owned())
}

fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are JSON")
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("texts and numbers are JSON")
}

/// The text at the end of a runtime in `registry.json`, and before the next one.
const END: &str = "\n    }";
const NEXT: &str = ",\n    \"";

/// Parses the runtimes of `before` that differ from `after`, a text made by [`render`]; equal ones are
/// skipped without parsing.
///
/// # Errors
/// `before` is not a registry.
pub(crate) fn parse_different(before: &[u8], after: &str) -> serde_json::Result<Registry> {
    let differing = std::str::from_utf8(before).map(|before| without_common(before, after));
    match differing.map(|text| serde_json::from_str(&text)) {
        Ok(Ok(registry)) => Ok(registry),
        _ => serde_json::from_slice(before),
    }
}

/// Removes from `before` the runtimes whose text is also in `after`.
///
/// No JSON string contains a line break, so a piece between these delimiters is a whole member in `after`,
/// and consists of the same tokens in `before`. Runtimes with another layout are not removed.
fn without_common(before: &str, after: &str) -> String {
    let known: HashSet<_> = after.split(END).filter(|piece| piece.starts_with(NEXT)).collect();
    let differing: Vec<_> = before.split(END).filter(|piece| !known.contains(piece)).collect();
    differing.join(END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::Part;

    fn record(version: &str, time: &str) -> Record {
        let json = format!(
            r#"{{"name": "d", "published_at": "{time}", "release": {{"version": "{version}",
                "description": "text", "download_url": "a.tar.gz", "checksum": "sha256:{sum}",
                "size": 7, "platforms": ["ubuntu-amd64"], "artifacts": {{"amd64": {{
                "download_url": "a.tar.gz", "checksum": "sha256:{sum}", "size": 7}}}}}}}}"#,
            sum = "1".repeat(64)
        );
        serde_json::from_str(&json).unwrap()
    }

    fn text(registry: &Registry) -> String {
        render(registry, Path::new("registry.json")).unwrap()
    }

    #[test]
    fn a_large_registry_has_one_line_per_version() {
        let many = |count: usize| {
            let version = |number| record(&format!("1.{number}.0"), "2026-01-01T00:00:00Z");
            make(&(0..count).map(version).collect::<Vec<_>>())
        };
        let (small, large) = (text(&many(MAX_PRETTY)), text(&many(MAX_PRETTY + 1)));
        assert!(small.lines().count() > 10 * MAX_PRETTY);
        assert_eq!(large.lines().count(), MAX_PRETTY + 1 + 8);
        assert_eq!(serde_json::from_str::<Registry>(&large).unwrap(), many(MAX_PRETTY + 1));
        assert!(large.len() * 4 < small.len() * 3, "{} {}", large.len(), small.len());
    }

    #[test]
    fn documents_that_readers_refuse_are_not_written() {
        let place = Path::new("a/registry.json");
        is_accepted(MAX_REGISTRY_BYTES, place).unwrap();
        let refused = is_accepted(MAX_REGISTRY_BYTES + 1, place).unwrap_err().to_string();
        assert!(
            refused.starts_with("a/registry.json: would have ")
                && refused.ends_with("make two registries of these records"),
            "{refused}"
        );
    }

    #[test]
    fn the_registry_is_a_function_of_the_records() {
        let records =
            [record("1.9.0", "2026-02-01T00:00:00Z"), record("1.10.0", "2026-01-01T00:00:00Z")];
        let registry = make(&records);
        assert_eq!(registry.updated_at, "2026-02-01T00:00:00Z");
        let mut reversed = records.to_vec();
        reversed.reverse();
        assert_eq!(text(&make(&reversed)), text(&registry));
        assert_eq!(serde_json::from_str::<Registry>(&text(&registry)).unwrap(), registry);
    }

    #[test]
    fn the_text_equals_that_of_serde() {
        let named = |name: &str, version: &str| {
            let mut record = record(version, "2026-01-01T00:00:00Z");
            record.name = name.parse().unwrap();
            record
        };
        let in_parts = |mut record: Record| {
            let artifact = record.release.artifacts.values_mut().next().unwrap();
            let (download_url, checksum) = (artifact.download_url.clone(), artifact.checksum);
            artifact.parts = vec![Part { download_url, checksum, size: artifact.size }];
            record
        };
        let whole = [named("a", "1.0.0"), named("a", "1.1.0"), named("b", "1.0.0")];
        let parts = [in_parts(named("b", "2.0.0")), in_parts(named("c", "1.0.0"))];
        let mut yanked = named("a", "1.2.0");
        yanked.release.yanked = Some("broken".into());
        let yanked = [named("a", "1.0.0"), yanked];
        for records in
            [&[], &whole[..1], &whole, &yanked, &parts, &[whole.as_slice(), &parts].concat()]
        {
            let registry = make(records);
            assert_eq!(text(&registry), pretty(&registry) + "\n", "{}", records.len());
            let lines = render_as(&registry, Layout::Lines);
            assert_eq!(serde_json::from_str::<Registry>(&lines).unwrap(), registry);
            let of_one_version = |line: &&str| line.starts_with("      \"");
            assert_eq!(lines.lines().filter(of_one_version).count(), records.len(), "{lines}");
        }
    }

    #[test]
    fn joblets_client_reads_it() {
        // Go's time.Time reads no empty text.
        assert_eq!(make(&[]).updated_at, "1970-01-01T00:00:00Z");
        let mut record = record("1.0.0", "2026-01-01T00:00:00Z");
        let archive = record.release.artifacts.values().next().unwrap().clone();
        record.release.artifacts.insert(joblet_format::Arch::Arm64, archive);
        record.release.platforms.push("ubuntu-arm64".parse().unwrap());
        let registry = make(std::slice::from_ref(&record));
        let release = registry.runtimes.values().flat_map(BTreeMap::values).next().unwrap();
        // It would unpack the amd64 archive on every listed platform.
        assert_eq!(release.platforms, ["ubuntu-amd64".parse().unwrap()]);
        assert_eq!(release.artifacts.len(), 2);
        assert_eq!(record.release.platforms.len(), 2, "the record says all of them");
    }

    #[test]
    fn published_releases_must_not_change() {
        let before = make(&[record("1.0.0", "1")]);
        let changed = |change: &dyn Fn(&mut Record)| {
            let mut record = record("1.0.0", "1");
            change(&mut record);
            check(&before, &make(&[record]), Path::new("records"))
        };
        changed(&|record| record.release.yanked = Some("broken".into())).unwrap();
        changed(&|record| record.release.download_url = "https://example.org/a".into()).unwrap();
        check(&before, &make(&[record("1.0.0", "1"), record("1.0.1", "2")]), Path::new("records"))
            .unwrap();
        let other = joblet_format::Checksum::from_digest([9; 32]);
        let amd64 = joblet_format::Arch::Amd64;
        let errors = [
            changed(&|record| {
                record.release.artifacts.get_mut(&amd64).unwrap().checksum = other;
            }),
            changed(&|record| record.release.artifacts.get_mut(&amd64).unwrap().size = 8),
            changed(&|record| record.release.description = "new".into()),
            changed(&|record| {
                let index = IndexFile { checksum: other, size: 5 };
                record.release.artifacts.get_mut(&amd64).unwrap().index = Some(index);
            }),
            check(&before, &make(&[record("1.0.1", "2")]), Path::new("records")),
        ]
        .map(|result| result.unwrap_err().to_string());
        let sum = "1".repeat(64);
        assert_eq!(
            errors[0],
            format!("d@1.0.0: checksum differs: expected sha256:{sum}, got {other}; {HINT}")
        );
        assert_eq!(errors[1], format!("d@1.0.0: size differs: expected 7, got 8; {HINT}"));
        assert_eq!(
            errors[2],
            format!("d@1.0.0: description differs: expected text, got new; {HINT}")
        );
        assert_eq!(
            errors[3],
            format!("d@1.0.0: index differs: expected none, got {other}; {HINT}")
        );
        assert!(
            errors[4].contains("got none in records; a published version must not disappear"),
            "{}",
            errors[4]
        );
    }

    #[test]
    fn only_differences_are_read_of_the_previous_registry() {
        let named = |name: &str, version: &str| {
            let mut record = record(version, "1");
            record.name = name.parse().unwrap();
            record
        };
        let records = ["a", "b", "c", "d"].map(|name| named(name, "1.0.0"));
        for layout in [Layout::Indented, Layout::Lines] {
            let before = render_as(&make(&records), layout);
            let with = |change: &dyn Fn(&mut Vec<Record>)| {
                let mut records = records.to_vec();
                change(&mut records);
                let after = make(&records);
                let beyond =
                    parse_different(before.as_bytes(), &render_as(&after, layout)).unwrap();
                let whole =
                    check(&serde_json::from_str(&before).unwrap(), &after, Path::new("records"));
                let result = check(&beyond, &after, Path::new("records"));
                assert_eq!(result.is_ok(), whole.is_ok());
                (beyond.runtimes.len(), result.is_ok())
            };
            assert_eq!(with(&|records| records.push(named("b", "1.0.1"))), (2, true));
            for at in 0..records.len() {
                let size = |records: &mut Vec<Record>| {
                    records[at].release.artifacts.values_mut().for_each(|it| it.size = 8);
                };
                assert!(!with(&size).1, "{at}");
                assert!(!with(&|records| drop(records.remove(at))).1, "{at}");
            }
        }
        // With another layout the whole document is read.
        let after = text(&make(&records));
        let compact = serde_json::to_vec(&make(&records)).unwrap();
        assert_eq!(parse_different(&compact, &after).unwrap(), make(&records));
        assert!(
            parse_different(b"{", &after).is_err() && parse_different(b"\xff", &after).is_err()
        );
    }
}
