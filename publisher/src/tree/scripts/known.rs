//! Packages whose scripts were read by people: what they do is done by a fix-up, or no job needs it.

/// In byte order.
const KNOWN: [&str; 37] = [
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "ca-certificates",
    "ca-certificates-java",
    "coreutils",
    "dash",
    "debconf",
    "debianutils",
    "dictionaries-common",
    "dpkg",
    "fontconfig-config",
    "init-system-helpers",
    "libc-bin",
    "libc6",
    "libc6-dev",
    "libgcrypt20",
    "libgssapi-krb5-2",
    "libpam-modules",
    "libpam-runtime",
    "libpam0g",
    "login",
    "man-db",
    "netbase",
    "openssl",
    "passwd",
    "perl-base",
    "procps",
    "python3",
    "python3-minimal",
    "readline-common",
    "tzdata",
    "ucf",
    "usr-is-merged",
    "usrmerge",
    "util-linux",
];

/// Whether the scripts of `package` are known to need nothing else.
pub(super) fn is_covered(package: &str) -> bool {
    KNOWN.contains(&package) || is_python(package)
}

/// `python3.11`, `libpython3.11-minimal`, …: they compile their modules, which `python.compile` does.
fn is_python(package: &str) -> bool {
    let package = package.strip_prefix("lib").unwrap_or(package);
    package.strip_prefix("python3.").is_some_and(|rest| {
        rest.trim_end_matches("-minimal").bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_packages() {
        assert!(KNOWN.is_sorted());
        for (package, known) in [
            ("dash", true),
            ("python3.11-minimal", true),
            ("python3.11-doc", false),
            ("git", false),
        ] {
            assert_eq!(is_covered(package), known, "{package}");
        }
    }
}
