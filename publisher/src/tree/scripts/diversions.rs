//! `dpkg-divert` in maintainer scripts → diverted paths (dpkg-divert(1)).

use super::{Fault, shell::Call};
use std::collections::BTreeMap;

/// Diverted paths: path in packages → new path, and the package that still uses the first one.
#[derive(Debug, Default)]
pub(crate) struct Diversions(BTreeMap<String, (String, String)>);

impl Diversions {
    /// Adds the diversion of a call, if any.
    ///
    /// # Errors
    /// A word whose value is unknown.
    pub(super) fn read(&mut self, call: &Call) -> Result<(), Fault> {
        let words: Option<Vec<&str>> = call.iter().map(Option::as_deref).collect();
        let other = ["--remove", "--list", "--listpackage", "--truename"];
        if call.iter().flatten().any(|word| other.contains(&word.as_str())) {
            return Ok(());
        }
        let unknown = || {
            Fault::new(
                "dpkg-divert",
                "calls `dpkg-divert` with words that are known only at run time",
            )
        };
        let words = words.ok_or_else(unknown)?;
        let (mut package, mut to, mut path) = (String::new(), None, None);
        let mut rest = words.iter().skip(1);
        while let Some(word) = rest.next() {
            match *word {
                "--package" => package = rest.next().map(|it| (*it).to_owned()).unwrap_or_default(),
                "--divert" => to = rest.next().map(|it| (*it).to_owned()),
                word if word.starts_with("--") => {}
                word => path = Some(word.to_owned()),
            }
        }
        let Some(path) = path else { return Err(unknown()) };
        let to = to.unwrap_or_else(|| format!("{path}.distrib"));
        if let (Some(path), Some(to)) = (path.strip_prefix('/'), to.strip_prefix('/')) {
            self.0.insert(path.to_owned(), (to.to_owned(), package));
        }
        Ok(())
    }

    /// The path at which `path` of `package` is installed.
    pub(crate) fn place<'p>(&'p self, path: &'p str, package: &str) -> &'p str {
        match self.0.get(path) {
            Some((to, by)) if by != package => to,
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    #[test]
    fn files_of_other_packages_are_diverted() {
        let script = "dpkg-divert --package parallel --add --rename --divert /usr/bin/parallel.moreutils \\\n\
                      /usr/bin/parallel\ndpkg-divert --package a --no-rename /lib/x\n\
                      dpkg-divert --remove --package b --divert /u /usr/bin/y";
        let mut diversions = Diversions::default();
        for call in shell::calls(script, &["install"]) {
            diversions.read(&call).unwrap();
        }
        for (path, package, place) in [
            ("usr/bin/parallel", "moreutils", "usr/bin/parallel.moreutils"),
            ("usr/bin/parallel", "parallel", "usr/bin/parallel"),
            ("lib/x", "b", "lib/x.distrib"),
            ("usr/lib/x", "b", "usr/lib/x"),
            ("usr/bin/y", "c", "usr/bin/y"),
        ] {
            assert_eq!(diversions.place(path, package), place, "{path} of {package}");
        }
        let call =
            vec![Some("dpkg-divert".to_owned()), Some("--divert".into()), None, Some("/x".into())];
        assert!(diversions.read(&call).is_err());
    }
}
