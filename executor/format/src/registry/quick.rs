//! A fast parser for documents in the form in which programs write them: one pass, no allocations.
//!
//! Hosts that need one runtime read documents of thousands. A document that this parser accepts gives the
//! same result with serde; anything unusual is left to serde.

use super::contents::Contents;
use super::document::readable;
use crate::{Arch, Checksum, RuntimeName, Version};

/// Deepest nesting of unknown members.
const MAX_DEPTH: usize = 8;

impl<'d> Contents<'d> {
    /// Parses a document in which no entry breaks a rule, names and versions ascend, and only descriptions
    /// and the like contain escapes. `None` for any other document, valid or not.
    pub fn quick(document: &'d [u8]) -> Option<Self> {
        let mut scan = Scan { text: std::str::from_utf8(document).ok()?, at: 0 };
        let (mut updated_at, mut runtimes, mut extended) = ("", Vec::new(), Vec::new());
        let mut seen = Seen(0);
        scan.object(|scan, key| {
            seen.once(match key {
                "version" => readable(scan.string()?).ok().map(|()| 1)?,
                "runtimes" => scan.runtimes(&mut runtimes).map(|()| 2)?,
                "updated_at" => {
                    updated_at = scan.string()?;
                    4
                }
                "extended" => scan.runtimes(&mut extended).map(|()| 8)?,
                _ => scan.skip_value(0).map(|()| 0)?,
            })
        })?;
        let whole = seen.all(1 | 2) && scan.token().is_none();
        runtimes.append(&mut extended);
        let refused = Vec::new();
        whole.then(|| Self { updated_at: updated_at.to_owned(), names: runtimes, refused })
    }
}

/// The members of an object seen so far, one bit per known member.
struct Seen(u8);

impl Seen {
    /// Records a member; `None` if it is there twice.
    fn once(&mut self, bit: u8) -> Option<()> {
        let twice = self.0 & bit != 0;
        self.0 |= bit;
        (!twice).then_some(())
    }

    fn all(&self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

// Members of the objects for archives, parts and indexes.
const CHECKSUM: u8 = 1;
const SIZE: u8 = 2;
const ADDRESS: u8 = 4;

/// A position in a document.
struct Scan<'d> {
    text: &'d str,
    at: usize,
}

impl<'d> Scan<'d> {
    /// Versions by name.
    fn runtimes(&mut self, names: &mut Vec<&'d str>) -> Option<()> {
        let mut before = "";
        self.object(|scan, name| {
            name.parse::<RuntimeName>().ok()?;
            if before >= name {
                return None;
            }
            before = name;
            let mut last = None;
            scan.object(|scan, version| {
                let number = version.parse::<Version>().ok()?;
                let before = last.replace(number);
                if before >= last {
                    return None;
                }
                scan.release(version)
            })?;
            // A runtime without versions is not listed.
            names.extend(last.map(|_| name));
            Some(())
        })
    }

    fn release(&mut self, version: &str) -> Option<()> {
        let mut seen = Seen(0);
        self.object(|scan, key| {
            seen.once(match key {
                "checksum" => scan.checksum()?,
                "size" => scan.number().map(|_| SIZE)?,
                "download_url" => scan.string().map(|_| ADDRESS)?,
                "version" => (scan.string()? == version).then_some(8)?,
                "description" => scan.string_with(true).map(|_| 16)?,
                "platforms" => scan.array(|scan| scan.string().map(drop)).map(|()| 32)?,
                "artifacts" => scan.artifacts().map(|()| 64)?,
                "yanked" => scan.or_null(|scan| scan.string_with(true)).map(|()| 128)?,
                _ => scan.skip_value(0).map(|()| 0)?,
            })
        })?;
        seen.all(CHECKSUM | SIZE | ADDRESS | 8).then_some(())
    }

    fn artifacts(&mut self) -> Option<()> {
        let mut seen = Seen(0);
        self.object(|scan, key| {
            let arch: Arch = key.parse().ok()?;
            seen.once(1 << arch as u8)?;
            scan.file_object(CHECKSUM | SIZE | ADDRESS).map(drop)
        })
    }

