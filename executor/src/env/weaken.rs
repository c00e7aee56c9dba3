//! Protections left out one at a time, so that tests see an attack succeed without them: a test
//! of a protection that cannot fail would prove nothing.
//!
//! Only programs built with the feature `weaken` can do it, and none that is shipped is.

#[cfg(feature = "weaken")]
mod weak {
    /// Names of protections: those of steps as in `--dry-run --json`, and those at their places.
    const VARIABLE: &str = "JOBLET_EXEC_WEAKEN";

    pub(crate) fn without(name: &str) -> bool {
        std::env::var(VARIABLE).is_ok_and(|names| names.split(',').any(|other| other == name))
    }
}

#[cfg(not(feature = "weaken"))]
mod weak {
    /// Whether the protection `name` is left out.
    pub(crate) const fn without(_name: &str) -> bool {
        false
    }
}

pub(crate) use weak::without;
