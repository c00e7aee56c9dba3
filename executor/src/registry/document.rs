//! A registry's document, whose entries are parsed only when they are needed.

use crate::error::Error;
use crate::net::location::Location;
use joblet_format::{Contents, RawVersions, Refused, Registry, RuntimeName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A document that was validated as a whole.
#[derive(Debug)]
pub(crate) struct RegistryDocument {
    /// Where its sections are.
    pub section_index: SectionIndex,
    body: Body,
}

/// The index of a document's sections. Part of the format of cache files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SectionIndex {
    /// When the newest version was published, by the document's `updated_at`.
    pub updated_at: String,
    /// Entries that broke a rule: name, version, rule.
    refused: Vec<(String, String, String)>,
    /// One section per runtime: its versions.
    sections: Vec<Section>,
    /// Length of the document, in bytes.
    pub length: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Section {
    name: RuntimeName,
    /// Offset of the value after the name, in bytes.
    start: u64,
    length: u64,
    /// SHA-256 of that value, in hex; empty for a document in memory.
    sha256: String,
}

#[derive(Debug)]
enum Body {
    Memory(Vec<u8>),
    /// A file, and the offset of the document in it, in bytes.
    File(File, u64),
}

impl RegistryDocument {
    /// Validates the document that was read from `location`.
    ///
    /// # Errors
    /// [`Error::Registry`] with the rule that the document breaks.
    pub(crate) fn parse(body: Vec<u8>, location: &Location) -> Result<Self, Error> {
        let refuse = |reason| Error::Registry { registry: location.to_string(), reason };
        match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => return Err(refuse("the document is empty; check the address".into())),
            Some(b'<') => {
                let reason = "this is a web page, not a registry.json; check the address";
                return Err(refuse(reason.into()));
            }
            Some(_) => {}
        }
        let contents = match Contents::quick(&body) {
            Some(contents) => contents,
            None => serde_json::from_slice(&body)
                .map_err(|error| refuse(format!("not a registry.json: {error}")))?,
        };
        let section_index = SectionIndex::hash(contents, &body);
        Ok(Self { section_index, body: Body::Memory(body) })
    }

    /// A document in a file at `offset`, with its section index.
    pub(crate) fn in_file(section_index: SectionIndex, file: File, offset: u64) -> Self {
        Self { section_index, body: Body::File(file, offset) }
    }

    /// Whether it has a runtime `name`.
    pub(crate) fn has(&self, name: &RuntimeName) -> bool {
        self.section_index.sections.iter().any(|section| section.name == *name)
            || self.section_index.refused.iter().any(|(refused, ..)| refused == name.as_str())
    }

    /// The names of its runtimes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.section_index.sections.iter().map(|section| section.name.as_str())
    }

    /// Entries that broke a rule.
    pub(crate) fn refused(&self) -> impl ExactSizeIterator<Item = Refused> {
        self.section_index.refused.iter().cloned().map(|(name, version, reason)| Refused {
            name,
            version,
            reason,
        })
    }

    /// The entries of `name`, or all entries; `None` if the cache file has changed.
    pub(crate) fn entries(&self, name: Option<&RuntimeName>) -> Option<Registry> {
        let mut registry =
            Registry { updated_at: self.section_index.updated_at.clone(), ..Registry::default() };
        for section in &self.section_index.sections {
            if name.is_none_or(|name| section.name == *name) {
                let text = self.read(section.start, section.length)?;
                if !section.sha256.is_empty() && section.sha256 != digest(&text) {
                    return None;
                }
                let versions = text.iter().position(|&byte| byte == b':')?;
                let mut json = serde_json::Deserializer::from_slice(&text[versions + 1..]);
                registry
                    .add_versions(section.name.as_str(), RawVersions::deserialize(&mut json).ok()?);
            }
        }
        // Entries with a bad name are not in any section.
        registry.refused = self.refused().collect();
        Some(registry)
    }

    /// The whole document.
    pub(crate) fn body(&self) -> Option<Vec<u8>> {
        self.read(0, self.section_index.length)
    }

    fn read(&self, start: u64, length: u64) -> Option<Vec<u8>> {
        let (start_at, count) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        match &self.body {
            Body::Memory(body) => {
                Some(body.get(start_at..start_at.checked_add(count)?)?.to_owned())
            }
            Body::File(file, offset) => {
                let mut text = vec![0; count];
                file.read_exact_at(&mut text, offset.checked_add(start)?).ok()?;
                Some(text)
            }
        }
    }

    /// Hashes each section, to detect a changed cache file.
    pub(crate) fn hash_sections(&mut self) {
        let sections = std::mem::take(&mut self.section_index.sections);
        let hashed = sections.into_iter().map(|section| {
            let text = self.read(section.start, section.length).unwrap_or_default();
            Section { sha256: digest(&text), ..section }
        });
        self.section_index.sections = hashed.collect();
    }
}

