//! `verify`.

use super::Session;
use super::output;
use super::remove::note_users;
use super::upgrade::{Places, came_from, none_installed};
use crate::archive::members::{self, Difference};
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::store::file_list::Listing;
use crate::store::install;
use crate::store::{Installed, Kept, Store};
use joblet_format::text::size;
use joblet_format::{Spec, Wanted};

impl Session<'_> {
    /// Compares runtimes with their indexes or file lists, and repairs them with `--repair`.
    pub(crate) fn verify(
        &self,
        specs: &[Spec],
        repair: bool,
        ui: &mut Ui<'_>,
    ) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let mut runtimes = Vec::new();
        for spec in specs {
            runtimes.push(store.require(spec)?);
        }
        if specs.is_empty() {
            runtimes = store.installed()?;
            if runtimes.is_empty() {
                ui.note(&none_installed(&store));
            }
        }
        let (mut places, mut found) = (Places::new(self, false)?, Vec::new());
        for runtime in runtimes {
            let (Some(differences), Some(version)) =
                (differences(&store, &runtime)?, &runtime.version)
            else {
                let why = format!(
                    "{}: no index or file list recorded, cannot verify",
                    runtime.path.display()
                );
                if !specs.is_empty() {
                    return Err(Error::NotFound(format!("{why}; install it from a registry")));
                }
                ui.note(&why);
                continue;
            };
            let (origin, from) = came_from(&store, &runtime, &places.usual);
            let (name, wanted) = (runtime.name.clone(), Wanted::Exact(version.clone()));
            let exact = Spec { origin, name, wanted };
            let repaired = repair && !differences.is_empty();
            if repaired {
                let catalog = places.for_origin(from.as_ref()).serving(&exact, ui)?;
                let (cost, users) = install::repair(&runtime, &exact, &catalog, &store, ui)?;
                note_users(ui, &runtime, users.as_deref());
                ui.note(&format!("repaired {exact} ({} fetched)", size(cost.fetched)));
            }
            found.push(output::Verified { runtime: exact.to_string(), differences, repaired });
        }
        ui.data(&output::verified(&found, self.global.json))?;
        let bad = found.iter().filter(|it| !it.differences.is_empty() && !it.repaired);
        let bad: Vec<_> = bad.map(|it| it.runtime.as_str()).collect();
        if bad.is_empty() { Ok(()) } else { Err(Error::Damaged(bad.join(", "))) }
    }
}

/// How a runtime differs from its index or file list; `None` if neither is recorded.
fn differences(store: &Store, runtime: &Installed) -> Result<Option<Vec<Difference>>, Error> {
    let open = || store.open(runtime);
    let index = store.kept(runtime, Kept::Index).and_then(|it| members::parse_index(&it));
    if let Some(index) = index {
        return Ok(Some(members::verify(&index, &open()?, &runtime.path)?.differences));
    }
    let files = store.kept(runtime, Kept::Files).and_then(|it| Listing::parse(&it));
    let compare = |files: Listing| {
        let there = Listing::scan(open()?, &runtime.path, Some(&files))?;
        Ok(files.differences(&there))
    };
    files.map(compare).transpose()
}
