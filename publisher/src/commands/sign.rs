//! `sign` and `keygen`.

use super::signer::{Signer, signature_of};
use crate::error::Error;
use crate::{
    cli::args,
    env,
    fs::paths,
    registry::{document, shards, sign},
};
use joblet_format::{Checksum, Freshness, Registry, ShardList};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(crate) fn sign(options: &args::Sign) -> Result<String, Error> {
    let file = &document::path_of(&options.registry);
    let document = paths::read(file)?;
    if serde_json::from_slice::<Freshness>(&document).is_err() {
        serde_json::from_slice::<Registry>(&document).map_err(|error| {
            Error::config(file, format!("is not a registry, nor a freshness.json: {error}"))
        })?;
    }
    let signer = Signer::open(&options.signing)?.ok_or_else(|| {
        let key = env::SIGN_KEY;
        Error::Usage(format!("sign needs a secret key: --key=FILE, or its text in {key}"))
    })?;
    let mut report = String::new();
    if let Some((list, bytes)) = list_of(file, &document)? {
        report = add_signature(&list, &bytes, &signer, options)?;
    }
    Ok(report + &add_signature(file, &document, &signer, options)?)
}

/// The list of the shards of the registry `file`, and its bytes, if there is one of this `document`.
fn list_of(file: &Path, document: &[u8]) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let Some((place, _)) = shards::places(file) else { return Ok(None) };
    let Some(bytes) = paths::read_if_there(&place)? else { return Ok(None) };
    let list: ShardList = serde_json::from_slice(&bytes)
        .map_err(|error| Error::config(&place, format!("is not a list of shards: {error}")))?;
    let actual = Checksum::of_bytes(document);
    if list.registry.checksum != actual {
        let hint = "its shards are of another registry; run index or site again";
        return Err(Error::checksum(
            file.display().to_string(),
            list.registry.checksum,
            actual,
            hint,
        ));
    }
    Ok(Some((place, bytes)))
}

/// Signs `document`, which is `file`, and returns the line that reports it.
fn add_signature(
    file: &Path,
    document: &[u8],
    signer: &Signer,
    options: &args::Sign,
) -> Result<String, Error> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let target = signature_of(file);
    let before = paths::read_if_there(&target)?.unwrap_or_default();
    let before = String::from_utf8_lossy(&before);
    let mut signature = signer.sign(document, &name, &before)?;
    if options.add {
        signature = sign::merge(&signature, &before);
    }
    paths::write(&target, signature.as_bytes())?;
    Ok(format!("{}\n", target.display()))
}

/// Writes a new pair of keys, never over an old one.
pub(crate) fn keygen(options: &args::Keygen) -> Result<String, Error> {
    if !options.in_work_tree
        && let Some(tree) = work_tree(&options.key)?
    {
        let place = format!(
            "is in the git work tree {}, from where a secret key is easily published; name a file \
             elsewhere, or add --in-work-tree",
            tree.display()
        );
        return Err(Error::config(&options.key, place));
    }
    let ask = || password(options.password_file.as_deref(), &options.key);
    let secret = if options.no_password { None } else { Some(ask()?) };
    let (secret, public) =
        sign::generate(secret).map_err(|reason| Error::config(&options.key, reason))?;
    let beside = suffixed(&options.key, ".pub");
    for file in [&options.key, &beside] {
        if file.symlink_metadata().is_ok() {
            let reason = "exists already, and a key is never overwritten: name another file";
            return Err(Error::config(file, reason));
        }
    }
    for (file, text, mode) in [(&options.key, secret, 0o600), (&beside, public.clone(), 0o644)] {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
        let mut opened = opened.map_err(Error::file("create", file))?;
        opened.write_all(text.as_bytes()).map_err(Error::file("write", file))?;
    }
    let key = public.lines().nth(1).unwrap_or_default();
    Ok(format!("{}\n{}\npublic_key: {key}\n", options.key.display(), beside.display()))
}

/// The git work tree that a file would be in.
fn work_tree(file: &Path) -> Result<Option<PathBuf>, Error> {
    let named = std::path::absolute(file).map_err(Error::file("find", file))?;
    let directory = named.parent().unwrap_or(&named);
    // If the directory does not exist, creating the file reports that.
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let is_tree = |place: &&Path| place.join(".git").symlink_metadata().is_ok();
    Ok(directory.ancestors().find(is_tree).map(Path::to_owned))
}

/// The password of the key in `key`: of a file, else of the environment, else of a terminal.
pub(super) fn password(file: Option<&Path>, key: &Path) -> Result<String, Error> {
    if let Some(file) = file {
        let text = String::from_utf8_lossy(&paths::read_given(file)?).into_owned();
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    if let Some(password) = env::var(env::SIGN_PASSWORD) {
        return Ok(password);
    }
    rpassword::prompt_password(format!("Password of {}: ", key.display())).map_err(|error| {
        let reason = format!(
            "needs a password, and there is no terminal to ask for it ({error}); use \
             --password-file or {}",
            env::SIGN_PASSWORD
        );
        Error::config(key, reason)
    })
}

fn suffixed(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}
