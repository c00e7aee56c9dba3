//! `bump`: the next version of a runtime, with current packages.

use super::outdated::{Report, Resolver, line};
use crate::{
    cli::args,
    env,
    error::{Error, Note, shown},
    fs::paths,
    lock::{self, Kind, Lock},
    source::{self, Source, edit},
};
use std::fmt::Write as _;
use std::path::Path;

/// Name of the changelog beside the manifest.
const CHANGELOG: &str = "CHANGELOG.md";

pub(crate) fn bump(options: &args::Bump, note: Note) -> Result<String, Error> {
    let mut resolver = Resolver::new(options.mirror.as_deref(), options.cache.as_deref(), note)?;
    let mut text = String::new();
    for source in super::sources(&options.sources, &options.selection)? {
        let lock = lock::read(&options.sources, &source)?;
        let report = resolver.report(&source, &lock)?;
        let (name, version) = (&source.name, &source.version);
        if report.updates.is_empty() {
            _ = writeln!(text, "{name}: nothing is newer; {version} stays"); // a String never fails
            continue;
        }
        let next = raise(&options.sources, &source, &lock, &report, &mut resolver)?;
        let (newer, fixes) = (report.updates.len(), report.security().count());
        _ = writeln!(
            text,
            "{name}: {version} → {next}, newer packages: {newer}, with security fixes: {fixes}"
        );
    }
    Ok(text)
}

/// Writes manifest, lock and changelog of the next version, after all three are complete.
fn raise(
    sources: &Path,
    source: &Source,
    lock: &Lock,
    report: &Report,
    resolver: &mut Resolver<'_>,
) -> Result<joblet_format::Version, Error> {
    let place = source::manifest_path(sources, &source.name);
    let refused = |reason: String| Error::config(&place, reason);
    let next = edit::next_patch(&source.version).map_err(refused)?;
    let manifest = paths::read_below(sources, &place)?.unwrap_or_default();
    let manifest = edit::with_version(&String::from_utf8_lossy(&manifest), &next);
    let manifest = manifest.map_err(refused)?;
    let mut inputs = resolver.resolve_current(source, lock)?;
    for (arch, inputs) in &mut inputs {
        // Archives of `urls` are what they were.
        let archives = lock.inputs_for(*arch).unwrap_or_default();
        inputs.extend(archives.iter().filter(|input| input.kind == Kind::Tar).cloned());
    }
    let relocked = lock::make(source, inputs, env::now().to_string(), Some(lock));
    let log = sources.join(source.name.as_str()).join(CHANGELOG);
    let before = paths::read_below(sources, &log)?.unwrap_or_default();
    let before = String::from_utf8_lossy(&before);
    let text = with_entry(&before, source.name.as_str(), &entry(&next.to_string(), report));
    paths::write_below(
        sources,
        &lock::path(sources, &source.name),
        lock::render(&relocked).as_bytes(),
    )?;
    paths::write_below(sources, &log, text.as_bytes())?;
    paths::write_below(sources, &place, manifest.as_bytes())?;
    Ok(next)
}

/// The changelog entry of a version, security fixes first.
fn entry(version: &str, report: &Report) -> String {
    let mut text = format!("## {version}\n\n");
    let fixes: Vec<_> = report.fixes().into_iter().collect();
    if !fixes.is_empty() {
        _ = writeln!(text, "Fixes {}.\n", fixes.join(", ")); // a String never fails
    }
    let (security, others): (Vec<_>, Vec<_>) = report.updates.iter().partition(|it| it.security);
    for update in security.into_iter().chain(others) {
        _ = writeln!(text, "- {}", shown::message(&line(update))); // neither
    }
    text
}

/// Inserts an entry at the top of the changelog `before`.
fn with_entry(before: &str, name: &str, entry: &str) -> String {
    let title = format!("# {name}\n");
    let (head, rest) = match before.find("\n## ") {
        Some(at) => before.split_at(at + 1),
        None if before.is_empty() => (title.as_str(), ""),
        None => (before, ""),
    };
    let rest = if rest.is_empty() { String::new() } else { format!("\n{rest}") };
    format!("{}\n\n{entry}{rest}", head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_newest_first() {
        let first = with_entry("", "demo", "## 1.0.1\n\n- a\n");
        assert_eq!(first, "# demo\n\n## 1.0.1\n\n- a\n");
        let second = with_entry(&first, "demo", "## 1.0.2\n\n- b\n");
        assert_eq!(second, "# demo\n\n## 1.0.2\n\n- b\n\n## 1.0.1\n\n- a\n");
        let own = with_entry("# Mine\n\nWords.\n", "demo", "## 1.0.1\n\n- a\n");
        assert_eq!(own, "# Mine\n\nWords.\n\n## 1.0.1\n\n- a\n");
    }
}
