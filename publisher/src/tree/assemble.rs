//! Assembly of a runtime's tree from packages, links and files.

use crate::{
    error::Error,
    fs::below,
    lock::wheel_tags::normalized,
    source::{self, Source, expand},
    tree::{
        Member, Node, Tree, link_path, pattern, relative,
        scripts::{Diversions, Effects, Scripts, package_name},
    },
};
use joblet_format::Arch;
use std::{path::Path, sync::Arc};

/// Top-level directories that Debian has merged into `usr/`; the old names become symlinks.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Top-level directories of packages that are kept.
const KEPT: [&str; 8] = ["bin", "sbin", "lib", "lib64", "usr", "etc", "tmp", "var"];

/// The directory below `var` that is kept: files that programs of the packages read, and directories that triggers
/// write to. No job changes them.
const KEPT_VAR: &str = "var/lib/";

/// Paths that no job needs: manuals, translations, shell completions, and files of a running system.
const DROPPED: [&str; 57] = [
    "etc/X11/Xsession.d",
    "etc/apt",
    "etc/bash_completion.d",
    "etc/cron.d",
    "etc/cron.daily",
    "etc/cron.hourly",
    "etc/cron.monthly",
    "etc/cron.weekly",
    "etc/default",
    "etc/dpkg",
    "etc/init.d",
    "etc/initramfs-tools",
    "etc/kernel",
    "etc/logcheck",
    "etc/logrotate.d",
    "etc/pam.d",
    "etc/rc.d",
    "etc/security",
    "etc/skel",
    "etc/sudoers.d",
    "etc/systemd",
    "etc/udev",
    "etc/update-motd.d",
    "usr/lib/apt",
    "usr/lib/binfmt.d",
    "usr/lib/dpkg",
    "usr/lib/initramfs-tools",
    "usr/lib/modprobe.d",
    "usr/lib/modules-load.d",
    "usr/lib/sysctl.d",
    "usr/lib/systemd",
    "usr/lib/sysusers.d",
    "usr/lib/tmpfiles.d",
    "usr/lib/udev",
    "usr/share/applications",
    "usr/share/bash-completion",
    "usr/share/binfmts",
    "usr/share/bug",
    "usr/share/debconf",
    "usr/share/doc-base",
    "usr/share/fish/vendor_completions.d",
    "usr/share/icons",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/perl5/Debconf",
    "usr/share/pixmaps",
    "usr/share/polkit-1",
    "usr/share/zsh/vendor-completions",
    "var/lib/apt",
    "var/lib/dbus",
    "var/lib/dpkg",
    "var/lib/pam",
    "var/lib/systemd",
    "var/lib/ucf",
];

/// Owner of files that are from the base image.
pub(crate) const IMAGE: &str = "image";

/// A package.
pub struct Package {
    /// Its name for messages.
    pub label: String,
    /// Its files, directories and links.
    pub members: Vec<Member>,
    /// Whether it is a Debian package: paths that no job needs are omitted, and no other package may contain its
    /// files.
    pub debian: bool,
    /// Its maintainer scripts.
    pub scripts: Scripts,
}

impl Package {
    /// Its name in Debian.
    pub(super) fn name(&self) -> String {
        package_name(&self.label)
    }

    fn is_wheel(&self) -> bool {
        is_wheel(&self.label)
    }
}

fn is_wheel(label: &str) -> bool {
    Path::new(label).extension().is_some_and(|extension| extension == "whl")
}

/// Whether the input of this name is a Debian package.
pub(super) fn is_deb(label: &str) -> bool {
    Path::new(label).extension().is_some_and(|extension| extension == "deb")
}

/// A tree of packages, and the effects of their scripts.
pub struct Assembled {
    /// The tree.
    pub tree: Tree,
    /// Effects of maintainer scripts.
    pub effects: Effects,
    /// Notes for the maintainer of the runtime, one line each.
    pub notes: Vec<String>,
}

