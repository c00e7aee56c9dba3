//! Synthetic layers of images, with the resulting tree or the rule that refuses them: one table for
//! both programs, whose trees are on disk and in memory.

use super::tar::{ATTRIBUTES, Tar};

/// An image of these layers: each path with its content, its target or `/`, with `!` for absent
/// paths; or the rule that it breaks.
pub(crate) struct Case {
    /// Its id in CASES.md.
    pub id: &'static str,
    /// The lowest first.
    pub layers: Vec<Tar>,
    /// The result.
    pub want: Result<&'static str, &'static str>,
}

/// The lowest layer of most cases.
fn below() -> Tar {
    Tar::default()
        .file("d/one", "1")
        .file("d/two", "2")
        .file("d/sub/deep", "x")
        .symlink("lib", "usr/lib")
        .file("usr/lib/so", "so")
        .file("file", "old")
        .hard_link("linked", "file")
}

fn made(id: &'static str, above: Tar, want: &'static str) -> Case {
    Case { id, layers: vec![below(), above], want: Ok(want) }
}

/// As the only layer, and over others.
fn refused(id: &'static str, layer: Tar, rule: &'static str) -> [Case; 2] {
    let over = vec![below(), layer.clone()];
    [vec![layer], over].map(|layers| Case { id, layers, want: Err(rule) })
}

/// Layers that are merged as by overlayfs.
pub(crate) fn joined() -> Vec<Case> {
    let new = Tar::default;
    let many = (0..30).map(|number| new().file("n", &format!("{number}")).file("d/x", "x"));
    let mut cases = vec![
        // Files, links and directories that replace each other.
        made("SEC-G02", new().file("file", "new"), "file new, linked old"),
        made("SEC-G02", new().symlink("file", "d"), "file -> d, linked old"),
        made("SEC-G02", new().directory("file/").file("file/in", "i"), "file /, file/in i"),
        made("SEC-G02", new().file("d", "flat"), "d flat, !d/one"),
        made(
            "SEC-G02",
            new().directory("lib/").file("lib/own", "o"),
            "lib /, lib/own o, usr/lib/so so",
        ),
        made("SEC-G02", new().file("lib/own", "o"), "lib /, lib/own o, !usr/lib/own"),
        made("SEC-G02", new().directory("d/").file("d/three", "3"), "d/one 1, d/three 3"),
        // A replaced directory as umoci writes it: with whiteouts of its entries, before or after it.
        made(
            "SEC-G03",
            new().file("d", "flat").file("d/.wh.one", "").file("d/.wh.sub", ""),
            "d flat, file old",
        ),
        made("SEC-G03", new().file("d/.wh.one", "").symlink("d", "usr"), "d -> usr, usr/lib/so so"),
        made(
            "SEC-G03",
            new().symlink("d", "usr/lib").file("d/.wh.so", ""),
            "d -> usr/lib, usr/lib/so so",
        ),
        made(
            "SEC-G04",
            new().symlink("d", "usr/lib").file("d/.wh..wh..opq", ""),
            "d -> usr/lib, usr/lib/so so",
        ),
        // Whiteouts apply to lower layers, at any position.
        made("SEC-G03", new().file("d/.wh.one", ""), "!d/one, d/two 2, !d/.wh.one"),
        made("SEC-G03", new().file("d/.wh.sub", ""), "d/one 1, !d/sub"),
        made("SEC-G03", new().file(".wh.d", ""), "!d, file old"),
        made("SEC-G03", new().file("d/one", "n").file("d/.wh.one", ""), "d/one n"),
        made("SEC-G03", new().file("d/.wh.one", "").file("d/one", "n"), "d/one n"),
        made(
            "SEC-G03",
            new().file("d/sub/new", "n").file("d/.wh.sub", ""),
            "d/sub/new n, !d/sub/deep",
        ),
        made("SEC-G03", new().file("no/.wh.thing", "").file(".wh.nothing", ""), "file old, !no"),
        made(
            "SEC-G04",
            new().file("d/.wh..wh..opq", "").file("d/new", "n"),
            "d /, d/new n, !d/one, !d/sub",
        ),
        made(
            "SEC-G04",
            new().file("d/new", "n").file("d/.wh..wh..opq", ""),
            "d/new n, !d/one, !d/sub",
        ),
        // A hard link to a file of a lower layer.
        made("SEC-G05", new().hard_link("third", "linked"), "third old"),
        made(
            "SEC-G05",
            new().file("file", "new").hard_link("third", "linked"),
            "third old, file new",
        ),
        made(
            "SEC-G05",
            new().hard_link("third", "file").file(".wh.file", ""),
            "third old, !file, linked old",
        ),
        // A job has its own device nodes.
        made("SEC-G06", new().raw(b'3', b"dev/null", b"", 0o666, b""), "!dev/null"),
        made("SEC-G11", new(), "file old, lib -> usr/lib"),
        made("SEC-G11", new().directory("/").directory("./").file("./new", "n"), "file old, new n"),
        Case { id: "SEC-G11", layers: many.collect(), want: Ok("n 29, d/x x") },
        Case { id: "SEC-G11", layers: vec![new(), new()], want: Ok("!file") },
        made(
            "SEC-G03",
            new().file("a/b/five", "5").file("a/.wh.b", "").file(".wh.a", ""),
            "a/b/five 5",
        ),
    ];
    cases.push(Case {
        // Descriptors of removed directories are not used.
        id: "SEC-G05",
        layers: vec![
            new().file("a/b/one", "1").file("a/b/two", "2").hard_link("a/b/three", "a/b/one"),
            new().hard_link("a/b/four", "a/b/two").file(".wh.a", "").file("a/b/five", "5"),
            new().file("a/.wh.b", "").file("a/b/six", "6").hard_link("a/b/seven", "a/b/six"),
        ],
        want: Ok("a /, a/b /, a/b/seven 6, a/b/six 6, !a/b/one, !a/b/four, !a/b/five"),
    });
    let owned = new().pax(&ATTRIBUTES).file("x", "1");
    let odd = [("uid", "4294967294"), ("gid", "70000"), ("uname", "nobody"), ("mtime", "1.5")];
    let far = new().long(b'L', &[&b"n/".repeat(100)[..], b"name\0"].concat()).file("short", "long");
    cases.push(made("SEC-G11", owned.pax(&odd).file("y", "2"), "x 1, y 2"));
    let want = concat!(
        "n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/",
        "n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/n/name long"
    );
    cases.push(made("SEC-G11", far, want));
    cases
}

