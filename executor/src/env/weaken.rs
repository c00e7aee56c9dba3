//! Disables one protection at a time, so that tests can show that an attack succeeds without it: a test
//! of a protection that cannot fail would prove nothing.
//!
//! Only in programs built with the feature `weaken`; shipped programs are built without it.

#[cfg(feature = "weaken")]
mod weak {
    /// Names of disabled protections: steps as in `--dry-run --json`, or arguments of [`without`].
    const VARIABLE: &str = "JOBLET_EXEC_WEAKEN";

    pub(crate) fn without(name: &str) -> bool {
        std::env::var(VARIABLE).is_ok_and(|names| names.split(',').any(|other| other == name))
    }
}

#[cfg(not(feature = "weaken"))]
mod weak {
    /// Whether the protection `name` is disabled.
    pub(crate) const fn without(_name: &str) -> bool {
        false
    }
}

pub(crate) use weak::without;
