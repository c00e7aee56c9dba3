//! Readers of rpm databases: a database → its packages.
//!
//! In every backend (`sqlite`, rpm 4.16 and later; `ndb`, SUSE; `bdb`, before), a package is one blob: the header of
//! its file.

mod bdb;
mod ndb;
mod sqlite;

/// A package of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    /// `VERSION-RELEASE`
    pub(super) version: String,
    pub(super) epoch: Option<u32>,
    pub(super) arch: String,
    /// The licence of its metadata; may be empty.
    pub(super) licence: String,
    pub(super) homepage: String,
}

/// Directories of databases.
pub(super) const DIRECTORIES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// File names of databases.
pub(super) const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// The packages of a database.
///
/// # Errors
/// A description of the defect.
pub(super) fn packages(database: &[u8]) -> Result<Vec<Package>, &'static str> {
    let blobs = if database.starts_with(sqlite::MAGIC) {
        sqlite::rows(database, "Packages")
    } else if database.starts_with(ndb::MAGIC) {
        ndb::blobs(database)
    } else {
        bdb::values(database)
    };
    let blobs = blobs?;
    let packages = blobs.iter().map(|blob| package(blob).ok_or("a header that is cut off"));
    // Imported keys are stored as packages, too.
    Ok(packages
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|it| it.name != "gpg-pubkey")
        .collect())
}

/// Tags of a header.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const URL: u32 = 1020;
const ARCH: u32 = 1022;
/// Size of an index entry: tag, type, offset, count.
const ENTRY: usize = 16;

/// Reads a header: the number of its index's entries, the length of its data, the index, the data.
fn package(blob: &[u8]) -> Option<Package> {
    let (entries, length) = (big(blob, 0)?, big(blob, 4)?);
    let (index, rest) = blob.get(8..)?.split_at_checked((entries as usize).checked_mul(ENTRY)?)?;
    let data = rest.get(..length as usize)?;
    let find = |tag| {
        let entry = index.chunks_exact(ENTRY).find(|entry| big(entry, 0) == Some(tag))?;
        data.get(big(entry, 8)? as usize..)
    };
    let text = |tag| {
        let bytes = find(tag)?.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    Some(Package {
        name: text(NAME)?,
        version: format!("{}-{}", text(VERSION)?, text(RELEASE)?),
        epoch: find(EPOCH).and_then(|data| big(data, 0)),
        arch: text(ARCH).unwrap_or_default(),
        licence: text(LICENCE).unwrap_or_default(),
        homepage: text(URL).unwrap_or_default(),
    })
}

/// The big-endian number at `at`.
fn big(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The little-endian number at `at`.
fn little(bytes: &[u8], at: usize) -> Option<u32> {
    big(bytes, at).map(u32::swap_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of these tags: texts.
    pub(super) fn header(tags: &[(u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, value) in tags {
            let kind: u32 = if *tag == EPOCH { 4 } else { 6 };
            let at = u32::try_from(data.len()).unwrap();
            for number in [*tag, kind, at, 1] {
                index.extend(number.to_be_bytes());
            }
            data.extend(*value);
        }
        let number = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
        [&number(tags.len())[..], &number(data.len()), &index, &data].concat()
    }

    fn bash() -> Vec<u8> {
        header(&[
            (NAME, b"bash\0"),
            (VERSION, b"5.2\0"),
            (RELEASE, b"1.fc40\0"),
            (EPOCH, &7_u32.to_be_bytes()),
            (LICENCE, b"GPL-3.0-or-later\0"),
            (URL, b"https://example.org\0"),
            (ARCH, b"x86_64\0"),
            (1005, &b"d".repeat(9000)),
        ])
    }

    #[test]
    fn a_header_names_its_package() {
        let found = package(&bash()).unwrap();
        let want = Package {
            name: "bash".into(),
            version: "5.2-1.fc40".into(),
            epoch: Some(7),
            arch: "x86_64".into(),
            licence: "GPL-3.0-or-later".into(),
            homepage: "https://example.org".into(),
        };
        assert_eq!(found, want);
        let whole = bash();
        for length in 0..whole.len() {
            assert_eq!(package(&whole[..length]), None, "{length}");
        }
        assert_eq!(package(&[0xff; 40]), None);
    }

    #[test]
    fn other_files_than_databases_are_reported() {
        for (bytes, want) in [
            (&b""[..], "not a database of a kind that is known"),
            (b"SQLite format 3\0", "a page that is cut off"),
            (b"RpmP", "a page that is cut off"),
            (&[0; 600], "not a database of a kind that is known"),
        ] {
            assert_eq!(packages(bytes), Err(want), "{bytes:?}");
        }
    }
}
