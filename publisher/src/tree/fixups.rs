//! Static replacements of what maintainer scripts do on a running system.
//!
//! Each fix-up adds missing files and keeps those of packages, `links` and `files`; but for one, [`EXTERNALLY_MANAGED`].

use crate::{
    error::Error,
    tree::{
        Node, Tree, accounts, assemble::is_deb, cacerts, finish, ld_cache, link_path,
        scripts::Effects,
    },
};
use joblet_format::Arch;
use std::path::Path;

const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla";
/// Directory of additional certificates from `files`: PEM, named `*.crt`.
const LOCAL_CERTIFICATES: &str = "usr/local/share/ca-certificates";
/// Maximum size of all certificates, which are joined in memory, in bytes.
const MAX_CERTIFICATES: u64 = 64 << 20;
const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const JAVA_STORE: &str = "etc/ssl/certs/java/cacerts";

/// Files written by maintainer scripts or the installer of Debian. `resolv.conf` and `hostname` are
/// empty mount points for a launcher.
const FILES: [(&str, &str); 5] = [
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
         protocols: files\nservices: files\n",
    ),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
    ("etc/networks", "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n"),
    ("etc/hostname", ""),
    ("etc/resolv.conf", ""),
];

/// Configuration copied by maintainer scripts: source and target.
const COPIES: [(&str, &str); 2] = [
    ("usr/share/readline/inputrc", "etc/inputrc"),
    ("usr/share/base-files/profile", "etc/profile"),
];

/// The file beside Python's modules that keeps pip from installing into them (PEP 668), with its message. Debian's advises
/// apt and pipx, which no job has.
const EXTERNALLY_MANAGED: &str = "\
[externally-managed]
Error=A runtime is read-only. Install packages into a directory of your own,
 beside the packages of the runtime, and let Python look there:

     joblet-exec run --here --network host RUNTIME \\
         python3 -m pip install --target packages PACKAGE
     joblet-exec run -e PYTHONPATH=/work/packages RUNTIME python3 SCRIPT

 A package that every job needs belongs in the runtime's manifest
 (python: packages), in its next version.
";

/// Debian's alternatives: symlink in `usr/bin`, and programs for it, highest priority first.
const ALTERNATIVES: [(&str, &[&str]); 13] = [
    ("awk", &["gawk", "mawk"]),
    ("c++", &["g++"]),
    ("c89", &["c89-gcc"]),
    ("c99", &["c99-gcc"]),
    ("cc", &["gcc"]),
    ("editor", &["nano", "vim.tiny"]),
    ("lzma", &["xz"]),
    ("nawk", &["gawk", "mawk"]),
    ("nc", &["nc.openbsd", "nc.traditional"]),
    ("pager", &["less", "more"]),
    ("sh", &["dash", "bash"]),
    ("vi", &["vim.tiny"]),
    ("which", &["which.debianutils"]),
];

/// Applies all fix-ups. `effects` are those of maintainer scripts, `links` the manifest's.
///
/// # Errors
/// [`Error::Config`] if a link of the manifest is dangling, or `files` or `links` conflict with a fix-up;
/// [`Error::File`].
pub(crate) fn apply<'l>(
    tree: &mut Tree,
    arch: Arch,
    effects: &Effects,
    links: impl Iterator<Item = &'l str>,
    manifest: &Path,
) -> Result<(), Error> {
    let refused = |rule: String| Error::config(manifest, rule);
    if !tree.is_dir("tmp") {
        tree.insert("tmp", Node::Dir).map_err(refused)?;
    }
    for (path, text) in FILES {
        tree.insert_if_absent(path, file(text.as_bytes().to_vec())).map_err(refused)?;
    }
    accounts::add_missing(tree).and_then(|()| time_zone(tree)).map_err(refused)?;
    for (from, to) in COPIES {
        if let Some((executable, content)) = tree.file(from) {
            let content = content.clone();
            tree.insert_if_absent(to, Node::File { executable, content }).map_err(refused)?;
        }
    }
    certificates(tree)?.map_err(refused)?;
    externally_managed(tree).map_err(refused)?;
    // The JDK's common path first, since effects of its packages use it.
    java(tree, arch).and_then(|()| effects.apply(tree)).map_err(refused)?;
    effects.add_users(tree)?;
    alternatives(tree).and_then(|()| shells(tree)).map_err(refused)?;
    finish::php_modules(tree)?;
    ld_cache::write(tree, arch)?;
    check_links(tree, links, manifest)?;
    Ok(())
}

