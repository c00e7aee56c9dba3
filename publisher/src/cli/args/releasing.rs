//! The words of `plan`, `release` and `reconcile`, which get versions out.

use super::{RECORDS, Values};
use crate::error::Error;
use crate::release::Tag;
use std::path::PathBuf;

/// `plan`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is to be released.
    pub tag: Tag,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Where the records lie, from the top of the repository.
    pub records: PathBuf,
    /// The branch that releases come from.
    pub branch: String,
}

/// `release`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What is released.
    pub tag: Tag,
    /// Where to.
    pub host: String,
    /// Where `build` wrote, on one machine or more.
    pub outs: Vec<PathBuf>,
}

/// `reconcile`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconcile {
    /// This release alone.
    pub tag: Option<Tag>,
    /// Where releases are.
    pub host: String,
    /// The repository of the registry.
    pub repository: String,
    /// Its branch.
    pub branch: String,
    /// Where the records lie in it.
    pub records: PathBuf,
    /// The secret key that signs `registry.json`.
    pub key: Option<PathBuf>,
}

impl Values {
    pub(super) fn plan(mut self) -> Result<Plan, Error> {
        let plan = Plan {
            tag: self.needed_tag()?,
            sources: self.sources()?,
            records: self.path("--records", RECORDS)?,
            branch: self.text("--branch")?.unwrap_or_else(|| "origin/main".into()),
        };
        self.nothing_more()?;
        Ok(plan)
    }

    pub(super) fn release(mut self) -> Result<Release, Error> {
        let release = Release {
            tag: self.needed_tag()?,
            host: self.needed("--host")?,
            outs: self.paths("--out", "dist")?,
        };
        self.nothing_more()?;
        Ok(release)
    }

    pub(super) fn reconcile(mut self) -> Result<Reconcile, Error> {
        let reconcile = Reconcile {
            tag: self.tag()?,
            host: self.needed("--host")?,
            repository: self.needed("--repository")?,
            branch: self.text("--branch")?.unwrap_or_else(|| "main".into()),
            records: self.path("--records", RECORDS)?,
            key: self.value("--key")?.map(PathBuf::from),
        };
        self.nothing_more()?;
        Ok(reconcile)
    }

    fn tag(&mut self) -> Result<Option<Tag>, Error> {
        self.text("--tag")?.map(|text| text.parse().map_err(Error::Usage)).transpose()
    }

    fn needed_tag(&mut self) -> Result<Tag, Error> {
        self.tag()?.ok_or_else(|| self.lacks("--tag"))
    }

    fn needed(&mut self, option: &'static str) -> Result<String, Error> {
        self.text(option)?.ok_or_else(|| self.lacks(option))
    }

    fn lacks(&self, option: &str) -> Error {
        Error::Usage(format!("`{}` needs {option}; see --help", self.verb.name))
    }

    /// The values of an option that may be given more than once.
    fn paths(&mut self, option: &'static str, default: &str) -> Result<Vec<PathBuf>, Error> {
        let mut all = Vec::new();
        while let Some(value) = self.value(option)? {
            all.push(value.into());
        }
        Ok(if all.is_empty() { vec![default.into()] } else { all })
    }
}
