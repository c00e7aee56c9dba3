//! The records of a pax header.

/// The pax records that affect an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// `path`
    pub path: Option<Vec<u8>>,
    /// `linkpath`
    pub link: Option<Vec<u8>>,
    /// `size`, in bytes.
    pub size: Option<u64>,
}

/// Ignored keywords: times, owners, comments, extended attributes.
///
/// They are not restored: an installed runtime has no owners, attributes or labels of its own.
const IGNORED: [&str; 7] = ["mtime", "atime", "ctime", "uid", "gid", "uname", "gname"];
const IGNORED_VENDORS: [&str; 4] = ["SCHILY.xattr.", "SCHILY.acl.", "LIBARCHIVE.", "RHT.security."];
/// SCHILY's keywords for metadata of the archived file system.
const IGNORED_SCHILY: [&str; 6] = ["dev", "ino", "nlink", "fflags", "devmajor", "devminor"];

/// Parses `LENGTH KEYWORD=VALUE\n` …
///
/// # Errors
/// The violated rule, for a message.
pub(super) fn records(mut body: &[u8]) -> Result<Records, String> {
    let mut records = Records::default();
    while !body.is_empty() {
        let (keyword, value, rest) = record(body).ok_or("a record whose length is wrong")?;
        body = rest;
        match keyword {
            "path" => set(&mut records.path, string(keyword, value)?, keyword)?,
            "linkpath" => set(&mut records.link, string(keyword, value)?, keyword)?,
            "size" => set(&mut records.size, number(value)?, keyword)?,
            "comment" => {}
            _ if keyword.starts_with("GNU.sparse.") || keyword == "SCHILY.realsize" => {
                return Err("a sparse file".to_owned());
            }
            _ if IGNORED.contains(&keyword)
                || IGNORED_VENDORS.iter().any(|vendor| keyword.starts_with(vendor))
                || keyword
                    .strip_prefix("SCHILY.")
                    .is_some_and(|name| IGNORED_SCHILY.contains(&name)) => {}
            _ => return Err(format!("unknown keyword {keyword:?}")),
        }
    }
    Ok(records)
}

/// The first record of `body`: keyword, value, what follows.
fn record(body: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let blank = body.iter().position(|&byte| byte == b' ')?;
    let digits = std::str::from_utf8(&body[..blank]).ok()?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: usize = digits.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let keyword = std::str::from_utf8(&record[..equals]).ok()?;
    Some((keyword, &record[equals + 1..], rest))
}

fn string(keyword: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    if value.is_empty() || value.contains(&0) {
        return Err(format!("{keyword} is empty or contains a NUL byte"));
    }
    Ok(value.to_owned())
}

fn number(value: &[u8]) -> Result<u64, String> {
    let digits = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| "size is not a number".to_owned())
}

fn set<T>(slot: &mut Option<T>, value: T, keyword: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{keyword} is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_count() {
        let body = b"15 path=ab/c d\n21 linkpath=../x=y/z\n12 size=123\n13 comment=x\n";
        let want = Records {
            path: Some(b"ab/c d".to_vec()),
            link: Some(b"../x=y/z".to_vec()),
            size: Some(123),
        };
        assert_eq!(records(body), Ok(want));
        assert_eq!(records(b""), Ok(Records::default()));
        assert_eq!(records(b"27 SCHILY.xattr.user.x=a\0b\n"), Ok(Records::default()));
    }

    #[test]
    fn records_that_are_refused() {
        for (body, rule) in [
            (&b"123"[..], "length is wrong"),
            (b"99 path=a\n", "length is wrong"),
            (b"09 path=a\n", "length is wrong"),
            (b"9 path=ab\n", "length is wrong"),
            (b"8 patha\n", "length is wrong"),
            (b"2 ", "length is wrong"),
            (b"8 path=\n", "path is empty"),
            (b"12 path=a\0b\n", "contains a NUL"),
            (b"9 path=a\n9 path=b\n", "path is given twice"),
            (b"12 size=+12\n", "size is not a number"),
            (b"11 size=-1\n", "size is not a number"),
            (b"22 GNU.sparse.major=1\n", "a sparse file"),
            (b"18 hdrcharset=BIN\n", "unknown keyword \"hdrcharset\""),
        ] {
            let error = records(body).unwrap_err();
            assert!(error.contains(rule), "{}: {error}", body.escape_ascii());
        }
    }
}
