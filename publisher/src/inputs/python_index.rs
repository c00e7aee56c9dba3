//! The Python package indexes that this host configures, as pip and uv use them.
//!
//! In order of precedence: the environment, pip's configuration files, uv's, and the built-in default of
//! these programs, read from their help texts. Locks do not contain addresses of wheels.

use crate::{env, error::Error, fs::paths, source::is_address};
use crate::{inputs::simple_api, lock::wheel_tags::WheelName};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// URL prefix of a file on this host.
pub(super) const LOCAL: &str = "file://";

/// Package indexes, and directories with wheels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// The main index: pip's `index-url`, uv's `default-index`.
    pub main: Option<String>,
    /// Additional indexes.
    pub more: Vec<String>,
    /// Directories with wheels, and addresses of pages that list them.
    pub links: Vec<String>,
}

impl Indexes {
    /// Addresses of the wheel `file_name`, the preferred first; an `Err` is an index that does not have it,
    /// with the reason.
    pub(crate) fn addresses(&self, file_name: &str) -> Vec<Result<String, String>> {
        let Some(wheel) = WheelName::parse(file_name) else { return Vec::new() };
        let indexes = self.main.iter().chain(&self.more);
        let listed = indexes.map(|index| simple_api::find(index, wheel.name, file_name));
        let linked = self.links.iter().map(|place| {
            if is_address(place) {
                return simple_api::find_on_page(place, file_name);
            }
            let path = Path::new(place).join(file_name);
            let absent = || format!("{place}: does not have it");
            path.is_file().then(|| format!("{LOCAL}{}", path.display())).ok_or_else(absent)
        });
        // Local directories first: the hash is checked in any case.
        let (mut first, rest): (Vec<_>, Vec<_>) =
            linked.partition(|it| it.as_ref().is_ok_and(|address| address.starts_with(LOCAL)));
        first.extend(listed);
        first.extend(rest);
        first
    }

    /// Adds the settings of `other` that are missing here.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.main.is_some() {
            return self;
        }
        let other = other();
        Self {
            main: other.main,
            more: [self.more, other.more].concat(),
            links: [self.links, other.links].concat(),
        }
    }
}

/// Finds the indexes.
///
/// # Errors
/// [`Error::Config`] if no index is configured; [`Error::File`].
pub(crate) fn find() -> Result<Indexes, Error> {
    let mut found = from_environment(env::var);
    for path in pip_files() {
        if let Some(bytes) = paths::read_given_if_there(&path)? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found = found.or(|| from_pip(&text));
        }
    }
    for path in env::config_files("uv", "uv.toml") {
        if let Some(bytes) = paths::read_given_if_there(&path)? {
            let parsed = toml::from_str::<UvToml>(&String::from_utf8_lossy(&bytes));
            let parsed = parsed.map_err(|error| Error::config(&path, error.message()))?;
            found = found.or(|| parsed.indexes());
        }
    }
    let found = found.or(|| Indexes { main: built_in(), ..Indexes::default() });
    if found.main.is_none() && found.links.is_empty() {
        let reason = "configures no package index, and neither pip nor uv is installed, whose default could \
        be used; set PIP_INDEX_URL or UV_DEFAULT_INDEX";
        return Err(Error::config("pip.conf", reason));
    }
    Ok(found)
}

/// The indexes in the environment variables of uv and pip.
fn from_environment(var: impl Fn(&str) -> Option<String>) -> Indexes {
    let words = |name| {
        let text = var(name).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = |word: String| {
        word.split_once("=http").map_or(word.clone(), |(_, rest)| format!("http{rest}"))
    };
    let main = env::INDEX.iter().find_map(|name| var(name)).map(plain);
    let more = env::MORE_INDEXES.iter().flat_map(|name| words(name)).map(plain).collect();
    let links = env::FIND_LINKS.iter().flat_map(|name| words(name)).filter_map(|it| directory(&it));
    Indexes { main, more, links: links.collect() }
}

/// A directory or page in a `find-links` entry.
fn directory(text: &str) -> Option<String> {
    let path = text.strip_prefix(LOCAL).unwrap_or(text);
    if is_address(text) {
        return Some(text.to_owned());
    }
    let path = std::path::absolute(path).ok().filter(|path| path.is_dir())?;
    path.to_str().map(str::to_owned)
}

/// pip's configuration files, in order of precedence.
fn pip_files() -> Vec<PathBuf> {
    let named = env::var(env::PIP_CONFIG_FILE).map(PathBuf::from);
    let user = env::var("HOME").map(|home| PathBuf::from(home).join(".pip/pip.conf"));
    let system = [PathBuf::from("/etc/pip.conf")];
    named
        .into_iter()
        .chain(env::config_files("pip", "pip.conf"))
        .chain(user)
        .chain(system)
        .collect()
}

/// The indexes in the section `[global]` of pip's configuration.
fn from_pip(text: &str) -> Indexes {
    let (mut section, mut key, mut values) = ("", String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (section, key) = (name, String::new());
        } else if line.starts_with([' ', '\t']) {
            values.push((section, key.clone(), line.trim())); // continuation line
        } else if let Some((name, value)) = line.split_once(['=', ':']) {
            key = name.trim().replace('_', "-").to_ascii_lowercase();
            values.push((section, key.clone(), value.trim()));
        }
    }
    let of = |wanted: &str| {
        let these = values.iter().filter(|(section, key, _)| *section == "global" && key == wanted);
        these
            .flat_map(|(_, _, value)| value.split_whitespace())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    Indexes {
        main: of("index-url").pop(),
        more: of("extra-index-url"),
        links: of("find-links").iter().filter_map(|it| directory(it)).collect(),
    }
}

/// The keys of `uv.toml` for package indexes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UvToml {
    index_url: Option<String>,
    extra_index_url: Vec<String>,
    find_links: Vec<String>,
    index: Vec<UvIndex>,
}

