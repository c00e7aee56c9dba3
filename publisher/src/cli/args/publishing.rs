//! The words of `index`, `site`, `serve`, `sign` and `keygen`, which make and show a registry.

use super::{Command, RECORDS, Values};
use crate::error::Error;
use std::num::NonZero;
use std::path::PathBuf;

/// `index`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Where the records lie.
    pub records: PathBuf,
    /// The `registry.json` to write.
    pub out: PathBuf,
}

/// `site`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where the records lie.
    pub records: PathBuf,
    /// Where the templates and assets lie.
    pub source: PathBuf,
    /// The directory to write.
    pub out: PathBuf,
}

/// `sign`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The `registry.json` to sign.
    pub registry: PathBuf,
    /// The secret key.
    pub key: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// After how many days the signature is no longer trusted.
    pub expires: Option<NonZero<u32>>,
    /// Keep the signatures by other keys.
    pub add: bool,
}

/// `keygen`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keygen {
    /// Where the secret key goes.
    pub key: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// Leave it unencrypted.
    pub no_password: bool,
}

impl Values {
    pub(super) fn index(mut self) -> Result<Index, Error> {
        let records = self.path("--records", RECORDS)?;
        let out = self.path("--out", "registry.json")?;
        self.nothing_more()?;
        Ok(Index { records, out })
    }

    pub(super) fn site(mut self) -> Result<Site, Error> {
        let records = self.path("--records", RECORDS)?;
        let source = self.path("--theme", "registry-site")?;
        let out = self.path("--out", "dist/site")?;
        self.nothing_more()?;
        Ok(Site { records, source, out })
    }

    pub(super) fn serve(mut self) -> Result<Command, Error> {
        let port = match self.text("--port")? {
            None => 8000,
            Some(port) => port.parse().map_err(|_| {
                Error::Usage(format!("--port needs a number up to 65535, not `{port}`"))
            })?,
        };
        match self.positionals()?.as_slice() {
            [] => Ok(Command::Serve { root: "dist/site".into(), port }),
            [root] => Ok(Command::Serve { root: root.into(), port }),
            [_, extra, ..] => Err(Error::Usage(format!("unexpected argument `{extra}`"))),
        }
    }

    pub(super) fn sign(mut self) -> Result<Sign, Error> {
        let key = self.value("--key")?.map(PathBuf::from);
        let key = key.ok_or_else(|| Error::Usage("`sign` needs --key FILE".into()))?;
        let password_file = self.value("--password-file")?.map(PathBuf::from);
        let expires = match self.text("--expires")? {
            None => None,
            Some(days) => Some(days.parse().map_err(|_| {
                Error::Usage(format!("--expires needs a number of days from 1, not `{days}`"))
            })?),
        };
        let add = self.args.contains("--add");
        let registry = match self.positionals()?.as_slice() {
            [] => "registry.json".into(),
            [file] => file.into(),
            [_, extra, ..] => return Err(Error::Usage(format!("unexpected argument `{extra}`"))),
        };
        Ok(Sign { registry, key, password_file, expires, add })
    }

    pub(super) fn keygen(mut self) -> Result<Keygen, Error> {
        let password_file = self.value("--password-file")?.map(PathBuf::from);
        let no_password = self.args.contains("--no-password");
        match self.positionals()?.as_slice() {
            [file] => Ok(Keygen { key: file.into(), password_file, no_password }),
            _ => Err(Error::Usage("`keygen` needs one FILE".into())),
        }
    }
}
