//! The files that installing a wheel makes, and the `RECORD` of them.
//!
//! `RECORD` is CSV: path relative to the packages' directory, `sha256=` and the hash in base64 for
//! addresses without padding, length. Ours is sorted, and names the installer.

use crate::{
    error::shown,
    tree::{Member, Node, content::Content, relative},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What is in the file `INSTALLER`.
const INSTALLER: &str = "joblet-publish\n";

/// Where the row of a file comes from.
pub(super) enum Row {
    /// The wheel's own `RECORD` has one under this path.
    Of(String),
    /// The file was made or changed here.
    New,
}

/// Files on their way into a tree.
pub(super) struct Files<'w> {
    site: &'w str,
    info: &'w str,
    /// Hash and length of each path, as the wheel says them.
    said: BTreeMap<String, String>,
    members: BTreeMap<String, (Node, Row)>,
    twice: Option<String>,
}

impl<'w> Files<'w> {
    /// # Errors
    /// A line of the wheel's `record` that is none.
    pub(super) fn new(site: &'w str, info: &'w str, record: &str) -> Result<Self, String> {
        let mut said = BTreeMap::new();
        for line in record.lines().filter(|line| !line.is_empty()) {
            let (path, rest) = field(line).ok_or_else(|| {
                format!("RECORD: {} is not PATH,HASH,LENGTH", shown::quoted(line))
            })?;
            if rest.starts_with("sha256=") {
                said.insert(path, rest.to_owned());
            }
        }
        Ok(Self { site, info, said, members: BTreeMap::new(), twice: None })
    }

    /// Whether it is a file of the metadata that is written anew.
    pub(super) fn is_own(&self, path: &str) -> bool {
        let own =
            ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s"];
        path.strip_prefix(self.info)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|name| own.contains(&name))
    }

    pub(super) fn add(&mut self, path: String, executable: bool, content: Content, row: Row) {
        let node = Node::File { executable, content };
        if self.members.insert(path.clone(), (node, row)).is_some() {
            self.twice = Some(path);
        }
    }

    /// All files, `RECORD` among them.
    ///
    /// # Errors
    /// A path that two files have, or a file that cannot be read.
    pub(super) fn finish(mut self) -> Result<Vec<Member>, String> {
        let installer = INSTALLER.as_bytes().to_vec().into();
        self.add(format!("{}/{}/INSTALLER", self.site, self.info), false, installer, Row::New);
        if let Some(path) = self.twice {
            return Err(format!("installs two files as `{path}`"));
        }
        let record = format!("{}/{}/RECORD", self.site, self.info);
        // A path below the packages' directory, as seen from there.
        let seen = |path: &str| relative(&format!("{}/x", self.site), path);
        let mut rows = vec![format!("{},,", quoted(&seen(&record)))];
        for (path, (node, row)) in &self.members {
            let said = match row {
                Row::Of(old) => self.said.get(old).cloned(),
                Row::New => None,
            };
            let Node::File { content, .. } = node else { continue };
            let said = said.map_or_else(|| hash(content), Ok);
            let said = said.map_err(|error| format!("`{path}` cannot be read: {error}"))?;
            rows.push(format!("{},{said}", quoted(&seen(path))));
        }
        rows.sort_unstable();
        let rows = rows.join("\n") + "\n";
        let node = Node::File { executable: false, content: rows.into_bytes().into() };
        let files = self.members.into_iter().map(|(path, (node, _))| Member { path, node });
        Ok(files.chain([Member { path: record, node }]).collect())
    }
}

/// `sha256=…,LENGTH`
fn hash(content: &Content) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut content.reader(), &mut hash)?;
    Ok(format!("sha256={},{}", URL_SAFE_NO_PAD.encode(hash.finalize()), content.len()))
}

/// The first field of a line of CSV, and the rest.
fn field(line: &str) -> Option<(String, &str)> {
    let Some(mut rest) = line.strip_prefix('"') else {
        return line.split_once(',').map(|(path, rest)| (path.to_owned(), rest));
    };
    let mut path = String::new();
    loop {
        let (text, behind) = rest.split_once('"')?;
        path.push_str(text);
        let Some(behind) = behind.strip_prefix('"') else {
            return behind.strip_prefix(',').map(|rest| (path, rest));
        };
        path.push('"');
        rest = behind;
    }
}

/// A field of CSV.
fn quoted(path: &str) -> String {
    if path.contains([',', '"']) {
        format!("\"{}\"", path.replace('"', "\"\""))
    } else {
        path.into()
    }
}