/// Refused layers.
pub(crate) fn hostile() -> Vec<Case> {
    let new = Tar::default;
    let (long, deep) = ("x".repeat(300), "x/".repeat(129));
    let link = "a parent that is a link or a file";
    let twice = "the same path twice";
    let mut cases: Vec<Case> = [
        refused("SEC-G01", new().file("../escaped", "x"), "a name that contains `..`"),
        refused("SEC-G01", new().file("d/../../escaped", "x"), "a name that contains `..`"),
        refused("SEC-G01", new().file("/escaped", "x"), "an absolute name"),
        refused("SEC-G01", new().pax(&[("path", "/escaped")]).file("x", ""), "an absolute name"),
        refused("SEC-G01", new().file("", "x"), "an empty name"),
        refused("SEC-G01", new().pax(&[("path", &long)]).file("x", ""), "more than 255 bytes"),
        refused(
            "SEC-G01",
            new().pax(&[("path", &(deep + "x"))]).file("x", ""),
            "more than 128 nested",
        ),
        refused("SEC-G02", new().symlink("l", "/").file("l/escaped", "x"), link),
        refused("SEC-G02", new().symlink("l", "..").file("l/escaped", "x"), link),
        refused("SEC-G02", new().symlink("l", "/").directory("l"), link),
        refused("SEC-G02", new().symlink("l", ".").symlink("l/m", "..").file("l/m/x", ""), link),
        refused("SEC-G02", new().file("p", "").file("p/x", "x"), link),
        refused("SEC-G03", new().file("q/.wh.", ""), "a whiteout of nothing"),
        refused("SEC-G03", new().file("q/.wh..", ""), "a whiteout of nothing"),
        refused("SEC-G03", new().file("q/.wh...", ""), "a whiteout of nothing"),
        refused("SEC-G03", new().file(".wh.q/f", ""), "a name below a whiteout"),
        refused("SEC-G03", new().file("q/.wh..wh.plnk", ""), "a name that only AUFS knows"),
        refused("SEC-G03", new().symlink("q/.wh.f", "x"), "a whiteout that is not a file"),
        refused("SEC-G03", new().directory("q/.wh.f"), "a whiteout that is not a file"),
        refused(
            "SEC-G03",
            new().raw(b'3', b"q/.wh.f", b"", 0, b""),
            "a whiteout that is not a file",
        ),
        refused("SEC-G05", new().hard_link("h", "../../etc/passwd"), "a name that contains `..`"),
        refused("SEC-G05", new().hard_link("h", "/etc/passwd"), "an absolute name"),
        refused("SEC-G05", new().symlink("l", "/etc").hard_link("h", "l/passwd"), "a "),
        refused("SEC-G05", new().directory("q").hard_link("h", "q"), "a hard link to no earlier"),
        refused(
            "SEC-G05",
            new().symlink("l", "f").hard_link("h", "l"),
            "a hard link to no earlier",
        ),
        refused("SEC-G05", new().hard_link("h", "h"), "a hard link to no earlier"),
        refused("SEC-G07", new().file("t", "1").file("t", "2"), twice),
        refused("SEC-G07", new().file("t", "1").symlink("t", "/"), twice),
        refused("SEC-G07", new().symlink("t", "a").symlink("t", "a"), twice),
        refused("SEC-G07", new().file("t/x", "1").file("t", "2"), twice),
        refused("SEC-G07", new().file("t", "1").hard_link("t", "t"), twice),
        refused("SEC-G07", new().file("t", "1").directory("t"), link),
        refused(
            "SEC-G06",
            new().raw(b'Z', b"z", b"", 0o644, b""),
            "is not a directory, file or link",
        ),
        refused("SEC-G06", new().raw(b'S', b"z", b"", 0o644, b""), "a sparse file"),
        refused(
            "SEC-G09",
            new().raw(b'0', b"z", b"", 0o644, b"").patch(512, 124, b"77777777777\0"),
            "more bytes than",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let over = |id, above, rule| Case { id, layers: vec![below(), above], want: Err(rule) };
    cases.extend([
        // Container engines differ: the link is followed, or replaced by a directory.
        over("SEC-G03", new().file("lib/.wh.so", ""), link),
        over("SEC-G03", new().file("file/.wh.x", ""), link),
        over("SEC-G04", new().file("lib/.wh..wh..opq", ""), link),
        over("SEC-G04", new().file(".wh..wh..opq", ""), "a whiteout of everything"),
        over(
            "SEC-G05",
            new().file(".wh.file", "").hard_link("h", "file"),
            "a hard link to no earlier",
        ),
        over(
            "SEC-G05",
            new().file("d/.wh..wh..opq", "").hard_link("h", "d/one"),
            "a hard link to no earlier",
        ),
        over("SEC-G05", new().hard_link("file", "file"), "a hard link to no earlier"),
        over("SEC-G05", new().hard_link("h", "lib/so"), "a "),
        Case {
            id: "SEC-G05",
            layers: vec![below(), new().file(".wh.d", ""), new().hard_link("h", "d/one")],
            want: Err("a hard link to no earlier"),
        },
    ]);
    cases
}

/// Layers that are refused unless a manifest drops the entries: the layer, the rule, and the manifest's word.
pub(crate) fn dropped() -> Vec<(Tar, &'static str, &'static str)> {
    let new = Tar::default;
    vec![
        (new().raw(b'3', b"sda", b"", 0o660, b""), "a device", "devices"),
        (new().raw(b'4', b"lib/udev/devices/loop0", b"", 0o660, b""), "a device", "devices"),
        (new().raw(b'6', b"pipe", b"", 0o660, b""), "a FIFO", "devices"),
    ]
}
