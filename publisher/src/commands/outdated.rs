//! `outdated`: compares locked inputs with current ones, and lists the vulnerabilities that these fix.

use super::{Outcome, cache, lock as locking};
use crate::{
    cli::args::{self, Selection},
    env,
    error::{Error, Note, shown},
    fs::paths,
    inputs::{cache::InputCache, locations::Places},
    lock::{self, Input, Lock},
    record::{
        self, files,
        updates::{self, Update},
    },
    source::{self, Source},
    unpack::changelog::{self, Entry, News},
};
use joblet_format::{Arch, Checksum, Fresh, Freshness, Record, RuntimeName, Version};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

/// Exit status if there are newer inputs.
const NEWER: u8 = 1;
/// Maximum number of changelog lines for a package; `--json` contains all of them.
const ITEMS: usize = 3;

/// A runtime and the updates of its inputs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub name: RuntimeName,
    pub version: Version,
    /// Time at which its inputs were resolved.
    pub inputs_of: String,
    /// Number of inputs, of the architecture with the most.
    pub inputs: usize,
    pub updates: Vec<Update>,
}

impl Report {
    pub(super) fn security(&self) -> impl Iterator<Item = &Update> {
        self.updates.iter().filter(|update| update.security)
    }

    /// Vulnerabilities fixed by the updates.
    pub(super) fn fixes(&self) -> BTreeSet<&str> {
        self.security().flat_map(Update::cves).collect()
    }

    fn fresh(&self) -> Fresh {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Fresh {
            inputs_of: self.inputs_of.clone(),
            inputs: count(self.inputs),
            newer: count(self.updates.len()),
            security: count(self.security().count()),
            fixes: self.fixes().into_iter().map(str::to_owned).collect(),
        }
    }
}

pub(crate) fn outdated(options: &args::Outdated, note: Note) -> Result<Outcome, Error> {
    let mut resolver = Resolver::new(options.mirror.as_deref(), options.cache.as_deref(), note)?;
    let (reports, missed) = match &options.published {
        None => (of_sources(options, &mut resolver)?, Vec::new()),
        Some(records) => of_records(records, &options.names, &mut resolver)?,
    };
    let now = env::now().to_string();
    if let Some(save) = &options.save {
        let mut runtimes: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for report in &reports {
            let versions = runtimes.entry(report.name.clone()).or_default();
            versions.insert(report.version.clone(), report.fresh());
        }
        let freshness = Freshness::new(now.clone(), runtimes);
        let text = serde_json::to_string_pretty(&freshness).expect("texts and numbers are JSON");
        paths::write(save, (text + "\n").as_bytes())?;
    }
    let counts = |report: &Report| !options.security || report.security().next().is_some();
    let newer = reports.iter().any(|report| !report.updates.is_empty() && counts(report));
    let text = if options.json {
        let report = serde_json::json!({ "checked_at": now, "runtimes": reports });
        format!("{report:#}\n")
    } else {
        let text: String = reports.iter().map(as_text).collect();
        shown::message(&text) // names and changelogs come from a mirror
    };
    if let Some((object, error)) = missed.into_iter().next() {
        // The results are valid; the failures must be reported, too.
        let reason = format!("{object} could not be resolved: {error}");
        let error = Some(Error::NotFound(reason));
        return Ok(Outcome::Built { text, warnings: Vec::new(), error });
    }
    Ok(if newer { Outcome::Found(text, NEWER) } else { Outcome::Text(text) })
}

/// Reports on manifests and locks below `runtimes-src`.
fn of_sources(options: &args::Outdated, resolver: &mut Resolver<'_>) -> Result<Vec<Report>, Error> {
    let selection = match options.names.as_slice() {
        [] => Selection::All,
        names => Selection::Names(names.to_vec()),
    };
    let sources = super::sources(&options.sources, &selection)?;
    sources
        .iter()
        .map(|source| resolver.report(source, &lock::read(&options.sources, source)?))
        .collect()
}

/// A version that could not be resolved, and the error.
type Missed = (String, Error);

/// Reports on the manifests and locks beside the records of versions that are not yanked, and errors of those that could
/// not be resolved.
fn of_records(
    records: &Path,
    names: &[RuntimeName],
    resolver: &mut Resolver<'_>,
) -> Result<(Vec<Report>, Vec<Missed>), Error> {
    let (mut reports, mut missed) = (Vec::new(), Vec::new());
    let all = record::read_all(records)?;
    if let Some(name) = names.iter().find(|name| all.iter().all(|record| record.name != **name)) {
        let records = records.display();
        return Err(Error::NotFound(format!(
            "no record of {name} in {records}; --records DIR names another directory"
        )));
    }
    let wanted = |record: &&Record| {
        record.release.yanked.is_none() && (names.is_empty() || names.contains(&record.name))
    };
    for record in all.iter().filter(wanted) {
        let object = format!("{}@{}", record.name, record.release.version);
        // A version published by Joblet's own tools has no lock.
        let Some((source, lock)) = kept(records, record)? else { continue };
        match resolver.report(&source, &lock) {
            Ok(report) => reports.push(report),
            Err(error) => missed.push((object, error)),
        }
    }
    Ok((reports, missed))
}

