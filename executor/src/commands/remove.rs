//! `remove`.

use super::Session;
use crate::error::Error;
use crate::ui::Ui;
use joblet_format::Spec;

impl Session<'_> {
    pub(crate) fn remove(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        for spec in specs {
            let runtime = store.expect_one(spec)?;
            store.remove(&runtime)?;
            ui.note(&format!("removed {}", runtime.path.display()));
        }
        Ok(())
    }
}
