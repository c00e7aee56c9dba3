//! `remove`.

use super::Session;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::store::Installed;
use joblet_format::Spec;

impl Session<'_> {
    pub(crate) fn remove(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        for spec in specs {
            let runtime = store.require_one(spec)?;
            let users = store.remove(&runtime)?;
            ui.note(&format!("removed {}", runtime.path.display()));
            note_users(ui, &runtime, users.as_deref());
        }
        Ok(())
    }
}

/// Reports that jobs still use the files of a removed or replaced runtime, which are deleted later.
pub(super) fn note_users(ui: &mut Ui<'_>, runtime: &Installed, users: Option<&str>) {
    let Some(users) = users else { return };
    let name = runtime.path.file_name().unwrap_or_default().to_string_lossy();
    ui.note(&format!(
        "the files of {name} stay on the disk as long as they are used ({users}); a later \
         command deletes them"
    ));
}
