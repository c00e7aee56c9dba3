//! `index` and `site`: records → registry.json and pages.

use super::signer::{self, Signer};
use crate::error::Error;
use crate::{
    cli::args,
    fs::paths,
    record,
    registry::{document, shards},
    site,
};
use joblet_format::{Freshness, Registry};
use std::collections::BTreeMap;
use std::{
    fs, os::unix::fs::PermissionsExt, panic::resume_unwind, path::Path, sync::OnceLock, thread,
};

pub(crate) fn index(options: &args::Index) -> Result<String, Error> {
    let registry = document::make(&record::read_all(&options.records)?);
    let signer = Signer::open(&options.signing)?;
    let out = &document::path_of(&options.out);
    let root = parent(out);
    let Text { text, differs } = allowed(&registry, &options.records, out, signer.as_ref())?;
    in_shards(root, out, &text, &registry, signer.as_ref())?;
    if differs {
        paths::publish(paths::stage_whole(out, text.as_bytes())?, out)?;
    }
    signer::settle(root, out, out, signer.as_ref())?;
    let versions: usize = registry.runtimes.values().map(BTreeMap::len).sum();
    let (out, runtimes) = (out.display(), registry.runtimes.len());
    Ok(format!("{out}: runtimes: {runtimes}, versions: {versions}\n"))
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// The text of a registry, and whether another or none is there.
struct Text {
    text: String,
    differs: bool,
}

/// The text of a registry, unless one is there whose published checksums it would change, or which is signed
/// and there is no key.
fn allowed(
    registry: &Registry,
    records: &Path,
    out: &Path,
    signer: Option<&Signer>,
) -> Result<Text, Error> {
    let text = document::render(registry, out)?;
    if let Some(bytes) = paths::read_below(parent(out), out)? {
        if bytes == text.as_bytes() {
            return Ok(Text { text, differs: false });
        }
        signer::may_write(out, signer)?;
        let before = document::parse_different(&bytes, &text)
            .map_err(|error| Error::config(out, format!("is not a registry: {error}")))?;
        document::check(&before, registry, records)?;
    }
    Ok(Text { text, differs: true })
}

/// Writes the shards of the document `text`, which is or will be `out`, and signs their list.
///
/// Before the document: a reader between both finds that the list is of another one, and reads the document.
fn in_shards(
    root: &Path,
    out: &Path,
    text: &str,
    registry: &Registry,
    signer: Option<&Signer>,
) -> Result<(), Error> {
    if signer.is_none() && signer::signature_of(out).symlink_metadata().is_ok() {
        // The same document, and no signer for a list of it.
        return Ok(());
    }
    if let Some(list) = shards::write(root, out, text, &registry.updated_at)?
        && signer.is_some()
    {
        return signer::settle(root, &list, out, signer);
    }
    // An existing signature is of another list.
    let place = shards::places(out).map(|(list, _)| signer::signature_of(&list));
    place.map_or(Ok(()), |place| paths::remove_if_there(&place))
}

/// The last refresh's file, as bytes and parsed; `None` if it does not exist.
fn refreshed(file: &Path) -> Result<Option<(Vec<u8>, Freshness)>, Error> {
    let Some(bytes) = paths::read_given_if_there(file)? else { return Ok(None) };
    let read = serde_json::from_slice(&bytes)
        .map_err(|error| Error::config(file, format!("is not what a refresh wrote: {error}")))?;
    Ok(Some((bytes, read)))
}

/// The pages, and the registry that they link to. Nothing is written if that would be refused.
pub(crate) fn site(options: &args::Site) -> Result<String, Error> {
    let all = record::read_all(&options.records)?;
    let signer = Signer::open(&options.signing)?;
    let registry = document::make(&all);
    let refreshed = refreshed(&options.freshness)?;
    let place = options.out.join(document::FILE);
    let new = !options.out.exists();
    // Both take long for a large registry, so which pages differ is found out meanwhile.
    let (text, check) =
        (OnceLock::new(), || allowed(&registry, &options.records, &place, signer.as_ref()));
    let permit = || match text.get_or_init(check) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::config(&place, "refused")), // the reason is returned below
    };
    let stage = || match text.get_or_init(check) {
        Ok(Text { text, differs: true }) => paths::stage_whole(&place, text.as_bytes()).map(Some),
        _ => Ok(None),
    };
    let (written, staged) = thread::scope(|scope| {
        let staging = scope.spawn(stage);
        let from = site::Options {
            place: &options.records,
            source: &options.source,
            registry: options.registry.as_deref(),
            freshness: refreshed.as_ref().map(|(_, freshness)| freshness),
        };
        let written = site::write_if(&permit, &registry, &all, &from, &options.out);
        (written, staging.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let text = text.into_inner().transpose()?;
    let site::Summary { files, written, removed } = written?;
    if let Some(Text { text, .. }) = text {
        in_shards(&options.out, &place, &text, &registry, signer.as_ref())?;
    }
    if let Some(staged) = staged? {
        paths::publish(staged, &place)?;
    }
    signer::settle(&options.out, &place, &place, signer.as_ref())?;
    if let Some((bytes, _)) = &refreshed {
        paths::write(&options.out.join("freshness.json"), bytes)?;
        let signature = options.freshness.with_extension("json.minisig");
        if let Some(bytes) = paths::read_given_if_there(&signature)? {
            paths::write(&options.out.join("freshness.json.minisig"), &bytes)?;
        }
    }
    if new {
        // Whatever the umask: a site is for others to read.
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&options.out, readable).map_err(Error::file("make", &options.out))?;
    }
    let out = options.out.display();
    Ok(format!("{out}: {files} files, {written} written, {removed} removed\n"))
}