/// The manifest and the lock beside a record.
fn kept(records: &Path, record: &Record) -> Result<Option<(Source, Lock)>, Error> {
    let read = |name: &str| files::read(records, record, name);
    let Some((manifest, lock)) = read(source::MANIFEST)?.zip(read(record::provenance::LOCK)?)
    else {
        return Ok(None);
    };
    let place = files::dir(records, &record.name, &record.release.version);
    let source = source::parse(&String::from_utf8_lossy(&manifest))
        .map_err(|reason| Error::config(place.join(source::MANIFEST), reason))?;
    let lock = lock::parse(&lock)
        .map_err(|reason| Error::config(place.join(record::provenance::LOCK), reason))?;
    Ok(Some((source, lock)))
}

/// Resolves inputs and reads changelogs, each once.
pub(super) struct Resolver<'n> {
    places: Places,
    cache: std::path::PathBuf,
    note: Note<'n>,
    resolved: BTreeMap<(String, Arch), Vec<Input>>,
    read: BTreeMap<(Checksum, String), Vec<Entry>>,
}

impl<'n> Resolver<'n> {
    pub(super) fn new(
        mirror: Option<&str>,
        cache_dir: Option<&Path>,
        note: Note<'n>,
    ) -> Result<Self, Error> {
        let (resolved, read) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { places: Places::new(mirror)?, cache: cache(cache_dir)?, note, resolved, read })
    }

    /// The updates of `lock`, which was made from `source`.
    pub(super) fn report(&mut self, source: &Source, lock: &Lock) -> Result<Report, Error> {
        let now = self.resolve_current(source, lock)?;
        let mut updates = updates::between(&lock.inputs, &now);
        for update in &mut updates {
            let news = self.read_changelog(update, &now)?;
            update.explain(news);
        }
        Ok(Report {
            name: source.name.clone(),
            version: source.version.clone(),
            inputs_of: lock.timestamp.clone(),
            inputs: lock.inputs.values().map(Vec::len).max().unwrap_or_default(),
            updates,
        })
    }

    /// The current packages of `source`, for the architectures of `lock`.
    pub(super) fn resolve_current(
        &mut self,
        source: &Source,
        lock: &Lock,
    ) -> Result<BTreeMap<Arch, Vec<Input>>, Error> {
        let mut now = BTreeMap::new();
        for arch in lock.inputs.keys().copied() {
            // Versions of one runtime are mostly of the same packages.
            let key = (lock::digest(source).to_string(), arch);
            if !self.resolved.contains_key(&key) {
                (self.note)(&format!("resolve {}: {arch}", source.name));
                let packages = locking::packages(source, arch, &self.places)?;
                self.resolved.insert(key.clone(), packages);
            }
            now.insert(arch, self.resolved[&key].clone());
        }
        Ok(now)
    }

    /// The changelog entries of a Debian package since the locked version.
    fn read_changelog(
        &mut self,
        update: &Update,
        now: &BTreeMap<Arch, Vec<Input>>,
    ) -> Result<Vec<Entry>, Error> {
        let (Some(input), Some(before)) = (&update.input, &update.before) else {
            return Ok(Vec::new());
        };
        if input.kind != lock::Kind::Deb {
            return Ok(Vec::new());
        }
        let (mut input, mut name) = (input.clone(), update.name.clone());
        // A chain of links between packages of one source is short.
        for _ in 0..3 {
            let key = (input.sha256, before.clone());
            if let Some(read) = self.read.get(&key) {
                return Ok(read.clone());
            }
            let store = InputCache {
                cache: &self.cache,
                places: Some(&self.places),
                timestamp: "",
                note: self.note,
            };
            let file = store.files(std::slice::from_ref(&input))?.remove(0);
            match changelog::since(&file, input.file_name(), &name, before)? {
                News::Entries(entries) => {
                    self.read.insert(key, entries.clone());
                    return Ok(entries);
                }
                News::Of(other) => {
                    let named = |it: &&Input| it.package().is_some_and(|(name, _)| name == other);
                    let Some(found) = now.values().flatten().find(named) else { break };
                    (input, name) = (found.clone(), other);
                }
            }
        }
        Ok(Vec::new())
    }
}

fn as_text(report: &Report) -> String {
    let Report { name, version, inputs_of, inputs, updates } = report;
    let day = inputs_of.get(..10).unwrap_or(inputs_of);
    let mut text = format!("{name}@{version}: ");
    // a String never fails, here and below
    _ = match (updates.len(), report.security().count()) {
        (0, _) => writeln!(text, "nothing is newer than its {inputs} inputs of {day}"),
        (newer, 0) => writeln!(text, "{newer} of {inputs} inputs of {day} have newer versions"),
        (newer, security) => writeln!(
            text,
            "{newer} of {inputs} inputs of {day} have newer versions, {security} with security fixes"
        ),
    };
    for update in updates {
        _ = writeln!(text, "  {}", line(update));
        let items = update.changelog.iter().flat_map(|entry| &entry.items);
        for item in items.take(ITEMS) {
            _ = writeln!(text, "      {item}");
        }
    }
    text
}

/// `openssl 3.0.15 → 3.0.16 (security, urgency high): CVE-2026-1`
pub(super) fn line(update: &Update) -> String {
    let mut more = Vec::new();
    if update.security {
        more.push("security".to_owned());
    }
    more.extend(update.urgency().map(|urgency| format!("urgency {urgency}")));
    if let [arch] = update.arches.iter().collect::<Vec<_>>()[..] {
        more.push(format!("{arch} alone"));
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    let cves: Vec<_> = update.cves().into_iter().collect();
    let cves = if cves.is_empty() { String::new() } else { format!(": {}", cves.join(", ")) };
    format!("{} {}{more}{cves}", update.name, update.versions())
}
