//! The static site of a registry: pages for people, written beside `registry.json`.
//!
//! The site is a pure function of registry, records and templates: no clock, no randomness, sorted.
//! Equal inputs give equal bytes, and a file that is already right is not written again.
//!
//! ```text
//! index.html  get-started.html  host-your-own.html  format.html  404.html
//! changelog.html  yanked.html  feed.xml
//! runtimes/NAME/{index.html,index.json,feed.xml}  runtimes/NAME/VERSION.{html,json}
//! assets/{joblet.HASH.css,joblet.HASH.js,icon.HASH.svg}  .site-manifest
//! ```
//!
//! Links are relative, so the site works below any path and from a local directory. Beside the page of
//! a version lies its record, beside that of a runtime a list of its versions, for programs.

mod output;
mod template;
mod text;
mod view;

use crate::{error::Error, record};
use joblet_format::{Record, Registry, Release, RuntimeName};
use output::Output;
use serde::Serialize;
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use template::{Sources, Theme};
use view::Catalogue;

/// What [`write()`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Number of files the site consists of.
    pub files: usize,
    /// Number of files that were new or different.
    pub written: usize,
    /// Number of files of an earlier run that the site no longer has.
    pub removed: usize,
}

/// A file of the site, before it is rendered.
#[derive(Clone, Copy)]
enum Page<'a> {
    Asset {
        path: &'a str,
        text: &'a str,
    },
    Plain {
        path: &'static str,
    },
    Home,
    Changelog,
    Withdrawn,
    /// Of one runtime, or of all.
    Feed(Option<&'a RuntimeName>),
    Runtime(&'a RuntimeName),
    RuntimeFile(&'a RuntimeName),
    Version(&'a RuntimeName, &'a Release),
    RecordFile(&'a Record),
}

/// What every template gets.
#[derive(Serialize)]
struct Context<'a, T> {
    /// The way from the page to the site's root: empty, or `../` repeated.
    root: &'static str,
    /// Path of the page below the root.
    path: &'a str,
    page: T,
}

/// Writes the site of `registry` to the directory `out`.
///
/// `source` may hold `templates/` and `assets/`; what it lacks comes from the program itself. Times
/// of publication come from `records`; a version without a record has none. `registry.json` is not
/// written here, but the pages link to it at the root of the site.
///
/// # Errors
/// A template of `source` that does not work, or a file that cannot be read or written.
pub fn write(
    registry: &Registry,
    records: &[Record],
    source: &Path,
    out: &Path,
) -> Result<Summary, Error> {
    let sources = Sources::load(source)?;
    let theme = sources.theme()?;
    let catalogue = Catalogue::new(registry, records);
    let pages = pages(&catalogue, registry, &sources);
    let output = Output::open(out, pages.iter().map(Page::path))?;
    let done = side_by_side(&pages, |page| page.write(&catalogue, &theme, &output))?;
    output.finish(done)
}

/// Every file of the site. Lists come after what they list, so that links seldom lead nowhere.
fn pages<'a>(
    catalogue: &Catalogue<'a>,
    registry: &'a Registry,
    sources: &'a Sources,
) -> Vec<Page<'a>> {
    let mut pages: Vec<_> =
        sources.assets().map(|(path, text)| Page::Asset { path, text }).collect();
    for (name, releases) in &registry.runtimes {
        let records = releases.keys().filter_map(|version| catalogue.record(name, version));
        pages.extend(records.map(Page::RecordFile));
        pages.extend(releases.values().map(|release| Page::Version(name, release)));
        pages.extend([Page::Feed(Some(name)), Page::RuntimeFile(name), Page::Runtime(name)]);
    }
    pages.extend(template::PLAIN.map(|path| Page::Plain { path }));
    pages.extend([Page::Withdrawn, Page::Changelog, Page::Feed(None), Page::Home]);
    pages
}

impl Page<'_> {
    /// Where the page goes, below the root of the site.
    fn path(&self) -> String {
        match self {
            Self::Asset { path, .. } | Self::Plain { path } => (*path).to_owned(),
            Self::Home => "index.html".to_owned(),
            Self::Changelog => "changelog.html".to_owned(),
            Self::Withdrawn => "yanked.html".to_owned(),
            Self::Feed(None) => "feed.xml".to_owned(),
            Self::Feed(Some(name)) => format!("runtimes/{name}/feed.xml"),
            Self::Runtime(name) => format!("runtimes/{name}/index.html"),
            Self::RuntimeFile(name) => format!("runtimes/{name}/index.json"),
            Self::Version(name, release) => format!("runtimes/{name}/{}.html", release.version),
            Self::RecordFile(record) => {
                format!("runtimes/{}/{}.json", record.name, record.release.version)
            }
        }
    }

    fn write(
        &self,
        catalogue: &Catalogue,
        theme: &Theme,
        output: &Output,
    ) -> Result<output::Done, Error> {
        let path = self.path();
        let root = if path.starts_with("runtimes/") { "../../" } else { "" };
        let put = Put { theme, output, root, path: &path };
        match *self {
            Self::Asset { text, .. } => output.put(&path, &theme.key("", text), || Ok(text.into())),
            Self::Plain { path } => put.page(path, ()),
            Self::Home => put.page("home.html", catalogue.home()),
            Self::Changelog => put.page("changelog.html", catalogue.changelog()),
            Self::Withdrawn => put.page("yanked.html", catalogue.withdrawn()),
            Self::Feed(of) => put.page("feed.xml", catalogue.feed(of)),
            Self::Runtime(name) => put.page("runtime.html", catalogue.runtime(name)),
            Self::RuntimeFile(name) => put.json(&catalogue.runtime_file(name)),
            Self::Version(name, release) => {
                put.page("version.html", catalogue.version(name, release, root))
            }
            Self::RecordFile(record) => {
                let key = theme.key("record", record);
                output.put(&path, &key, || Ok(record::render(record).into()))
            }
        }
    }
}

/// Where a page goes and what renders it.
struct Put<'a> {
    theme: &'a Theme<'a>,
    output: &'a Output,
    root: &'static str,
    path: &'a str,
}

impl Put<'_> {
    fn page(&self, template: &'static str, page: impl Serialize) -> Result<output::Done, Error> {
        let context = Context { root: self.root, path: self.path, page };
        let key = self.theme.key(template, &context);
        self.output.put(self.path, &key, || self.theme.render(template, &context))
    }

    fn json(&self, value: &impl Serialize) -> Result<output::Done, Error> {
        self.output.put(self.path, &self.theme.key("json", value), || {
            let mut text = serde_json::to_vec_pretty(value).expect("texts and numbers are JSON");
            text.push(b'\n');
            Ok(text)
        })
    }
}

/// `work` on every item, on all processors; results in the order of the items.
fn side_by_side<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            done.push((at, work(item)?));
        }
        Ok(done)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::with_capacity(items.len());
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })?;
    done.sort_unstable_by_key(|&(at, _)| at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
