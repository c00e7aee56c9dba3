//! The order in which a served runtime is fetched.

use super::host::Host;
use super::world::{Cold, Encoding, describe_index};
use crate::common::members::{directory, file, noise};
use flate2::read::GzDecoder;
use joblet_format::index::{Index, reads};
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Length of each of two files, in bytes. Neither compresses.
const LENGTH: usize = 3 << 20;

/// A world with two large files that no job of these tests reads, and `runs` of members in its index, chosen by the
/// members of the second of them.
fn world(runs: impl FnOnce(Range<usize>) -> Vec<Range<usize>>) -> Option<(Cold, Host)> {
    let more = vec![
        directory("isolated/usr/zz"),
        file("isolated/usr/zz/a", &noise(LENGTH)),
        file("isolated/usr/zz/b", &noise(LENGTH + 1)),
    ];
    let mut cold = Cold::with(None, Encoding::Members, more)?;
    let path = cold.path("registry/demo-1.0.0.tar.gz.index");
    let (packed, mut plain) = (fs::read(&path).unwrap(), Vec::new());
    GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
    let index = Index::parse(&plain).unwrap();
    let at = index.entries().iter().position(|entry| entry.path.ends_with("zz/b")).unwrap();
    let start = index.places().nth(at).unwrap().body;
    let mut ends = index.members().iter().scan(0, |end, member| {
        *end += u64::from(member.unpacked);
        Some(*end)
    });
    let first = ends.position(|end| end > start).unwrap();
    let count = ends.take_while(|end| *end < start + LENGTH as u64).count();
    let bytes = reads::with(&packed, &runs(first..first + count));
    fs::write(&path, &bytes).unwrap();
    let described = describe_index(&bytes);
    cold.index_is(&described);
    let host = Host::new(cold.path("registry"));
    cold.registry = Some(format!("{}/registry.json", host.address));
    Some((cold, host))
}

/// Approximate positions of the files in the archive, without the lengths of headers.
fn places(cold: &Cold) -> [u64; 2] {
    let length = fs::metadata(cold.path("registry/demo-1.0.0.tar.gz")).unwrap().len();
    let end = length - (LENGTH as u64 / 2);
    [end - LENGTH as u64, end]
}

/// The one of the two that is requested first.
fn first(cold: &Cold, host: &Host) -> usize {
    // It lasts longer than the installation: after its end, two threads fetch what is left, in no order.
    let output = cold.run(&["--lazy"], "sleep 2; echo done");
    assert_eq!((output.status, output.stdout.as_str()), (Some(0), "done\n"), "{}", output.stderr);
    assert_eq!(cold.exec(&["verify"]).status, Some(0));
    let asked = host.rules.asked.lock().unwrap();
    let when = |place: u64| asked.iter().position(|range| range.contains(&place)).unwrap();
    let [a, b] = places(cold).map(when);
    usize::from(b < a)
}

/// SEC-F08: files that are read first are fetched first; an invalid order changes nothing else.
#[test]
fn files_listed_as_read_first_are_fetched_first() {
    let Some((cold, host)) = world(|_| Vec::new()) else { return };
    assert_eq!(first(&cold, &host), 0, "without a word of it");
    let Some((cold, host)) = world(|b| vec![b]) else { return };
    assert_eq!(first(&cold, &host), 1);
    let sent = host.rules.sent.load(Ordering::SeqCst);
    let archive = fs::metadata(cold.path("registry/demo-1.0.0.tar.gz")).unwrap().len();
    assert_eq!(sent, archive, "nothing is fetched twice");
    let nonsense =
        |b: Range<usize>| vec![b.start..b.end + 1, 0..usize::MAX >> 40, b.clone(), 3..3, b];
    let Some((cold, host)) = world(nonsense) else { return };
    first(&cold, &host);
    assert_eq!(host.rules.sent.load(Ordering::SeqCst), archive);
}

/// The files that a job reads are recorded, in order, and no others.
#[test]
fn what_a_job_reads_is_recorded() {
    let Some(cold) = Cold::new(None, Encoding::Members) else { return };
    let mut command = cold.command(&["--lazy"], &["bash", "-c", "cat /usr/share/small"]);
    let output = command.env("JOBLET_EXEC_READS", cold.path("reads")).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"small\n".as_slice()));
    let reads = fs::read_to_string(cold.path("reads")).unwrap();
    let at = |what: &str| reads.lines().position(|line| line.ends_with(what));
    let order =
        [" isolated/usr/bin/bash", " isolated/usr/bin/cat", "0 6 isolated/usr/share/small"].map(at);
    assert!(order[0].is_some() && order.is_sorted(), "{reads}");
    assert_eq!(at("share/large"), None, "{reads}");
}
