//! What is not tested on a host is printed past the test harness, which hides what a passing test
//! prints. The tests of both programs share this file.

use std::io::Write;

/// Set to `must-work` where everything has to be testable, as in CI: then a skip is a failure.
const VARIABLE: &str = "JOBLET_TEST_ALL";

/// Reports that something is not tested because this host lacks what it takes.
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

/// Reports that a test does not apply to this user or kernel, whatever is installed: it needs
/// root, or the kernel has no such feature to attack. No failure, under `must-work` neither.
pub(crate) fn not_applicable(what: &str) {
    note(&format!("SKIPPED (not applicable): {what}"));
}

/// Prints a line past the harness.
pub(crate) fn note(text: &str) {
    // A test program without standard error has no reader.
    _ = writeln!(std::io::stderr().lock(), "{text}");
}
