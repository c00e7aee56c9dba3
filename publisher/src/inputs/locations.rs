//! Addresses of inputs: Debian mirrors, package indexes, a store of inputs. Each kind is looked up when the
//! first input needs it.

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

/// The locations that this host configures.
#[derive(Debug, Default)]
pub(crate) struct Places {
    mirrors: OnceLock<Mirrors>,
    indexes: OnceLock<Indexes>,
}

impl Places {
    /// The host's locations, with an optional Debian mirror in place of the configured one.
    ///
    /// # Errors
    /// [`Error::Usage`] if the mirror is not an address.
    pub(crate) fn new(mirror: Option<&str>) -> Result<Self, Error> {
        let named = mirror.map(|mirror| debian_mirror::find(Some(mirror)).map(Self::from));
        named.unwrap_or_else(|| Ok(Self::default()))
    }

    /// The Debian mirrors.
    ///
    /// # Errors
    /// As [`debian_mirror::find`].
    pub(crate) fn mirrors(&self) -> Result<&Mirrors, Error> {
        get_or_try_init(&self.mirrors, || debian_mirror::find(None))
    }

    /// The package indexes of Python.
    ///
    /// # Errors
    /// As [`python_index::find`].
    pub(crate) fn indexes(&self) -> Result<&Indexes, Error> {
        get_or_try_init(&self.indexes, python_index::find)
    }

    /// Addresses of `input`, the preferred first; an `Err` is an index that does not have it, with the
    /// reason. `timestamp` is the lock's.
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
            // Only a lock looks for an image.
            Kind::Image | Kind::Layer => vec![Err("this host's images".to_owned())],
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

/// The value of `cell`, initialized by `find` if it is empty. Two threads may run `find` at once.
fn get_or_try_init<T>(
    cell: &OnceLock<T>,
    find: impl FnOnce() -> Result<T, Error>,
) -> Result<&T, Error> {
    if cell.get().is_none() {
        let found = find()?;
        _ = cell.set(found); // fails if another thread has found it
    }
    Ok(cell.get().expect("it was set"))
}
