//! The static site of a registry: pages for people, written beside `registry.json`.
//!
//! In: records, `registry.json` and templates. Out: a directory of static files.
//!
//! The site is a pure function of registry, records and templates: no clock, no randomness, sorted.
//! Equal inputs give equal bytes, and a file that is already right is not written again.
//!
//! ```text
//! index.html  get-started.html  why.html  figures.html  host-your-own.html  format.html  404.html
//! changelog.html  yanked.html  feed.xml  search.js
//! runtimes/NAME/{index.html,index.json,feed.xml}  runtimes/NAME/VERSION.{html,json}
//! runtimes/NAME/VERSION.files/…  schema/{registry,record,freshness}.schema.json
//! assets/{joblet.HASH.css,joblet.HASH.js,icon.HASH.svg}  .site-manifest
//! ```
//!
//! Links are relative, so the site works below any path and from a local directory. Beside the page of
//! a version is its record with its files, beside that of a runtime a list of its versions.

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
    Schema {
        name: &'static str,
        text: &'static str,
    },
    Home,
    Search,
    Changelog,
    Yanked,
    /// Of one runtime, or of all.
    Feed(Option<&'a RuntimeName>),
    Runtime(&'a RuntimeName),
    RuntimeFile(&'a RuntimeName),
    Version(&'a RuntimeName, &'a Release),
    RecordFile(&'a Record),
    /// A file beside a record.
    Beside(&'a Record, &'a str, IndexFile),
}

/// What every template gets.
#[derive(Serialize)]
struct Context<'a, T> {
    /// The way from the page to the site's root: empty, or `../` repeated.
    root: &'static str,
    /// Path of the page below the root.
    path: &'a str,
    /// What commands say of the registry that the page belongs to.
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
/// A template of `source` that does not work, a file beside a record that is not what the record
/// says, or a file that cannot be read or written.
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

/// Where a site comes from, and what it is called.
pub(crate) struct Options<'a> {
    /// The directory of the records.
    pub(crate) place: &'a Path,
    /// The directory of templates and assets.
    pub(crate) source: &'a Path,
    /// What programs call the registry, `owner/repo` or an address; found out where it is not given.
    pub(crate) registry: Option<&'a str>,
    /// What the last refresh found, if there was one.
    pub(crate) freshness: Option<&'a Freshness>,
}

/// As [`write()`], with a question that is asked before the first file changes, while it is found out
/// which pages differ. An error is the answer that nothing may. `address` is where visitors find the registry.
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

/// What every page is made from, and where it goes.
struct Site<'a> {
    catalogue: &'a Catalogue<'a>,
    place: &'a Path,
    theme: Theme<'a>,
    output: Output<'a>,
    registry: RegistryName,
}

/// What is made in one go.
enum Part<'a> {
    Page(Page<'a>),
    /// All pages of a runtime, which are made from its releases and their records alone.
    Runtime(&'a RuntimeName, &'a BTreeMap<Version, Release>),
}

/// The whole site. Lists come after what they list, so that links are seldom dangling.
fn parts<'a>(registry: &'a Registry, sources: &'a Sources) -> Vec<Part<'a>> {
    let assets = sources.assets().map(|(path, text)| Page::Asset { path, text });
    let schemas = template::SCHEMAS.map(|(name, text)| Page::Schema { name, text });
    let plain = template::PLAIN.map(|path| Page::Plain { path });
    let lists = [Page::Yanked, Page::Changelog, Page::Feed(None), Page::Search, Page::Home];
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

/// Every file about one runtime.
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
    /// Where the page goes, below the root of the site.
    fn path(&self) -> String {
        match self {
            Self::Asset { path, .. } | Self::Plain { path } => (*path).to_owned(),
            Self::Schema { name, .. } => format!("schema/{name}"),
            Self::Home => "index.html".to_owned(),
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

/// Where a page goes and what renders it.
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

    /// A page of which a part is costly, and determined by the rest of it: made only if it is needed.
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
