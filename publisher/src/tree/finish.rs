//! What triggers of packages and `run` do: caches and lists that programs of the tree make of the tree.

use crate::{
    error::Error,
    source::multiarch,
    tree::{Node, Tree, relative, working_tree::WorkingTree},
};
use joblet_format::Arch;
use std::path::Path;

/// A step: its command, and where its program and what it works on must lie for it to be done.
struct Step {
    program: String,
    wanted: String,
    words: Vec<String>,
}

impl Step {
    fn new(program: &str, wanted: &str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { program: program.to_owned(), wanted: wanted.to_owned(), words }
    }

    fn is_due(&self, tree: &Tree) -> bool {
        let files = |path: &str| tree.below(path).any(|(_, node)| !matches!(node, Node::Dir));
        tree.file(&self.program).is_some()
            && (tree.file(&self.wanted).is_some() || files(&self.wanted))
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
            "usr/share/mime/packages",
            &["/usr/bin/update-mime-database", "/usr/share/mime"],
        ),
        Step::new(
            &format!("{pixbuf}/gdk-pixbuf-query-loaders"),
            &loaders,
            &["/bin/sh", "-c", &list],
        ),
        Step::new(
            &format!("{glib}/gio-querymodules"),
            &format!("{lib}/gio/modules"),
            &[&format!("/{glib}/gio-querymodules"), &format!("/{lib}/gio/modules")],
        ),
        Step::new(
            &format!("{glib}/glib-compile-schemas"),
            "usr/share/glib-2.0/schemas",
            &[&format!("/{glib}/glib-compile-schemas"), "/usr/share/glib-2.0/schemas"],
        ),
        Step::new(graphviz, &format!("{lib}/graphviz"), &[&format!("/{graphviz}"), "-c"]),
        Step::new(
            "usr/sbin/update-dictcommon-aspell",
            "var/lib/dictionaries-common/aspell",
            &["/usr/sbin/update-dictcommon-aspell"],
        ),
        Step::new(
            "usr/sbin/aspell-autobuildhash",
            "usr/bin/aspell",
            &["/usr/sbin/aspell-autobuildhash", "--force"],
        ),
        Step::new(
            "usr/sbin/update-gsfontmap",
            "var/lib/ghostscript",
            &["/usr/sbin/update-gsfontmap"],
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
/// `tree`.
///
/// # Errors
/// As [`WorkingTree::run`] and [`WorkingTree::take`].
pub fn triggers(
    tree: &mut Tree,
    arch: Arch,
    working: &WorkingTree,
    spool_dir: &Path,
    step: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    for Step { words, program, .. } in steps(tree, arch) {
        step(&format!("running {}", program.rsplit('/').next().unwrap_or_default()));
        working.run(&words)?;
    }
    working.take(tree, spool_dir).map(drop)
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
