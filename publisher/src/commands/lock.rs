//! `lock`: every input of every architecture, resolved.

use super::{arches, megabytes, sources};
use crate::error::Error;
use crate::{Note, apt, args, env, fsx, lock, mirror};
use std::fmt::Write as _;

pub(crate) fn lock(options: &args::Lock, note: Note) -> Result<String, Error> {
    let mirrors = mirror::find(options.mirror.as_deref())?;
    let mut report = String::new();
    for source in sources(&options.sources, &options.selection)? {
        let path = lock::path(&options.sources, &source.name);
        let before = fsx::read_if_there(&path)?.and_then(|bytes| lock::parse(&bytes).ok());
        let fresh = before.as_ref().filter(|lock| lock.manifest == lock::digest(&source));
        // Architectures that are not resolved now stay as they are, if they are of this manifest.
        let mut inputs = fresh.map(|lock| lock.inputs.clone()).unwrap_or_default();
        for arch in arches(&source, &options.arches)? {
            note(&format!("lock {}: {arch}", source.name));
            let packages: Vec<&str> = source.packages().into_iter().collect();
            let suite = source.debian.as_ref().map(|debian| debian.suite.as_str());
            let resolved = suite.map(|suite| apt::resolve(&mirrors, suite, &packages, arch));
            inputs.insert(arch, resolved.transpose()?.unwrap_or_default());
        }
        let lock = lock::make(&source, inputs, env::now(), before.as_ref());
        fsx::write(&path, lock::render(&lock).as_bytes())?;
        for (arch, inputs) in &lock.inputs {
            let (count, size) = (inputs.len(), inputs.iter().map(|input| input.size).sum());
            let (path, size) = (path.display(), megabytes(size));
            _ = writeln!(report, "{path}: {arch}: {count} inputs, {size}"); // a String never fails
        }
    }
    Ok(report)
}
