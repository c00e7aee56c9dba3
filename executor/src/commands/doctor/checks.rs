//! The checks of `doctor`, and their report.

use crate::cli::escape::shown_in;
use crate::cli::escape::visible;
use crate::error::{Class, Error};
use crate::gpu::Gpus;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum State {
    /// Works.
    Pass,
    /// A feature is missing that not every job needs.
    Warn,
    /// Jobs cannot run, or runtimes cannot be installed.
    Fail,
}

/// One check; one object of the JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The name of the check.
    #[serde(rename = "check")]
    pub name: &'static str,
    /// The result.
    pub status: State,
    /// Its explanation.
    pub detail: String,
    /// The remedy; null if none is needed.
    pub remedy: Option<String>,
    /// Class of the error that jobs or installations would end with.
    #[serde(skip)]
    pub class: Class,
}

impl Check {
    /// A passed check.
    pub(super) fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        let (status, detail) = (State::Pass, detail.into());
        Self { name, status, detail, remedy: None, class: Class::Launch }
    }

    /// A check that did not pass, with a message whose part after `; ` is the remedy.
    pub(super) fn bad(name: &'static str, status: State, class: Class, message: &str) -> Self {
        let message = shown_in(message);
        let (detail, remedy) = message.split_once("; ").unwrap_or((&message, ""));
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        Self { name, status, detail: detail.to_owned(), remedy, class }
    }

    /// A failed check from an error.
    pub(super) fn of_error(name: &'static str, error: &Error) -> Self {
        Self::bad(name, State::Fail, error.class(), &error.to_string())
    }
}

/// Formats the checks as a table or JSON.
pub(super) fn report(checks: &[Check], json: bool) -> String {
    if json {
        return crate::commands::output::to_json(checks.iter());
    }
    let mut text = String::new();
    for Check { name, status, detail, remedy, .. } in checks {
        let word = match status {
            State::Pass => "PASS",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        _ = writeln!(text, "{word}  {name:<10}  {}", visible(detail));
        if let Some(remedy) = remedy {
            _ = writeln!(text, "{:>16}  {}", "->", visible(remedy));
        }
    }
    text
}

/// The kernel: its version, by `/proc/sys/kernel/osrelease`.
pub(super) fn kernel(release: Option<&str>) -> Check {
    let Some(release) = release.map(str::trim) else {
        let message = "/proc is not mounted; mount -t proc proc /proc";
        return Check::bad("kernel", State::Warn, Class::Launch, message);
    };
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 4) {
        let message = format!("Linux {release} is older than 5.4; boot a newer one");
        return Check::bad("kernel", State::Fail, Class::Launch, &message);
    }
    Check::pass("kernel", format!("Linux {release}{}", container().unwrap_or_default()))
}

/// The container engine, by its marker file.
fn container() -> Option<&'static str> {
    let marks = [("/.dockerenv", ", in Docker"), ("/run/.containerenv", ", in Podman")];
    let found = marks.into_iter().find(|(mark, _)| Path::new(mark).exists()).map(|(_, name)| name);
    let systemd = || Path::new("/run/systemd/container").exists().then_some(", in a container");
    found.or_else(systemd)
}

/// Whether the current directory can be the lower layer of `/work`, by `/proc/filesystems`.
pub(super) fn overlay(filesystems: &str, privileged: bool, release: &str) -> Check {
    let warn = |message| Check::bad("overlay", State::Warn, Class::Launch, message);
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if !filesystems.split_whitespace().any(|name| name == "overlay") {
        return warn(
            "no overlayfs: jobs see links to what is in the current directory; as root, modprobe \
             overlay",
        );
    }
    if !privileged && version < (5, 11) {
        return warn(
            "overlays without root need Linux 5.11: jobs see links to what is in the current \
             directory; run as root, or boot a newer kernel",
        );
    }
    Check::pass("overlay", "jobs see a private copy of the current directory")
}

/// The file system of the store, or of the directory that it will be made in; `sharing` is a text
/// for file systems shared by machines.
pub(super) fn store(root: &Path, sharing: &str) -> Check {
    const ENOUGH: u64 = 2 << 30; // bytes: what a large runtime takes
    let fail = |message: String| Check::bad("store", State::Fail, Class::Store, &message);
    let shown = root.display();
    let Some(place) = root.ancestors().find(|place| place.exists()).filter(|place| place.is_dir())
    else {
        return fail(format!("{shown} cannot be made; choose another with --store DIR"));
    };
    if accessat(CWD, place, Access::WRITE_OK, AtFlags::EACCESS).is_err() {
        let at = place.display();
        return fail(format!("{shown} cannot be written ({at}); choose another with --store DIR"));
    }
    let Ok(stat) = statvfs(place) else {
        return fail(format!("{shown} cannot be inspected (statvfs)"));
    };
    if stat.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return fail(format!(
            "{shown} is on a file system mounted noexec: nothing of a runtime could be executed; \
             choose another with --store DIR, or remount it"
        ));
    }
    let Some(free) = crate::fs::free_space::available(&stat) else {
        return Check::pass("store", format!("{shown}, on a file system without a size{sharing}"));
    };
    let free_text = joblet_format::text::size(free);
    if free < ENOUGH {
        let message = format!("{shown}: {free_text} free; free some space, or --store DIR");
        return Check::bad("store", State::Warn, Class::Store, &message);
    }
    Check::pass("store", format!("{shown}, {free_text} free{sharing}"))
}