fn file(bytes: Vec<u8>) -> Node {
    Node::File { executable: false, content: bytes.into() }
}

/// Sets UTC, the default of tzdata's script. Java and R read the zone's name.
fn time_zone(tree: &mut Tree) -> Result<(), String> {
    if tree.file("usr/share/zoneinfo/Etc/UTC").is_none() {
        return Ok(());
    }
    tree.insert_if_absent("etc/timezone", file(b"Etc/UTC\n".to_vec()))?;
    tree.insert_if_absent("etc/localtime", Node::Link("../usr/share/zoneinfo/Etc/UTC".into()))
}

/// Writes the list of the shells in `tree`, as debianutils does.
fn shells(tree: &mut Tree) -> Result<(), String> {
    let shells = ["sh", "bash", "dash", "fish", "ksh", "mksh", "rbash", "tcsh", "zsh"].into_iter();
    let there = shells.filter(|shell| tree.file(&format!("usr/bin/{shell}")).is_some());
    let lines: Vec<_> = there.map(|shell| format!("/bin/{shell}\n/usr/bin/{shell}\n")).collect();
    let list = format!("# /etc/shells: valid login shells\n{}", lines.concat());
    tree.insert_if_absent("etc/shells", file(list.into_bytes()))
}

/// Writes the bundle of Debian's single certificates, as update-ca-certificates(8).
fn certificates(tree: &mut Tree) -> Result<Result<(), String>, Error> {
    let (mut bundle, mut trusted) = (Vec::new(), Vec::new());
    for (path, node) in tree.below(CERTIFICATES).chain(tree.below(LOCAL_CERTIFICATES)) {
        let Node::File { content, .. } = node else { continue };
        if Path::new(path).extension().is_some_and(|extension| extension == "crt") {
            // Debian's have 2 kB each, 200 kB in total.
            if bundle.len() as u64 + content.len() > MAX_CERTIFICATES {
                let rule = format!("certificates have more than {MAX_CERTIFICATES} bytes together");
                return Ok(Err(rule));
            }
            let pem = content.whole(MAX_CERTIFICATES).map_err(Error::file("read", path))?;
            trusted.extend(cacerts::entry(path, &pem));
            bundle.extend(pem);
            if bundle.last() != Some(&b'\n') {
                bundle.push(b'\n');
            }
        }
    }
    if bundle.is_empty() {
        return Ok(Ok(()));
    }
    let link = || {
        tree.insert_if_absent(CA_BUNDLE, file(bundle))?;
        // OpenSSL's default file; its default directory would need symlinks named by hashes.
        if tree.is_dir("usr/lib/ssl") {
            let target = format!("../../../{CA_BUNDLE}");
            tree.insert_if_absent("usr/lib/ssl/cert.pem", Node::Link(target))?;
        }
        // The JDK has a symlink to it.
        if tree.is_dir("usr/lib/jvm") {
            tree.insert_if_absent(JAVA_STORE, file(cacerts::store(&trusted)))?;
        }
        Ok(())
    };
    Ok(link())
}

/// Replaces Debian's files of that name.
fn externally_managed(tree: &mut Tree) -> Result<(), String> {
    let is_one = |path: &str| {
        let rest = path
            .strip_prefix("usr/lib/python3")
            .and_then(|it| it.strip_suffix("/EXTERNALLY-MANAGED"));
        rest.is_some_and(|version| !version.contains('/')) && tree.origin(path).is_some_and(is_deb)
    };
    let paths = tree.below("usr/lib").map(|(path, _)| path).filter(|path| is_one(path));
    for path in paths.map(str::to_owned).collect::<Vec<_>>() {
        tree.replace(&path, file(EXTERNALLY_MANAGED.into()))?;
    }
    Ok(())
}

fn alternatives(tree: &mut Tree) -> Result<(), String> {
    for (link, programs) in ALTERNATIVES {
        let mut there =
            programs.iter().filter(|name| tree.file(&format!("usr/bin/{name}")).is_some());
        if let Some(program) = there.next() {
            tree.insert_if_absent(&format!("usr/bin/{link}"), Node::Link((*program).to_owned()))?;
        }
    }
    // The newest python3.N, compared as a number: 3.11 is newer than 3.9.
    let minor = |path: &str| path.strip_prefix("usr/bin/python3.")?.parse::<u32>().ok();
    if let Some(newest) = tree.below("usr/bin").filter_map(|(path, _)| minor(path)).max() {
        tree.insert_if_absent("usr/bin/python3", Node::Link(format!("python3.{newest}")))?;
        tree.insert_if_absent("usr/bin/python", Node::Link("python3".into()))?;
    }
    Ok(())
}

