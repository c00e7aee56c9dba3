//! Output of `info`.

use crate::cli::escape::visible;
use crate::commands::output::{self, AvailableRow};
use crate::registry::Catalog;
use crate::store::{Installed, Receipt, Usage};
use joblet_format::text::size;
use joblet_format::{Arch, Fresh, Freshness, RuntimeName, RuntimeYml, Version};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// An installed version and its details.
#[derive(Debug)]
pub(super) struct InstalledDetails {
    /// Name, version and path.
    pub runtime: Installed,
    /// Its `runtime.yml`.
    pub config: RuntimeYml,
    /// Its receipt; `None` if it was unpacked by hand.
    pub receipt: Option<Receipt>,
    /// Its disk usage.
    pub disk: Usage,
}

/// The object that `info --json` prints.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a RuntimeName,
    /// Null if no matching version is installed.
    installed: Option<Row<'a>>,
    /// The profiles of every job on this host: name, colon and options.
    profiles: &'a [String],
    /// Versions in the registry, highest first.
    available: Vec<AvailableRow<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    version: Option<&'a Version>,
    path: &'a Path,
    receipt: Option<&'a Receipt>,
    /// The registry's `freshness.json` for it; null if it has none.
    fresh: Option<&'a Fresh>,
    disk: Usage,
    config: &'a RuntimeYml,
}

/// Details of the runtime `name`: of the version `here`, of those in `same`, and of those in a registry
/// for `arch`. The `profiles` are those of every job on this host.
pub(super) fn details(
    name: &RuntimeName,
    (here, profiles): (Option<&InstalledDetails>, &[String]),
    (catalog, freshness): (Option<&Catalog>, Option<&Freshness>),
    (same, arch): (&[Installed], Arch),
    json: bool,
) -> String {
    let releases = catalog.and_then(|it| it.registry.runtimes.get(name));
    let origin = catalog.and_then(|catalog| catalog.origin.as_ref());
    let rows = releases.into_iter().flat_map(|releases| releases.values().rev());
    let rows = rows.map(|release| output::available_row(origin, (name, release), same, arch));
    let fresh = |version: &Version| freshness.and_then(|all| all.get(name, version));
    if json {
        let installed = here.map(|here| Row {
            version: here.runtime.version.as_ref(),
            path: &here.runtime.path,
            receipt: here.receipt.as_ref(),
            fresh: here.runtime.version.as_ref().and_then(fresh),
            disk: here.disk,
            config: &here.config,
        });
        let object = Object { name, installed, profiles, available: rows.collect() };
        return output::json(&object);
    }
    let mut lines = Lines::default();
    lines.add("name", name.as_str());
    if let Some(here) = here {
        installed(&mut lines, here);
        let found = here.runtime.version.as_ref().and_then(fresh).zip(freshness);
        if let Some((Fresh { inputs_of, inputs, newer, .. }, all)) = found {
            let (of, checked) = (day(inputs_of), day(&all.checked_at));
            let text = format!("of {of}; {newer} of {inputs} have newer versions, as of {checked}");
            lines.add("inputs", &text);
        }
    }
    for (label, row) in std::iter::once("versions").chain(std::iter::repeat("")).zip(rows) {
        let mut text = row.version.to_string();
        match row.size {
            _ if row.installed => text.push_str(", installed"),
            Some(bytes) => _ = write!(text, ", {} to fetch", size(bytes)),
            None => text.push_str(", not for this host"),
        }
        if let Some(reason) = row.yanked {
            _ = write!(text, ", yanked: {reason}");
        }
        if let Some(fixes) = fresh(row.version).and_then(output::fixes) {
            _ = write!(text, ", {fixes}");
        }
        lines.add(label, &text);
    }
    for profile in profiles {
        lines.add("profile", profile);
    }
    lines.0
}

/// The date of a timestamp.
fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

fn installed(lines: &mut Lines, here: &InstalledDetails) {
    if let Some(version) = &here.runtime.version {
        lines.add("version", &version.to_string());
    }
    lines.add("about", here.config.description());
    lines.add("path", &here.runtime.path.to_string_lossy());
    let Usage { files, bytes, shared } = here.disk;
    let mut disk = format!("{} in {files} files", size(bytes));
    if shared > 0 {
        _ = write!(disk, ", {} of it shared with other versions", size(shared));
    }
    lines.add("disk", &disk);
    if let Some(receipt) = &here.receipt {
        let origin = receipt.origin.as_ref().map_or(String::new(), |it| format!("{it}, "));
        lines.add("registry", &format!("{origin}{}", receipt.registry));
        lines.add("archive", &format!("{} ({})", receipt.url, size(receipt.size)));
        lines.add("checksum", &receipt.checksum.to_string());
    }
    for mount in here.config.mounts() {
        let how = if mount.readonly { "" } else { ", a private copy for each job" };
        lines.add("mount", &format!("{} ← {}{how}", mount.target, mount.source));
    }
    for (variable, value) in here.config.environment() {
        lines.add("variable", &format!("{variable}={value}"));
    }
}

/// Lines of the form `label   text`.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            _ = writeln!(self.0, "{label:<10}{}", visible(text));
        }
    }
}
