//! Packages and commands for the search of the home page.

use super::{super::text::visible, Catalogue, inside::first_packages};
use crate::{
    error::Error,
    record::{changes::Package, contents},
};
use joblet_format::{IndexFile, Record};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The content of the search file: the latest version of each runtime.
#[derive(Serialize)]
pub(in crate::site) struct Search<'a> {
    runtimes: Vec<Source<'a>>,
    #[serde(skip)]
    found: BTreeMap<&'a str, Found>,
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    /// They determine what is read.
    files: &'a BTreeMap<String, IndexFile>,
    #[serde(skip)]
    record: &'a Record,
}

/// Packages and commands of a runtime.
#[derive(Serialize, Default)]
struct Found {
    /// `NAME VERSION`, by name.
    packages: Vec<String>,
    /// Names of the programs in its directories of programs, sorted.
    commands: BTreeSet<String>,
}

impl<'a> Catalogue<'a> {
    pub(in crate::site) fn search(&self) -> Search<'a> {
        let source = |name: &'a joblet_format::RuntimeName| {
            let record = self.record(name, &self.latest(name)?.version)?;
            Some(Source { name: name.as_str(), files: &record.files, record })
        };
        Search {
            runtimes: self.registry.runtimes.keys().filter_map(source).collect(),
            found: BTreeMap::new(),
        }
    }
}

impl Search<'_> {
    /// Reads what is inside from the files beside the records in the directory `records`.
    ///
    /// # Errors
    /// A file that is missing, another one, or of another form.
    pub(in crate::site) fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        for Source { name, record, .. } in &self.runtimes {
            if let Some(found) = found(records, record)? {
                self.found.insert(name, found);
            }
        }
        Ok(())
    }

    /// A script that assigns `{ NAME: { packages: […], commands: […] } }` to `jobletSearch`: as a script it
    /// can be loaded from a local directory, too.
    pub(in crate::site) fn script(&self) -> Vec<u8> {
        let json = serde_json::to_string(&self.found).expect("maps of texts are JSON");
        format!("globalThis.jobletSearch = {json};\n").into_bytes()
    }
}

fn found(records: &Path, record: &Record) -> Result<Option<Found>, Error> {
    let Some((_, packages, contents)) = first_packages(records, record)? else { return Ok(None) };
    let named = |it: &Package| format!("{} {}", visible(&it.name), visible(&it.version));
    Ok(Some(Found {
        packages: packages.values().map(named).collect::<BTreeSet<_>>().into_iter().collect(),
        commands: commands(&contents),
    }))
}

/// Names of what can be called in the list of contents `text`.
fn commands(text: &str) -> BTreeSet<String> {
    let lines = contents::parse(text).unwrap_or_default();
    let called = lines.iter().filter(|line| matches!(line.kind, "exec" | "link"));
    let name = |path: &str| {
        let (directory, name) = path.rsplit_once('/')?;
        let directory = directory.rsplit('/').next()?;
        matches!(directory, "bin" | "sbin").then(|| name.to_owned())
    };
    called.filter_map(|line| name(line.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_in_directories_of_programs() {
        let text = "dir\t0\t-\tusr/bin\nexec\t1\ta\tusr/bin/python3\nlink\t0\ta\tusr/bin/python\tpython3\n\
                    exec\t1\tb\topt/jdk/bin/javac\nfile\t1\tb\tusr/bin/data\nexec\t1\tb\tusr/lib/x/helper\n";
        assert_eq!(Vec::from_iter(commands(text)), ["javac", "python", "python3"]);
    }
}
