//! Places where inputs may be, best first. Each kind's are asked for when the first input needs them.

use crate::{
    env,
    error::Error,
    inputs::{
        debian_mirror::{self, Mirrors},
        python_index::{self, Indexes},
    },
    lock::{Input, Kind},
};
use std::sync::OnceLock;

/// What this host says.
#[derive(Debug, Default)]
pub(crate) struct Places {
    mirrors: OnceLock<Mirrors>,
    indexes: OnceLock<Indexes>,
}

impl Places {
    /// The host's, but for a Debian mirror that is named.
    ///
    /// # Errors
    /// [`Error::Usage`] if that is not an address.
    pub(crate) fn new(mirror: Option<&str>) -> Result<Self, Error> {
        let named = mirror.map(|mirror| debian_mirror::find(Some(mirror)).map(Self::from));
        named.unwrap_or_else(|| Ok(Self::default()))
    }

    /// The Debian mirrors.
    ///
    /// # Errors
    /// As [`debian_mirror::find`].
    pub(crate) fn mirrors(&self) -> Result<&Mirrors, Error> {
        once(&self.mirrors, || debian_mirror::find(None))
    }

    /// The package indexes of Python.
    ///
    /// # Errors
    /// As [`python_index::find`].
    pub(crate) fn indexes(&self) -> Result<&Indexes, Error> {
        once(&self.indexes, python_index::find)
    }

    /// Addresses of `input`, best first; for a place that was asked and does not have it, why.
    /// `timestamp` is the lock's.
    ///
    /// # Errors
    /// As [`Places::mirrors`] and [`Places::indexes`].
    pub(crate) fn addresses(
        &self,
        input: &Input,
        timestamp: &str,
    ) -> Result<Vec<Result<String, String>>, Error> {
        let mut addresses = match input.kind {
            Kind::Deb => self.mirrors()?.addresses(input, timestamp).into_iter().map(Ok).collect(),
            Kind::Wheel => self.indexes()?.addresses(&input.name),
            Kind::Tar => vec![Ok(input.name.clone())],
        };
        if let Some(store) = env::var(env::INPUT_STORE) {
            addresses.push(Ok(format!("{}/{}", store.trim_end_matches('/'), input.sha256.hex())));
        }
        Ok(addresses)
    }
}

impl From<Mirrors> for Places {
    fn from(mirrors: Mirrors) -> Self {
        Self { mirrors: mirrors.into(), ..Self::default() }
    }
}

/// What `cell` holds, found if it holds nothing. Two threads may look for it at once.
fn once<T>(cell: &OnceLock<T>, find: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    if cell.get().is_none() {
        let found = find()?;
        _ = cell.set(found); // fails if another thread has found it
    }
    Ok(cell.get().expect("it was set"))
}
