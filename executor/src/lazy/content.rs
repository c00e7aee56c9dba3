//! The content of a runtime that is being installed, by this process or by another one.

use crate::archive::members::{Availability, Follow, OnDemand};
use crate::error::Error;
use crate::store::InProgress;
use std::sync::OnceLock;

/// What reads are answered from.
#[derive(Debug)]
pub(super) struct Content<'a> {
    /// What this process fetches, once it installs the version.
    own: OnceLock<OnDemand<'a>>,
    /// What another process fetches.
    other: Option<Follow<'a>>,
}

impl<'a> Content<'a> {
    /// The content of `installation`.
    ///
    /// # Errors
    /// As [`InProgress::on_demand`].
    pub(super) fn new(installation: &'a InProgress<'_>) -> Result<Self, Error> {
        let content = Self { own: OnceLock::new(), other: installation.follow() };
        if content.other.is_none() {
            content.install(installation)?;
        }
        Ok(content)
    }

    /// Begins to fetch what is missing.
    ///
    /// # Errors
    /// As [`InProgress::on_demand`].
    pub(super) fn install(&self, installation: &'a InProgress<'_>) -> Result<&OnDemand<'a>, Error> {
        let own = installation.on_demand()?;
        let own = self.own.get_or_init(|| own);
        // Otherwise `close` finds it.
        if self.other.as_ref().is_some_and(Follow::is_closed) {
            own.close();
        }
        Ok(own)
    }

    /// What this process fetches.
    pub(super) fn own(&self) -> Option<&OnDemand<'a>> {
        self.own.get()
    }

    /// What another process fetches.
    pub(super) fn other(&self) -> Option<&Follow<'a>> {
        self.other.as_ref()
    }

    /// Whether `length` bytes at `offset` of the file `entry` can be read; if not, requests them.
    pub(super) fn ask(&self, entry: usize, offset: u64, length: u64) -> Availability {
        match (self.own.get(), &self.other) {
            (Some(own), _) => own.ask(entry, offset, length),
            (None, Some(other)) => other.ask(entry, offset, length),
            (None, None) => Availability::Lost,
        }
    }

    /// If the network is down, whether reads fail already.
    pub(super) fn away(&self) -> Option<bool> {
        match self.own.get() {
            Some(own) => own.away(),
            None => self.other.as_ref()?.away(),
        }
    }

    /// Declares that there will be no more reads.
    pub(super) fn close(&self) {
        if let Some(other) = &self.other {
            other.close();
        }
        if let Some(own) = self.own.get() {
            own.close();
        }
    }
}