/// Assembles the tree: over `base`, that of an image or empty, the packages in their order, without excluded paths,
/// then the manifest's `links`, then its `files`.
///
/// # Errors
/// [`Error::Archive`] if two packages contain different things at one path, or one writes through a
/// symlink; [`Error::Config`] for conflicting links and files; [`Error::File`].
pub(crate) fn assemble(
    base: Tree,
    packages: Vec<Package>,
    source: &Source,
    source_dir: &Path,
    arch: Arch,
) -> Result<Assembled, Error> {
    let manifest = source_dir.join(crate::source::MANIFEST);
    let prefer = source.python.as_ref().map_or(&[][..], |python| &python.prefer);
    let mut assembled = merge_packages(base, packages, &manifest, &source.exclude, prefer)?;
    let tree = &mut assembled.tree;
    let refused = |rule: String| Error::config(&manifest, rule);
    for (link, target) in &source.links {
        let link = expand(link, arch).map_err(refused)?;
        let target = link_path(&link, &expand(target, arch).map_err(refused)?);
        let node = Node::Link(relative(&link, &target));
        tree.replace(&link, node).map_err(|rule| refused(format!("links: {rule}")))?;
    }
    if let Some(files) = &source.files {
        copy(tree, source_dir, files)?;
    }
    Ok(assembled)
}

/// Assembles the tree of packages only, with a merged `/usr`, without paths that match a pattern of `exclude`.
///
/// # Errors
/// [`Error::Archive`] as [`assemble`].
pub(crate) fn assemble_packages(
    packages: Vec<Package>,
    manifest: &Path,
    exclude: &[String],
) -> Result<Assembled, Error> {
    merge_packages(Tree::default(), packages, manifest, exclude, &[])
}

fn merge_packages(
    base: Tree,
    packages: Vec<Package>,
    manifest: &Path,
    exclude: &[String],
    prefer: &[String],
) -> Result<Assembled, Error> {
    let effects = Effects::read_all(&packages);
    let mut rules = Rules {
        diversions: &effects.diversions,
        exclude,
        used: vec![false; exclude.len()],
        prefer,
    };
    let (mut tree, mut notes) = (base, Vec::new());
    let excluded: Vec<_> = tree
        .iter()
        .filter(|(path, _)| rules.excludes(path))
        .map(|(path, _)| path.to_owned())
        .collect();
    for path in &excluded {
        tree.remove_all(path);
    }
    for package in packages {
        add(&mut tree, package, &mut rules, &mut notes)?;
    }
    let unused = rules.used.iter().zip(exclude).filter(|(used, _)| !**used);
    notes.extend(unused.map(|(_, pattern)| format!("exclude: `{pattern}` matches nothing")));
    for name in MERGED {
        let target = format!("usr/{name}");
        // An image without a merged /usr stays unmerged.
        if tree.is_dir(&target) && tree.get(name).is_none() {
            tree.insert(name, Node::Link(target)).map_err(|rule| Error::config(manifest, rule))?;
        }
    }
    Ok(Assembled { tree, effects, notes })
}

/// Rules for the members of packages.
struct Rules<'r> {
    diversions: &'r Diversions,
    exclude: &'r [String],
    /// For each pattern of `exclude`, whether it has matched.
    used: Vec<bool>,
    /// Python projects whose files take precedence over other projects' files of the same name.
    prefer: &'r [String],
}

impl Rules<'_> {
    fn excludes(&mut self, path: &str) -> bool {
        let mut excluded = false;
        for (pattern, used) in self.exclude.iter().zip(&mut self.used) {
            if pattern::matches(pattern, path) {
                (excluded, *used) = (true, true);
            }
        }
        excluded
    }

    /// Whether the project of the wheel `label` is preferred.
    fn prefers(&self, label: &str) -> bool {
        let project = label.split('-').next().unwrap_or_default();
        self.prefer.iter().any(|preferred| normalized(preferred) == normalized(project))
    }
}