impl SectionIndex {
    fn hash(contents: Contents<'_>, body: &[u8]) -> Self {
        // A name borrows from the document: its address gives its offset.
        let place = |name: &str| name.as_ptr() as usize - body.as_ptr() as usize;
        let mut names = contents.names;
        names.sort_unstable_by_key(|name| place(name));
        let ends = names.iter().skip(1).map(|name| place(name) - 1).chain([body.len()]);
        let sections = names.iter().zip(ends).filter_map(|(name, end)| {
            // After the quotation mark that ends the name.
            let start = place(name) + name.len() + 1;
            let (start, length) = (start as u64, (end - start) as u64);
            Some(Section { name: name.parse().ok()?, start, length, sha256: String::new() })
        });
        let refused = contents.refused.into_iter();
        Self {
            updated_at: contents.updated_at,
            refused: refused.map(|it| (it.name, it.version, it.reason)).collect(),
            sections: sections.collect(),
            length: body.len() as u64,
        }
    }
}

fn digest(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::local::Local;

    fn location() -> Location {
        Location::File(Local::from_path("registry.json".as_ref()))
    }

    fn entry(version: &str) -> String {
        format!(
            r#""{version}": {{"version": "{version}", "download_url": "x", "size": 1,
                "checksum": "sha256:{}", "platforms": ["ubuntu-amd64"]}}"#,
            "0".repeat(64)
        )
    }

    /// `runtimes` and `extended` with a name in both, and `version` last.
    fn document() -> String {
        let (one, two) = (entry("1.0.0"), entry("2.0.0"));
        format!(
            "{{\"runtimes\" : {{ \"a\" : {{{one}}}, \"b\"\n:{{{one},{two}}} }} , \"x\": [{{}}],
              \"extended\": {{\"a\": {{{two}}}}}, \"version\": \"1\", \"updated_at\": \"t\"}}"
        )
    }

    #[test]
    fn a_part_is_what_the_whole_says() {
        let document = document();
        let whole: Registry = serde_json::from_str(&document).unwrap();
        let document = RegistryDocument::parse(document.into_bytes(), &location()).unwrap();
        assert_eq!(document.entries(None).unwrap(), whole);
        for name in ["a", "b"] {
            let name = name.parse().unwrap();
            let part = document.entries(Some(&name)).unwrap();
            assert_eq!(part.runtimes.len(), 1);
            assert_eq!(part.runtimes[&name], whole.runtimes[&name]);
            assert_eq!(part.runtimes[&name].len(), 2);
        }
        let none = "c".parse().unwrap();
        assert!(!document.has(&none) && document.entries(Some(&none)).unwrap().runtimes.is_empty());
        assert_eq!(document.names().collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn a_name_is_found_only_as_it_is_written() {
        let escaped = document().replace("\"b\"", "\"\\u0062\"");
        let document = RegistryDocument::parse(escaped.into_bytes(), &location()).unwrap();
        let refused: Vec<_> = document.refused().collect();
        assert_eq!((refused.len(), refused[0].name.as_str()), (1, "b"));
        assert_eq!(refused[0].reason, "its name is written with escapes");
        assert!(document.entries(None).unwrap().runtimes.len() == 1);
    }

    /// SEC-C10
    #[test]
    fn documents_that_are_no_registry_are_refused_by_name() {
        let good = document();
        let cases = [
            (String::new(), "is empty"),
            ("  \n<!doctype html>".into(), "web page"),
            ("{".into(), "not a registry.json: EOF"),
            ("null".into(), "not a registry.json: invalid type"),
            (good.replace("\"1\"", "\"2\""), "version \"2\" is newer"),
            (good.replace("\"1\"", "1"), "invalid type: integer"),
            (good.clone() + " x", "trailing characters"),
            (format!("\u{feff}{good}"), "not a registry.json"),
            (format!("{{\"x\": {}", "[".repeat(10_000)), "not a registry.json: "),
            (good.replace("\"a\" :", "\"b\" :"), "duplicate key \"b\""),
            (good.replace("2.0.0\":", "1.0.0\":"), "duplicate key"),
            (good.replace("\"size\": 1", "\"size\": 1, \"size\": 2"), "duplicate field"),
            (good.replace("\"size\": 1", "\"size\": 1e400"), "number out of range"),
            (good.replace("\"size\": 1", "\"size\": -1"), "invalid value"),
            (good.replace("{}", "{"), "not a registry.json"),
            (good.replace("\"runtimes\"", "\"runtime\""), "missing field `runtimes`"),
        ];
        for (body, message) in cases {
            let error = RegistryDocument::parse(body.clone().into_bytes(), &location())
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{body}: {error}");
        }
        let many: Vec<_> = (0..1001).map(|n| entry(&format!("1.{n}"))).collect();
        let broken =
            format!("{{\"version\": \"1\", \"runtimes\": {{\"a\": {{{}}}}}}}", many.join(","));
        let error =
            RegistryDocument::parse(broken.into_bytes(), &location()).unwrap_err().to_string();
        assert!(error.contains("more than 1000 of its entries break a rule"), "{error}");
    }
}
