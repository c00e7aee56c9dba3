//! `check`: the manifest's commands in the packed runtime.

use super::{Outcome, arches, sources};
use crate::check::qemu::Emulator;
use crate::check::{self, Check, Done};
use crate::cli::args::Selection;
use crate::error::Error;
use crate::fs::paths;
use crate::source::{
    Source,
    reads::{self, READS},
};
use crate::{cli::args, error::Note, tree::joblet_exec};
use joblet_format::Arch;
use std::path::Path;

/// A runtime, its architecture, and the result of its check.
type Row = (String, Arch, String);

pub(crate) fn check(options: &args::Check, note: Note) -> Result<Outcome, Error> {
    let joblet_exec = &joblet_exec::find(options.joblet_exec.as_deref())?;
    let all = options.selection == Selection::All;
    let (mut rows, mut failed): (Vec<Row>, Vec<Error>) = (Vec::new(), Vec::new());
    for source in &sources(&options.sources, &options.selection)? {
        for arch in arches(source, &options.arches)? {
            let row = |result: String| (source.directory(), arch, result);
            match check_one(source, arch, options, joblet_exec, note) {
                Ok(result) => rows.extend(result.map(row)),
                // A failure does not stop the others.
                Err(Error::NotFound(_)) if all => rows.push(row("not built".into())),
                Err(error) if all => {
                    rows.push(row("FAILED".into()));
                    failed.push(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    let text = if all { as_table(&rows) } else { as_text(&rows) };
    if all && failed.is_empty() && rows.iter().all(|(.., result)| result == "not built") {
        let out = options.out.display();
        return Err(Error::NotFound(format!("{out} has none of the runtimes; build them first")));
    }
    let error = Error::combined(failed).err();
    Ok(Outcome::Built { text, warnings: Vec::new(), error })
}

/// Checks `source` for `arch`; `None` if that was not requested.
fn check_one(
    source: &Source,
    arch: Arch,
    options: &args::Check,
    joblet_exec: &Path,
    note: Note,
) -> Result<Option<String>, Error> {
    let (out, asked) = (options.out.as_path(), !options.arches.is_empty());
    let source_dir = &options.sources.join(source.name.as_str());
    let native = arch == Arch::NATIVE;
    let left = !native && !asked && source.arches().contains(&Arch::NATIVE);
    if left && check::built(source, out, arch)?.is_none() {
        return Ok(None); // as `build --arch` does it
    }
    let emulator = if native { Ok(None) } else { Emulator::find(arch).map(Some) };
    let emulator = match emulator {
        Ok(emulator) => emulator,
        Err(reason) if asked => {
            let what = format!("{} {arch}", source.directory());
            return Err(Error::Tool { tool: format!("check of {what}"), reason });
        }
        Err(reason) => return Ok(Some(format!("NOT CHECKED: {reason}"))),
    };
    let emulator = emulator.as_ref();
    let record = options.record && native;
    let check = Check { source, source_dir, out, arch, emulator, joblet_exec, record };
    let Done { count, read } = check::run(&check, note)?;
    let by = if native { "" } else { ", through qemu-user" };
    let result = format!("checks passed: {count}{by}");
    if record {
        let path = source_dir.join(READS);
        paths::write_below(&options.sources, &path, reads::render(&read, arch).as_bytes())?;
        return Ok(Some(format!("{result}; {} written: build it again", path.display())));
    }
    Ok(Some(result))
}

fn as_text(rows: &[Row]) -> String {
    rows.iter().map(|(runtime, arch, result)| format!("{runtime} {arch}: {result}\n")).collect()
}

/// Formats the rows as a table.
fn as_table(rows: &[Row]) -> String {
    let width = rows.iter().map(|(runtime, ..)| runtime.len()).max().unwrap_or_default();
    let line = |(runtime, arch, result): &Row| format!("{runtime:<width$}  {arch}  {result}\n");
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_listed() {
        let row =
            |runtime: &str, result: &str| (runtime.to_owned(), Arch::Amd64, result.to_owned());
        let rows = [row("a-1.0.0", "checks passed: 2"), row("longer-1.0.0", "not built")];
        assert_eq!(
            as_table(&rows),
            "a-1.0.0       amd64  checks passed: 2\nlonger-1.0.0  amd64  not built\n"
        );
        assert_eq!(as_text(&rows[..1]), "a-1.0.0 amd64: checks passed: 2\n");
    }
}
