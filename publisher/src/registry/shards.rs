//! Writes a large registry in shards, beside its document.
//!
//! Shards are cut out of the text of the document and depend on nothing else. A shard's name has digits of its
//! content. The previous list's shards are kept until the next change, so that readers of an old list, from a cache
//! or between two steps of a publication, find them.

use crate::{
    env::cores::parallel_map,
    error::Error,
    fs::{below::Below, paths},
};
use joblet_format::{Checksum, IndexFile, MAX_UNSHARDED_BYTES, RuntimeName, ShardList};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The lines of a runtime in the document: under `runtimes`, and under `extended`.
type Blocks<'t> = [Option<&'t str>; 2];

/// Writes the shards of the document `text`, which will be the file `document` below `root`, and their list,
/// if it is large; removes those of before if it is not. Returns the list's path, if there is one.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub(crate) fn write(
    root: &Path,
    document: &Path,
    text: &str,
    updated_at: &str,
) -> Result<Option<PathBuf>, Error> {
    let Some((place, directory)) = places(document) else { return Ok(None) };
    let bytes = paths::read_below(root, &place)?;
    let before: Option<ShardList> =
        bytes.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    if text.len() as u64 <= MAX_UNSHARDED_BYTES {
        if bytes.is_some() {
            paths::remove_if_there(&place)?;
            keep_only(root, &directory, &BTreeSet::new())?;
        }
        return Ok(None);
    }
    let registry =
        IndexFile { checksum: Checksum::of_bytes(text.as_bytes()), size: text.len() as u64 };
    let there =
        |list: &ShardList| list_files(list).iter().all(|it| paths::is_file(&directory.join(it)));
    if before.as_ref().is_some_and(|before| before.registry == registry && there(before)) {
        return Ok(Some(place));
    }
    let runtimes: Vec<_> = cut(text).into_iter().collect();
    let known = before.as_ref().map(list_files).unwrap_or_default();
    let one = |(name, blocks): &(RuntimeName, Blocks<'_>)| {
        let shard = render(blocks);
        let checksum = Checksum::of_bytes(shard.as_bytes());
        let file = ShardList::shard(name, &checksum);
        let path = directory.join(&file);
        if !known.contains(&file) || !paths::is_file(&path) {
            paths::write_below_unsynced(root, &path, shard.as_bytes())?;
        }
        Ok::<_, Error>((name.clone(), checksum))
    };
    let shards = parallel_map(&runtimes, one)?.into_iter().collect();
    sync(&directory)?;
    let list = ShardList::new(updated_at.to_owned(), registry, shards);
    let mut text = serde_json::to_string_pretty(&list).expect("texts and numbers are JSON");
    text.push('\n');
    paths::write_below(root, &place, text.as_bytes())?;
    let mut kept = list_files(&list);
    kept.extend(known);
    keep_only(root, &directory, &kept)?;
    Ok(Some(place))
}

/// Paths of the list beside `document`, and of the directory of the shards.
pub(crate) fn places(document: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = document.file_name()?.to_str()?;
    let list = document.with_file_name(ShardList::list_file(name)?);
    Some((list, document.with_file_name(ShardList::directory(name)?)))
}

fn list_files(list: &ShardList) -> BTreeSet<String> {
    list.shards.iter().map(|(name, checksum)| ShardList::shard(name, checksum)).collect()
}

/// Cuts the document into its runtimes.
///
/// The text is of [`super::document::render`]: no string contains a line break, and indentation
/// marks the bounds of a runtime.
fn cut(text: &str) -> BTreeMap<RuntimeName, Blocks<'_>> {
    let mut runtimes: BTreeMap<RuntimeName, Blocks<'_>> = BTreeMap::new();
    let (mut extended, mut begin, mut at) = (0, None, 0);
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        if line == "  \"extended\": {\n" {
            extended = 1;
        } else if let Some(rest) = line.strip_prefix("    \"") {
            begin = rest.split_once('"').map(|(name, _)| (name, start));
        } else if line.starts_with("    }") {
            let Some((name, start)) = begin.take() else { continue };
            let Ok(name) = name.parse() else { continue };
            let end = at - line.len() + "    }".len();
            runtimes.entry(name).or_default()[extended] = Some(&text[start..end]);
        }
    }
    runtimes
}

