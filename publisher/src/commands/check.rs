//! `check`: the manifest's commands in the packed runtime.

use super::{arches, sources};
use crate::check::qemu::Emulator;
use crate::check::{self, Check};
use crate::error::Error;
use crate::{cli::args, error::Note, tree::joblet_exec};
use joblet_format::Arch;
use std::fmt::Write as _;

pub(crate) fn check(options: &args::Check, note: Note) -> Result<String, Error> {
    let mut report = String::new();
    let joblet_exec = &joblet_exec::find(options.joblet_exec.as_deref())?;
    let (out, asked) = (options.out.as_path(), !options.arches.is_empty());
    for source in &sources(&options.sources, &options.selection)? {
        let source_dir = &options.sources.join(source.name.as_str());
        for arch in arches(source, &options.arches)? {
            let native = arch == Arch::NATIVE;
            let left = !native && !asked && source.arches().contains(&Arch::NATIVE);
            if left && check::built(source, out, arch)?.is_none() {
                continue; // as `build --arch` does it
            }
            let what = format!("{} {arch}", source.directory());
            let emulator = if native { Ok(None) } else { Emulator::find(arch).map(Some) };
            let emulator = match emulator {
                Ok(emulator) => emulator,
                Err(reason) if asked => {
                    return Err(Error::Tool { tool: format!("check of {what}"), reason });
                }
                Err(reason) => {
                    _ = writeln!(report, "{what}: NOT CHECKED: {reason}"); // a String never fails
                    continue;
                }
            };
            let emulator = emulator.as_ref();
            let check = Check { source, source_dir, out, arch, emulator, joblet_exec };
            let count = check::run(&check, note)?;
            let by = if native { "" } else { ", through qemu-user" };
            _ = writeln!(report, "{what}: checks passed: {count}{by}"); // the same
        }
    }
    Ok(report)
}
