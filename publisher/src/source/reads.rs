//! `runtimes-src/NAME/reads.txt`: the files that the manifest's checks read, in that order.
//!
//! ```text
//! # comment
//! 0-64 usr/bin/python3.11
//! 0-64,1024-1152 usr/lib/{multiarch}/libcrypto.so.3
//! ```
//!
//! Each line has ranges of a file, in KiB, and its path. `joblet-publish check --record-reads` writes it; builds use
//! it for the order in which `run --lazy` fetches. Lines for files that a version lacks, or has in another length, are
//! ignored: it need not be recorded for every version.

use super::{Source, multiarch};
use crate::{error::Error, fs::paths};
use joblet_format::Arch;
use std::{collections::BTreeMap, fmt::Write as _, ops::Range, path::Path};

/// Name of the file.
pub(crate) const READS: &str = "reads.txt";
/// Unit of ranges, in bytes.
const KIB: u64 = 1 << 10;
/// Alignment of ranges, in KiB.
const STEP: u64 = 64;
/// Ranges with at most this distance are merged, in KiB: a piece of a file is larger.
const NEAR: u64 = 128;
/// Maximum length of the file, in bytes.
const MAX: usize = 4 << 20;
/// Placeholder of the architecture in paths.
const MULTIARCH: &str = "{multiarch}";

/// A file and its ranges, in bytes, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Path below the root.
    pub path: String,
    /// In bytes.
    pub ranges: Vec<Range<u64>>,
}

/// Reads the file of `source` below `sources`, for `arch`; empty if there is none.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] for an invalid line.
pub fn read(sources: &Path, source: &Source, arch: Arch) -> Result<Vec<Read>, Error> {
    let path = sources.join(source.name.as_str()).join(READS);
    let Some(bytes) = paths::read_below(sources, &path)? else { return Ok(Vec::new()) };
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX);
    let text = text.ok_or_else(|| Error::config(&path, "is not text, or longer than 4 MiB"))?;
    parse(text, arch).map_err(|reason| Error::config(&path, reason))
}

/// Parses the text of such a file.
///
/// # Errors
/// An invalid line.
fn parse(text: &str, arch: Arch) -> Result<Vec<Read>, String> {
    let lines =
        text.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, number)| {
            let refuse = || format!("line {number}: is not `FIRST-LAST[,…] PATH`, in KiB");
            let (ranges, path) = line.split_once(' ').ok_or_else(refuse)?;
            let range = |text: &str| {
                let (first, last) = text.split_once('-')?;
                let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
                (first < last).then_some(u64::from(first) * KIB..u64::from(last) * KIB)
            };
            let ranges: Option<Vec<_>> = ranges.split(',').map(range).collect();
            let path = path.replace(MULTIARCH, multiarch(arch));
            Ok(Read { path, ranges: ranges.ok_or_else(refuse)? })
        })
        .collect()
}

/// The text of the file for reads that were recorded on `arch`: lines `OFFSET LENGTH PATH`, in bytes and below the
/// archive's directory.
pub(crate) fn render(recorded: &str, arch: Arch) -> String {
    let (mut order, mut steps) = (Vec::new(), BTreeMap::<&str, Vec<Range<u64>>>::new());
    for line in recorded.lines() {
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(offset), Some(length)) = (number(), number()) else { continue };
        let path = words.next().and_then(|path| path.strip_prefix("isolated/"));
        let Some(path) = path.filter(|_| length > 0) else { continue };
        let ranges = steps.entry(path).or_insert_with(|| {
            order.push(path);
            Vec::new()
        });
        let end = (offset + length).div_ceil(KIB).next_multiple_of(STEP);
        ranges.push(offset / KIB / STEP * STEP..end);
    }
    let mut text =
        "# What the checks read, in this order; joblet-publish check --record-reads wrote it.\n"
            .to_owned();
    for path in order {
        let ranges = joined(steps.remove(path).unwrap_or_default());
        let ranges: Vec<_> =
            ranges.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
        let path = path.replace(multiarch(arch), MULTIARCH);
        _ = writeln!(text, "{} {path}", ranges.join(",")); // a String never fails
    }
    text
}

/// Sorts ranges and merges near ones.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end + NEAR => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_reads_apply_to_every_architecture() {
        let recorded = "0 65536 isolated/usr/lib/x86_64-linux-gnu/b.so\n0 0 isolated/none\n0 12 runtime.yml\n\
                        4096 100 isolated/a file\nbroken\n1048576 131072 isolated/usr/lib/x86_64-linux-gnu/b.so\n\
                        131072 1 isolated/usr/lib/x86_64-linux-gnu/b.so\n";
        let text = render(recorded, Arch::Amd64);
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["0-192,1024-1152 usr/lib/{multiarch}/b.so", "0-64 a file"]);
        let read = parse(&text, Arch::Arm64).unwrap();
        assert_eq!(read[0].path, "usr/lib/aarch64-linux-gnu/b.so");
        assert_eq!(read[0].ranges, [0..192 << 10, 1 << 20..1152 << 10]);
        assert_eq!((read.len(), read[1].path.as_str()), (2, "a file"));
    }

    #[test]
    fn invalid_lines_are_refused() {
        for text in ["x", "0-64", "64-0 a", "0-64,x a", "-1-2 a", "0-99999999999 a"] {
            let error = parse(&format!("# fine\n0-64 b\n{text}\n"), Arch::Amd64).unwrap_err();
            assert_eq!(error, "line 3: is not `FIRST-LAST[,…] PATH`, in KiB", "{text}");
        }
    }
}
