//! The static site of a registry: HTML pages, written beside `registry.json`.
//!
//! In: records, `registry.json` and templates. Out: a directory of static files.
//!
//! The site is a pure function of registry, records and templates: no clock, no randomness, sorted.
//! Equal inputs give equal bytes, and unchanged files are not written again.
//!
//! ```text
//! index.html  get-started.html  why.html  figures.html  host-your-own.html  format.html  404.html
//! changelog.html  yanked.html  feed.xml  search.js
//! runtimes/NAME/{index.html,index.json,feed.xml}  runtimes/NAME/VERSION.{html,json}
//! runtimes/NAME/VERSION.files/…  schema/{registry,shards,record,freshness}.schema.json
//! assets/{joblet.HASH.css,joblet.HASH.js,icon.HASH.svg}  .site-manifest
//! ```
//!
//! Links are relative, so the site works below any path and from a local directory. The page of a version has its
//! record and the record's files beside it, that of a runtime a list of its versions.

mod output;
mod registry_name;
mod template;
mod text;
mod view;

use crate::{
    env::cores::parallel_map,
    error::Error,
    record::{self, files},
};
use joblet_format::{Freshness, IndexFile, Record, Registry, Release, RuntimeName, Version};
use output::{Output, Permit};
use registry_name::RegistryName;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};
use template::{Sources, Theme};
use view::Catalogue;

/// Result of [`write()`].
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
    Schema {
        name: &'static str,
        text: &'static str,
    },
    Home,
    /// The first steps, with a runtime of this registry.
    Started,
    Search,
    Changelog,
    Yanked,
    /// The feed of one runtime, or of all.
    Feed(Option<&'a RuntimeName>),
    Runtime(&'a RuntimeName),
    RuntimeFile(&'a RuntimeName),
    Version(&'a RuntimeName, &'a Release),
    RecordFile(&'a Record),
    /// A file beside a record.
    Beside(&'a Record, &'a str, IndexFile),
}

/// Values for every template.
#[derive(Serialize)]
struct Context<'a, T> {
    /// Relative path from the page to the site's root: empty, or `../` repeated.
    root: &'static str,
    /// Path of the page below the root.
    path: &'a str,
    /// Name of the registry, for commands on the page.
    registry: &'a RegistryName,
    page: T,
}

/// Writes the site of `registry` to the directory `out`.
///
/// `place` is the directory of `records`, with the files that are beside them. `source` may hold `templates/` and `assets/`; what it lacks comes from the program itself. Times
/// of publication come from `records`; a version without a record has none. `registry.json` is not
/// written here, but the pages link to it at the root of the site.
///
/// # Errors
/// An invalid template of `source`, a file beside a record that does not match the record, or a file that cannot be
/// read or written.
pub fn write(
    registry: &Registry,
    records: &[Record],
    place: &Path,
    source: &Path,
    out: &Path,
) -> Result<Summary, Error> {
    write_if(
        &|| Ok(()),
        registry,
        records,
        &Options { place, source, registry: None, freshness: None },
        out,
    )
}

/// Sources and name of a site.
pub(crate) struct Options<'a> {
    /// The directory of the records.
    pub(crate) place: &'a Path,
    /// The directory of templates and assets.
    pub(crate) source: &'a Path,
    /// Name of the registry in commands, `owner/repo` or an address; derived from the archives' addresses if not given.
    pub(crate) registry: Option<&'a str>,
    /// `freshness.json`, if there is one.
    pub(crate) freshness: Option<&'a Freshness>,
}

/// [`write()`] with a check, `permit`, which runs in parallel to the comparison of pages and must succeed before the first
/// file is changed.
pub(crate) fn write_if(
    permit: &Permit,
    registry: &Registry,
    records: &[Record],
    options: &Options,
    out: &Path,
) -> Result<Summary, Error> {
    let Options { place, source, .. } = *options;
    let sources = Sources::load(source)?;
    let theme = sources.theme()?;
    let catalogue = Catalogue::new(registry, records, options.freshness);
    let parts = parts(registry, &sources);
    let coming = || parts.iter().flat_map(|part| part.paths(&catalogue)).collect();
    let output = Output::open(out, permit, &coming)?;
    let registry = RegistryName::new(options.registry, registry);
    let site = Site { catalogue: &catalogue, place, theme, output, registry };
    let done = parallel_map(&parts, |part| part.write(&site))?;
    site.output.finish(done.into_iter().flatten().collect())
}

/// Inputs and output of all pages.
struct Site<'a> {
    catalogue: &'a Catalogue<'a>,
    place: &'a Path,
    theme: Theme<'a>,
    output: Output<'a>,
    registry: RegistryName,
}

