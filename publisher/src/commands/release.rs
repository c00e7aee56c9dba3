//! `plan`, `release` and `reconcile`: from a tag to a published, recorded version.

use super::{
    publish,
    signer::{self, Signer},
};
use crate::error::Error;
use crate::fs::{below::Below, paths};
use crate::release::{self, Tag, bundle, git, plan, reconcile as records, upload};
use crate::{cli::args, error::Note, record};
use joblet_format::{RuntimeName, Version};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) fn plan(options: &args::Plan) -> Result<String, Error> {
    let checkout = Path::new(".");
    let (sources, branch) = (&options.sources, options.branch.as_str());
    let host = options.host.as_deref().map(release::named).transpose()?;
    let host = host.as_deref();
    let place = plan::Context { checkout, sources, branch, records: &options.records, host };
    let plan = plan::make(&options.tag, &place)?;
    // A version more changes the registry.
    let registry = Path::new("registry.json");
    let signature = signer::signature_of(registry);
    let signed = git::show(checkout, branch, &signature.to_string_lossy())?.is_some();
    if signed && Signer::open(&options.signing)?.is_none() {
        return Err(signer::needs_key(registry));
    }
    // Rehearses the final `reconcile`, with this key and the current branch.
    let (_keep, rehearsal) = git::exported(checkout, branch, &options.records)?;
    remade(&rehearsal, &options.records, &options.signing)?;
    Ok(format!("{}\n", serde_json::to_string(&plan).expect("texts are JSON")))
}

pub(crate) fn release(options: &args::Release, note: Note) -> Result<String, Error> {
    let tag = &options.tag;
    let host = release::named(&options.host)?;
    let first = options.outs.first().map_or(Path::new("dist"), |out| out);
    paths::create_dirs(first)?;
    let staging = tempfile::Builder::new().prefix(".release-").tempdir_in(first);
    let staging = staging.map_err(Error::file("create below", first))?;
    let mut bundles = Vec::new();
    for (name, version) in built(tag, &options.outs)? {
        let record = bundle::record_of(&options.outs, &name, &version)?;
        let record = upload::adopt_time(&*host, tag, record)?;
        bundles.push(bundle::gather(record, &options.outs, staging.path())?);
    }
    let upload::Summary { files, uploaded, published } =
        upload::release(&*host, tag, &bundles, note)?;
    let state = if published { "published" } else { "was published already" };
    let mut report = format!("{tag}: {files} files, {uploaded} uploaded, {state}\n");
    for bundle in &bundles {
        let release = &bundle.record.release;
        for (arch, artifact) in &release.artifacts {
            let (name, version) = (&bundle.record.name, &release.version);
            _ = writeln!(report, "{name}@{version} {arch}: {}", artifact.checksum); // never fails
        }
    }
    Ok(report)
}

/// The versions in `outs` that `tag` releases.
fn built(tag: &Tag, outs: &[PathBuf]) -> Result<BTreeSet<(RuntimeName, Version)>, Error> {
    if let Tag::One(name, version) = tag {
        return Ok([(name.clone(), version.clone())].into());
    }
    let mut built = BTreeSet::new();
    for out in outs {
        for record in record::read_all(&out.join("records"))? {
            if tag.covers(&record.name, &record.release.version) {
                built.insert((record.name, record.release.version));
            }
        }
    }
    if built.is_empty() {
        return Err(Error::NotFound(format!("nothing of {tag} was built")));
    }
    Ok(built)
}

pub(crate) fn reconcile(options: &args::Reconcile, note: Note) -> Result<String, Error> {
    let host = release::named(&options.host)?;
    let branch = git::Branch { repository: &options.repository, name: &options.branch };
    let finish = |checkout: &Path| remade(checkout, &options.records, &options.signing);
    let only = options.tag.as_ref();
    let new = records::reconcile(&*host, &branch, only, &options.records, &finish, note)?;
    if new.is_empty() {
        return Ok("every published version is recorded\n".to_owned());
    }
    Ok(new.iter().map(|version| format!("recorded {version}\n")).collect())
}

/// Generates `registry.json` from the records, and its signature, in a checkout of the branch.
fn remade(checkout: &Path, records: &Path, signing: &args::Signing) -> Result<(), Error> {
    let index = args::Index {
        records: checkout.join(records),
        out: checkout.join("registry.json"),
        signing: signing.clone(),
    };
    // Parent directories of these files are not links.
    Below::open(checkout)?.map_or(Ok(None), |root| root.dir(&index.records))?;
    publish::index(&index).map(drop).map_err(|error| match error {
        // The checkout is removed before this is read: the message names the file of the branch.
        Error::Config { path, reason } => {
            let path = path.strip_prefix(checkout).map(Path::to_owned).unwrap_or(path);
            Error::Config { path, reason }
        }
        other => other,
    })
}