/// The clock, which decides whether certificates and signatures are valid.
pub(super) fn clock(now: SystemTime) -> Check {
    const DAY: Duration = Duration::from_secs(86_400);
    let fail = |message: &str| Check::bad("clock", State::Fail, Class::Net, message);
    // This program was written after 2025 began.
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600);
    let installed = fs::metadata("/proc/self/exe").and_then(|data| data.modified());
    let remedy = "certificates and caches will be refused; set the clock (NTP, date --set)";
    if now < start {
        return fail(&format!("the system clock is before 2025: {remedy}"));
    }
    if installed.is_ok_and(|time| now + DAY < time) {
        return fail(&format!("the system clock is before this program was installed: {remedy}"));
    }
    Check::pass("clock", "plausible")
}

/// The GPUs of the host.
pub(super) fn gpu(found: Result<Gpus, Error>) -> Check {
    match found {
        Ok(gpus) => match gpus.missing {
            Some(missing) => Check::bad("gpu", State::Warn, Class::Launch, &missing),
            None => Check::pass("gpu", format!("{} ({})", gpus.count, gpus.origin)),
        },
        Err(Error::Launch { .. }) => Check::pass("gpu", "none"),
        Err(error) => Check { status: State::Warn, ..Check::of_error("gpu", &error) },
    }
}

/// An AppArmor profile that allows user namespaces to this program.
pub(super) fn apparmor_profile(program: &Path) -> String {
    format!(
        "# Lets joblet-exec make user namespaces. As root:\n\
         #   joblet-exec doctor --apparmor > /etc/apparmor.d/joblet-exec\n\
         #   apparmor_parser -r /etc/apparmor.d/joblet-exec\n\
         abi <abi/4.0>,\ninclude <tunables/global>\n\n\
         profile joblet-exec \"{}\" flags=(unconfined) {{\n  userns,\n  \
         include if exists <local/joblet-exec>\n}}\n",
        program.display()
    )
}

/// Whether AppArmor denies user namespaces to programs without a profile.
pub(super) fn apparmor_restricts() -> bool {
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_overlays() {
        for (release, want) in [
            (Some("6.18.44-fc\n"), State::Pass),
            (Some("5.4.0"), State::Pass),
            (Some("5.3.18-150"), State::Fail),
            (Some("4.19"), State::Fail),
            (None, State::Warn),
        ] {
            assert_eq!(kernel(release).status, want, "{release:?}");
        }
        let list = "nodev\tproc\n\text4\nnodev\toverlay\n";
        for (list, privileged, release, want) in [
            (list, true, "5.4.0", State::Pass),
            (list, false, "5.10.1", State::Warn),
            (list, false, "5.11.0", State::Pass),
            ("nodev\tproc\n", true, "6.1.0", State::Warn),
        ] {
            assert_eq!(overlay(list, privileged, release).status, want, "{release}");
        }
    }

    #[test]
    fn stores_and_clocks() {
        let dir = tempfile::tempdir().unwrap();
        assert_ne!(store(&dir.path().join("a/b"), "").status, State::Fail);
        assert_eq!(store(Path::new("/etc/passwd/store"), "").status, State::Fail);
        let now = SystemTime::now();
        assert_eq!(clock(now).status, State::Pass);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(clock(long_ago).status, State::Fail);
    }

    #[test]
    fn a_report() {
        let checks = [
            Check::pass("kernel", "Linux 6.1"),
            Check::bad("store", State::Fail, Class::Store, "full; free some"),
        ];
        let want =
            "PASS  kernel      Linux 6.1\nFAIL  store       full\n              ->  free some\n";
        assert_eq!(report(&checks, false), want);
        let json: serde_json::Value = serde_json::from_str(&report(&checks, true)).unwrap();
        assert_eq!(json[1]["status"], "FAIL");
        assert_eq!(json[1]["remedy"], "free some");
        assert_eq!(json[0]["remedy"], serde_json::Value::Null);
        let profile = apparmor_profile(Path::new("/opt/joblet exec"));
        assert!(profile.contains("profile joblet-exec \"/opt/joblet exec\" flags=(unconfined) {"));
    }
}
