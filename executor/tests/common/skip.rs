//! Skipped tests are reported past the test harness, which hides the output of passing tests.
//! Shared by the tests of both programs.

use std::io::Write;

/// With the value `must-work`, as in CI, a skip is a failure.
const VARIABLE: &str = "JOBLET_TEST_ALL";

/// Reports a skip because this host lacks a prerequisite.
///
/// # Panics
/// Under `JOBLET_TEST_ALL=must-work`.
pub(crate) fn skip(what: &str) {
    let must = match std::env::var_os(VARIABLE) {
        None => false,
        Some(value) if value == "must-work" => true,
        Some(value) => panic!("{VARIABLE} is unset or `must-work`, not {value:?}"),
    };
    assert!(!must, "{VARIABLE}=must-work, but {what}");
    note(&format!("SKIPPED: {what}"));
}

/// Reports that a test does not apply to this user or kernel: it needs root, or a feature that the
/// kernel does not have. Not a failure, also under `must-work`.
pub(crate) fn not_applicable(what: &str) {
    note(&format!("SKIPPED (not applicable): {what}"));
}

/// Prints a line past the harness.
pub(crate) fn note(text: &str) {
    // Without standard error nobody reads it.
    _ = writeln!(std::io::stderr().lock(), "{text}");
}
