//! The order of the stages: a folder of `src/` imports only itself and folders before it in one list, which
//! ARCHITECTURE.md shows, too. So there is no cycle of folders.

use std::{collections::BTreeSet, path::Path};

/// Every folder of `src/`, each after all that it imports.
const ORDER: [&str; 17] = [
    "error", "env", "fs", "net", "source", "lock", "inputs", "tree", "unpack", "pack", "record",
    "registry", "check", "site", "release", "cli", "commands",
];

/// The first name after each `crate::` of `text`, without comments; of a group, each of its names.
///
/// `super` counts as `crate` if it leaves the folder of a file that is `depth` modules below the
/// root.
fn imports(text: &str, depth: usize) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: String = code.collect::<Vec<_>>().join("\n");
    let own = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let leaving = "super::".repeat(depth);
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1).chain(own.split(&leaving).skip(1)) {
        let Some(group) = rest.strip_prefix('{') else {
            found.push(first_name(rest));
            continue;
        };
        let mut level = 0;
        let of_group = group.chars().filter(|c| {
            level += i32::from(*c == '{');
            let outermost = level == 0;
            level -= i32::from(*c == '}');
            outermost
        });
        let names: String = of_group.collect();
        let names = names.split('}').next().unwrap_or_default().split(',').map(first_name);
        found.extend(names.filter(|name| !name.is_empty()));
    }
    found
}

fn first_name(text: &str) -> String {
    let of_name = |c: &char| c.is_alphanumeric() || *c == '_';
    text.trim_start().chars().take_while(of_name).collect()
}

/// The imports of `folder`'s file that break the order.
fn wrong(folder: &str, text: &str, depth: usize) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let before = |name: &String| place(name).is_some_and(|at| Some(at) <= place(folder));
    imports(text, depth).into_iter().filter(|name| !before(name)).collect()
}

#[test]
fn folders_import_only_earlier_folders() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = BTreeSet::new();
    for entry in walkdir::WalkDir::new(&src).min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(&src).unwrap();
        let folder = path.iter().next().unwrap().to_str().unwrap().to_owned();
        if path.extension() != Some("rs".as_ref()) || ["lib.rs", "main.rs"].contains(&&*folder) {
            continue;
        }
        let depth = path.iter().count() - usize::from(path.ends_with("mod.rs"));
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let wrong = wrong(&folder, &text, depth);
        assert!(wrong.is_empty(), "{} imports {wrong:?}, against the order", path.display());
        folders.insert(folder);
    }
    assert_eq!(folders, ORDER.map(str::to_owned).into(), "the list and the folders of src/");
}

#[test]
fn the_architecture_shows_the_same_list() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).unwrap();
    let part = page.split("### `publisher/`").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("/` |"));
    assert_eq!(rows.map(|row| row.0).collect::<Vec<_>>(), ORDER);
}

#[test]
fn an_import_against_the_order_is_found() {
    for (text, depth, found) in [
        ("use crate::site::View;", 2, vec!["site"]),
        (
            "use crate::{error::{Error, shown}, fs::paths,\n    pack::{self, X},\n};",
            2,
            vec!["pack"],
        ),
        ("fn f() { crate::commands::build(&x, crate::source::y) }", 2, vec!["commands"]),
        ("use crate::helpers;", 2, vec!["helpers"]),
        ("use super::super::cli::args;", 2, vec!["cli"]),
        ("use super::record;", 1, vec!["record"]),
        ("use crate::{tree, error::Error};\nuse super::uv; // crate::site", 2, vec!["tree"]),
        (
            "use crate::lock::{Input, Kind};\n#[cfg(test)]\nmod tests {\n use super::*;\n}",
            1,
            vec![],
        ),
    ] {
        assert_eq!(wrong("lock", text, depth), found, "{text}");
    }
}
