//! `list` and `path`.

use super::Session;
use super::output;
use crate::cli::escape::visible;
use crate::cli::progress;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::registry::Catalog;
use crate::store::Installed;
use joblet_format::{Spec, nearest};
use std::os::unix::ffi::OsStrExt;

impl Session<'_> {
    pub(crate) fn list(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let runtimes = store.installed()?;
        if runtimes.is_empty() && !self.global.json {
            ui.note(&format!(
                "no runtime is installed in {}; see joblet-exec list --available",
                store.root().display()
            ));
            return Ok(());
        }
        let row = |runtime: Installed| {
            let receipt = store.receipt(&runtime);
            output::InstalledRow::new(runtime, receipt.as_ref())
        };
        let rows: Vec<_> = runtimes.into_iter().map(row).collect();
        ui.data(&output::installed(&rows, self.width(), self.global.json))
    }

    /// Width of the terminal that standard output is, in columns.
    fn width(&self) -> Option<usize> {
        // An ellipsis of three points.
        let longer = if self.env.ascii { 2 } else { 0 };
        self.env
            .terminals
            .output
            .then(|| progress::columns(std::io::stdout()).saturating_sub(longer))
    }

    pub(crate) fn list_available(
        &self,
        all_versions: bool,
        words: &[String],
        ui: &mut Ui<'_>,
    ) -> Result<(), Error> {
        let catalogs = self.offered(ui)?;
        if catalogs.iter().all(|catalog| catalog.registry.runtimes.is_empty()) && !self.global.json
        {
            let places: Vec<_> = catalogs.iter().map(|it| it.location.to_string()).collect();
            ui.note(&format!(
                "nothing is published in {} yet; --registry WHERE names another registry",
                places.join(" or ")
            ));
            return Ok(());
        }
        // Without a store nothing is installed; the list is useful anyway.
        let here = self.store().and_then(|store| store.installed()).unwrap_or_default();
        let mut offer = output::Offer {
            here: &here,
            arch: self.env.arch,
            all_versions,
            words,
            width: self.width(),
            json: self.global.json,
        };
        let mut table = output::available(&catalogs, &offer);
        if !words.is_empty() && !self.global.json && table.lines().count() == 1 {
            let near = spelled(words, &catalogs);
            offer.words = near.as_deref().unwrap_or_default();
            table = output::available(&catalogs, &offer);
            let (typed, near) = (words.join(" "), offer.words.join(" "));
            if offer.words.is_empty() || table.lines().count() == 1 {
                ui.note(&format!(
                    "no runtime has {typed:?} in its name or description; see joblet-exec list --available"
                ));
                return Ok(());
            }
            ui.note(&format!("no runtime matches {typed:?}; these match {near:?}"));
        }
        ui.data(&table)
    }

    pub(crate) fn path(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<(), Error> {
        let path = self.store()?.require(spec)?.path;
        if self.env.terminals.output {
            return ui.data(&(visible(&path.to_string_lossy()) + "\n"));
        }
        ui.raw(&[path.as_os_str().as_bytes(), b"\n"].concat())
    }
}

/// These words with the nearest one that is offered in place of each that is not.
fn spelled(words: &[String], catalogs: &[Catalog]) -> Option<Vec<String>> {
    let mut text = String::new();
    for (name, releases) in catalogs.iter().flat_map(|catalog| &catalog.registry.runtimes) {
        if let Some(release) = releases.values().next_back() {
            text = text + name.as_str() + " " + &release.description + " ";
        }
    }
    text.make_ascii_lowercase();
    let offered = || text.split([' ', ',', '-', '.']).filter(|word| word.len() > 2);
    let near = |word: &String| {
        if text.contains(word.as_str()) {
            return Some(word.clone());
        }
        nearest(word, offered()).map(str::to_owned)
    };
    words.iter().map(near).collect()
}
