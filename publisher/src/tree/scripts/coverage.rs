//! Which commands and triggers of a package a runtime does not need, or the build performs itself.

use super::{Fault, commands, shell::Call};

/// Prefixes of triggers whose work is done for every tree, by `fixups`, `finish` and `ld_cache`.
const DONE: [&str; 17] = [
    "/etc/php",
    "/usr/lib/sysusers.d",
    "/usr/share/debianutils/shells.d",
    "/usr/share/fonts",
    "/usr/share/ghostscript/fonts",
    "/usr/share/glib-2.0/schemas",
    "/usr/share/hunspell",
    "/usr/share/mime",
    "/usr/share/texlive/texmf-dist",
    "/usr/share/texmf",
    "aspell-autobuildhash",
    "ldconfig",
    "texmf-format",
    "texmf-hyphen",
    "texmf-map",
    "update-ca-",
    "update-default-wordlist",
];

/// Triggers on files of a running system, of desktops and of manuals, which jobs do not need.
const OF_A_SYSTEM: [&str; 27] = [
    "/etc/dbus-1", "/etc/init.d", "/etc/menu-methods", "/lib/systemd", "/lib/udev", "/opt/man",
    "/usr/X11R6/man", "/usr/lib/menu", "/usr/lib/mime", "/usr/lib/systemd", "/usr/lib/udev",
    "/usr/local/man", "/usr/local/share/man", "/usr/man", "/usr/share/applications",
    "/usr/share/dbus-1", "/usr/share/doc", "/usr/share/gnome", "/usr/share/icons",
    "/usr/share/info", "/usr/share/man", "/usr/share/menu", "/usr/share/omf",
    "/usr/share/polkit-1", "nginx-reload", "notify-reboot", "update-initramfs",
];

/// Maximum depth of nested commands, such as `find -exec xargs`.
const MAX_NESTED: usize = 8;

/// Parts of paths of triggers below a multiarch directory: two that are done, and the input methods of desktops.
const PARTS: [&str; 3] = ["/gdk-pixbuf-2.0/", "/gio/modules", "/immodules"];

/// The effect of `call` that the build lacks; `None` if a runtime does not need it.
pub(super) fn fault(call: &Call) -> Option<Fault> {
    let call = innermost(call);
    let Some(first) = call.first()?.as_deref() else {
        return Some(Fault::new("", "runs a command that is known only at run time"));
    };
    let name = base_name(first);
    let has = |option: &str| call.iter().flatten().any(|word| word.starts_with(option));
    let covered = match name {
        ">" => !call.get(1)?.as_deref().is_some_and(matters),
        "sed" => !has("-i") && !has("--in-place"),
        // Done by `python.compile`.
        python if python.starts_with("python3") => call
            .iter()
            .flatten()
            .any(|word| word.contains("py_compile") || word.contains("compileall")),
        _ => commands::is_covered(name),
    };
    if covered {
        return None;
    }
    if name == ">" {
        let file = call.get(1)?.as_deref()?;
        return Some(Fault::new(file, format!("writes `{file}`")));
    }
    Some(Fault::new(name, format!("runs `{name}`")))
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The command that is finally run: `find`, `xargs` and similar programs run another one, or none.
fn innermost(mut words: &[Option<String>]) -> &[Option<String>] {
    for _ in 0..MAX_NESTED {
        let text = |word: &Option<String>| word.clone().unwrap_or_default();
        let position = |fits: fn(&str) -> bool| words.iter().position(|word| fits(&text(word)));
        let first = words.first().map(text).unwrap_or_default();
        let skipped = match base_name(&first) {
            "find" => position(|word| matches!(word, "-exec" | "-execdir" | "-ok" | "-okdir"))
                .map_or(words.len(), |at| at + 1),
            "command" if position(|word| matches!(word, "-v" | "-V")).is_some() => words.len(),
            "command" | "eval" | "xargs" => {
                let options = words[1..]
                    .iter()
                    .take_while(|word| word.as_deref().is_some_and(|word| word.starts_with('-')));
                1 + options.count()
            }
            _ => return words,
        };
        words = &words[skipped..];
    }
    words
}

/// Whether a job may need the file at `path`.
fn matters(path: &str) -> bool {
    let done = path.ends_with("/loaders.cache");
    !done && ["/etc/", "/usr/", "/opt/", "/var/lib/"].iter().any(|dir| path.starts_with(dir))
}

/// The triggers that a package is interested in and the build lacks; `triggers` is the control file,
/// deb-triggers(5).
pub(super) fn awaited(triggers: &str) -> Vec<String> {
    let done = |name: &String| {
        DONE.iter().chain(&OF_A_SYSTEM).any(|begin| name.starts_with(begin))
            || PARTS.iter().any(|part| name.contains(part))
    };
    named(triggers, "interest").filter(|name| !done(name)).collect()
}

/// The triggers that a package activates.
pub(super) fn activated(triggers: &str) -> impl Iterator<Item = String> {
    named(triggers, "activate")
}

/// The triggers in the lines of a control file that begin with this word or a variant, such as `interest-noawait`.
fn named(triggers: &str, begin: &str) -> impl Iterator<Item = String> {
    triggers.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.starts_with(begin))?;
        words.next().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    #[test]
    fn commands_that_a_build_does_not_run_are_named() {
        for (script, want) in [
            ("set -e; if [ x ]; then /sbin/ldconfig; fi; rm -f /etc/x", None),
            ("sed s/a/b/ x", None),
            ("/usr/bin/python3.11 -E -S /usr/lib/python3.11/py_compile.py $(x)", None),
            ("python3.11 x.py", Some("runs `python3.11`")),
            ("update-xmlcatalog --add", Some("runs `update-xmlcatalog`")),
            ("sed -i s/a/b/ /etc/x", Some("runs `sed`")),
            ("echo x > /etc/shells", Some("writes `/etc/shells`")),
            ("echo x > $(mktemp) 2>/dev/null", None),
            ("$(which x) y", Some("runs a command that is known only at run time")),
            ("command -v x >/dev/null; find /x -name y; ls | xargs -0 rm -f", None),
            ("find /x -exec make {} \\;", Some("runs `make`")),
            ("ls | xargs -r make", Some("runs `make`")),
            ("command make x", Some("runs `make`")),
            ("eval \"$(x)\"", Some("runs a command that is known only at run time")),
        ] {
            let calls = shell::calls(script, &["configure", ""]);
            let found = calls.iter().find_map(fault).map(|fault| fault.what);
            assert_eq!(found.as_deref(), want, "{script}");
        }
        let triggers = "# x\ninterest-noawait /usr/share/mime/packages\nactivate-noawait x\ninterest /usr/share/x\n";
        assert_eq!(awaited(triggers), ["/usr/share/x"]);
        assert_eq!(activated(triggers).collect::<Vec<_>>(), ["x"]);
    }
}
