//! Effects of maintainer scripts and triggers of packages.
//!
//! In: the control files of packages. Out: diverted paths ([`Diversions`]), links and copies to make
//! ([`Effects`]), and the packages whose scripts have an effect that the build lacks. No script is run.

mod alternatives;
mod changes;
mod commands;
mod coverage;
mod diversions;
mod known;
mod shell;
mod tokens;
mod users;

pub(crate) use diversions::Diversions;

use crate::{
    error::Error,
    tree::{
        Tree,
        assemble::{Package, merged_path},
    },
};
use alternatives::Alternative;
use changes::Change;
use shell::Call;
use std::collections::{BTreeMap, BTreeSet};
use users::Users;

/// The control files of a package that affect its installation; empty if it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// `preinst`, before it is unpacked.
    pub preinst: String,
    /// `postinst`, after it was unpacked.
    pub postinst: String,
    /// `triggers`: its interests and activations.
    pub triggers: String,
}

/// An effect of a script that the build lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    /// The command, file or trigger, as in `known`.
    object: String,
    /// Description, to follow the package's name.
    what: String,
}

impl Fault {
    fn new(object: &str, what: impl Into<String>) -> Self {
        Self { object: object.to_owned(), what: what.into() }
    }
}

/// The effects of the scripts of all packages.
#[derive(Debug, Default)]
pub struct Effects {
    /// Diverted paths.
    pub(crate) diversions: Diversions,
    alternatives: Vec<Alternative>,
    /// Files that are copied, moved and linked, each with the package.
    changes: Vec<(String, Change)>,
    users: Users,
    /// Package and a trigger that it is interested in, which the build lacks.
    awaited: Vec<(String, String)>,
    /// Triggers that packages activate by name.
    activated: BTreeSet<String>,
    /// Package → the first missing effect.
    faults: BTreeMap<String, Fault>,
}

impl Effects {
    /// Reads the scripts of `packages`.
    pub(crate) fn read_all(packages: &[Package]) -> Self {
        let mut effects = Self::default();
        for package in packages {
            effects.read(&package.name(), &package.scripts);
            effects.users.read_sysusers(&package.members);
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
            faults.push(Fault::new("", "has a postinst that is not a shell script"));
        }
        for call in shell_calls(postinst, &["configure", ""]) {
            let read = match name(&call) {
                "update-alternatives" => {
                    alternatives::read(&call).map(|read| self.alternatives.extend(read))
                }
                "dpkg-divert" => self.diversions.read(&call),
                "ucf" | "cp" | "install" | "mv" | "ln" => changes::read(&call).map(|read| {
                    self.changes.extend(read.map(|change| (package.to_owned(), change)));
                }),
                "dpkg-trigger" => {
                    let words = call.iter().skip(1).flatten();
                    self.activated.extend(words.filter(|word| !word.starts_with('-')).cloned());
                    Ok(())
                }
                program if users::is_known(program) => self.users.read(&call),
                _ => coverage::fault(&call).map_or(Ok(()), Err),
            };
            faults.extend(read.err());
        }
        let awaited = coverage::awaited(triggers).into_iter();
        self.awaited.extend(awaited.map(|trigger| (package.to_owned(), trigger)));
        self.activated.extend(coverage::activated(triggers));
        let fault = faults.into_iter().find(|fault| !known::is_answered(package, &fault.object));
        self.faults.extend(fault.map(|fault| (package.to_owned(), fault)));
    }

    /// Makes the links and copies in `tree`. Existing files are not replaced.
    ///
    /// # Errors
    /// A link or copy that cannot be made.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), String> {
        alternatives::apply(tree, &self.alternatives)?;
        self.changes.iter().try_for_each(|(_, change)| change.apply(tree))
    }

    /// Adds the users and groups that packages need to the files of `tree`.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Config`] if a path is a directory or a symlink.
    pub(crate) fn add_users(&self, tree: &mut Tree) -> Result<(), Error> {
        self.users.apply(tree)
    }

    /// The packages with a missing effect, and that effect; without those in `answers` and those without files in
    /// `tree`.
    pub(crate) fn unanswered(&self, tree: &Tree, answers: impl Fn(&str) -> bool) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (package, change) in &self.changes {
            let answered = |fault: &Fault| known::is_answered(package, &fault.object);
            if let Some(fault) = change.fault(tree).filter(|fault| !answered(fault)) {
                faults.entry(package.clone()).or_insert(fault);
            }
        }
        for (package, trigger) in &self.awaited {
            if self.is_set_off(tree, package, trigger) && !known::is_answered(package, trigger) {
                let fault = Fault::new(trigger, format!("waits for the trigger `{trigger}`"));
                faults.entry(package.clone()).or_insert(fault);
            }
        }
        let origins: BTreeSet<&str> =
            tree.iter().filter_map(|(path, _)| tree.origin(path)).collect();
        let present: BTreeSet<String> = origins.into_iter().map(package_name).collect();
        let open =
            faults.iter().filter(|(package, _)| !answers(package) && present.contains(*package));
        open.map(|(package, fault)| format!("{package}: its postinst {}", fault.what)).collect()
    }
}

impl Effects {
    /// Whether another package than `package` activates the `trigger`: by name, or by a file at or below its path.
    fn is_set_off(&self, tree: &Tree, package: &str, trigger: &str) -> bool {
        let Some(path) = trigger.strip_prefix('/') else { return self.activated.contains(trigger) };
        let path = merged_path(path);
        let paths = tree.below(&path).map(|(path, _)| path).chain([path.as_str()]);
        let mut origins = paths.filter_map(|path| tree.origin(path));
        origins.any(|origin| package_name(origin) != package)
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
    fn scripts_yield_changes_and_unknown_commands() {
        let packages = [
            package("a_1_all.deb", "ucf /usr/share/a_1_all.deb/x.ini /etc/x.ini", ""),
            package("b_1_all.deb", "usermod b\nupdate-xmlcatalog", ""),
            package("c_1_all.deb", ":", "interest /usr/share/a_1_all.deb\ninterest x\n"),
            package("d_1_all.deb", ":", "interest /usr/share/d_1_all.deb\ninterest y\n"),
            package("e_1_all.deb", ":", "interest z\n"),
            package("f_1_all.deb", "dpkg-trigger --no-await z", ""),
            package("dash_1_all.deb", "ln -s a $(b)", ""),
        ];
        let effects = Effects::read_all(&packages);
        let mut tree = crate::tree::assemble::assemble_packages(packages.into(), "m".as_ref(), &[])
            .unwrap()
            .tree;
        effects.apply(&mut tree).unwrap();
        assert_eq!(tree.file("etc/x.ini").unwrap().1.read().unwrap(), b"a_1_all.deb");
        assert_eq!(
            effects.unanswered(&tree, |_| false),
            [
                "b: its postinst runs `usermod`",
                "c: its postinst waits for the trigger `/usr/share/a_1_all.deb`",
                "e: its postinst waits for the trigger `z`"
            ]
        );
        let answered = |package: &str| matches!(package, "b" | "e");
        assert_eq!(effects.unanswered(&tree, answered).len(), 1);
        tree.remove("usr/share/c_1_all.deb/x.ini");
        assert_eq!(effects.unanswered(&tree, answered).len(), 0);
    }
}
