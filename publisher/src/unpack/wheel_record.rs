//! The installed files of a wheel, and their `RECORD`.
//!
//! `RECORD` is CSV: path relative to the packages' directory, `sha256=` and the hash in unpadded URL-safe
//! base64, length. The generated one is sorted and includes `INSTALLER`.

use crate::{
    error::shown,
    tree::{Member, Node, content::Content, relative},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Content of the file `INSTALLER`.
const INSTALLER: &str = "joblet-publish\n";

/// The source of a file's row.
pub(super) enum Row {
    /// The row of the wheel's own `RECORD` for this path.
    Of(String),
    /// A new row: the file was generated or changed.
    New,
}

/// Collects the installed files of a wheel.
pub(super) struct Files<'w> {
    site: &'w str,
    info: &'w str,
    /// Hash and length of each path in the wheel's `RECORD`.
    recorded: BTreeMap<String, String>,
    members: BTreeMap<String, (Node, Row)>,
    twice: Option<String>,
}

impl<'w> Files<'w> {
    /// # Errors
    /// A malformed line of the wheel's `record`.
    pub(super) fn new(site: &'w str, info: &'w str, record: &str) -> Result<Self, String> {
        let mut recorded = BTreeMap::new();
        for line in record.lines().filter(|line| !line.is_empty()) {
            let (path, rest) = field(line).ok_or_else(|| {
                format!("RECORD: {} is not PATH,HASH,LENGTH", shown::quoted(line))
            })?;
            if rest.starts_with("sha256=") {
                recorded.insert(path, rest.to_owned());
            }
        }
        Ok(Self { site, info, recorded, members: BTreeMap::new(), twice: None })
    }

    /// Whether it is a metadata file that is generated, or dropped, here.
    pub(super) fn is_generated(&self, path: &str) -> bool {
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

    /// All files, with `RECORD`.
    ///
    /// # Errors
    /// A path of two files, or a file that cannot be read.
    pub(super) fn finish(mut self) -> Result<Vec<Member>, String> {
        let installer = INSTALLER.as_bytes().to_vec().into();
        self.add(format!("{}/{}/INSTALLER", self.site, self.info), false, installer, Row::New);
        if let Some(path) = self.twice {
            return Err(format!("installs two files as `{path}`"));
        }
        let record = format!("{}/{}/RECORD", self.site, self.info);
        // The path relative to the packages' directory.
        let seen = |path: &str| relative(&format!("{}/x", self.site), path);
        let mut rows = vec![format!("{},,", quoted(&seen(&record)))];
        for (path, (node, row)) in &self.members {
            let recorded = match row {
                Row::Of(old) => self.recorded.get(old).cloned(),
                Row::New => None,
            };
            let Node::File { content, .. } = node else { continue };
            let recorded = recorded.map_or_else(|| hash(content), Ok);
            let recorded = recorded.map_err(|error| format!("`{path}` cannot be read: {error}"))?;
            rows.push(format!("{},{recorded}", quoted(&seen(path))));
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

/// Splits off the first field of a line of CSV.
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

/// Quotes a field of CSV, if necessary.
fn quoted(path: &str) -> String {
    if path.contains([',', '"']) {
        format!("\"{}\"", path.replace('"', "\"\""))
    } else {
        path.into()
    }
}