/// The text of a shard: the same members without indentation.
fn render(blocks: &Blocks<'_>) -> String {
    let length = blocks.iter().flatten().map(|block| block.len()).sum();
    let mut text = String::with_capacity(length);
    text.push_str("{\"version\":\"1\",\"runtimes\":{");
    let mut push = |block: &str| block.lines().for_each(|line| text.push_str(line.trim_start()));
    let [plain, extended] = blocks;
    if let Some(plain) = plain {
        push(plain);
    }
    if let Some(extended) = extended {
        push("},\"extended\":{");
        push(extended);
    }
    push("}}");
    text.push('\n');
    text
}

fn sync(directory: &Path) -> Result<(), Error> {
    let opened = std::fs::File::open(directory).map_err(Error::file("open", directory))?;
    rustix::fs::syncfs(opened).map_err(Error::file("sync", directory))
}

/// Removes the shards in `directory` that are not among `kept`, and the directory if it is then empty.
fn keep_only(root: &Path, directory: &Path, kept: &BTreeSet<String>) -> Result<(), Error> {
    // Parent directories of the removed files are not links.
    let Some(opened) = Below::open(root)?.map_or(Ok(None), |root| root.dir(directory))? else {
        return Ok(());
    };
    for path in paths::list(&opened.proc_path())? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| is_shard(name) && !kept.contains(name)) {
            paths::remove_if_there(&path)?;
        }
    }
    // It is kept if it contains other files.
    _ = std::fs::remove_dir(directory);
    Ok(())
}

