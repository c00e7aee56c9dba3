//! The rules of a manifest beyond its types, and the messages for violations.

use super::{Python, Source, Url, expand, template::SYSTEMS};
use crate::error::shown;
use joblet_format::{Arch, Checksum, nearest, unknown_key};

/// Rewords the YAML parser's message on an unknown key, and puts the line first.
pub(super) fn explain(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    let line = error.location().map_or_else(String::new, |at| format!("line {}: ", at.line()));
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    if let Some(explained) = unknown_key(text) {
        return line + &explained;
    }
    // For a rule of our types (`"1.0" is not a version`) the parser reports the start of the whole map.
    let line = if text.contains(" is not a ") { String::new() } else { line };
    format!("{line}{}", text.replace("duplicate field", "duplicate key"))
}

/// Refuses invisible and reordering characters, in comments, too.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    shown::first_reordering(text).map_or(Ok(()), |(line, code)| {
        Err(format!("line {line}: contains the invisible character {code}; remove it"))
    })
}

/// As [`check_text`], for characters that are written as YAML escapes.
fn check_escaped(source: &Source) -> Result<(), String> {
    let links =
        source.links.iter().chain(&source.environment).flat_map(|(key, value)| [key, value]);
    let texts = links.map(|text| ("links or environment", text));
    let texts = texts.chain([("description", &source.description)]);
    let texts = texts.chain(source.check.iter().flatten().map(|word| ("check", word)));
    let texts = texts.chain(source.run.iter().flatten().map(|word| ("run", word)));
    let texts = texts.chain(source.exclude.iter().map(|pattern| ("exclude", pattern)));
    let texts = texts.chain(source.urls.iter().map(|url| ("urls.into", &url.into)));
    for (key, text) in texts.chain(source.files.iter().map(|files| ("files", files))) {
        if let Some((_, code)) = shown::first_reordering(text) {
            return Err(format!("{key}: contains the invisible character {code}; remove it"));
        }
    }
    Ok(())
}

/// Checks the rules that the types do not express.
pub(super) fn check(source: &Source) -> Result<(), String> {
    if source.platforms.is_empty() {
        return Err("platforms: at least one is needed, such as ubuntu-amd64".into());
    }
    if let Some(other) = source.platforms.iter().find(|it| !SYSTEMS.contains(&it.os())) {
        let hint = nearest(other.os(), SYSTEMS).map_or_else(
            || {
                "a runtime has its own C library, and runs on any Linux host of the architecture"
                    .into()
            },
            |near| format!("did you mean {near}-{}?", other.arch()),
        );
        let known = SYSTEMS.join(", ");
        return Err(format!(
            "platforms: {other:?} is not of {known}; {hint}",
            other = other.to_string()
        ));
    }
    if source.description.contains('\n') {
        return Err("description: must be one line".into());
    }
    check_escaped(source)?;
    if let Some(debian) = &source.debian {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if debian.suite.is_empty() || !debian.suite.bytes().all(plain) {
            return Err(format!("debian.suite: {:?} is not a code name", debian.suite));
        }
        for package in &debian.packages {
            if !is_package(package) {
                return Err(format!(
                    "debian.packages: {package:?} is neither NAME nor NAME=VERSION"
                ));
            }
            if package.ends_with('-') {
                return Err(format!(
                    "debian.packages: apt would take {package:?} as a package to remove"
                ));
            }
        }
    }
    source.python.as_ref().map_or(Ok(()), check_python)?;
    if let Some(image) = &source.image {
        if let Some(arch) = source.arches().into_iter().find(|arch| image.place(*arch).is_none()) {
            return Err(format!("image: has neither `path` nor `{arch}`"));
        }
    }
    if source.workdir.as_deref().is_some_and(|dir| !dir.starts_with('/')) {
        return Err("workdir: must be absolute, such as /app".into());
    }
    source.urls.iter().try_for_each(check_url)?;
    let paths = source.links.keys().map(|path| ("links", path));
    let paths = paths.chain(source.urls.iter().map(|url| ("urls.into", &url.into)));
    for (key, path) in paths.chain(source.files.iter().map(|path| ("files", path))) {
        check_path(path.trim_end_matches('/')).map_err(|rule| format!("{key}: {path:?} {rule}"))?;
    }
    if let Some((path, _)) = source.links.iter().find(|(_, target)| target.is_empty()) {
        return Err(format!("links: {path:?} has no target"));
    }
    for (key, commands) in [("check", &source.check), ("run", &source.run)] {
        if commands.iter().any(|command| command.first().is_none_or(String::is_empty)) {
            return Err(format!(
                "{key}: each command is a list of words, such as [python3, --version]"
            ));
        }
    }
    if source.exclude.iter().any(|pattern| pattern.trim_matches('/').is_empty()) {
        return Err(
            "exclude: a pattern names a path below the root, such as usr/share/doc/**".into()
        );
    }
    if let Some(package) = source.postinst.keys().find(|package| !is_package(package)) {
        return Err(format!("postinst: {package:?} is not the name of a Debian package"));
    }
    for text in source.links.iter().flat_map(|(path, target)| [path, target]) {
        expand(text, Arch::Amd64).map_err(|rule| format!("links: {rule}"))?;
    }
    for text in source.environment.values() {
        expand(text, Arch::Amd64).map_err(|rule| format!("environment: {rule}"))?;
    }
    Ok(())
}

