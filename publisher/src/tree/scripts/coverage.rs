//! Which commands of a maintainer script a runtime does without, and which ones a build does itself.

use super::{Fault, shell::Call};

/// What a job has no use for, what changes nothing, and what is done for every tree.
const COVERED: [&str; 140] = [
    ".",
    ":",
    "[",
    "[[",
    "add-shell",
    "aspell-autobuildhash",
    "awk",
    "basename",
    "break",
    "cat",
    "catalog",
    "cd",
    "chgrp",
    "chmod",
    "chown",
    "cmp",
    "comm",
    "command",
    "continue",
    "cut",
    "date",
    "db_capb",
    "db_fset",
    "db_get",
    "db_go",
    "db_input",
    "db_metaget",
    "db_purge",
    "db_register",
    "db_reset",
    "db_set",
    "db_stop",
    "db_subst",
    "db_title",
    "db_unregister",
    "db_version",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "declare",
    "diff",
    "dirname",
    "dpkg",
    "dpkg-architecture",
    "dpkg-divert",
    "dpkg-maintscript-helper",
    "dpkg-preconfigure",
    "dpkg-query",
    "dpkg-statoverride",
    "dpkg-trigger",
    "dpkg-vendor",
    "echo",
    "egrep",
    "emacs-package-install",
    "eval",
    "exit",
    "export",
    "expr",
    "false",
    "fc-cache",
    "fgrep",
    "find",
    "gdk-pixbuf-query-loaders",
    "getent",
    "gio-querymodules",
    "glib-compile-schemas",
    "grep",
    "gtk-update-icon-cache",
    "head",
    "hostname",
    "id",
    "initctl",
    "install-info",
    "invoke-rc.d",
    "kill",
    "ldconfig",
    "libgvc6-config-update",
    "local",
    "logger",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mountpoint",
    "pam-auth-update",
    "php_invoke",
    "phpenmod",
    "phpquery",
    "pidof",
    "print",
    "printf",
    "pwd",
    "py3clean",
    "py3compile",
    "pyclean",
    "pycompile",
    "pypy3compile",
    "read",
    "readlink",
    "readonly",
    "realpath",
    "remove-shell",
    "return",
    "rm",
    "rmdir",
    "sed",
    "service",
    "set",
    "shift",
    "sort",
    "stat",
    "stty",
    "sync",
    "systemctl",
    "systemd-hwdb",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "tail",
    "tempfile",
    "test",
    "touch",
    "tr",
    "trap",
    "true",
    "tty",
    "type",
    "udevadm",
    "umask",
    "uname",
    "uniq",
    "unset",
    "update-alternatives",
    "update-desktop-database",
    "update-dictcommon-aspell",
    "update-dictcommon-hunspell",
    "update-gsfontmap",
    "update-shells",
    "wait",
    "wc",
    "which",
    "xargs",
];

/// More of them, by the beginning of their name.
const COVERED_BEGINNINGS: [&str; 8] = [
    "update-binfmts",
    "update-icon-caches",
    "update-initramfs",
    "update-menus",
    "update-mime",
    "update-rc.d",
    "ucf",
    "update-ca-certificates",
];

/// Triggers that packages wait for, by their beginning, whose work is done for every tree, or that a job has
/// no use for.
const TRIGGERS: [&str; 31] = [
    "/etc/init.d",
    "/etc/php",
    "/lib/systemd",
    "/lib/udev",
    "/usr/lib/mime",
    "/usr/lib/sysusers.d",
    "/usr/lib/systemd",
    "/usr/lib/udev",
    "/usr/share/applications",
    "/usr/share/dbus-1",
    "/usr/share/doc",
    "/usr/share/fonts",
    "/usr/share/ghostscript/fonts",
    "/usr/share/glib-2.0/schemas",
    "/usr/share/gnome",
    "/usr/share/hunspell",
    "/usr/share/icons",
    "/usr/share/info",
    "/usr/share/man",
    "/usr/share/menu",
    "/usr/share/mime",
    "/usr/share/omf",
    "/usr/share/polkit-1",
    "/usr/share/texmf/fonts",
    "aspell-autobuildhash",
    "ispell-autobuildhash",
    "ldconfig",
    "update-ca-",
    "update-default-",
    "update-initramfs",
    "update-sgmlcatalog",
];