/// Adds a path of the JDK without the architecture, and symlinks to its programs in `usr/bin`.
fn java(tree: &mut Tree, arch: Arch) -> Result<(), String> {
    let suffix = format!("-{arch}");
    let jdk = tree.below("usr/lib/jvm").find_map(|(path, node)| {
        let name = path.strip_prefix("usr/lib/jvm/")?;
        let whole = matches!(node, Node::Dir) && !name.contains('/');
        whole.then(|| name.strip_suffix(&suffix)).flatten().map(str::to_owned)
    });
    let Some(jdk) = jdk else { return Ok(()) };
    let place = format!("usr/lib/jvm/{jdk}");
    tree.insert_if_absent(&place, Node::Link(format!("{jdk}{suffix}")))?;
    let bin = format!("{place}{suffix}/bin/");
    let programs: Vec<String> = tree
        .below(bin.trim_end_matches('/'))
        .filter_map(|(path, _)| path.strip_prefix(&bin).map(str::to_owned))
        .collect();
    for program in programs {
        let target = format!("../lib/jvm/{jdk}/bin/{program}");
        tree.insert_if_absent(&format!("usr/bin/{program}"), Node::Link(target))?;
    }
    Ok(())
}

/// Removes dangling symlinks, and symlinks to them. Symlinks into `/proc`, `/dev` and `/sys` are kept: they resolve
/// in a job. Called last, after programs of the tree have run.
pub(crate) fn drop_dangling(tree: &mut Tree) {
    loop {
        let dangling = |path: &str, target: &str| {
            let first = link_path(path, target);
            let first = first.split('/').next().unwrap_or_default();
            !matches!(first, "proc" | "dev" | "sys") && tree.resolve(path).is_none()
        };
        let gone: Vec<String> = tree
            .iter()
            .filter(|(path, node)| matches!(node, Node::Link(target) if dangling(path, target)))
            .map(|(path, _)| path.to_owned())
            .collect();
        if gone.is_empty() {
            return;
        }
        for path in gone {
            tree.remove(&path);
        }
    }
}