    /// Parses an archive, part or index: an object with at least the members `needed`. Returns its size.
    fn file_object(&mut self, needed: u8) -> Option<u64> {
        let (mut seen, mut size, mut parts) = (Seen(0), 0, 0_u64);
        self.object(|scan, key| {
            seen.once(match key {
                "checksum" => scan.checksum()?,
                "size" => {
                    size = scan.number()?;
                    SIZE
                }
                "download_url" => scan.string().map(|_| ADDRESS)?,
                "unpacked_size" => scan.or_null(Self::number).map(|()| 8)?,
                "entries" => scan.or_null(Self::number).map(|()| 16)?,
                "index" => scan.or_null(|scan| scan.file_object(CHECKSUM | SIZE)).map(|()| 32)?,
                "parts" => {
                    scan.array(|scan| {
                        let part = scan.file_object(CHECKSUM | SIZE | ADDRESS)?;
                        parts = parts.checked_add(part)?;
                        (part > 0).then_some(())
                    })?;
                    64
                }
                _ => scan.skip_value(0).map(|()| 0)?,
            })
        })?;
        (seen.all(needed) && (parts == 0 || parts == size)).then_some(size)
    }

    fn checksum(&mut self) -> Option<u8> {
        self.string()?.parse::<Checksum>().ok().map(|_| CHECKSUM)
    }

    /// Skips any value, at nesting `depth` of unknown members.
    fn skip_value(&mut self, depth: usize) -> Option<()> {
        match self.token()? {
            _ if depth > MAX_DEPTH => None,
            b'{' => self.object(|scan, _| scan.skip_value(depth + 1)),
            b'[' => self.array(|scan| scan.skip_value(depth + 1)),
            b'"' => self.string_with(true).map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    fn or_null<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<()> {
        match self.token()? {
            b'n' => self.word("null"),
            _ => value(self).map(drop),
        }
    }

    fn object(&mut self, mut member: impl FnMut(&mut Self, &'d str) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |scan| {
            let key = scan.string()?;
            scan.byte(b':')?;
            member(scan, key)
        })
    }

    fn array(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', item)
    }

    fn list(
        &mut self,
        begin: u8,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.byte(begin)?;
        if self.token()? == end {
            return self.byte(end);
        }
        loop {
            item(self)?;
            match self.token()? {
                b',' => self.at += 1,
                _ => return self.byte(end),
            }
        }
    }

    /// The next byte that is not white space.
    fn token(&mut self) -> Option<u8> {
        let mut rest = self.text.as_bytes().get(self.at..)?;
        // Most white space in a document is indentation.
        while let [b' ', b' ', b' ', b' ', more @ ..] | [b' ' | b'\n' | b'\r' | b'\t', more @ ..] =
            rest
        {
            rest = more;
        }
        self.at = self.text.len() - rest.len();
        rest.first().copied()
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.token()? == wanted).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// Parses a whole number; a fraction after it makes the caller fail.
    fn number(&mut self) -> Option<u64> {
        let first = self.token()?;
        let (start, mut number) = (self.at, 0_u64);
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        let digits = self.at - start;
        (digits == 1 || digits > 1 && first != b'0').then_some(number)
    }

    fn string(&mut self) -> Option<&'d str> {
        self.string_with(false)
    }

    /// Parses a string, borrowed; simple escapes, but not `\u`, only if `allowed`.
    fn string_with(&mut self, allowed: bool) -> Option<&'d str> {
        self.byte(b'"')?;
        let (start, bytes) = (self.at, self.text.as_bytes());
        loop {
            let (skip, byte) = special(bytes.get(self.at..)?)?;
            self.at += skip;
            match byte {
                b'"' => break,
                b'\\' if allowed && br#""\/bfnrt"#.contains(bytes.get(self.at + 1)?) => {
                    self.at += 2;
                }
                _ => return None,
            }
        }
        self.at += 1;
        Some(&self.text[start..self.at - 1])
    }
}

