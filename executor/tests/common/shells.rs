//! Completions in shells and the manual page by groff, of a program that is `$exec` in each script.

/// A script that prints the completions of `line`, which follows the name of `program`.
pub fn complete(shell: &str, program: &str, line: &str) -> String {
    let function = format!("_{}", program.replace('-', "_"));
    match shell {
        "bash" => format!(
            "source <(\"$exec\" completions bash); complete -p {program} >/dev/null; \
             COMP_LINE='{program} {line}'; COMP_POINT=${{#COMP_LINE}}; {function} {program}; \
             echo \"${{COMPREPLY[*]}}\""
        ),
        // zsh completes only on a terminal; stand-ins for its builtins print their arguments.
        "zsh" => format!(
            "compdef() {{ :; }}; compset() {{ :; }}; _files() {{ print -l -- ${{cur}}*(N); }}; \
             compadd() {{ shift; print -l -- ${{(M)@:#${{cur}}*}}; }}; \
             source <($exec completions zsh); words=({program} ${{=:-{line}X}}); \
             words[-1]=${{words[-1]%X}}; CURRENT=$#words; {function}"
        ),
        _ => format!(
            "$exec completions fish | source; complete -C '{program} {line}' | string split -f 1 \\t; true"
        ),
    }
}

/// Asserts that `got` is `want`, or contains it if that begins with `…`.
pub fn assert_completes(shell: &str, line: &str, got: &str, want: &str) {
    let mut got: Vec<_> = got.split_whitespace().map(|word| word.trim_end_matches('/')).collect();
    got.sort_unstable();
    got.dedup();
    if let Some(some) = want.strip_prefix("… ") {
        assert!(some.split(' ').all(|word| got.contains(&word)), "{shell}: {line:?}: {got:?}");
        return;
    }
    let mut want: Vec<_> = want.split_whitespace().collect();
    want.sort_unstable();
    assert_eq!(got, want, "{shell}: {line:?}");
}

/// Renders the manual page by groff for an ASCII terminal, without warnings.
pub const MAN: &str = "\"$exec\" man | LC_ALL=C groff -man -Tascii -ww";

/// Asserts that the page has these sections, and no accidental requests of groff.
pub fn assert_is_page(page: &str, shown: Option<&str>, parts: &[&str]) {
    let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXAMPLES", "FILES"];
    for section in sections.into_iter().chain(["ENVIRONMENT", "EXIT STATUS"]) {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
        // Bold letters are overstruck.
        let bold = |letter: char| match letter {
            ' ' => " ".to_owned(),
            letter => format!("{letter}\u{8}{letter}"),
        };
        let bold = section.chars().map(bold).collect::<String>();
        assert!(shown.is_none_or(|shown| shown.contains(&bold)), "{section}: {shown:?}");
    }
    for part in parts {
        assert!(page.contains(part), "{part}: {page}");
    }
    // No characters outside of ASCII.
    assert!(page.is_ascii() && !page.contains("\\[u"), "{page}");
    assert!(page.lines().all(|line| !line.starts_with(".B ") || !line.ends_with(',')), "{page}");
    assert!(page.lines().all(|line| !line.is_empty() && !line.starts_with('\'')), "{page}");
}