/// A part of the site that is generated at once.
enum Part<'a> {
    Page(Page<'a>),
    /// All pages of a runtime, which depend only on its releases and their records.
    Runtime(&'a RuntimeName, &'a BTreeMap<Version, Release>),
}

/// The parts of the site. Lists come after the listed pages, so that links are rarely dangling.
fn parts<'a>(registry: &'a Registry, sources: &'a Sources) -> Vec<Part<'a>> {
    let assets = sources.assets().map(|(path, text)| Page::Asset { path, text });
    let schemas = template::SCHEMAS.map(|(name, text)| Page::Schema { name, text });
    let plain = template::PLAIN.map(|path| Page::Plain { path });
    let lists =
        [Page::Yanked, Page::Changelog, Page::Feed(None), Page::Search, Page::Started, Page::Home];
    let runtimes = registry.runtimes.iter().map(|(name, releases)| Part::Runtime(name, releases));
    let pages = schemas.into_iter().chain(plain).chain(lists).map(Part::Page);
    assets.map(Part::Page).chain(runtimes).chain(pages).collect()
}

impl<'a> Part<'a> {
    fn paths(&self, catalogue: &Catalogue<'a>) -> Vec<String> {
        match *self {
            Self::Page(page) => vec![page.path()],
            Self::Runtime(name, releases) => {
                pages(name, releases, catalogue).iter().map(Page::path).collect()
            }
        }
    }

    fn write(&self, site: &Site<'a>) -> Result<Vec<output::Done>, Error> {
        let (name, releases) = match *self {
            Self::Page(page) => return Ok(vec![page.write(site)?]),
            Self::Runtime(name, releases) => (name, releases),
        };
        let directory = format!("runtimes/{name}/");
        let key = site.theme.key(
            "runtime",
            &(site.catalogue.sources(name), &site.registry, site.catalogue.fresh(name)),
        );
        if let Some(done) = site.output.unchanged(&directory, &key) {
            return Ok(done);
        }
        let pages = pages(name, releases, site.catalogue);
        let done = pages.iter().map(|page| page.write(site)).collect::<Result<_, _>>()?;
        Ok(Output::whole(directory, key, done))
    }
}

/// All files of one runtime.
fn pages<'a>(
    name: &'a RuntimeName,
    releases: &'a BTreeMap<Version, Release>,
    catalogue: &Catalogue<'a>,
) -> Vec<Page<'a>> {
    let mut pages = Vec::new();
    for record in releases.keys().filter_map(|version| catalogue.record(name, version)) {
        let files = record.files.iter();
        pages.extend(files.map(|(name, expected)| Page::Beside(record, name, *expected)));
        pages.push(Page::RecordFile(record));
    }
    pages.extend(releases.values().map(|release| Page::Version(name, release)));
    pages.extend([Page::Feed(Some(name)), Page::RuntimeFile(name), Page::Runtime(name)]);
    pages
}