/// Adds the members of one package, at their paths in a merged `/usr`.
fn add(
    tree: &mut Tree,
    package: Package,
    rules: &mut Rules,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    let origin: Arc<str> = package.label.as_str().into();
    let (name, wheel, mut overwritten) = (package.name(), package.is_wheel(), Vec::new());
    for Member { path, node } in package.members {
        let place = rules.diversions.place(&path, &name);
        let merged = merged_path(place);
        let dropped = package.debian && !kept(&merged, matches!(node, Node::Dir));
        if MERGED.contains(&path.as_str()) || dropped || rules.excludes(&merged) {
            continue;
        }
        let node = match node {
            Node::Link(target) => {
                let target = merged_path(&link_path(&path, &target));
                Node::Link(relative(&merged, &target))
            }
            node => node,
        };
        let is_dir = matches!(node, Node::Dir);
        if !package.debian && same(tree.get(&merged), &node)? {
            continue; // several wheels contain the same `__init__.py`
        }
        if let Some(other) = tree.origin(&merged).filter(|other| wheel && is_wheel(other)) {
            if matches!((tree.get(&merged), &node), (Some(Node::File { .. }), Node::File { .. })) {
                // As with pip and uv, the wheel installed last overwrites.
                let stays = rules.prefers(other) && !rules.prefers(&package.label);
                overwritten.push((merged.clone(), other.to_owned(), stays));
                if stays {
                    continue;
                }
                tree.remove(&merged);
            }
        }
        if tree.origin(&merged) == Some(IMAGE) && !is_dir {
            tree.remove(&merged);
        }
        tree.insert(&merged, node).map_err(|rule| {
            let other = tree
                .origin(&merged)
                .map_or_else(String::new, |other| format!(", which {other} brings too"));
            Error::Archive { archive: package.label.clone(), rule: format!("{rule}{other}") }
        })?;
        if !is_dir {
            tree.set_origin(merged, Arc::clone(&origin));
        }
    }
    notes.extend(overwritten_note(&package.label, &overwritten, rules));
    Ok(())
}

/// The note on files in `label` and other wheels: path, the other wheel, whether the other's file is kept.
fn overwritten_note(
    label: &str,
    overwritten: &[(String, String, bool)],
    rules: &Rules,
) -> Option<String> {
    let (path, other, stays) = overwritten.first()?;
    if rules.prefers(label) || rules.prefers(other) {
        return None;
    }
    let count = overwritten.len();
    let project = |label: &str| label.split('-').next().unwrap_or_default().to_owned();
    let (winner, loser) = if *stays { (other.as_str(), label) } else { (label, other.as_str()) };
    Some(format!(
        "{winner} overwrites {count} files of {loser}, such as `{path}`; say which one stays with \
         `python: {{ prefer: [{}] }}`",
        project(winner)
    ))
}

/// Whether both are files with the same bytes.
fn same(old: Option<&Node>, new: &Node) -> Result<bool, Error> {
    let (Some(Node::File { content: old, .. }), Node::File { content: new, .. }) = (old, new)
    else {
        return Ok(false);
    };
    old.equals(new).map_err(Error::file("read", "an input"))
}

/// `lib/x` → `usr/lib/x`.
pub(super) fn merged_path(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// Whether a path of a package is kept.
fn kept(path: &str, is_dir: bool) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    let below = |dir: &&'static str| {
        path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !KEPT.contains(&first) || DROPPED.iter().any(below) {
        return false;
    }
    if first == "var" {
        return path.starts_with(KEPT_VAR);
    }
    match path.strip_prefix("usr/share/doc/") {
        // Licences are kept; a directory is created with its first file.
        Some(rest) => !is_dir && (rest.ends_with("/copyright") || !rest.contains('/')),
        None => true,
    }
}

