//! Installs a wheel: its files, as members of a tree.
//!
//! No code of it is run. The paths are Debian's scheme for local packages, below `/usr/local`.
//! (Python Packaging User Guide, "Binary distribution format", "Recording installed projects",
//! "Entry points".)

use crate::{
    error::{Error, shown},
    fs::paths,
    tree::{Member, Node, content::Content},
    unpack::zip,
};
use crate::{
    lock::wheel_tags::{WheelName, normalized},
    unpack::{
        entry_points,
        wheel_record::{Files, Row},
    },
};
use std::{path::Path, sync::Arc};

/// The installation paths of wheels in a tree.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Packages and modules.
    site: String,
    /// C header files.
    include: String,
    /// The interpreter in the `#!` line of programs.
    interpreter: String,
}

/// Largest metadata file, and largest program whose first line is changed, in bytes: a limit on
/// decompression bombs. `RECORD` of the largest known wheels has 2 MB.
const MAX_TEXT: u64 = 16 << 20;
/// Programs.
const BIN: &str = "usr/local/bin";
/// Everything else.
const DATA: &str = "usr/local";

impl Places {
    /// The paths for Debian's CPython `version`, such as `3.11`.
    pub(crate) fn of_python(version: &str) -> Self {
        Self {
            site: format!("usr/local/lib/python{version}/dist-packages"),
            include: format!("usr/local/include/python{version}"),
            interpreter: format!("/usr/bin/python{version}"),
        }
    }
}

/// Reads the wheel at `path`, whose name is `file_name`. File contents are read from it on demand.
///
/// # Errors
/// [`Error::Archive`] if it is not a wheel of that name, or has files outside the installation paths;
/// [`Error::File`].
pub(crate) fn read(path: &Path, file_name: &str, places: &Places) -> Result<Vec<Member>, Error> {
    let refused = |rule: String| Error::Archive { archive: file_name.to_owned(), rule };
    let file = Arc::new(paths::open(path)?);
    let entries = zip::entries(&file).map_err(refused)?;
    let name =
        WheelName::parse(file_name).ok_or_else(|| refused("is not a wheel's name".into()))?;
    install(entries, name, places).map_err(refused)
}

fn install(
    entries: Vec<zip::ZipEntry>,
    wheel: WheelName,
    places: &Places,
) -> Result<Vec<Member>, String> {
    let info = info_dir(&entries, wheel)?;
    for name in ["WHEEL", "RECORD", "METADATA", "entry_points.txt"] {
        let path = format!("{info}/{name}");
        let entry = entries.iter().find(|entry| entry.path == path);
        if let Some(Node::File { content, .. }) = entry.map(|entry| &entry.node) {
            if content.len() > MAX_TEXT {
                let length = content.len();
                return Err(format!("`{path}` has {length} bytes; at most {MAX_TEXT} are read"));
            }
        }
    }
    let metadata = member_text(&entries, &format!("{info}/WHEEL"))?.ok_or("has no file WHEEL")?;
    let version = metadata.lines().find_map(|line| line.strip_prefix("Wheel-Version:"));
    if version.is_none_or(|version| !version.trim().starts_with("1.")) {
        let version = shown::quoted(version.unwrap_or_default().trim());
        return Err(format!("has wheel version {version}; this program reads 1"));
    }
    let record = member_text(&entries, &format!("{info}/RECORD"))?.ok_or("has no file RECORD")?;
    let points = member_text(&entries, &format!("{info}/entry_points.txt"))?.unwrap_or_default();
    let mut files = Files::new(&places.site, &info, &record)?;
    for zip::ZipEntry { path, node } in entries {
        let (executable, content) = match node {
            Node::Dir => continue, // created with its first file
            Node::File { executable, content } => (executable, content),
            Node::Link(_) => return Err(format!("`{path}` is a link")),
        };
        let row = Row::Of(path.clone());
        let Some((scheme, rest)) = data_path(&path, &info) else {
            if !files.is_generated(&path) {
                files.add(format!("{}/{path}", places.site), executable, content, row);
            }
            continue;
        };
        match scheme {
            "purelib" | "platlib" => {
                files.add(format!("{}/{rest}", places.site), executable, content, row);
            }
            "data" => files.add(format!("{DATA}/{rest}"), executable, content, row),
            "headers" => {
                let target = format!("{}/{}/{rest}", places.include, wheel.name);
                files.add(target, executable, content, row);
            }
            "scripts" => {
                let content = script(content, &places.interpreter)?;
                files.add(format!("{BIN}/{rest}"), true, content, Row::New);
            }
            other => return Err(format!("`{path}` is for the unknown scheme `{other}`")),
        }
    }
    for (program, code) in entry_points::scripts(&points, &places.interpreter)? {
        files.add(format!("{BIN}/{program}"), true, code.into_bytes().into(), Row::New);
    }
    files.finish()
}

