//! `list` and `path`.

use super::Session;
use super::output;
use crate::cli::escape::visible;
use crate::cli::ui::Ui;
use crate::error::Error;
use joblet_format::Spec;
use std::os::unix::ffi::OsStrExt;

impl Session<'_> {
    pub(crate) fn list(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let runtimes = store.installed()?;
        if runtimes.is_empty() && !self.global.json {
            ui.note(&format!(
                "no runtime is installed in {}; joblet-exec list --available shows what there is",
                store.root().display()
            ));
            return Ok(());
        }
        ui.data(&output::installed(&runtimes, self.global.json))
    }

    pub(crate) fn list_available(&self, all_versions: bool, ui: &mut Ui<'_>) -> Result<(), Error> {
        let catalogs = self.registries()?.all(ui)?;
        // Without a store nothing is installed: the list is useful all the same.
        let here = self.store().and_then(|store| store.installed()).unwrap_or_default();
        let offer = output::Offer {
            here: &here,
            arch: self.env.arch,
            all_versions,
            json: self.global.json,
        };
        ui.data(&output::available(&catalogs, &offer))
    }

    pub(crate) fn path(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<(), Error> {
        let path = self.store()?.require(spec)?.path;
        if self.env.terminals.output {
            return ui.data(&(visible(&path.to_string_lossy()) + "\n"));
        }
        ui.raw(&[path.as_os_str().as_bytes(), b"\n"].concat())
    }
}
