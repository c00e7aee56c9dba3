//! What triggers of packages do: caches and lists that programs of the tree make of the tree.
//!
//! A step is done once at first, and again when something else changes what it reads, as dpkg does it.
//! (deb-triggers(5).)

use crate::{
    error::Error,
    source::multiarch,
    tree::{Node, Tree, relative, working_tree::WorkingTree},
};
use joblet_format::Arch;
use std::path::Path;

/// Most steps of one tree, all rounds together: two steps could go on changing what the other one reads.
const MAX_STEPS: usize = 100;

/// A cache of fonts is valid for the time of their directory, which in a runtime is that of `SOURCE_DATE_EPOCH`.
const FONTS: &str = "\
for dir in /usr/share/fonts /usr/local/share/fonts /usr/share/texmf/fonts; do
    [ ! -d $dir ] || find $dir -type d -exec touch -d @$SOURCE_DATE_EPOCH {} +
done
exec fc-cache --system-only --force";

/// What tex-common's trigger does: lists of files, of fonts and of hyphenation, and the formats of programs. Its tools
/// do nothing where dpkg does not know TeX's packages. Formats of the other engines differ from one run to the next
/// (LuaTeX's by their tables, Knuth's TeX by its date): `mktexfmt` makes them in a job's home when they are used first.
const TEX: &str = "\
set -e
mkdir -p /tmp/bin /var/lib/texmf/tex/generic/config /var/lib/texmf/web2c
printf '#!/bin/sh\\nprintf \"install ok installed\"\\n' >/tmp/bin/dpkg-query
chmod +x /tmp/bin/dpkg-query
PATH=/tmp/bin:$PATH
update-texmf
update-updmap --quiet
update-language --quiet
update-fmtutil --quiet
mktexlsr >/dev/null 2>&1
updmap-sys --nohash >/dev/null 2>/tmp/log || { cat /tmp/log >&2; exit 1; }
for engine in pdftex mf-nowin; do
    fmtutil-sys --strict --byengine $engine >/tmp/log 2>&1 || { tail -n 20 /tmp/log >&2; exit 1; }
done
rm -f /var/lib/texmf/web2c/*.log /var/lib/texmf/web2c/*/*.log
exec mktexlsr /var/lib/texmf >/dev/null 2>&1";

/// A step: its command, and where its program and what it reads must lie for it to be done.
struct Step {
    program: String,
    /// Files, or directories with files; one of them is enough.
    reads: Vec<String>,
    words: Vec<String>,
}

impl Step {
    fn new(program: &str, reads: &[&str], words: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { program: program.to_owned(), reads: owned(reads), words: owned(words) }
    }

    fn is_due(&self, tree: &Tree) -> bool {
        let files = |path: &str| tree.below(path).any(|(_, node)| !matches!(node, Node::Dir));
        tree.file(&self.program).is_some()
            && self.reads.iter().any(|path| tree.file(path).is_some() || files(path))
    }

