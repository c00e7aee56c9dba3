//! The words of `verify` and `diff`, which look at what was published.

use super::{Making, RECORDS, Values};
use crate::error::Error;
use joblet_format::{Arch, Spec};
use std::path::PathBuf;

/// `verify`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// What is built once more; the latest version where none is named.
    pub specs: Vec<Spec>,
    /// These alone; empty: all that were published.
    pub arches: Vec<Arch>,
    /// Where the records lie.
    pub records: PathBuf,
    /// The registry to compare with: its address, or a directory. None: the record.
    pub against: Option<String>,
    /// How trees are made.
    pub making: Making,
}

/// `diff`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The older one, or any.
    pub before: Spec,
    /// What it is compared with.
    pub after: Spec,
    /// These alone; empty: all that both have.
    pub arches: Vec<Arch>,
    /// Where the records lie.
    pub records: PathBuf,
    /// Report as JSON.
    pub json: bool,
}

impl Values {
    pub(super) fn verify(mut self) -> Result<Verify, Error> {
        let (arches, records) = (self.arches()?, self.path("--records", RECORDS)?);
        let (against, making) = (self.text("--against")?, self.making()?);
        let specs = self.specs()?;
        if specs.is_empty() {
            return Err(Error::Usage("`verify` needs NAME or NAME@VERSION".into()));
        }
        Ok(Verify { specs, arches, records, against, making })
    }

    pub(super) fn diff(mut self) -> Result<Diff, Error> {
        let (arches, records) = (self.arches()?, self.path("--records", RECORDS)?);
        let json = self.args.contains("--json");
        match <[Spec; 2]>::try_from(self.specs()?) {
            Ok([before, after]) => Ok(Diff { before, after, arches, records, json }),
            Err(_) => Err(Error::Usage("`diff` needs two of NAME or NAME@VERSION".into())),
        }
    }

    fn specs(self) -> Result<Vec<Spec>, Error> {
        let spec = |word: &String| match word.parse::<Spec>() {
            Ok(Spec { origin: Some(_), .. }) => {
                Err(Error::Usage(format!("`{word}`: a registry is named with --against here")))
            }
            spec => spec.map_err(|error| Error::Usage(error.to_string())),
        };
        self.positionals()?.iter().map(spec).collect()
    }
}
