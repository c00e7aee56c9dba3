//! `update-alternatives --install` in maintainer scripts → links. (update-alternatives(1).)

use super::{Fault, shell::Call};
use crate::tree::{Node, Tree, assemble::merged_path, relative};

/// An alternative of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    /// Name of the group.
    name: String,
    priority: i64,
    /// Links and their targets; the master link first.
    links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    /// Its name in `/etc/alternatives`.
    name: String,
    /// Its path, without the leading slash.
    place: String,
    target: String,
}

/// The alternative that a call installs; `None` for other calls.
///
/// # Errors
/// A word whose value is unknown.
pub(super) fn read(call: &Call) -> Result<Option<Alternative>, Fault> {
    let is = |word: &Option<String>, text: &str| word.as_deref() == Some(text);
    let Some(at) = call.iter().position(|word| is(word, "--install")) else { return Ok(None) };
    let unknown = || {
        Fault::new(
            "update-alternatives",
            "calls `update-alternatives` with words that are known only at run time",
        )
    };
    let words = |from: usize, count: usize| {
        let words = call.get(from..from + count)?.iter().cloned();
        words.collect::<Option<Vec<String>>>()
    };
    let link = |from: usize| {
        let [link, name, target] = words(from, 3)?.try_into().ok()?;
        let link = link.strip_prefix('/')?.to_owned();
        Some(Link { name, place: link, target: target.strip_prefix('/')?.to_owned() })
    };
    let master = link(at + 1).ok_or_else(unknown)?;
    let priority = call.get(at + 4).cloned().flatten().and_then(|text| text.parse().ok());
    let slaves = (at + 5..call.len()).filter(|place| is(&call[*place], "--slave"));
    let slaves = slaves.map(|place| link(place + 1)).collect::<Option<Vec<_>>>();
    let name = master.name.clone();
    let links = std::iter::once(master).chain(slaves.ok_or_else(unknown)?).collect();
    Ok(Some(Alternative { name, priority: priority.unwrap_or_default(), links }))
}

/// Makes the links of the best alternative of each group whose program is in `tree`. Existing files are
/// not replaced.
///
/// # Errors
/// A link that cannot be made.
pub(super) fn apply(tree: &mut Tree, alternatives: &[Alternative]) -> Result<(), String> {
    let there = |tree: &Tree, target: &str| tree.resolve(&merged_path(target)).is_some();
    let mut best: Vec<&Alternative> = Vec::new();
    for one in alternatives.iter().filter(|it| there(tree, &it.links[0].target)) {
        match best.iter_mut().find(|other| other.name == one.name) {
            Some(other) if other.priority < one.priority => *other = one,
            Some(_) => {}
            None => best.push(one),
        }
    }
    for Link { name, place, target } in best.iter().flat_map(|it| &it.links) {
        let (place, target) = (merged_path(place), merged_path(target));
        if !there(tree, &target) || place == target {
            continue;
        }
        // Programs and packages' own links use it, too.
        let entry = format!("etc/alternatives/{name}");
        if !name.contains('/') {
            tree.insert_if_absent(&entry, Node::Link(relative(&entry, &target)))?;
        }
        // A link that the package ships itself points to the entry made above.
        tree.insert_if_absent(&place, Node::Link(relative(&place, &target)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    fn all(script: &str) -> Result<Vec<Alternative>, Fault> {
        let calls = shell::calls(script, &["configure", ""]);
        calls.iter().filter_map(|call| read(call).transpose()).collect()
    }

    fn made(script: &str, files: &[&str]) -> Vec<String> {
        let mut tree = Tree::default();
        for path in files {
            let node = Node::File { executable: true, content: b"x".to_vec().into() };
            tree.insert(path, node).unwrap();
        }
        apply(&mut tree, &all(script).unwrap()).unwrap();
        let link = |(path, node): (&str, &Node)| match node {
            Node::Link(target) => Some(format!("{path} -> {target}")),
            _ => None,
        };
        tree.iter().filter_map(link).collect()
    }

    #[test]
    fn the_best_existing_alternative_is_linked() {
        let script = "set -e\nupdate-alternatives --install /bin/nc nc /bin/nc.a 10 \\\n  --slave \
                      /usr/bin/ncat ncat /usr/bin/ncat.a --slave /usr/share/man/nc.1 nc.1 /usr/share/man/a.1\n\
                      for n in b c; do update-alternatives --install /bin/nc nc /bin/nc.$n 50; done";
        assert_eq!(
            made(script, &["usr/bin/nc.a", "usr/bin/ncat.a"]),
            [
                "etc/alternatives/nc -> ../../usr/bin/nc.a",
                "etc/alternatives/ncat -> ../../usr/bin/ncat.a",
                "usr/bin/nc -> nc.a",
                "usr/bin/ncat -> ncat.a",
            ]
        );
        assert_eq!(
            made(script, &["usr/bin/nc.a", "usr/bin/ncat.a", "usr/bin/nc.b", "usr/bin/nc.c"]),
            ["etc/alternatives/nc -> ../../usr/bin/nc.b", "usr/bin/nc -> nc.b"]
        );
        let there = made(script, &["usr/bin/nc", "usr/bin/nc.a"]);
        assert_eq!(there, ["etc/alternatives/nc -> ../../usr/bin/nc.a"], "a file stays");
        assert_eq!(made(script, &[]), Vec::<String>::new());
    }

    #[test]
    fn unknown_arguments_are_reported_and_other_commands_ignored() {
        let error = all("update-alternatives --install /usr/bin/x x $(which y) 5").unwrap_err();
        assert!(error.what.contains("known only at run time"), "{error:?}");
        assert_eq!(all("update-alternatives --remove x /usr/bin/x"), Ok(vec![]));
        assert!(all("update-alternatives --install x x /usr/bin/y 5").is_err(), "no absolute path");
    }
}
