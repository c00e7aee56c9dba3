//! Generates the programs of a wheel from its `entry_points.txt`.

use crate::error::shown;
use std::collections::BTreeMap;

/// The groups that define programs.
const GROUPS: [&str; 2] = ["console_scripts", "gui_scripts"];

/// Name and text of each program, sorted by name.
///
/// # Errors
/// The malformed line.
pub(super) fn scripts(text: &str, interpreter: &str) -> Result<BTreeMap<String, String>, String> {
    let (mut group, mut scripts) = ("", BTreeMap::new());
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            group = name.trim();
            continue;
        }
        if !GROUPS.contains(&group) {
            continue;
        }
        let refused = || {
            let line = shown::quoted(line);
            format!("entry_points.txt: {line} is not NAME = MODULE:FUNCTION")
        };
        let (name, code) = parse(line).ok_or_else(refused)?;
        scripts.insert(name.to_owned(), code.script(interpreter));
    }
    Ok(scripts)
}

/// The function that a program calls: `function`, possibly an attribute of an object, in `module`.
struct Code<'c> {
    module: &'c str,
    function: &'c str,
}

fn parse(line: &str) -> Option<(&str, Code<'_>)> {
    let (name, reference) = line.split_once('=')?;
    let reference = reference.split('[').next().unwrap_or_default(); // extras
    let (module, function) = reference.split_once(':')?;
    let (name, module, function) = (name.trim(), module.trim(), function.trim());
    let dotted = |text: &str| {
        let word = |part: &str| {
            let letter = |char: char| char.is_alphanumeric() || char == '_';
            !part.starts_with(|char: char| char.is_ascii_digit())
                && !part.is_empty()
                && part.chars().all(letter)
        };
        text.split('.').all(word)
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    let is_name = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    (is_name && dotted(module) && dotted(function)).then_some((name, Code { module, function }))
}

impl Code<'_> {
    /// The text of the script, as other installers write it.
    fn script(&self, interpreter: &str) -> String {
        let Self { module, function } = self;
        let import = function.split('.').next().unwrap_or_default();
        format!(
            "#!{interpreter}\nimport re\nimport sys\nfrom {module} import {import}\n\
             if __name__ == \"__main__\":\n    \
                 sys.argv[0] = re.sub(r\"(-script\\.pyw|\\.exe)?$\", \"\", sys.argv[0])\n    \
                 sys.exit({function}())\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_call_their_function() {
        let text = "[console_scripts]\n# comment\nf2py = numpy.f2py.f2py2e:main\n\n[other]\nx = y\n\
                    [gui_scripts]\nshow-it=a.b:Class.run [extra]\n";
        let scripts = scripts(text, "/usr/bin/python3.11").unwrap();
        assert_eq!(scripts.keys().collect::<Vec<_>>(), ["f2py", "show-it"]);
        assert_eq!(
            scripts["f2py"],
            "#!/usr/bin/python3.11\nimport re\nimport sys\nfrom numpy.f2py.f2py2e import main\n\
             if __name__ == \"__main__\":\n    \
             sys.argv[0] = re.sub(r\"(-script\\.pyw|\\.exe)?$\", \"\", sys.argv[0])\n    \
             sys.exit(main())\n"
        );
        assert!(scripts["show-it"].contains("from a.b import Class\n"));
        assert!(scripts["show-it"].ends_with("sys.exit(Class.run())\n"));
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in ["x", "x = y", "x = y:", "../x = y:z", "x = y:z()", "x = os;evil:z", "x = 1a:z"]
        {
            let error = scripts(&format!("[console_scripts]\n{line}\n"), "/p").unwrap_err();
            assert!(error.ends_with("is not NAME = MODULE:FUNCTION"), "{line}: {error}");
        }
    }
}