/// Refuses dangling links of the manifest: removing them silently would hide a mistake.
fn check_links<'l>(
    tree: &Tree,
    links: impl Iterator<Item = &'l str>,
    manifest: &Path,
) -> Result<(), Error> {
    for link in links {
        if tree.resolve(link).is_none() {
            let reason = format!("links: `{link}` is a dangling symlink; is its package listed?");
            return Err(Error::config(manifest, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            let node = match path.split_once(" -> ") {
                Some((_, target)) => Node::Link(target.into()),
                None => file(path.rsplit('/').next().unwrap().as_bytes().to_vec()),
            };
            tree.insert(path.split(" -> ").next().unwrap(), node).unwrap();
        }
        apply_all(&mut tree);
        tree
    }

    fn apply_all(tree: &mut Tree) {
        let effects = Effects::default();
        apply(tree, Arch::Amd64, &effects, [].into_iter(), Path::new("m.yaml")).unwrap();
        drop_dangling(tree);
    }

    fn links(tree: &Tree) -> Vec<String> {
        let link = |(path, node): (&str, &Node)| match node {
            Node::Link(target) => Some(format!("{path} -> {target}")),
            _ => None,
        };
        tree.iter().filter_map(link).collect()
    }

    #[test]
    fn alternatives_are_existing_programs() {
        let tree = tree(&[
            "usr/bin/gawk", "usr/bin/bash", "usr/bin/python3.9", "usr/bin/python3.11",
            "usr/bin/python3.11-config", "usr/bin/gcc", "usr/bin/cc -> /opt/nothing",
        ]);
        assert_eq!(
            links(&tree),
            [
                "usr/bin/awk -> gawk",
                "usr/bin/nawk -> gawk",
                "usr/bin/python -> python3",
                "usr/bin/python3 -> python3.11",
                "usr/bin/sh -> bash",
            ]
        );
    }

    #[test]
    fn pip_is_told_what_to_do_in_a_runtime() {
        let path = "usr/lib/python3.11/EXTERNALLY-MANAGED";
        for (origin, path, ours) in [
            (Some("libpython3.11-stdlib_3.11.2-6_amd64.deb"), path, true),
            (Some("python3_3.13_amd64.deb"), "usr/lib/python3/EXTERNALLY-MANAGED", true),
            (Some("x_1_amd64.deb"), "usr/lib/python3/x/EXTERNALLY-MANAGED", false),
            (Some(crate::tree::assemble::IMAGE), path, false),
            (None, path, false), // of the manifest's `files`
        ] {
            let mut tree = Tree::default();
            tree.insert(path, file(b"apt".to_vec())).unwrap();
            if let Some(origin) = origin {
                tree.set_origin(path.to_owned(), origin.into());
            }
            apply_all(&mut tree);
            let text = String::from_utf8(tree.file(path).unwrap().1.read().unwrap()).unwrap();
            assert_eq!(text, if ours { EXTERNALLY_MANAGED } else { "apt" }, "{origin:?} {path}");
        }
        // Continuation lines of a value of configparser(3) are indented, or empty.
        let mut lines = EXTERNALLY_MANAGED.lines();
        assert_eq!(lines.next(), Some("[externally-managed]"));
        assert!(lines.next().unwrap().starts_with("Error="));
        assert!(lines.all(|line| line.is_empty() || line.starts_with(' ')));
    }

    #[test]
    fn users_shells_and_the_time_zone_are_those_of_a_debian() {
        let tree = tree(&["usr/bin/dash", "usr/bin/zsh", "usr/share/zoneinfo/Etc/UTC"]);
        let text =
            |path: &str| String::from_utf8(tree.file(path).unwrap().1.read().unwrap()).unwrap();
        assert!(text("etc/passwd").contains("\nwww-data:x:33:33:"));
        assert!(text("etc/group").contains("\nshadow:x:42:\n"));
        let shells = "# /etc/shells: valid login shells\n/bin/sh\n/usr/bin/sh\n/bin/dash\n/usr/bin/dash\n\
                      /bin/zsh\n/usr/bin/zsh\n";
        assert_eq!(text("etc/shells"), shells);
        assert_eq!(text("etc/timezone"), "Etc/UTC\n");
        assert_eq!(
            links(&tree),
            ["etc/localtime -> ../usr/share/zoneinfo/Etc/UTC", "usr/bin/sh -> dash"]
        );
    }

    #[test]
    fn the_jdk_has_one_path_for_both_architectures() {
        let tree = tree(&["usr/lib/jvm/java-21-openjdk-amd64/bin/java"]);
        assert_eq!(
            links(&tree),
            [
                "usr/bin/java -> ../lib/jvm/java-21-openjdk/bin/java",
                "usr/lib/jvm/java-21-openjdk -> java-21-openjdk-amd64",
            ]
        );
    }

    /// SEC-E12
    #[test]
    fn certificates_have_a_limit() {
        let mut tree = Tree::default();
        for name in ["a", "b"] {
            let node = file(vec![0; 33 << 20]);
            tree.insert(&format!("{CERTIFICATES}/{name}.crt"), node).unwrap();
        }
        let rule = certificates(&mut tree).unwrap().unwrap_err();
        assert_eq!(rule, "certificates have more than 67108864 bytes together");
    }

    #[test]
    fn certificates_become_one_bundle() {
        let tree = tree(&[
            "usr/share/ca-certificates/mozilla/b.crt",
            "usr/share/ca-certificates/mozilla/a.crt",
            "usr/share/ca-certificates/mozilla/x.txt",
            "usr/local/share/ca-certificates/own.crt",
            "usr/lib/ssl/openssl.cnf",
        ]);
        let (_, content) = tree.file("usr/lib/ssl/cert.pem").unwrap();
        assert_eq!(content.read().unwrap(), b"a.crt\nb.crt\nown.crt\n");
    }

    #[test]
    fn dangling_symlinks_are_removed() {
        let tree =
            tree(&["etc/rmt -> ../usr/sbin/rmt", "etc/a -> rmt", "etc/mtab -> ../proc/mounts"]);
        assert_eq!(links(&tree), ["etc/mtab -> ../proc/mounts"]);
        assert!(tree.is_dir("tmp") && tree.file("etc/passwd").is_some());
        let manifest = Path::new("m.yaml");
        let error = check_links(&tree, ["etc/a"].into_iter(), manifest).unwrap_err().to_string();
        assert_eq!(error, "m.yaml: links: `etc/a` is a dangling symlink; is its package listed?");
    }

    #[test]
    fn existing_files_are_kept() {
        let mut tree = Tree::default();
        tree.insert("etc/passwd", file(b"mine".to_vec())).unwrap();
        apply_all(&mut tree);
        assert_eq!(tree.file("etc/passwd").unwrap().1.read().unwrap(), b"mine");
    }
}
