//! Records → `registry.json`: a pure function, append only.

use crate::error::Error;
use joblet_format::{IndexFile, Record, Registry, Release};
use std::collections::HashSet;

const HINT: &str = "a published version never changes, only `yanked` may be set; raise the version";

/// The registry that these records make. `updated_at` is the newest record's time.
pub fn make(records: &[Record]) -> Registry {
    let mut registry = Registry::default();
    for record in records {
        // RFC 3339 in UTC with whole seconds: the order of the texts is that of the times.
        registry.updated_at = registry.updated_at.max(record.published_at.clone());
        let releases = registry.runtimes.entry(record.name.clone()).or_default();
        releases.insert(record.release.version.clone(), record.release.clone());
    }
    registry
}

/// Refuses a registry in which something that `before` published is gone or different.
///
/// Addresses may change (archives can move), `yanked` too, and an architecture may be added.
///
/// # Errors
/// [`Error::Differs`] with both values.
pub fn check(before: &Registry, after: &Registry) -> Result<(), Error> {
    for (name, releases) in &before.runtimes {
        for (version, old) in releases {
            let object = format!("{name}@{version}");
            let new = after.runtimes.get(name).and_then(|releases| releases.get(version));
            let Some(new) = new else {
                return Err(Error::Differs {
                    object,
                    field: "record",
                    expected: "one, as it is in the registry".into(),
                    actual: "none".into(),
                    hint: "a published version does not vanish; restore the record, or yank it",
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

/// The text of `registry.json`.
pub fn render(registry: &Registry) -> String {
    let mut text = serde_json::to_string_pretty(registry).expect("texts and numbers are JSON");
    text.push('\n');
    text
}

/// The end of a runtime in the text of `registry.json`, and the beginning of one that follows another.
const END: &str = "\n    }";
const NEXT: &str = ",\n    \"";

/// What the text `before` says beyond `after`, which [`render`] made: reads what differs, not all.
///
/// # Errors
/// Why `before` is no registry.
pub fn beyond(before: &[u8], after: &str) -> serde_json::Result<Registry> {
    let differing = std::str::from_utf8(before).map(|before| without_common(before, after));
    match differing.map(|text| serde_json::from_str(&text)) {
        Ok(Ok(registry)) => Ok(registry),
        _ => serde_json::from_slice(before),
    }
}

/// `before` without the runtimes that stand letter for letter in `after`.
///
/// No text in JSON holds a line break, so a piece that begins and ends as these do is a whole member
/// in `after`, and the same tokens in `before`. What is laid out otherwise stays.
fn without_common(before: &str, after: &str) -> String {
    let known: HashSet<_> = after.split(END).filter(|piece| piece.starts_with(NEXT)).collect();
    let differing: Vec<_> = before.split(END).filter(|piece| !known.contains(piece)).collect();
    differing.join(END)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_registry_is_a_function_of_the_records() {
        let records =
            [record("1.9.0", "2026-02-01T00:00:00Z"), record("1.10.0", "2026-01-01T00:00:00Z")];
        let registry = make(&records);
        assert_eq!(registry.updated_at, "2026-02-01T00:00:00Z");
        let mut reversed = records.to_vec();
        reversed.reverse();
        assert_eq!(render(&make(&reversed)), render(&registry));
        assert_eq!(serde_json::from_str::<Registry>(&render(&registry)).unwrap(), registry);
    }

    #[test]
    fn what_was_published_stays() {
        let before = make(&[record("1.0.0", "1")]);
        let changed = |change: &dyn Fn(&mut Record)| {
            let mut record = record("1.0.0", "1");
            change(&mut record);
            check(&before, &make(&[record]))
        };
        changed(&|record| record.release.yanked = Some("broken".into())).unwrap();
        changed(&|record| record.release.download_url = "https://example.org/a".into()).unwrap();
        check(&before, &make(&[record("1.0.0", "1"), record("1.0.1", "2")])).unwrap();
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
            check(&before, &make(&[record("1.0.1", "2")])),
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
            errors[4].contains("got none; a published version does not vanish"),
            "{}",
            errors[4]
        );
    }

    #[test]
    fn only_what_differs_is_read_of_the_registry_before() {
        let named = |name: &str, version: &str| {
            let mut record = record(version, "1");
            record.name = name.parse().unwrap();
            record
        };
        let records = ["a", "b", "c", "d"].map(|name| named(name, "1.0.0"));
        let before = render(&make(&records));
        let with = |change: &dyn Fn(&mut Vec<Record>)| {
            let mut records = records.to_vec();
            change(&mut records);
            let after = make(&records);
            let beyond = beyond(before.as_bytes(), &render(&after)).unwrap();
            let whole = check(&serde_json::from_str(&before).unwrap(), &after);
            let result = check(&beyond, &after);
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
        // Laid out otherwise, all of it is read.
        let after = render(&make(&records));
        let compact = serde_json::to_vec(&make(&records)).unwrap();
        assert_eq!(beyond(&compact, &after).unwrap(), make(&records));
        assert!(beyond(b"{", &after).is_err() && beyond(b"\xff", &after).is_err());
    }
}
