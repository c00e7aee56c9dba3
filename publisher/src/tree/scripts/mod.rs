//! What maintainer scripts and triggers of packages would do.
//!
//! In: the control files of packages. Out: where their files go ([`Diversions`]), links and copies to make
//! ([`Effects`]), and the packages whose scripts do something that no build does. No script is run.

mod alternatives;
mod changes;
mod coverage;
mod diversions;
mod known;
mod shell;
mod tokens;

pub(crate) use diversions::Diversions;

use crate::tree::{Tree, assemble::Package};
use alternatives::Alternative;
use changes::Change;
use shell::Call;
use std::collections::{BTreeMap, BTreeSet};

/// The control files of a package that say what is done when it is installed; empty where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// Before it is unpacked.
    pub preinst: String,
    /// After.
    pub postinst: String,
    /// What it waits for, and what it causes.
    pub triggers: String,
}

/// What a script does and no build does, in words that follow the package's name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault(String);

/// What the scripts of all packages do together.
#[derive(Debug, Default)]
pub struct Effects {
    /// Where files of other packages go.
    pub(crate) diversions: Diversions,
    alternatives: Vec<Alternative>,
    /// Files that are copied, moved and linked, and the package that does it.
    changes: Vec<(String, Change)>,
    /// Package → what is not done.
    faults: BTreeMap<String, Fault>,
}

impl Effects {
    /// Reads the scripts of `packages`.
    pub fn read_all(packages: &[Package]) -> Self {
        let mut effects = Self::default();
        for package in packages {
            effects.read(&package.name(), &package.scripts);
        }
        effects
    }

    fn read(&mut self, package: &str, scripts: &Scripts) {
        let Scripts { preinst, postinst, triggers } = scripts;
        let mut faults = Vec::new();
        for call in shell_calls(preinst, &["install"]) {
            if name(&call) == "dpkg-divert" {
                faults.extend(self.diversions.read(&call).err());
            }
        }
        if !postinst.is_empty() && !is_shell(postinst) {
            faults.push(Fault("has a postinst that is not a shell script".into()));
        }
        for call in shell_calls(postinst, &["configure", ""]) {
            let read = match name(&call) {
                "update-alternatives" => {
                    alternatives::read(&call).map(|read| self.alternatives.extend(read))
                }
                "dpkg-divert" => self.diversions.read(&call),
                "ucf" | "cp" | "mv" | "ln" => changes::read(&call).map(|read| {
                    self.changes.extend(read.map(|change| (package.to_owned(), change)));
                }),
                _ => coverage::fault(&call).map_or(Ok(()), Err),
            };
            faults.extend(read.err());
        }
        faults.extend(coverage::trigger(triggers));
        if let Some(fault) = faults.into_iter().next().filter(|_| !known::is_covered(package)) {
            self.faults.insert(package.to_owned(), fault);
        }
    }

    /// Makes the links and copies in `tree`. What stands at such a place already stays.
    ///
    /// # Errors
    /// What cannot be made where it belongs.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), String> {
        alternatives::apply(tree, &self.alternatives)?;
        self.changes.iter().try_for_each(|(_, change)| change.apply(tree))
    }

    /// The packages whose scripts do what no build does, and what; without those in `answers` and those of
    /// which nothing is in `tree`.
    pub(crate) fn unanswered(&self, tree: &Tree, answers: impl Fn(&str) -> bool) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (package, change) in &self.changes {
            if let Some(fault) = change.fault(tree).filter(|_| !known::is_covered(package)) {
                faults.entry(package.clone()).or_insert(fault);
            }
        }
        let owners: BTreeSet<&str> = tree.iter().filter_map(|(path, _)| tree.owner(path)).collect();
        let present: BTreeSet<String> = owners.into_iter().map(package_name).collect();
        let open =
            faults.iter().filter(|(package, _)| !answers(package) && present.contains(*package));
        open.map(|(package, Fault(what))| format!("{package}: its postinst {what}")).collect()
    }
}

/// `git_2.39_amd64.deb` → `git`. Mirrors write `+` as `%2b`.
pub(crate) fn package_name(label: &str) -> String {
    label.split('_').next().unwrap_or(label).replace("%2b", "+")
}

fn is_shell(script: &str) -> bool {
    let first = script.lines().next().unwrap_or_default();
    let program = first.strip_prefix("#!").unwrap_or_default().split_whitespace().next();
    matches!(program, Some("/bin/sh" | "/bin/bash" | "/bin/dash" | "/usr/bin/sh" | "/usr/bin/bash"))
}

fn shell_calls(script: &str, arguments: &[&str]) -> Vec<Call> {
    if is_shell(script) { shell::calls(script, arguments) } else { Vec::new() }
}

/// The last component of the command.
fn name(call: &Call) -> &str {
    let first = call.first().and_then(|word| word.as_deref()).unwrap_or_default();
    first.rsplit('/').next().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Member, Node};

    fn package(label: &str, postinst: &str, triggers: &str) -> Package {
        let node = Node::File { executable: false, content: label.as_bytes().to_vec().into() };
        let path = format!("usr/share/{label}/x.ini");
        let scripts = Scripts {
            postinst: format!("#!/bin/sh\n{postinst}"),
            triggers: triggers.into(),
            ..Scripts::default()
        };
        Package { label: label.into(), members: vec![Member { path, node }], debian: true, scripts }
    }

    #[test]
    fn scripts_leave_what_they_make_and_what_they_do_not() {
        let packages = [
            package("a_1_all.deb", "ucf /usr/share/a_1_all.deb/x.ini /etc/x.ini", ""),
            package("b_1_all.deb", "useradd b\nmktexlsr", ""),
            package("c_1_all.deb", ":", "interest /x"),
            package("dash_1_all.deb", "ln -s a b", ""),
        ];
        let effects = Effects::read_all(&packages);
        let mut tree = crate::tree::assemble::assemble_packages(packages.into(), "m".as_ref(), &[])
            .unwrap()
            .tree;
        effects.apply(&mut tree).unwrap();
        assert_eq!(tree.file("etc/x.ini").unwrap().1.read().unwrap(), b"a_1_all.deb");
        assert_eq!(
            effects.unanswered(&tree, |_| false),
            ["b: its postinst runs `useradd`", "c: its postinst waits for the trigger `/x`"]
        );
        assert_eq!(effects.unanswered(&tree, |package| package == "b").len(), 1);
        tree.remove("usr/share/c_1_all.deb/x.ini");
        assert_eq!(effects.unanswered(&tree, |package| package == "b").len(), 0);
    }
}
