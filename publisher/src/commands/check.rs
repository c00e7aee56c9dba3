//! `check`: the manifest's commands in the packed runtime.

use super::sources;
use crate::error::Error;
use crate::{Note, args, check, exec};
use joblet_format::Arch;
use std::fmt::Write as _;

pub(crate) fn check(options: &args::Check, note: Note) -> Result<String, Error> {
    let mut report = String::new();
    let joblet_exec = exec::find(options.joblet_exec.as_deref())?;
    for source in sources(&options.sources, &options.selection)? {
        if !source.arches().contains(&Arch::NATIVE) {
            note(&format!("check {}: not for {}, left out", source.name, Arch::NATIVE));
            continue;
        }
        let dir = options.sources.join(source.name.as_str());
        let count = check::run(&source, &dir, &options.out, &joblet_exec, note)?;
        _ = writeln!(report, "{}: checks passed: {count}", source.directory()); // a String never fails
    }
    Ok(report)
}
