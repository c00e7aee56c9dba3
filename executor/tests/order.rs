//! The order of the stages: a module imports only modules before it in the list that ARCHITECTURE.md shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files of `src/`.
const STAGES: [&str; 18] = [
    "error", "env", "thread", "fs", "runtime", "gpu", "cli", "net", "registry", "archive", "store",
    "sandbox", "lazy", "commands", "fuzz", "lib", "heap", "main",
];

/// Folders and files of `src/sandbox/`; its `mod.rs` alone sees all of them.
const SANDBOX: [&str; 5] = ["sys", "plan", "setup", "launcher", "mod"];

/// Every module below `dir` with its code, without comments.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push((entry, code.collect::<Vec<_>>().join("\n")));
        }
    }
}

/// The names that follow `prefix` in `code`: one, or those of a list in braces.
fn named<'c>(code: &'c str, prefix: &str) -> BTreeSet<&'c str> {
    let mut names = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let (mut depth, mut wanted) = (0, true);
        for (at, letter) in rest.char_indices() {
            match letter {
                '{' => (depth, wanted) = (depth + 1, depth == 0),
                '}' => (depth, wanted) = (depth - 1, false),
                ',' => wanted = depth == 1,
                _ if letter.is_whitespace() => {}
                _ if wanted => {
                    let end = |letter: char| !letter.is_alphanumeric() && letter != '_';
                    names.insert(rest[at..].split(end).next().unwrap_or_default());
                    wanted = false;
                }
                _ => {}
            }
            if depth == 0 && !wanted {
                break;
            }
        }
    }
    names
}

/// Says which imports by `prefix` in the files below `dir` contradict `order`.
fn wrong_arrows(dir: &Path, prefix: &str, order: &[&str]) -> Vec<String> {
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    sources(dir, &mut files);
    for (path, code) in &files {
        let path = path.strip_prefix(dir).unwrap();
        let stage = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let stage = stage.trim_end_matches(".rs");
        let Some(own) = order.iter().position(|other| *other == stage) else {
            wrong.push(format!("{stage} is not in the list"));
            continue;
        };
        for name in named(code, prefix) {
            match order.iter().position(|other| *other == name) {
                None => {
                    wrong.push(format!("{}: {prefix}{name} is not in the list", path.display()));
                }
                Some(used) if used > own => {
                    wrong.push(format!("{}: {stage} imports {name}", path.display()));
                }
                Some(_) => {}
            }
        }
        if code.contains("super::super::") {
            wrong.push(format!("{}: write crate:: for super::super::", path.display()));
        }
    }
    wrong
}

#[test]
fn stages_import_only_earlier_stages() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(wrong_arrows(&source, "crate::", &STAGES), [""; 0]);
    let sandbox = source.join("sandbox");
    assert_eq!(wrong_arrows(&sandbox, "crate::sandbox::", &SANDBOX), [""; 0]);
}

#[test]
fn files_of_a_folder_have_no_cyclic_imports() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    // The other files of its folder that a file imports.
    let mut left: BTreeMap<_, BTreeSet<PathBuf>> = BTreeMap::new();
    for (path, code) in files.iter().filter(|(path, _)| !path.ends_with("mod.rs")) {
        let beside = named(code, "super::").into_iter();
        let beside = beside.map(|name| path.with_file_name(format!("{name}.rs")));
        left.insert(path.clone(), beside.filter(|other| other.exists()).collect());
    }
    loop {
        let before = left.len();
        let open: BTreeSet<_> = left.keys().cloned().collect();
        left.retain(|_, imported| !imported.is_disjoint(&open));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "in circles, or above one: {left:#?}");
}

#[test]
fn the_list_is_the_one_that_is_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, table) = document.split_once("### `executor/` ").unwrap();
    let (table, _) = table.split_once("\n### ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let shown: Vec<_> = rows.map(|name| name.trim_end_matches('/')).collect();
    let wanted = STAGES.iter().flat_map(|stage| {
        let parts: &[&str] = if *stage == "sandbox" { &SANDBOX[..4] } else { &[] };
        parts.iter().map(|part| format!("sandbox/{part}")).chain([(*stage).to_owned()])
    });
    assert_eq!(shown, wanted.collect::<Vec<_>>());
}

#[test]
fn names_are_read_out_of_paths_and_lists() {
    let code = "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::f; crate::g(h, i)";
    assert_eq!(Vec::from_iter(named(code, "crate::")), ["a", "d", "e", "g"]);
}

/// Each test that SECURITY.md names for a promise exists.
#[test]
fn promises_are_held_by_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for part in ["executor/src", "executor/tests", "publisher/src", "publisher/tests"] {
        sources(&root.join(part), &mut all);
    }
    let security = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    // Words in backquotes that look like the name of a test, not like a file or a call.
    let quoted = security.split('`').skip(1).step_by(2);
    let names: Vec<_> = quoted.filter(|name| name.matches('_').count() > 2).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let begins = format!("fn {name}(");
        assert!(all.iter().any(|(_, code)| code.contains(&begins)), "no test {name}");
    }
}

/// The catalogue of cases names tests that exist and name the case; no test names a case without it.
#[test]
fn catalogue_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for part in [
        "executor/src", "executor/format/src", "executor/tests", "publisher/src", "publisher/tests",
    ] {
        sources(&root.join(part), &mut files);
    }
    let others = [".ci/test", "publisher/tests/browser/site.test.mjs"].map(|path| root.join(path));
    let paths = files.into_iter().map(|(path, _)| path).chain(others);
    let files: Vec<_> = paths.map(|path| (fs::read_to_string(&path).unwrap(), path)).collect();
    let ids = |text: &str| -> BTreeSet<String> {
        let found = text.split("SEC-").skip(1);
        let found = found.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap());
        // In a name: a letter and two digits; in prose also `SEC-…`.
        found.filter(|id| id.len() == 3).map(str::to_owned).collect()
    };
    let catalogue = fs::read_to_string(root.join("CASES.md")).unwrap();
    let mut known = BTreeSet::new();
    for case in catalogue.split("\n- **SEC-").skip(1) {
        let (id, case) = case.split_once("** [P").unwrap();
        assert!(known.insert(id.to_owned()), "SEC-{id} twice");
        let (_, tests) = case.split_once("*Tests:*").unwrap_or_else(|| panic!("SEC-{id}: no test"));
        let tests: Vec<_> = tests.split("\n## ").next().unwrap().split('`').collect();
        assert!(tests.len() > 2, "SEC-{id}: no test");
        for name in tests.into_iter().skip(1).step_by(2) {
            let begins = format!("fn {name}(");
            let holds = |(text, path): &(String, PathBuf)| {
                let named = path.ends_with(name) || text.contains(&begins);
                named && ids(text).contains(id)
            };
            assert!(files.iter().any(holds), "SEC-{id}: no test {name} in a file that names it");
        }
    }
    for (text, path) in &files {
        let unknown: Vec<_> = ids(text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{}: not in CASES.md: {unknown:?}", path.display());
    }
}
