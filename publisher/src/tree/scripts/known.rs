//! Reviewed effects of some packages' scripts, which are not reported, with the reasons.
//!
//! An entry is for one command, file or trigger of a package, as reviewed in bookworm and trixie: other effects of
//! another version are reported.

/// Done by the build in another way: package, and the effect of its script. In byte order.
const DONE: [(&str, &str); 22] = [
    // `accounts`.
    ("base-passwd", "update-passwd"),
    // `fixups`: the bundle of all certificates, and the JDK's.
    ("ca-certificates", "/etc/ca-certificates.conf"),
    ("ca-certificates", "/etc/ca-certificates.conf.dpkg-new"),
    ("ca-certificates-java", "/var/lib/ca-certificates-java/fresh"),
    ("ca-certificates-java", "java"),
    ("ca-certificates-java", "keytool"),
    ("ca-certificates-java", "mv"),
    // `fixups`: `/bin/sh`.
    ("dash", "cp"),
    ("dash", "dpkg-divert"),
    ("dash", "ln"),
    ("dash", "mv"),
    // `fixups`: files with the same content.
    ("netbase", "/etc/hosts"),
    ("netbase", "/etc/networks"),
    // `python.compile`: hooks that compile, and how they are configured.
    ("python3", "*.rtupdate"),
    ("python3", "/etc/python3/debian_config"),
    ("python3.N", "*.rtinstall"),
    ("python3.N-minimal", "*.rtinstall"),
    // `fixups`: UTC.
    ("tzdata", "/etc/timezone"),
    ("tzdata", "ln"),
    ("tzdata", "mv"),
    // `assemble`: `/usr` is merged in every tree.
    ("usrmerge", "convert-etc-shells"),
    ("usrmerge", "convert-usrmerge"),
];

/// Not needed by jobs. In byte order.
const DROPPED: [(&str, &str); 28] = [
    // Notify daemons.
    ("base-passwd", "nscd"),
    ("dbus", "dbus-send"),
    ("dbus", "notify-reboot-required"),
    // Compiles other packages' files for Emacs; those packages are reported.
    ("dictionaries-common", "emacs-package-install"),
    // For dictionaries of ispell, which are reported.
    ("dictionaries-common", "update-default-ispell"),
    // Messages, in colours.
    ("dpkg", "error"),
    ("dpkg", "setup_colors"),
    ("dpkg", "warning"),
    // As for dictionaries-common.
    ("emacs-nox", "emacs-install"),
    ("emacsen-common", "emacs-package-install"),
    // Keeps the loader while `/usr` is merged, and restarts services of an older libc.
    ("libc6", "dpkg-divert"),
    ("libc6", "ischroot"),
    ("libc6", "systemd"),
    ("libc6", "telinit"),
    // Looks for files of an older version.
    ("libgcrypt20", "clean-up-unmanaged-libraries"),
    // Stores the answer to a question; without one the default is used.
    ("libpaper1", "/etc/papersize.dpkg-inst"),
    ("libpaper1", "run-parts"),
    // Files of comments.
    ("libwrap0", "/etc/hosts.allow"),
    ("libwrap0", "/etc/hosts.deny"),
    // Makes lists of manuals.
    ("man-db", "runuser"),
    ("man-db", "setpriv"),
    // Renames the group of an older version.
    ("openssh-client", "groupmod"),
    // Password files.
    ("passwd", "shadowconfig"),
    // Sets kernel parameters.
    ("procps", "ischroot"),
    ("procps", "sysctl"),
    // ConTeXt generates its list at first use.
    ("tex-common", "mtxrun"),
    // Paper, as above.
    ("texlive-base", "texlive-base"),
    ("texlive-base", "tl-paper"),
];

/// Whether the effect of a script of `package` on `object`, a command, a file or a trigger, is listed.
pub(super) fn is_answered(package: &str, object: &str) -> bool {
    let package = without_version(package);
    DONE.binary_search(&(package, object)).is_ok()
        || DROPPED.binary_search(&(package, object)).is_ok()
}

/// One name for the interpreters of all versions: `python3.11-minimal` → `python3.N-minimal`.
fn without_version(package: &str) -> &str {
    let Some(rest) = package.strip_prefix("python3.") else { return package };
    match rest.trim_start_matches(|digit: char| digit.is_ascii_digit()) {
        "" => "python3.N",
        "-minimal" => "python3.N-minimal",
        _ => package,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_one_command_of_a_package() {
        assert!(DONE.is_sorted() && DROPPED.is_sorted());
        for (package, object, answered) in [
            ("dash", "mv", true),
            ("dash", "make", false),
            ("git", "mv", false),
            ("python3.11-minimal", "*.rtinstall", true),
            ("python3.11-doc", "*.rtinstall", false),
        ] {
            assert_eq!(is_answered(package, object), answered, "{package} {object}");
        }
    }
}
