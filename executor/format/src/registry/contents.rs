//! Validates a whole document, and keeps only the names of its runtimes.

use super::document::{RawVersions, Text, readable};
use super::{Refused, Registry};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// Most entries that may break a rule: with more the whole document is refused.
const MAX_REFUSED: usize = 1000;

/// The runtimes of a document, which was checked as for [`Registry`].
///
/// A document of thousands of runtimes is read in this way once; the versions of one runtime are then
/// parsed from the position of its name, as [`RawVersions`].
#[derive(Debug, PartialEq, Eq)]
pub struct Contents<'d> {
    /// When the newest version was published, RFC 3339 in UTC. Empty where the document has none.
    pub updated_at: String,
    /// The names, as slices of the document. A name may be there twice, under `runtimes` and under
    /// `extended`. It is followed by `"`, `:` and the runtime's versions.
    pub names: Vec<&'d str>,
    /// Entries that broke a rule.
    pub refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Document<'d> {
    #[serde(borrow)]
    version: Text<'d>,
    #[serde(borrow, default)]
    updated_at: Text<'d>,
    #[serde(borrow)]
    runtimes: Checked<'d>,
    #[serde(borrow, default)]
    extended: Checked<'d>,
}

#[derive(Default)]
struct Checked<'d> {
    names: Vec<&'d str>,
    refused: Vec<Refused>,
}

impl<'de> Deserialize<'de> for Contents<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut document = Document::deserialize(deserializer)?;
        readable(&document.version).map_err(Error::custom)?;
        document.runtimes.names.append(&mut document.extended.names);
        document.runtimes.refused.append(&mut document.extended.refused);
        let Checked { names, refused } = document.runtimes;
        if refused.len() > MAX_REFUSED {
            return Err(Error::custom("more than 1000 of its entries break a rule"));
        }
        Ok(Self { updated_at: document.updated_at.0.into_owned(), names, refused })
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for Checked<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Checked<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut seen = BTreeSet::new();
        let mut checked = Checked::default();
        while let Some(Text(name)) = access.next_key()? {
            let versions: RawVersions<'de> = access.next_value()?;
            let mut registry = Registry::default();
            registry.add_versions(&name, versions);
            checked.refused.append(&mut registry.refused);
            match name {
                Cow::Borrowed(name) if !registry.runtimes.is_empty() => checked.names.push(name),
                Cow::Owned(ref name) if !registry.runtimes.is_empty() => {
                    let reason = "its name is written with escapes".to_owned();
                    let (name, version) = (name.clone(), String::new());
                    checked.refused.push(Refused { name, version, reason });
                }
                _ => {}
            }
            if let Some(twice) = seen.replace(name) {
                return Err(A::Error::custom(format_args!("duplicate key {twice:?}")));
            }
        }
        Ok(checked)
    }
}