/// Whether a file name is that of a shard: `NAME-DIGITS.json`.
fn is_shard(name: &str) -> bool {
    let parts = name.strip_suffix(".json").and_then(|name| name.rsplit_once('-'));
    parts.is_some_and(|(name, digits)| {
        let hex = digits.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        digits.len() == 16 && hex && name.parse::<RuntimeName>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::document;
    use joblet_format::{Record, Registry};
    use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

    /// Text that looks like the layout of a document.
    const HOSTILE: &str = "    }\n    \"evil\": {\n  \"extended\": {\n \" \\ \u{2028}";

    fn record(name: &str, version: &str, time: &str) -> Record {
        let sum = "1".repeat(64);
        let record = format!(
            r#"{{"name": "{name}", "published_at": "{time}", "release": {{"version": "{version}",
                "description": "", "download_url": "a.tar.gz", "checksum": "sha256:{sum}",
                "size": 7, "platforms": ["ubuntu-amd64"], "artifacts": {{"amd64": {{
                "download_url": "a.tar.gz", "checksum": "sha256:{sum}", "size": 7}}}}}}}}"#
        );
        let mut record: Record = serde_json::from_str(&record).unwrap();
        record.release.description = HOSTILE.repeat(100);
        record
    }

    /// Records of `a`, `b` and `c-1`, enough for shards; some versions of `b` and all of `c-1` are yanked.
    fn records() -> Vec<Record> {
        let mut records = Vec::new();
        for name in ["a", "b", "c-1"] {
            for number in 0..100 {
                let mut record = record(name, &format!("1.{number}.0"), "2026-01-01T00:00:00Z");
                let yanked = name == "c-1" || name == "b" && number % 9 == 0;
                record.release.yanked = yanked.then(|| HOSTILE.to_owned());
                records.push(record);
            }
        }
        records
    }

    fn publish(dir: &Path, records: &[Record]) -> Option<ShardList> {
        let registry = document::make(records);
        let file = dir.join("registry.json");
        let text = document::render(&registry, &file).unwrap();
        let place = write(dir, &file, &text, &registry.updated_at).unwrap();
        fs::write(file, text).unwrap();
        place.map(|place| serde_json::from_slice(&fs::read(place).unwrap()).unwrap())
    }

    /// Names, inodes and times of the files in `dir`.
    fn files(dir: &Path) -> BTreeMap<String, (u64, i64)> {
        let files = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap());
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), (metadata.ino(), metadata.mtime_nsec()))
        };
        files.map(file).collect()
    }

    #[test]
    fn shards_have_the_content_of_the_document() {
        let dir = tempfile::tempdir().unwrap();
        let registry = document::make(&records());
        let list = publish(dir.path(), &records()).unwrap();
        let whole = fs::read(dir.path().join("registry.json")).unwrap();
        assert!(whole.len() as u64 > MAX_UNSHARDED_BYTES);
        assert_eq!(list.registry.size, whole.len() as u64);
        assert_eq!(
            (list.registry.checksum, &list.updated_at),
            (Checksum::of_bytes(&whole), &registry.updated_at)
        );
        assert!(list.shards.keys().eq(registry.runtimes.keys()));
        for (name, sum) in &list.shards {
            let shard = dir.path().join("registry.shards").join(ShardList::shard(name, sum));
            let shard = fs::read(shard).unwrap();
            assert_eq!(Checksum::of_bytes(&shard), *sum);
            let shard: Registry = serde_json::from_slice(&shard).unwrap();
            assert!(shard.runtimes.keys().eq([name]) && shard.refused.is_empty());
            assert_eq!(shard.runtimes[name], registry.runtimes[name]);
        }
        assert_eq!(files(&dir.path().join("registry.shards")).len(), 3);
    }

    #[test]
    fn unchanged_shards_are_not_written_and_the_previous_state_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let shards = dir.path().join("registry.shards");
        let mut records = records();
        let first = publish(dir.path(), &records).unwrap();
        let before = files(&shards);
        assert_eq!(publish(dir.path(), &records).unwrap(), first);
        assert_eq!(files(&shards), before);
        records.insert(0, record("a", "0.1.0", "2026-02-01T00:00:00Z"));
        let second = publish(dir.path(), &records).unwrap();
        let after = files(&shards);
        assert!(after.len() == 4 && before.iter().all(|(name, file)| after[name] == *file));
        // A rerun removes nothing, and writes missing shards.
        publish(dir.path(), &records).unwrap();
        assert_eq!(files(&shards), after);
        let a = "a".parse().unwrap();
        let newest = shards.join(ShardList::shard(&a, &second.shards[&a]));
        fs::remove_file(&newest).unwrap();
        publish(dir.path(), &records).unwrap();
        assert!(newest.exists());
        // The next change removes the last but one state, and no other files.
        for other in ["README.md", "a-0123456789abcdef.json.bak", "a-0123456789ABCDEF.json"] {
            fs::write(shards.join(other), "").unwrap();
        }
        records.insert(0, record("a", "0.0.1", "2026-03-01T00:00:00Z"));
        publish(dir.path(), &records).unwrap();
        let oldest = ShardList::shard(&a, &first.shards[&a]);
        let last = files(&shards);
        assert!(last.len() == 7 && newest.exists() && !last.contains_key(&oldest), "{last:?}");
        // A small registry has no shards.
        assert_eq!(publish(dir.path(), &records[..1]), None);
        assert!(!dir.path().join("registry.shards.json").exists() && files(&shards).len() == 3);
        for other in files(&shards).keys() {
            fs::remove_file(shards.join(other)).unwrap();
        }
        publish(dir.path(), &records).unwrap();
        publish(dir.path(), &records[..1]);
        assert!(!shards.exists());
    }

    #[test]
    fn shards_do_not_depend_on_the_previous_state() {
        let [one, two] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        assert!(publish(one.path(), &records()[3..]).is_some());
        assert_eq!(publish(one.path(), &records()), publish(two.path(), &records()));
        // A truncated list, or one of a later version of the program, is replaced.
        let place = one.path().join("registry.shards.json");
        for spoiled in ["", "{\"version\": \"2\"}"] {
            fs::write(&place, spoiled).unwrap();
            assert_eq!(publish(one.path(), &records()), publish(two.path(), &records()));
        }
    }

    /// SEC-E14
    #[test]
    fn links_of_a_checkout_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let victim = elsewhere.path().join("a-0123456789abcdef.json");
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("registry.shards")).unwrap();
        let file = dir.path().join("registry.json");
        let text = document::render(&document::make(&records()), &file).unwrap();
        assert!(write(dir.path(), &file, &text, "t").is_err());
        assert!(victim.exists() && files(elsewhere.path()).len() == 1);
    }
}