impl Page<'_> {
    /// Path of the page below the root of the site.
    fn path(&self) -> String {
        match self {
            Self::Asset { path, .. } | Self::Plain { path } => (*path).to_owned(),
            Self::Schema { name, .. } => format!("schema/{name}"),
            Self::Home => "index.html".to_owned(),
            Self::Started => "get-started.html".to_owned(),
            Self::Search => "search.js".to_owned(),
            Self::Changelog => "changelog.html".to_owned(),
            Self::Yanked => "yanked.html".to_owned(),
            Self::Feed(None) => "feed.xml".to_owned(),
            Self::Feed(Some(name)) => format!("runtimes/{name}/feed.xml"),
            Self::Runtime(name) => format!("runtimes/{name}/index.html"),
            Self::RuntimeFile(name) => format!("runtimes/{name}/index.json"),
            Self::Version(name, release) => format!("runtimes/{name}/{}.html", release.version),
            Self::RecordFile(record) => {
                format!("runtimes/{}/{}.json", record.name, record.release.version)
            }
            Self::Beside(record, file, _) => {
                format!("runtimes/{}/{}.files/{file}", record.name, record.release.version)
            }
        }
    }

    fn write(&self, site: &Site) -> Result<output::Done, Error> {
        let Site { catalogue, theme, output, .. } = site;
        let path = self.path();
        let root = if path.starts_with("runtimes/") { "../../" } else { "" };
        let put = Put { theme, output, root, path: &path, registry: &site.registry };
        match *self {
            Self::Asset { text, .. } | Self::Schema { text, .. } => {
                output.put(&path, &theme.key("", text), || Ok(text.into()))
            }
            Self::Plain { path } => put.page(path, ()),
            Self::Home => put.page("home.html", catalogue.home()),
            Self::Started => put.page("get-started.html", catalogue.started()),
            Self::Search => {
                let mut search = catalogue.search();
                output.put(&path, &theme.key("search", &search), || {
                    search.look_inside(site.place)?;
                    Ok(search.script())
                })
            }
            Self::Changelog => {
                let page = catalogue.changelog();
                put.completed("changelog.html", page, |page| page.look_inside(site.place))
            }
            Self::Yanked => put.page("yanked.html", catalogue.yanked_versions()),
            Self::Feed(of) => {
                let page = catalogue.feed(of);
                put.completed("feed.xml", page, |page| page.look_inside(site.place))
            }
            Self::Runtime(name) => {
                let page = catalogue.runtime(name);
                put.completed("runtime.html", page, |page| page.look_inside(site.place))
            }
            Self::RuntimeFile(name) => put.json(&catalogue.runtime_file(name)),
            Self::Version(name, release) => {
                let page = catalogue.version(name, release, root);
                put.completed("version.html", page, |page| page.look_inside(site.place))
            }
            Self::RecordFile(record) => {
                let key = theme.key("record", record);
                output.put(&path, &key, || Ok(record::render(record).into()))
            }
            Self::Beside(record, name, expected) => {
                output.put(&path, &expected.checksum.hex(), || {
                    Ok(files::read(site.place, record, name)?.unwrap_or_default())
                })
            }
        }
    }
}

/// Output and template of a page.
struct Put<'a> {
    theme: &'a Theme<'a>,
    output: &'a Output<'a>,
    root: &'static str,
    path: &'a str,
    registry: &'a RegistryName,
}

impl Put<'_> {
    fn page(&self, template: &'static str, page: impl Serialize) -> Result<output::Done, Error> {
        self.completed(template, page, |_| Ok(()))
    }

    /// Writes a page with a costly part that the rest determines: computed only if the page has changed.
    fn completed<T: Serialize>(
        &self,
        template: &'static str,
        page: T,
        complete: impl FnOnce(&mut T) -> Result<(), Error>,
    ) -> Result<output::Done, Error> {
        let mut context =
            Context { root: self.root, path: self.path, registry: self.registry, page };
        let key = self.theme.key(template, &context);
        self.output.put(self.path, &key, || {
            complete(&mut context.page)?;
            self.theme.render(template, &context)
        })
    }

    fn json(&self, value: &impl Serialize) -> Result<output::Done, Error> {
        self.output.put(self.path, &self.theme.key("json", value), || {
            let mut text = serde_json::to_vec_pretty(value).expect("texts and numbers are JSON");
            text.push(b'\n');
            Ok(text)
        })
    }
}
