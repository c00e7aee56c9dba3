//! `prune`.

use super::Session;
use super::output;
use super::remove::note_users;
use crate::cli::args::Prune;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::store::{Installed, Store, Usage};
use joblet_format::Version;
use joblet_format::text::size;
use std::time::{Duration, SystemTime};

impl Session<'_> {
    /// Removes old versions that came from a registry: one that was unpacked by hand is kept.
    pub(crate) fn prune(&self, what: &Prune, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let mut rows = Vec::new();
        for runtime in prunable(&store, what)? {
            let usage = Usage::of(store.open(&runtime)?, &runtime.path)?;
            if !what.dry_run {
                match store.remove(&runtime) {
                    Err(error @ (Error::InUse { .. } | Error::Busy { .. })) => {
                        ui.note(&format!("kept: {error}"));
                        continue;
                    }
                    removed => note_users(ui, &runtime, removed?.as_deref()),
                }
            }
            rows.push(output::Pruned { runtime, freed: usage.bytes - usage.shared });
        }
        if rows.is_empty() && !self.global.json {
            ui.note("nothing to remove");
            return Ok(());
        }
        ui.data(&output::pruned(&rows, self.global.json))?;
        if self.global.json {
            return Ok(());
        }
        let total = size(rows.iter().map(|row| row.freed).sum());
        let verb = if what.dry_run { "would be freed" } else { "freed" };
        ui.note(&format!("{total} {verb}"));
        Ok(())
    }
}

/// The versions that may go, beyond those of each runtime that stay.
fn prunable(store: &Store, what: &Prune) -> Result<Vec<Installed>, Error> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let old = |runtime: &Installed| {
        // Only what has a receipt is this program's to remove, and only from this store.
        if runtime.path.parent() != Some(store.root()) {
            return false;
        }
        let Some(receipt) = store.receipt(runtime) else { return false };
        let age = now.saturating_sub(Duration::from_secs(receipt.installed_at));
        what.older_than.is_none_or(|limit| age > limit)
    };
    let mut found = Vec::new();
    for group in store.installed()?.chunk_by(|a, b| a.name == b.name) {
        let mut left: Vec<_> = group.iter().filter(|it| it.version.is_some()).collect();
        for _ in 0..what.keep {
            let versions = left.iter().filter_map(|runtime| runtime.version.as_ref());
            let latest = Version::latest(versions).cloned();
            left.retain(|runtime| runtime.version != latest);
        }
        found.extend(left.into_iter().filter(|runtime| old(runtime)).cloned());
    }
    Ok(found)
}