    /// Whether it reads one of the `changed` paths.
    fn is_touched(&self, changed: &[String]) -> bool {
        let below = |path: &String, dir: &String| {
            path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        changed
            .iter()
            .any(|path| *path == self.program || self.reads.iter().any(|dir| below(path, dir)))
    }

    fn run(&self, working: &WorkingTree, step: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
        let name = self.program.rsplit('/').next().unwrap_or_default();
        step(&format!("running {name}"));
        working.run(&self.words)
    }
}

/// All steps, in their order.
fn steps(tree: &Tree, arch: Arch) -> Vec<Step> {
    let lib = format!("usr/lib/{}", multiarch(arch));
    let (pixbuf, glib) = (format!("{lib}/gdk-pixbuf-2.0"), format!("{lib}/glib-2.0"));
    let loaders = format!("{pixbuf}/2.10.0/loaders");
    let list = format!(
        "exec /{pixbuf}/gdk-pixbuf-query-loaders $(find /{loaders} -name '*.so' | LC_ALL=C sort) \
         >/{loaders}.cache"
    );
    let graphviz = "usr/sbin/libgvc6-config-update";
    let mut steps = vec![
        Step::new(
            "usr/bin/update-mime-database",
            &["usr/share/mime/packages"],
            &["/usr/bin/update-mime-database", "/usr/share/mime"],
        ),
        Step::new(
            &format!("{pixbuf}/gdk-pixbuf-query-loaders"),
            &[&loaders],
            &["/bin/sh", "-c", &list],
        ),
        Step::new(
            &format!("{glib}/gio-querymodules"),
            &[&format!("{lib}/gio/modules")],
            &[&format!("/{glib}/gio-querymodules"), &format!("/{lib}/gio/modules")],
        ),
        Step::new(
            &format!("{glib}/glib-compile-schemas"),
            &["usr/share/glib-2.0/schemas"],
            &[&format!("/{glib}/glib-compile-schemas"), "/usr/share/glib-2.0/schemas"],
        ),
        Step::new(graphviz, &[&format!("{lib}/graphviz")], &[&format!("/{graphviz}"), "-c"]),
        Step::new(
            "usr/sbin/update-dictcommon-aspell",
            &["var/lib/dictionaries-common/aspell"],
            &["/usr/sbin/update-dictcommon-aspell"],
        ),
        Step::new(
            "usr/sbin/update-dictcommon-hunspell",
            &["var/lib/dictionaries-common/hunspell"],
            &["/usr/sbin/update-dictcommon-hunspell"],
        ),
        Step::new(
            "usr/sbin/aspell-autobuildhash",
            &["usr/bin/aspell", "var/lib/dictionaries-common/aspell"],
            &["/usr/sbin/aspell-autobuildhash", "--force"],
        ),
        Step::new(
            "usr/sbin/update-gsfontmap",
            &["var/lib/ghostscript", "etc/ghostscript"],
            &["/usr/sbin/update-gsfontmap"],
        ),
        Step::new(
            "usr/bin/fc-cache",
            &["usr/share/fonts", "usr/local/share/fonts", "etc/fonts"],
            &["/bin/sh", "-c", FONTS],
        ),
        Step::new(
            "usr/bin/helpztags",
            &["usr/share/vim"],
            &["/bin/sh", "-c", "exec helpztags /usr/share/vim/vim[0-9]*/doc"],
        ),
        Step::new(
            "usr/sbin/update-default-wordlist",
            &["var/lib/dictionaries-common/wordlist"],
            &["/usr/sbin/update-default-wordlist", "--rebuild"],
        ),
        Step::new(
            "usr/sbin/update-fmtutil",
            &["usr/share/texlive/texmf-dist", "usr/share/texmf", "etc/texmf"],
            &["/bin/sh", "-c", TEX],
        ),
    ];
    steps.retain(|step| step.is_due(tree));
    steps
}

/// Whether [`triggers`] has anything to do.
pub fn is_due(tree: &Tree, arch: Arch) -> bool {
    !steps(tree, arch).is_empty()
}

/// Does what triggers of the packages would, in `working`, which holds `tree`; what comes out is taken into
/// `tree`. With the paths that were `changed`, those alone that read one of them.
///
/// # Errors
/// As [`WorkingTree::run`] and [`WorkingTree::take`].
pub fn triggers(
    tree: &mut Tree,
    arch: Arch,
    working: &mut WorkingTree,
    changed: Option<&[String]>,
    spool_dir: &Path,
    step: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    let mut due: Vec<Step> = steps(tree, arch);
    due.retain(|it| changed.is_none_or(|changed| it.is_touched(changed)));
    for _ in 0..MAX_STEPS {
        if due.is_empty() {
            break;
        }
        let now = due.remove(0);
        now.run(working, step)?;
        let changed = working.take(tree, spool_dir)?;
        // What a step itself has made is not a reason to do it again.
        let others = steps(tree, arch).into_iter().filter(|it| it.words != now.words);
        for other in others.filter(|it| it.is_touched(&changed)) {
            if !due.iter().any(|it| it.words == other.words) {
                due.push(other);
            }
        }
    }
    Ok(())
}

/// Enables every module of PHP for every way of running it, as `phpenmod` does: a link whose name begins with
/// the priority that the module's file says.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] where something stands in the way.
pub fn php_modules(tree: &mut Tree) -> Result<(), Error> {
    let mut links = Vec::new();
    let names = |dir: &str| -> Vec<String> {
        let below = tree.below(dir).filter_map(|(path, _)| path.get(dir.len() + 1..));
        below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    };
    for version in names("etc/php") {
        let dir = format!("etc/php/{version}");
        let ways = names(&dir).into_iter().filter(|way| way != "mods-available");
        let ways: Vec<String> = ways.filter(|way| tree.is_dir(&format!("{dir}/{way}"))).collect();
        for module in names(&format!("{dir}/mods-available")) {
            let file = format!("{dir}/mods-available/{module}");
            let Some((_, content)) = tree.file(&file) else { continue };
            let text = content.head(4096).map_err(Error::file("read", &file))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let priority =
                text.lines().find_map(|line| line.split_once("priority=")?.1.trim().parse().ok());
            let priority: u32 = priority.unwrap_or(20);
            for way in &ways {
                links.push((format!("{dir}/{way}/conf.d/{priority:02}-{module}"), file.clone()));
            }
        }
    }
    for (link, file) in links {
        let node = Node::Link(relative(&link, &file));
        tree.supply(&link, node).map_err(|rule| Error::config("PHP's modules", rule))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Node {
        Node::File { executable: true, content: text.as_bytes().to_vec().into() }
    }

    #[test]
    fn steps_are_due_where_program_and_input_are_there() {
        let mut tree = Tree::default();
        tree.insert("usr/bin/update-mime-database", file("x")).unwrap();
        tree.insert("usr/share/mime/packages", Node::Dir).unwrap();
        assert!(!is_due(&tree, Arch::Amd64));
        tree.insert("usr/share/mime/packages/a.xml", file("x")).unwrap();
        assert_eq!(
            steps(&tree, Arch::Amd64)[0].words,
            ["/usr/bin/update-mime-database", "/usr/share/mime"]
        );
    }

    #[test]
    fn php_modules_are_enabled_for_every_sapi() {
        let mut tree = Tree::default();
        let mods = "etc/php/8.2/mods-available";
        for (path, text) in [
            (format!("{mods}/xml.ini"), "; priority=15\nextension=xml.so\n"),
            (format!("{mods}/curl.ini"), "extension=curl.so\n"),
            ("etc/php/8.2/cli/php.ini".to_owned(), ""),
            ("etc/php/8.2/fpm/php.ini".to_owned(), ""),
        ] {
            tree.insert(&path, file(text)).unwrap();
        }
        php_modules(&mut tree).unwrap();
        for way in ["cli", "fpm"] {
            for link in ["15-xml", "20-curl"] {
                assert!(
                    tree.file(&format!("etc/php/8.2/{way}/conf.d/{link}.ini")).is_some(),
                    "{link}"
                );
            }
        }
        assert!(tree.get("etc/php/8.2/mods-available/conf.d").is_none());
    }
}