/// Parts of paths of such triggers, which stand below the directory of an architecture.
const TRIGGER_PARTS: [&str; 3] = ["/gdk-pixbuf-2.0/", "/gio/modules", "/immodules"];

/// What `call` would do and no build does; none if a runtime does without it.
pub(super) fn fault(call: &Call) -> Option<Fault> {
    let mut words = call.iter();
    let Some(first) = words.next()?.as_deref() else {
        return Some(Fault("runs what only running it would tell".into()));
    };
    let name = first.rsplit('/').next().unwrap_or(first);
    let has = |option: &str| call.iter().flatten().any(|word| word.starts_with(option));
    let covered = match name {
        ">" => !call.get(1)?.as_deref().is_some_and(matters),
        "sed" => !has("-i") && !has("--in-place"),
        "install" => has("-d") || has("--directory"),
        // What `python.compile` does.
        python if python.starts_with("python3") => call
            .iter()
            .flatten()
            .any(|word| word.contains("py_compile") || word.contains("compileall")),
        "dpkg-reconfigure" => false,
        _ => {
            COVERED.contains(&name)
                || COVERED_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        }
    };
    let what = if name == ">" { "writes" } else { "runs" };
    let object = if name == ">" { call.get(1)?.as_deref()? } else { name };
    (!covered).then(|| Fault(format!("{what} `{object}`")))
}

/// Whether a job could miss the file at `path`.
fn matters(path: &str) -> bool {
    let done = path.ends_with("/loaders.cache");
    !done && ["/etc/", "/usr/", "/opt/", "/var/lib/"].iter().any(|dir| path.starts_with(dir))
}

/// The trigger that a package waits for and no build does; `triggers` is the control file.
/// (deb-triggers(5).)
pub(super) fn trigger(triggers: &str) -> Option<Fault> {
    let interest = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.starts_with("interest"))?;
        words.next().map(str::to_owned)
    };
    let done = |name: &String| {
        TRIGGERS.iter().any(|begin| name.starts_with(begin))
            || TRIGGER_PARTS.iter().any(|part| name.contains(part))
    };
    let name = triggers.lines().filter_map(interest).find(|name| !done(name))?;
    Some(Fault(format!("waits for the trigger `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    #[test]
    fn what_a_build_does_not_do_is_named() {
        assert!(COVERED.is_sorted());
        for (script, want) in [
            ("set -e; if [ x ]; then /sbin/ldconfig; fi; rm -f /etc/x", None),
            ("install -d /usr/lib/x; sed s/a/b/ x", None),
            ("/usr/bin/python3.11 -E -S /usr/lib/python3.11/py_compile.py $(x)", None),
            ("python3.11 x.py", Some("runs `python3.11`")),
            ("mktexlsr", Some("runs `mktexlsr`")),
            ("sed -i s/a/b/ /etc/x", Some("runs `sed`")),
            ("install -m 644 a b", Some("runs `install`")),
            ("echo x > /etc/shells", Some("writes `/etc/shells`")),
            ("echo x > $(mktemp) 2>/dev/null", None),
            ("$(which x) y", Some("runs what only running it would tell")),
        ] {
            let calls = shell::calls(script, &["configure", ""]);
            let found = calls.iter().find_map(fault).map(|fault| fault.0);
            assert_eq!(found.as_deref(), want, "{script}");
        }
        let triggers = "interest-noawait /usr/share/mime/packages\nactivate x\n";
        assert_eq!(trigger(triggers), None);
        let fault = trigger("# x\ninterest /usr/share/x\n").unwrap();
        assert_eq!(fault.0, "waits for the trigger `/usr/share/x`");
    }
}