/// The name of the one directory with the wheel's metadata.
fn info_dir(entries: &[zip::ZipEntry], wheel: WheelName) -> Result<String, String> {
    let top = |entry: &zip::ZipEntry| entry.path.split('/').next().unwrap_or_default().to_owned();
    let is_info = |dir: &String| dir.ends_with(".dist-info");
    let mut dirs: Vec<String> = entries.iter().map(top).filter(is_info).collect();
    dirs.sort_unstable();
    dirs.dedup();
    let [dir] = dirs.as_slice() else {
        return Err(format!("has {} directories *.dist-info instead of one", dirs.len()));
    };
    let name = dir.trim_end_matches(".dist-info").split('-').next().unwrap_or_default();
    if normalized(name) != normalized(wheel.name) {
        return Err(format!("has metadata of another project: {dir}"));
    }
    Ok(dir.clone())
}

/// Splits `x.data/SCHEME/REST` into scheme and rest.
fn data_path<'p>(path: &'p str, info: &str) -> Option<(&'p str, &'p str)> {
    let stem = info.trim_end_matches(".dist-info");
    path.strip_prefix(stem)?.strip_prefix(".data/")?.split_once('/')
}

fn member_text(entries: &[zip::ZipEntry], path: &str) -> Result<Option<String>, String> {
    let entry = entries.iter().find(|entry| entry.path == path);
    let Some(Node::File { content, .. }) = entry.map(|entry| &entry.node) else { return Ok(None) };
    let bytes = content.whole(MAX_TEXT);
    let bytes = bytes.map_err(|error| format!("`{path}` cannot be read: {error}"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| format!("`{path}` is not UTF-8"))
}

/// Rewrites the first line of a program that begins with `#!python` to the interpreter.
fn script(content: Content, interpreter: &str) -> Result<Content, String> {
    let broken = |error: std::io::Error| format!("a program cannot be read: {error}");
    if content.head(8).map_err(broken)? != b"#!python" {
        return Ok(content);
    }
    let bytes = content.whole(MAX_TEXT).map_err(broken)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let line = bytes[8..end].strip_suffix(b"\r").unwrap_or(&bytes[8..end]);
    let arguments = line.strip_prefix(b"w").unwrap_or(line); // pythonw, for Windows
    Ok([b"#!", interpreter.as_bytes(), arguments, &bytes[end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::zip::tests::zip;
    use std::io::Write;

    const SITE: &str = "usr/local/lib/python3.11/dist-packages";
    const WHEEL: &[u8] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n";

    fn unpack(name: &str, members: &[(&str, u32, &[u8])]) -> Result<Vec<Member>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&zip(members)).unwrap();
        read(file.path(), name, &Places::of_python("3.11")).map_err(|error| error.to_string())
    }

    #[test]
    fn files_go_where_debian_has_local_packages() {
        let hash = "sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5";
        let record = format!("\"d/a,b.py\",{hash}\nd-1.dist-info/RECORD,,\n");
        let members = unpack(
            "D-1-py3-none-any.whl",
            &[
                ("d/a,b.py", 0o10_0664, b"hello"),
                ("d/tool.so", 0o10_0755, b"x"),
                ("d-1.data/scripts/run", 0o10_0644, b"#!python -u\nprint(1)\n"),
                ("d-1.data/scripts/other", 0o10_0644, b"#!/bin/sh\n"),
                ("d-1.data/platlib/e.py", 0, b"hello"),
                ("d-1.data/data/share/x", 0, b"x"),
                ("d-1.data/headers/d.h", 0, b"x"),
                ("d-1.dist-info/WHEEL", 0, WHEEL),
                ("d-1.dist-info/entry_points.txt", 0, b"[console_scripts]\nd = d.a:main\n"),
                ("d-1.dist-info/INSTALLER", 0, b"pip\n"),
                ("d-1.dist-info/RECORD", 0, record.as_bytes()),
            ],
        )
        .unwrap();
        let text = |path: &str| {
            let member = members.iter().find(|member| member.path == path).unwrap();
            let Node::File { executable, content } = &member.node else { panic!("{path}") };
            (*executable, String::from_utf8(content.read().unwrap()).unwrap())
        };
        assert_eq!(text(&format!("{SITE}/d/a,b.py")), (false, "hello".into()));
        assert_eq!(text(&format!("{SITE}/e.py")), (false, "hello".into()));
        assert!(text(&format!("{SITE}/d/tool.so")).0);
        let run = "#!/usr/bin/python3.11 -u\nprint(1)\n";
        assert_eq!(text("usr/local/bin/run"), (true, run.into()));
        assert_eq!(text("usr/local/bin/other"), (true, "#!/bin/sh\n".into()));
        assert!(text("usr/local/bin/d").1.contains("from d.a import main"));
        assert_eq!(text("usr/local/share/x"), (false, "x".into()));
        assert_eq!(text("usr/local/include/python3.11/D/d.h"), (false, "x".into()));
        assert_eq!(text(&format!("{SITE}/d-1.dist-info/INSTALLER")).1, "joblet-publish\n");
        let (_, record) = text(&format!("{SITE}/d-1.dist-info/RECORD"));
        let lines: Vec<_> = record.lines().collect();
        assert!(lines.is_sorted() && lines.len() == members.len(), "{record}");
        for line in [
            format!("\"d/a,b.py\",{hash}"),
            format!("e.py,{hash}"), // without a row in the wheel's RECORD: hashed here
            "d-1.dist-info/RECORD,,".to_owned(),
        ] {
            assert!(lines.contains(&line.as_str()), "{line}: {record}");
        }
        assert!(record.contains("\n../../../bin/run,sha256="), "{record}");
    }

    #[test]
    fn malformed_wheels_are_refused() {
        let (info, record) =
            (("d-1.dist-info/WHEEL", 0, WHEEL), ("d-1.dist-info/RECORD", 0, &b""[..]));
        let name = "d-1-py3-none-any.whl";
        for (members, rule) in [
            (vec![], "has 0 directories *.dist-info instead of one"),
            (vec![info, ("e-1.dist-info/WHEEL", 0, WHEEL)], "has 2 directories *.dist-info"),
            (
                vec![("e-1.dist-info/WHEEL", 0, WHEEL)],
                "has metadata of another project: e-1.dist-info",
            ),
            (vec![record], "has no file WHEEL"),
            (vec![info], "has no file RECORD"),
            (
                vec![("d-1.dist-info/WHEEL", 0, b"Wheel-Version: 2.0\n"), record],
                "has wheel version",
            ),
            (vec![info, record, ("a", 0o12_0777, b"/etc/passwd")], "`a` is a link"),
            (vec![info, record, ("d-1.data/evil/x", 0, b"")], "is for the unknown scheme `evil`"),
            (
                vec![info, record, ("x", 0, b""), ("d-1.data/purelib/x", 0, b"")],
                "installs two files as `usr/local/lib/python3.11/dist-packages/x`",
            ),
        ] {
            let error = unpack(name, &members).unwrap_err();
            assert!(error.starts_with(name) && error.contains(rule), "{rule}: {error}");
        }
    }
}