/// Offset and value of the first byte that is `"`, `\` or a control character.
fn special(text: &[u8]) -> Option<(usize, u8)> {
    const ONES: u64 = u64::MAX / 255;
    // Sets the highest bit of each byte less than `limit`; exact for the lowest such byte.
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & (ONES * 0x80);
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let found = less(word, 0x20)
            | less(word ^ (ONES * u64::from(b'"')), 1)
            | less(word ^ (ONES * u64::from(b'\\')), 1);
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            break;
        }
        at += 8;
    }
    loop {
        match *text.get(at)? {
            byte @ (0..0x20 | b'"' | b'\\') => return Some((at, byte)),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runtimes as this program writes them, with everything that there can be.
    fn document() -> String {
        let zeros = "0".repeat(64);
        let file = format!(r#""download_url": "a/b", "checksum": "sha256:{zeros}", "size": 7"#);
        let more = format!(
            r#", "unpacked_size": null, "entries": 10, "index": {{"size": 2, "checksum": "sha256:{zeros}"}}"#
        );
        let release = |version: &str, more: &str| {
            format!(
                r#""{version}": {{ "version": "{version}", {file}, "description": "ö \"x\" \n",
                "platforms": ["ubuntu-amd64", "new-riscv"]{more} }}"#
            )
        };
        let parts = format!(r#", "parts": [ {{ {file} }} ] "#);
        let artifacts = |more: &str| {
            format!(r#", "artifacts": {{ "amd64": {{{file}{more}}}, "arm64": {{{file}}} }}"#)
        };
        let yanked = r#", "yanked": "broken", "new": [0, {"a": true}, []]"#;
        let one = [release("1.9.0", yanked), release("1.10.0", &artifacts(&more))].join(",\n");
        let two = release("2.0.0-rc.1", &artifacts(&parts));
        format!(
            "{{\"version\": \"1\", \"updated_at\": \"t\",\n                \"runtimes\": {{ \"a\": \
             {{{one}}}, \"b\": {{ }}, \"c-1\": {{{two}}} }}, \"extended\": {{ \"a\": {{{two}}} }} }}\n"
        )
    }

    #[test]
    fn what_programs_write_is_read_quickly() {
        let document = document();
        let quick = Contents::quick(document.as_bytes()).unwrap();
        assert_eq!(quick, serde_json::from_str(&document).unwrap());
        assert_eq!(quick.names, ["a", "c-1", "a"]);
        // With lines and without, and by another program.
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        assert!(Contents::quick(pretty.as_bytes()).is_none(), "1.10.0 comes before 1.9.0 there");
        let pretty = pretty.replace("1.9.0", "1.11.0");
        assert!(Contents::quick(pretty.as_bytes()).is_some());
        assert!(Contents::quick(value.to_string().replace("1.9.0", "1.11.0").as_bytes()).is_some());
    }

    /// SEC-C10: no shorter way round a rule.
    #[test]
    fn what_is_read_quickly_is_what_serde_reads() {
        let document = document().into_bytes();
        let mut quick = 0;
        let mut check = |changed: &[u8]| {
            if let Some(found) = Contents::quick(changed) {
                let text = String::from_utf8_lossy(changed);
                let slow = serde_json::from_slice(changed);
                assert_eq!(slow.map_err(|error| error.to_string()), Ok(found), "{text}");
                quick += 1;
            }
        };
        for at in 0..document.len() {
            for byte in *b"\"\\{}[],:0 1ea.-n\n\x1f\xc3" {
                let mut changed = document.clone();
                changed[at] = byte;
                check(&changed);
                changed.insert(at, document[at]);
                check(&changed);
            }
            check(&document[..at]);
            check(&[&document[..at], &document[at + 1..]].concat());
        }
        // Members twice, and members that are missing.
        let text = String::from_utf8(document).unwrap();
        let members = text.match_indices('"').step_by(2).map(|(at, _)| at);
        for at in members {
            for end in text[at..].match_indices([',', '}']).take(9).map(|(end, _)| at + end) {
                let member = &text[at..end];
                check(text.replacen(member, &format!("{member}, {member}"), 1).as_bytes());
                check(text.replacen(&format!("{member},"), "", 1).as_bytes());
            }
        }
        assert!(quick > text.len(), "{quick} of {}", text.len());
    }
}
