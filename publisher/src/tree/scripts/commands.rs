//! Commands of maintainer scripts that a runtime does not need, by reason.

/// Without side effects: shell builtins, filters, queries of the system.
const READING: &[&str] = &[
    ".", ":", "[", "[[", "awk", "base64", "basename", "break", "cat", "cd", "cmp", "comm",
    "continue", "cut", "date", "declare", "diff", "dirname", "dpkg", "dpkg-architecture",
    "dpkg-query", "dpkg-vendor", "echo", "egrep", "exit", "export", "expr", "false", "fgrep",
    "getent", "grep", "head", "hostname", "id", "local", "logger", "ls", "md5sum", "mountpoint",
    "pidof", "print", "printf", "pwd", "read", "readlink", "readonly", "realpath", "return", "set",
    "sha256sum", "shift", "sleep", "sort", "stat", "stty", "tac", "tail", "test", "tr", "trap",
    "true", "tty", "type", "umask", "uname", "uniq", "unset", "wait", "wc", "which", "zcat",
];

/// Clean up after older versions, which a new tree does not have, or set owners and modes, which builds
/// normalise. Empty files and directories are made by the programs that write there.
const TIDYING: &[&str] = &[
    "chgrp", "chmod", "chown", "delgroup", "deluser", "dpkg-maintscript-helper",
    "dpkg-statoverride", "groupdel", "mkdir", "mktemp", "py3clean", "pyclean", "rm", "rmdir",
    "sync", "tempfile", "touch", "userdel",
];

/// Done by the build: by `fixups`, `finish`, `ld_cache` or `python.compile`. Triggers are examined for the packages
/// that are interested in them.
const DONE: &[&str] = &[
    "add-shell", "aspell-autobuildhash", "dpkg-trigger", "fc-cache", "fmtutil", "fmtutil-sys",
    "gdk-pixbuf-query-loaders", "gio-querymodules", "glib-compile-schemas", "helpztags",
    "ldconfig", "libgvc6-config-update", "mktexlsr", "php_invoke", "phpenmod", "phpquery",
    "py3compile", "pycompile", "pypy3compile", "remove-shell", "systemd-sysusers",
    "update-ca-certificates", "update-default-wordlist", "update-dictcommon-aspell",
    "update-dictcommon-hunspell", "update-fmtutil", "update-gsfontmap", "update-language",
    "update-mime-database", "update-shells", "update-texmf", "update-texmf-config",
    "update-updmap", "updmap-sys",
];

/// Commands for a running system: services, logins, desktops, kernels, manuals, package databases,
/// set-id bits. Jobs have none of these, and builds drop their files (`assemble::DROPPED`).
const OF_A_SYSTEM: &[&str] = &[
    "aa-enabled", "aa-status", "apparmor_parser", "deb-systemd-helper", "deb-systemd-invoke",
    "dpkg-preconfigure", "getcap", "gtk-query-immodules-2.0", "gtk-query-immodules-3.0",
    "gtk-update-icon-cache", "initctl", "install-info", "invoke-rc.d", "kill", "pam-auth-update",
    "restorecon", "runit-helper", "service", "setcap", "systemctl", "systemd-hwdb",
    "systemd-tmpfiles", "ucfq", "ucfr", "udevadm", "update-binfmts", "update-desktop-database",
    "update-fonts-alias", "update-fonts-dir", "update-fonts-scale", "update-icon-caches",
    "update-initramfs", "update-menus", "update-mime", "update-rc.d",
];

/// Prefix of the functions that ask the user; answers are unknown. (debconf-devel(7).)
const QUESTIONS: &str = "db_";

/// Whether a runtime does not need the command `name` to be run.
pub(super) fn is_covered(name: &str) -> bool {
    let lists = [READING, TIDYING, DONE, OF_A_SYSTEM];
    lists.iter().any(|list| list.binary_search(&name).is_ok()) || name.starts_with(QUESTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_one_reason() {
        let mut all: Vec<&str> = Vec::new();
        for list in [READING, TIDYING, DONE, OF_A_SYSTEM] {
            assert!(list.is_sorted());
            all.extend(list.iter());
        }
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        for (name, covered) in [
            ("ldconfig", true),
            ("db_input", true),
            ("useradd", false),
            ("update-xmlcatalog", false),
        ] {
            assert_eq!(is_covered(name), covered, "{name}");
        }
    }
}
