//! The words of `lock`, `build` and `check`, which make runtimes.

use super::{RECORDS, Values};
use crate::error::Error;
use crate::error::shown;
use crate::pack::MAX_PART;
use joblet_format::{Arch, RuntimeName};
use std::num::NonZero;
use std::path::PathBuf;

/// Which runtimes are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every directory with a manifest.
    All,
    /// These.
    Names(Vec<RuntimeName>),
}

/// `lock`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Resolve these alone and keep the others as locked; empty: all of the manifest.
    pub arches: Vec<Arch>,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
}

/// `build`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Build these alone; empty: all of the manifest.
    pub arches: Vec<Arch>,
    /// Where archives and records go.
    pub out: PathBuf,
    /// Records of what was published, whose times are kept.
    pub records: PathBuf,
    /// Address of the archives' directory for `download_url`; none: relative to the registry.
    pub base_url: Option<String>,
    /// Larger archives are cut into parts of at most so many bytes.
    pub part_size: u64,
    /// How trees are made.
    pub making: Making,
    /// Report as JSON.
    pub json: bool,
}

/// How a tree is made of its inputs: what `build` and `verify` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
    /// Threads; none: as many as there are processors.
    pub jobs: Option<NonZero<usize>>,
    /// Fetch nothing.
    pub offline: bool,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// The `joblet-exec` that compiles Python modules.
    pub joblet_exec: Option<PathBuf>,
}

/// `check`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Check these, or fail; empty: all that were built and can be run here.
    pub arches: Vec<Arch>,
    /// Where `build` wrote.
    pub out: PathBuf,
    /// The `joblet-exec` to use.
    pub joblet_exec: Option<PathBuf>,
}

impl Values {
    pub(super) fn check(mut self, all: bool) -> Result<Check, Error> {
        Ok(Check {
            sources: self.sources()?,
            arches: self.arches()?,
            out: self.path("--out", "dist")?,
            joblet_exec: self.value("--joblet-exec")?.map(PathBuf::from),
            selection: self.selection(all)?,
        })
    }

    pub(super) fn lock(mut self, all: bool) -> Result<Lock, Error> {
        Ok(Lock {
            sources: self.sources()?,
            arches: self.arches()?,
            mirror: self.text("--mirror")?,
            cache: self.value("--cache")?.map(PathBuf::from),
            selection: self.selection(all)?,
        })
    }

    pub(super) fn build(mut self, all: bool) -> Result<Build, Error> {
        Ok(Build {
            sources: self.sources()?,
            arches: self.arches()?,
            out: self.path("--out", "dist")?,
            records: self.path("--records", RECORDS)?,
            base_url: self.base_url()?,
            part_size: self.part_size()?,
            making: self.making()?,
            json: self.args.contains("--json"),
            selection: self.selection(all)?,
        })
    }

    pub(super) fn making(&mut self) -> Result<Making, Error> {
        Ok(Making {
            cache: self.value("--cache")?.map(PathBuf::from),
            jobs: self.jobs()?,
            offline: self.args.contains("--offline"),
            mirror: self.text("--mirror")?,
            joblet_exec: self.value("--joblet-exec")?.map(PathBuf::from),
        })
    }

    fn base_url(&mut self) -> Result<Option<String>, Error> {
        let base = self.text("--base-url")?;
        match base.as_deref().and_then(shown::secret) {
            Some(secret) => {
                Err(Error::Usage(format!("--base-url has {secret}, and records are public")))
            }
            None => Ok(base),
        }
    }

    fn part_size(&mut self) -> Result<u64, Error> {
        let Some(size) = self.text("--part-size")? else { return Ok(MAX_PART) };
        let number = size.parse().ok().filter(|size| (1..=MAX_PART).contains(size));
        number.ok_or_else(|| {
            Error::Usage(format!("--part-size needs a number from 1 to {MAX_PART}, not `{size}`"))
        })
    }

    fn jobs(&mut self) -> Result<Option<NonZero<usize>>, Error> {
        let Some(jobs) = self.text("--jobs")? else { return Ok(None) };
        let number = jobs.parse().map(Some);
        number.map_err(|_| Error::Usage(format!("--jobs needs a number from 1, not `{jobs}`")))
    }

    fn selection(self, all: bool) -> Result<Selection, Error> {
        let verb = self.verb.name;
        match (self.names()?, all) {
            (names, true) if names.is_empty() => Ok(Selection::All),
            (_, true) => Err(Error::Usage("give names or --all, not both".into())),
            (names, false) if names.is_empty() => {
                Err(Error::Usage(format!("`{verb}` needs a runtime's NAME or --all")))
            }
            (names, false) => Ok(Selection::Names(names)),
        }
    }
}
