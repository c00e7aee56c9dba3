//! Other programs read our archives: the same names, modes, links and bytes.

use crate::skip::skip;
use joblet_publish::{
    pack,
    tree::{Node, Tree},
};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    num::NonZero,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

const JOBS: NonZero<usize> = NonZero::new(2).unwrap();

/// Mode of a path, with the target of a link or the content of a file.
type Listing = BTreeMap<String, (u32, Vec<u8>)>;

fn file(executable: bool, text: &str) -> Node {
    Node::File { executable, content: text.as_bytes().to_vec().into() }
}

/// Names at every limit of the format.
fn tree() -> Tree {
    let mut tree = Tree::default();
    let mut put = |path: &str, node: Node| tree.insert(path, node).unwrap();
    put("tmp", Node::Dir);
    put("empty/dir", Node::Dir);
    put("bin", Node::Link("usr/bin".into()));
    put("usr/bin/x", file(true, "#!/bin/sh\n"));
    put("usr/share/Főtanúsítvány with blanks & \"quotes\".crt", file(false, "x"));
    for length in [1, 511, 512, 513, 200_000, 3_000_000] {
        put(&format!("sizes/{length}"), file(false, &"s".repeat(length)));
    }
    for length in [70, 76, 77, 78, 79, 80, 81, 99, 100, 101, 155, 200, 255] {
        let name = "n".repeat(length);
        put(&format!("names/{name}"), file(false, "n"));
        put(&format!("dirs/{name}"), Node::Dir);
        put(&format!("links/{name}"), Node::Link(name.clone()));
        put(&format!("deep/{name}/{name}/{name}/x"), file(false, "d"));
        put(&format!("deep/{name}/link"), Node::Link(format!("{name}/{name}")));
    }
    put("links/é", Node::Link("é".repeat(100)));
    // SEC-A12: two files each, as on Linux.
    for name in ["case/A", "case/a", "case/e\u{301}", "case/\u{e9}", "Case/a"] {
        put(name, file(false, name));
    }
    tree
}

fn expected(tree: &Tree, runtime_yml: &str) -> Listing {
    let mut listing = Listing::new();
    listing.insert("d-1.0.0".into(), (0o755, Vec::new()));
    listing.insert("d-1.0.0/isolated".into(), (0o755, Vec::new()));
    listing.insert("d-1.0.0/runtime.yml".into(), (0o644, runtime_yml.into()));
    for (path, node) in tree.iter() {
        let entry = match node {
            Node::Dir => (if path == "tmp" { 0o1777 } else { 0o755 }, Vec::new()),
            Node::File { executable, content } => {
                (if *executable { 0o755 } else { 0o644 }, content.whole(u64::MAX).unwrap())
            }
            Node::Link(target) => (0o777, target.clone().into_bytes()),
        };
        listing.insert(format!("d-1.0.0/isolated/{path}"), entry);
    }
    listing
}

fn unpacked(root: &Path) -> Listing {
    let entry = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let bytes = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        (path, (mode, bytes))
    };
    let entries = walkdir::WalkDir::new(root).min_depth(1);
    entries.into_iter().map(|found| entry(found.unwrap())).collect()
}

fn tar(dir: &Path, words: &[&str]) -> Output {
    let output = Command::new("tar").args(words).env("LC_ALL", "C").current_dir(dir).output();
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    output
}

#[test]
fn gnu_tar_unpacks_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d-1.0.0-amd64.tar.gz");
    let (tree, yml) = (tree(), "name: d\nmounts: []\n");
    let packed = pack::pack(&tree, yml, "d-1.0.0", &target, pack::MAX_PART, JOBS).unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    tar(dir.path(), &["--same-permissions", "-C", "root", "-xzf", "d-1.0.0-amd64.tar.gz"]);
    let (want, have) = (expected(&tree, yml), unpacked(&root));
    assert_eq!(packed.entries, want.len() as u64);
    for (path, entry) in &want {
        assert!(have.get(path) == Some(entry), "{path}: {:?}", have.get(path).map(|it| it.0));
    }
    assert_eq!(have.len(), want.len());
    let bytes: usize = unpacked(&root)
        .iter()
        .filter(|(path, _)| root.join(path).symlink_metadata().unwrap().is_file())
        .map(|(_, entry)| entry.1.len())
        .sum();
    assert_eq!(packed.unpacked_size, bytes as u64);
}

#[test]
fn gnu_tar_lists_constant_owner_and_time_in_walking_order() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    pack::pack(&tree(), "name: d\n", "d-1.0.0", &target, pack::MAX_PART, JOBS).unwrap();
    let words = ["--utc", "--full-time", "--numeric-owner", "--quoting-style=literal"];
    let output = tar(dir.path(), &[&words[..], &["-tvzf", "d.tar.gz"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names = Vec::new();
    for line in text.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" 1980-01-01 00:00:00 "), "{line}");
        let name = line.split(" 1980-01-01 00:00:00 ").nth(1).unwrap();
        names.push(name.split(" -> ").next().unwrap().trim_end_matches('/').to_owned());
    }
    assert!(names.is_sorted_by_key(|name| name.split('/').collect::<Vec<_>>()), "{names:?}");
    let first: Vec<_> = text.lines().take(2).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(first, ["d-1.0.0/", "d-1.0.0/isolated/"]);
}

#[test]
fn the_archive_is_one_ustar_with_pax_only_where_a_name_needs_it() {
    let mut small = Tree::default();
    small.insert("usr/bin/x", file(true, "x")).unwrap();
    for (tree, pax) in [(small, false), (tree(), true)] {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("d.tar.gz");
        pack::pack(&tree, "", "d-1.0.0", &target, pack::MAX_PART, JOBS).unwrap();
        let archive = fs::File::open(&target).unwrap();
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(archive).read_to_end(&mut bytes).unwrap();
        let headers = bytes.chunks(512).filter(|block| block[257..265] == *b"ustar\x0000");
        let kinds: Vec<u8> = headers.map(|block| block[156]).collect();
        assert_eq!(kinds.contains(&b'x'), pax);
        assert!(kinds.iter().all(|kind| b"025x".contains(kind)));
        assert_eq!(bytes[bytes.len() - 1024..], [0; 1024]);
    }
}

/// Every reader lists the same entries; a missing one is reported as a skip.
#[test]
fn every_reader_finds_the_same_entries() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let (mut tree, yml) = (tree(), "name: d\n");
    // busybox prints other characters for what the terminal cannot show.
    tree.remove("usr/share/Főtanúsítvány with blanks & \"quotes\".crt");
    tree.remove("links/é");
    pack::pack(&tree, yml, "d-1.0.0", &target, pack::MAX_PART, JOBS).unwrap();
    let want: Vec<String> = expected(&tree, yml).into_keys().collect();
    let python = "import sys, tarfile\nfor e in tarfile.open('d.tar.gz'): print(e.name)";
    for words in [
        &["tar", "-tzf", "d.tar.gz"][..],
        &["python3", "-c", python],
        &["bsdtar", "-tzf", "d.tar.gz"],
        &["busybox", "tar", "-tzf", "d.tar.gz"],
    ] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(dir.path());
        command.env("LC_ALL", "C.UTF-8"); // else some write octal numbers for letters
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => {
                skip(&format!("{} does not start: {error}", words[0]));
                continue;
            }
        };
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut names: Vec<_> =
            text.lines().map(|it| it.trim_end_matches('/').to_owned()).collect();
        names.sort();
        assert_eq!(names, want, "{words:?}");
    }
}