/// Copies the runtime's own `files` over the tree.
fn copy(tree: &mut Tree, source_dir: &Path, files: &str) -> Result<(), Error> {
    let from = source_dir.join(files);
    let refused = |reason: String| Error::config(&from, reason);
    for (path, node) in source::own_files(source_dir, files)? {
        let name = || refused(format!("{} is not UTF-8", path.display()));
        let path = path.to_str().ok_or_else(name)?;
        let node = match node {
            below::Node::Dir => Node::Dir,
            below::Node::Link(target) => {
                let target = target.to_str();
                let target = target.ok_or_else(|| refused(format!("{path:?} is not UTF-8")))?;
                Node::Link(relative(path, &link_path(path, target)))
            }
            below::Node::File { executable, bytes } => {
                Node::File { executable, content: bytes.into() }
            }
        };
        tree.replace(path, node).map_err(&refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn member(path: &str, node: Node) -> Member {
        Member { path: path.into(), node }
    }

    fn file(text: &str) -> Node {
        Node::File { executable: false, content: text.as_bytes().to_vec().into() }
    }

    fn link(target: &str) -> Node {
        Node::Link(target.into())
    }

    fn package(label: &str, members: Vec<Member>) -> Package {
        Package { label: label.into(), members, debian: true, scripts: Scripts::default() }
    }

    fn source(more: &str) -> Source {
        let text = format!("name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n{more}");
        crate::source::parse(&text).unwrap()
    }

    fn target<'t>(tree: &'t Tree, path: &str) -> &'t str {
        let Some(Node::Link(target)) = tree.get(path) else {
            panic!("{path}: {:?}", tree.get(path))
        };
        target
    }

    #[test]
    fn usr_is_merged_and_links_are_relative() {
        let members = vec![
            member("bin", link("usr/bin")),
            member("lib64/ld.so", link("/lib/x86_64-linux-gnu/ld.so")),
            member("lib/x86_64-linux-gnu/ld.so", file("x")),
            member("lib/x86_64-linux-gnu/libz.so", link("../../usr/lib/libz.so.1")),
            member("bin/sh", link("dash")),
            member("sbin/x", link("../etc/x")),
            member("usr/share/locale/de/x", file("x")),
            member("var/lib/x", file("x")),
        ];
        let tree = assemble(
            Tree::default(),
            vec![package("a", members)],
            &source("links: { usr/bin/ld: '/lib/{multiarch}/ld.so', bin2: bin }"),
            Path::new("."),
            Arch::Amd64,
        )
        .unwrap()
        .tree;
        for (path, want) in [
            ("bin", "usr/bin"),
            ("lib64", "usr/lib64"),
            ("usr/lib64/ld.so", "../lib/x86_64-linux-gnu/ld.so"),
            ("usr/lib/x86_64-linux-gnu/libz.so", "../libz.so.1"),
            ("usr/bin/sh", "dash"),
            ("usr/sbin/x", "../../etc/x"),
            ("usr/bin/ld", "../../lib/x86_64-linux-gnu/ld.so"),
        ] {
            assert_eq!(target(&tree, path), want, "{path}");
        }
        assert!(tree.get("usr/share/locale").is_none() && tree.get("var/lib/x").is_some());
        assert_eq!(tree.resolve("usr/bin/ld").unwrap(), "usr/lib/x86_64-linux-gnu/ld.so");
    }

    #[test]
    fn what_is_kept() {
        for (path, is_dir, want) in [
            ("usr/bin/x", false, true),
            ("usr/share/doc/x/copyright", false, true),
            ("usr/share/doc/x/changelog.gz", false, false),
            ("usr/share/doc/x", true, false),
            ("usr/share/doc/x", false, true),
            ("usr/share/man", true, false),
            ("usr/share/man/man1/x", false, false),
            ("usr/share/mandatory", false, true),
            ("etc/cron.daily/x", false, false),
            ("etc/ssl/openssl.cnf", false, true),
            ("var/x", false, false),
            ("var/lib/aspell/x", false, true),
            ("var/lib/aspell", true, true),
            ("var/lib/dpkg/x", false, false),
            ("usr/share/zsh/functions/x", false, true),
            ("usr/share/zsh/vendor-completions/_x", false, false),
            ("usr/share/gdb/python/x", false, true),
            ("usr/share/fish/functions/x", false, true),
            ("usr/share/fish/vendor_completions.d/x", false, false),
            ("root", true, false),
        ] {
            assert_eq!(kept(path, is_dir), want, "{path}");
        }
        assert!(DROPPED.is_sorted());
    }

    #[test]
    fn conflicting_packages_are_refused() {
        let assemble = |a, b| {
            let packages = vec![package("a.deb", vec![a]), package("b.deb", vec![b])];
            assemble(Tree::default(), packages, &source(""), Path::new("."), Arch::Amd64)
        };
        for (a, b, rule) in [
            (
                member("usr/x", link("../../etc")),
                member("usr/x/passwd", file("evil")),
                "b.deb: `usr/x/passwd` is below the link `usr/x`",
            ),
            (
                member("usr/x", file("1")),
                member("usr/x", file("2")),
                "b.deb: `usr/x` is a file and a file, which a.deb brings too",
            ),
            (
                member("bin/x", file("1")),
                member("usr/bin/x", file("2")),
                "b.deb: `usr/bin/x` is a file and a file, which a.deb brings too",
            ),
        ] {
            assert_eq!(assemble(a, b).err().unwrap().to_string(), rule);
        }
    }

    #[test]
    fn files_are_copied_last() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files/usr/bin");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("x"), "new").unwrap();
        std::fs::set_permissions(files.join("x"), PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/usr/bin/x", files.join("y")).unwrap();
        let packages = || vec![package("a", vec![member("usr/bin/x", file("old"))])];
        let source = source("files: files/\n");
        let tree =
            assemble(Tree::default(), packages(), &source, dir.path(), Arch::Amd64).unwrap().tree;
        let (executable, content) = tree.file("usr/bin/y").unwrap();
        assert_eq!((executable, content.read().unwrap()), (true, b"new".to_vec()));
        assert_eq!(target(&tree, "usr/bin/y"), "x");
        std::fs::create_dir_all(dir.path().join("files/bin")).unwrap();
        std::fs::write(dir.path().join("files/bin/z"), "z").unwrap();
        let error = assemble(Tree::default(), packages(), &source, dir.path(), Arch::Amd64)
            .err()
            .unwrap()
            .to_string();
        assert!(error.ends_with("files/: `bin/z` is below the link `bin`"), "{error}");
    }

    #[test]
    fn diverted_and_excluded_files() {
        let mut parallel =
            package("parallel_1_all.deb", vec![member("usr/bin/parallel", file("gnu"))]);
        parallel.scripts.preinst = "#!/bin/sh\ndpkg-divert --package parallel --divert \
             /usr/bin/parallel.moreutils --rename /usr/bin/parallel\n"
            .into();
        let members = vec![
            member("usr/bin/parallel", file("other")),
            member("usr/share/doc/x/copyright", file("x")),
            member("usr/lib/x/tests/a", file("x")),
        ];
        let source = source("exclude: [\"**/tests\", usr/share/doc, nothing]\n");
        let packages = vec![package("moreutils_1_all.deb", members), parallel];
        let Assembled { tree, notes, .. } =
            assemble(Tree::default(), packages, &source, Path::new("."), Arch::Amd64).unwrap();
        let paths: Vec<_> =
            tree.iter().filter(|it| !tree.is_dir(it.0)).map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr/bin/parallel", "usr/bin/parallel.moreutils"]);
        assert_eq!(tree.file("usr/bin/parallel").unwrap().1.read().unwrap(), b"gnu");
        assert_eq!(notes, ["exclude: `nothing` matches nothing"]);
    }

    #[test]
    fn of_two_wheels_the_last_overwrites_unless_the_other_is_preferred() {
        let wheel = |name: &str| Package {
            label: format!("{name}-1-py3-none-any.whl"),
            members: vec![member("usr/local/x.py", file(name))],
            debian: false,
            scripts: Scripts::default(),
        };
        for (prefer, content, count) in [("", "b", 1), ("A", "a", 0), ("b", "b", 0)] {
            let source = source(&format!(
                "python: {{ version: '3.11', before: 2024-01-01, packages: [], prefer: [{prefer}] }}\n"
            ));
            let Assembled { tree, notes, .. } = assemble(
                Tree::default(),
                vec![wheel("a"), wheel("b")],
                &source,
                Path::new("."),
                Arch::Amd64,
            )
            .unwrap();
            let bytes = tree.file("usr/local/x.py").unwrap().1.read().unwrap();
            assert_eq!(
                (bytes.as_slice(), notes.len()),
                (content.as_bytes(), count),
                "{prefer}: {notes:?}"
            );
            if let [note] = notes.as_slice() {
                let want = "b-1-py3-none-any.whl overwrites 1 files of a-1-py3-none-any.whl, such as \
                            `usr/local/x.py`; say which one stays with `python: { prefer: [b] }`";
                assert_eq!(note, want);
            }
        }
    }
}
