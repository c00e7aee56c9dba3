//! Templates and assets: the maintainer's, or the built-in ones.

use crate::{error::Error, fs::paths};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{fmt, path::Path};

/// A file of `registry-site/`, embedded at compile time.
macro_rules! built_in {
    ($directory:literal, $name:literal) => {
        (
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../registry-site/",
                $directory,
                "/",
                $name
            )),
        )
    };
}

const TEMPLATES: [(&str, &str); 16] = [
    built_in!("templates", "base.html"),
    built_in!("templates", "home.html"),
    built_in!("templates", "runtime.html"),
    built_in!("templates", "size-chart.html"),
    built_in!("templates", "makeup.html"),
    built_in!("templates", "install.html"),
    built_in!("templates", "version.html"),
    built_in!("templates", "changelog.html"),
    built_in!("templates", "yanked.html"),
    built_in!("templates", "feed.xml"),
    built_in!("templates", "get-started.html"),
    built_in!("templates", "host-your-own.html"),
    built_in!("templates", "why.html"),
    built_in!("templates", "figures.html"),
    built_in!("templates", "format.html"),
    built_in!("templates", "404.html"),
];

/// The style sheet, the script and the icon, in this order.
const ASSETS: [(&str, &str); 3] = [
    built_in!("assets", "joblet.css"),
    built_in!("assets", "joblet.js"),
    built_in!("assets", "icon.svg"),
];

/// JSON schemas of `registry.json`, the list of its shards, the records and `freshness.json`: name in `schema/`, text.
pub(super) const SCHEMAS: [(&str, &str); 4] = [
    built_in!("schema", "registry.schema.json"),
    built_in!("schema", "shards.schema.json"),
    built_in!("schema", "record.schema.json"),
    built_in!("schema", "freshness.schema.json"),
];

/// Pages that do not depend on the registry: name of both template and path.
pub(super) const PLAIN: [&str; 5] =
    ["why.html", "figures.html", "host-your-own.html", "format.html", "404.html"];

/// The text of every template and asset.
pub(super) struct Sources {
    templates: Vec<(&'static str, String)>,
    /// Path in the site, with a digest of the content in its name; content.
    assets: [(String, String); ASSETS.len()],
}

impl Sources {
    /// Loads `templates/` and `assets/` of `directory`; built-in ones for missing files.
    pub(super) fn load(directory: &Path) -> Result<Self, Error> {
        let templates = directory.join("templates");
        let templates = TEMPLATES.map(|(name, text)| {
            Ok::<_, Error>((name, load(directory, &templates.join(name), text)?))
        });
        let mut assets = ASSETS.map(|_| (String::new(), String::new()));
        for ((name, built_in), asset) in ASSETS.into_iter().zip(&mut assets) {
            let text = load(directory, &directory.join("assets").join(name), built_in)?;
            *asset = (asset_path(name, &text), text);
        }
        Ok(Self { templates: templates.into_iter().collect::<Result<_, _>>()?, assets })
    }

    /// Path and content of each asset.
    pub(super) fn assets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.assets.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Compiles the templates.
    pub(super) fn theme(&self) -> Result<Theme<'_>, Error> {
        let mut environment = Environment::empty();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_formatter(escape);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(true);
        let mut salt = Sha256::new().chain_update(env!("CARGO_PKG_VERSION"));
        for (name, text) in &self.templates {
            environment.add_template(name, text).map_err(|source| broken(name, &source))?;
            salt.update(Sha256::digest(text));
        }
        let [style, script, icon] = &self.assets;
        for (name, (path, text)) in [("style", style), ("script", script), ("icon", icon)] {
            environment.add_global(name, Value::from(path.as_str()));
            // For 404.html, which is served for any path and so cannot link to assets.
            environment.add_global(format!("{name}_text"), Value::from_safe_string(text.clone()));
            let digest = format!("sha256-{}", STANDARD.encode(Sha256::digest(text)));
            environment.add_global(format!("{name}_digest"), Value::from(digest));
            salt.update(Sha256::digest(text));
        }
        Ok(Theme { environment, salt })
    }
}

/// The templates, ready to render.
pub(super) struct Theme<'a> {
    environment: Environment<'a>,
    /// Hash state after the inputs of all pages: templates and assets.
    salt: Sha256,
}

impl Theme<'_> {
    /// A digest of all inputs of the page that `template` renders from `context`.
    pub(super) fn key(&self, template: &str, context: &(impl Serialize + ?Sized)) -> String {
        let json = serde_json::to_vec(context).expect("contexts are structs of text and numbers");
        let digest = self.salt.clone().chain_update(template).chain_update([0]).chain_update(json);
        hex::encode(&digest.finalize()[..16])
    }

    /// Renders a page.
    pub(super) fn render(
        &self,
        template: &'static str,
        context: &impl Serialize,
    ) -> Result<Vec<u8>, Error> {
        self.environment
            .get_template(template)
            .and_then(|compiled| compiled.render(context))
            .map(String::into_bytes)
            .map_err(|source| broken(template, &source))
    }
}

/// The error for a template that is invalid or uses an unknown value.
fn broken(name: &str, source: &minijinja::Error) -> Error {
    Error::config(name, format!("template: {source}"))
}

/// Reads the file `path` below `directory`, else the built-in text. Since it is published, no symlink is followed.
fn load(directory: &Path, path: &Path, built_in: &str) -> Result<String, Error> {
    let Some(bytes) = paths::read_below(directory, path)? else { return Ok(built_in.to_owned()) };
    String::from_utf8(bytes).map_err(|_| Error::config(path, "is not UTF-8"))
}

/// `assets/joblet.0123456789ab.css`: the address depends on the content, so that caches are never stale.
fn asset_path(name: &str, text: &str) -> String {
    let digest = hex::encode(&Sha256::digest(text)[..6]);
    let (stem, extension) = name.split_once('.').unwrap_or((name, "txt"));
    format!("assets/{stem}.{digest}.{extension}")
}

/// Escapes text for HTML and XML, in elements and in quoted attributes.
///
/// minijinja's own formatter also escapes `/` as `&#x2f;`, which is unnecessary and makes addresses in the source
/// hard to read.
fn escape(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    let Some(text) = value.as_str().filter(|_| !value.is_safe()) else {
        return minijinja::escape_formatter(out, state, value);
    };
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        let (plain, special) = rest.split_at(at);
        let entity = match special.as_bytes()[0] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        };
        out.write_str(plain).and_then(|()| out.write_str(entity)).map_err(unwritable)?;
        rest = &special[1..];
    }
    out.write_str(rest).map_err(unwritable)
}

fn unwritable(error: fmt::Error) -> minijinja::Error {
    minijinja::Error::from(error)
}