#[derive(Debug, Deserialize)]
struct UvIndex {
    url: String,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    explicit: bool,
}

impl UvToml {
    fn indexes(self) -> Indexes {
        let (default, more): (Vec<_>, Vec<_>) =
            self.index.into_iter().filter(|it| !it.explicit).partition(|it| it.default);
        let main = default.into_iter().next().map(|it| it.url).or(self.index_url);
        let more = more.into_iter().map(|it| it.url).chain(self.extra_index_url).collect();
        let links = self.find_links.iter().filter_map(|it| directory(it)).collect();
        Indexes { main, more, links }
    }
}

/// The built-in default index of pip or uv.
fn built_in() -> Option<String> {
    let ask = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        let output = command.args(&words[1..]).env("COLUMNS", "200").output().ok()?;
        default_in(&String::from_utf8_lossy(&output.stdout))
    };
    let pip = ["install", "--help"];
    ask(&[["pip"].as_slice(), &pip].concat())
        .or_else(|| ask(&[["python3", "-m", "pip"].as_slice(), &pip].concat()))
        .or_else(|| ask(&["uv", "pip", "compile", "--help"]))
}

/// Finds the default of the option `--index-url` or `--default-index` in a help text.
fn default_in(help: &str) -> Option<String> {
    let (_, text) =
        help.split_once("--index-url").or_else(|| help.split_once("--default-index"))?;
    let (_, text) = text.split_once("default")?;
    let address = &text[text.find("http")?..];
    let end = address.find([')', '>', ']', ' ', '\n']).unwrap_or(address.len());
    address[..end].contains("://").then(|| address[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(main: &str, more: &[&str]) -> Indexes {
        let more = more.iter().map(|it| (*it).to_owned()).collect();
        Indexes { main: Some(main.into()), more, links: Vec::new() }
    }

    #[test]
    fn the_environment_of_uv_and_pip_is_read() {
        let var = |name: &str| match name {
            "PIP_INDEX_URL" => Some("https://a.example.org/simple".to_owned()),
            "PIP_EXTRA_INDEX_URL" => Some("https://b.example.org\nhttps://c.example.org".into()),
            "UV_INDEX" => Some("inner=https://d.example.org/x".into()),
            _ => None,
        };
        let more = ["https://d.example.org/x", "https://b.example.org", "https://c.example.org"];
        assert_eq!(from_environment(var), indexes("https://a.example.org/simple", &more));
        assert_eq!(from_environment(|_| None), Indexes::default());
    }

    #[test]
    fn configuration_files_are_read() {
        let text = "# x\n[install]\nindex-url = https://no.example.org\n[global]\n\
                    index_url: https://a.example.org\nextra-index-url =\n  https://b.example.org\n  \
                    https://c.example.org\ntimeout = 5\n";
        let more = ["https://b.example.org", "https://c.example.org"];
        assert_eq!(from_pip(text), indexes("https://a.example.org", &more));
        let text = "python = 'x'\n[[index]]\nurl = 'https://b.example.org'\n[[index]]\n\
                    url = 'https://a.example.org'\ndefault = true\nname = 'a'\n[[index]]\n\
                    url = 'https://no.example.org'\nexplicit = true\n";
        let uv: UvToml = toml::from_str(text).unwrap();
        assert_eq!(uv.indexes(), indexes("https://a.example.org", &more[..1]));
    }

    #[test]
    fn the_default_is_read_from_help_texts() {
        for help in [
            "  -i, --index-url <url>  Base URL of the Index (default\n   https://a.example.org/simple). x",
            "  --default-index <X>\n  The index (by default: <https://a.example.org/simple>) [env]",
        ] {
            assert_eq!(default_in(help).unwrap(), "https://a.example.org/simple");
        }
        assert_eq!(default_in("pip: no such option"), None);
    }

    #[test]
    fn wheels_in_directories_are_used_by_builds() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap().to_owned();
        std::fs::write(dir.path().join("a-1-py3-none-any.whl"), "x").unwrap();
        let var = |name: &str| (name == "PIP_FIND_LINKS").then(|| format!("{place} /nowhere"));
        let found = from_environment(var);
        assert_eq!(found.links, std::slice::from_ref(&place));
        let addresses = found.addresses("a-1-py3-none-any.whl");
        assert_eq!(addresses, [Ok(format!("file://{place}/a-1-py3-none-any.whl"))]);
        let error = found.addresses("b-1-py3-none-any.whl").remove(0).unwrap_err();
        assert_eq!(error, format!("{place}: does not have it"));
    }

    #[test]
    fn the_first_setting_takes_precedence() {
        let first = indexes("https://a.example.org", &[]);
        assert_eq!(first.clone().or(|| unreachable!()), first);
        let more = Indexes { more: vec!["https://b.example.org".into()], ..Indexes::default() };
        assert_eq!(more.or(|| first), indexes("https://a.example.org", &["https://b.example.org"]));
    }
}
