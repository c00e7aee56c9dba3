//! `prune`.

use super::Session;
use super::output;
use super::remove::note_users;
use crate::cli::args::Prune;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::store::{Installed, Store, Usage};
use joblet_format::Version;
use joblet_format::image::RUNTIME;
use joblet_format::text::size;
use std::time::{Duration, SystemTime};

impl Session<'_> {
    /// Removes old versions that were installed from a registry; those unpacked by hand are kept.
    pub(crate) fn prune(&self, what: &Prune, ui: &mut Ui<'_>) -> Result<(), Error> {
        let terminals = self.env.terminals;
        let may_ask = terminals.input && terminals.error && !self.global.json;
        if what.keep == 0 && !may_ask && !what.yes && !what.dry_run {
            let reason = "prune --keep 0 removes every version; add --yes to confirm";
            return Err(Error::Usage(reason.to_owned()));
        }
        let store = self.store()?;
        let store = match what.older_than {
            Some(limit) if !what.dry_run => store.keeping(limit),
            _ => store,
        };
        store.clean()?;
        let mut rows = Vec::new();
        for runtime in prunable(&store, what)? {
            let usage = Usage::measure(store.open(&runtime)?, &runtime.path)?;
            rows.push(output::Pruned { runtime, freed: usage.bytes - usage.shared });
        }
        let ask = may_ask && !what.yes && !what.dry_run && !rows.is_empty();
        if ask {
            ui.data(&output::pruned(&rows, false))?;
            if !agreed(&rows, ui)? {
                ui.note("nothing was removed");
                return Ok(());
            }
        }
        if !what.dry_run {
            rows = remove(rows, &store, ui)?;
        }
        if rows.is_empty() && !self.global.json {
            ui.note("nothing to remove");
            return Ok(());
        }
        if !ask {
            ui.data(&output::pruned(&rows, self.global.json))?;
        }
        if self.global.json {
            return Ok(());
        }
        let verb = if what.dry_run { "would be freed" } else { "freed" };
        ui.note(&format!("{} {verb}", total(&rows)));
        Ok(())
    }
}

/// Asks the user to confirm the removal of these versions.
fn agreed(rows: &[output::Pruned], ui: &mut Ui<'_>) -> Result<bool, Error> {
    let versions = if rows.len() == 1 { "this version" } else { "these versions" };
    ui.ask(&format!("remove {versions}, {}? [y/N] ", total(rows)));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Error::file("read", "standard input"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Removes these versions, except those that a job uses. Returns the removed ones.
fn remove(
    rows: Vec<output::Pruned>,
    store: &Store,
    ui: &mut Ui<'_>,
) -> Result<Vec<output::Pruned>, Error> {
    let mut gone = Vec::new();
    for row in rows {
        match store.remove(&row.runtime) {
            Err(error @ (Error::InUse { .. } | Error::Busy { .. })) => {
                ui.note(&format!("kept: {error}"));
            }
            removed => {
                note_users(ui, &row.runtime, removed?.as_deref());
                gone.push(row);
            }
        }
    }
    Ok(gone)
}

/// The space that their removal frees, human-readable.
fn total(rows: &[output::Pruned]) -> String {
    size(rows.iter().map(|row| row.freed).sum())
}

/// The versions to remove: old ones beyond the number of each runtime that is kept, and yanked ones if another is kept.
fn prunable(store: &Store, what: &Prune) -> Result<Vec<Installed>, Error> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let old = |runtime: &Installed| {
        // Only versions with a receipt, and only of this store.
        if runtime.path.parent() != Some(store.root()) {
            return false;
        }
        let Some(receipt) = store.receipt(runtime) else { return false };
        let age = now.saturating_sub(Duration::from_secs(receipt.installed_at));
        what.older_than.is_none_or(|limit| age > limit)
    };
    let mut found = Vec::new();
    for group in store.installed()?.chunk_by(|a, b| a.name == b.name) {
        if group[0].name.as_str() == RUNTIME {
            // Versions of images are digests, which have no order.
            let age = |it: &Installed| store.receipt(it).map(|receipt| receipt.installed_at);
            let mut images: Vec<_> = group.iter().map(|it| (age(it), it)).collect();
            for _ in 0..what.keep {
                let newest = (0..images.len()).max_by_key(|at| images[*at].0);
                newest.map(|at| images.swap_remove(at));
            }
            found.extend(images.into_iter().map(|(_, image)| image).filter(|it| old(it)).cloned());
            continue;
        }
        let all = group.iter().filter(|it| it.version.is_some());
        let (yanked, mut left): (Vec<_>, Vec<_>) = all.partition(|it| store.yanked(it).is_some());
        if left.is_empty() {
            left = yanked;
        } else {
            found.extend(yanked.into_iter().filter(|it| old(it)).cloned());
        }
        let highest = Version::latest(left.iter().filter_map(|it| it.version.as_ref())).cloned();
        for _ in 0..what.keep {
            let versions = left.iter().filter_map(|runtime| runtime.version.as_ref());
            let latest = Version::latest(versions).cloned();
            left.retain(|runtime| runtime.version != latest);
        }
        if what.keep > 0 {
            // A pre-release of a later version is not old.
            left.retain(|runtime| runtime.version < highest);
        }
        found.extend(left.into_iter().filter(|runtime| old(runtime)).cloned());
    }
    Ok(found)
}