fn check_python(python: &Python) -> Result<(), String> {
    if python.minor() == 0 {
        return Err(format!("python.version: {:?} is not a version like 3.11", python.version));
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if python.packages.is_empty() && python.before.is_empty() {
        return Ok(());
    }
    let lengths: Vec<usize> = python.before.split('-').map(str::len).collect();
    if lengths != [4, 2, 2] || !python.before.split('-').all(digits) {
        return Err(format!("python.before: {:?} is not a day like 2024-01-01", python.before));
    }
    // A name with version constraints; not an option of uv, path or address.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@/\\#".contains(&byte) || byte == b' ';
    let begins = |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match python.packages.iter().find(|text| !begins(text) || !text.bytes().all(plain)) {
        Some(package) => {
            Err(format!("python.packages: {package:?} is not a requirement like numpy==1.26.2"))
        }
        None => Ok(()),
    }
}

fn check_url(url: &Url) -> Result<(), String> {
    let addresses = [&url.amd64, &url.arm64].into_iter().flatten();
    for address in addresses {
        if !is_address(address) {
            let shown = shown::address(address);
            return Err(format!("urls: {shown:?} is not an http or https address"));
        }
        if let Some(secret) = shown::secret(address) {
            let shown = shown::address(address);
            return Err(format!("urls: {shown:?} has {secret}, and locks and records are public"));
        }
        if archive_suffix(address).is_none() {
            let known = ARCHIVES.map(|(suffix, _)| suffix).join(", ");
            let shown = shown::address(address);
            return Err(format!("urls: {shown:?} is not an archive; known: {known}"));
        }
    }
    match url.sha256.values().find(|hex| Checksum::from_hex(hex).is_err()) {
        Some(hex) => Err(format!("urls.sha256: {hex:?} is not 64 hex digits")),
        None => Ok(()),
    }
}

/// Extensions of archives, and their compression as in the name of `data.tar` in a deb.
const ARCHIVES: [(&str, &str); 7] = [
    (".tar.gz", ".gz"),
    (".tgz", ".gz"),
    (".tar.xz", ".xz"),
    (".txz", ".xz"),
    (".tar.zst", ".zst"),
    (".tar", ""),
    (".zip", ".zip"),
];

/// The compression of the archive at `address`: `.gz`, `.xz`, `.zst`, `.zip`, or empty for none.
pub(crate) fn archive_suffix(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    ARCHIVES.iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, kind)| *kind)
}

/// Whether it is an http or https address with a host.
pub(crate) fn is_address(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_package(text: &str) -> bool {
    let (name, version) = text.split_once('=').unwrap_or((text, "0"));
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let version_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte);
    begins
        && name.len() > 1
        && name.bytes().all(plain)
        && !version.is_empty()
        && version.bytes().all(version_byte)
}

/// Checks that `path` is below the root, without file access.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') {
        return Err("is absolute: it must be relative to the root");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err("contains `.`, `..` or an empty component");
    }
    Ok(())
}
