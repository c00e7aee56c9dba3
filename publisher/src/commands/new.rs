//! `new`: a new manifest, from a template, a project or an image.

use super::Outcome;
use crate::cli::args::New;
use crate::error::{Error, Note};
use crate::fs::paths;
use crate::inputs::images::Image;
use crate::lock::Kind;
use crate::source::{self, import, template};
use crate::{env, unpack};
use joblet_format::image::Settings;
use joblet_format::{Arch, Checksum, RuntimeName};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) fn new(options: &New, note: Note) -> Result<Outcome, Error> {
    let New { name, sources, from, image } = options;
    if let Some(there) = source::above(sources) {
        let (sources, there) = (sources.display(), there.display());
        return Err(Error::NotFound(format!(
            "{sources} does not exist here, but is {there}; use --sources {there}, or `mkdir {sources}` first"
        )));
    }
    let (path, warnings) = match (from, image) {
        (Some(from), _) => import::write(sources, name, from, &env::tomorrow())?,
        (None, Some(image)) => of_image(sources, name, image, note)?,
        (None, None) => (template::write(sources, name)?, Vec::new()),
    };
    let path = path.display();
    let text = format!("{path}\nnext: edit {path}, then joblet-publish lock {name}\n");
    Ok(Outcome::Built { text, warnings, error: None })
}

/// Writes a manifest for the image at `place`. Returns notes on settings that are not converted.
fn of_image(
    sources: &Path,
    name: &RuntimeName,
    place: &Path,
    note: Note,
) -> Result<(PathBuf, Vec<String>), Error> {
    let path = source::manifest_path(sources, name);
    if std::fs::symlink_metadata(&path).is_ok() {
        return Err(Error::config(path, "exists already"));
    }
    let (mut arches, mut digests, mut dropped) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut notes, mut settings, mut missing) = (Vec::new(), Settings::default(), None);
    let spool = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
    for arch in Arch::ALL {
        let image = match Image::open(place, arch) {
            Err(error @ Error::NotFound(_)) => {
                missing = Some(error);
                continue;
            }
            image => image?,
        };
        note(&format!("new {name}: {arch}: looking at the layers"));
        let inputs = image.add_to_cache(spool.path())?;
        let file = |input| crate::inputs::cache::path(spool.path(), input);
        let layers = inputs.iter().filter(|input| input.kind == Kind::Layer);
        let layers: Vec<_> =
            layers.map(|input| (format!("layer {}", input.name), file(input))).collect();
        let layers: Vec<_> =
            layers.iter().map(|(label, file)| (label.clone(), file.as_path())).collect();
        let (_, found) = unpack::image::tree(&layers, spool.path())?;
        dropped.extend(found.kinds.keys().copied());
        arches.push(arch);
        digests.insert(image.digest);
        settings = image.config.config.unwrap_or_default();
    }
    if let (true, Some(error)) = (arches.is_empty(), missing) {
        return Err(error);
    }
    if let Some(ignored) = settings.not_carried_over() {
        notes.push(format!("{name}: not of a runtime: {ignored}"));
    }
    let text = manifest(name, &relative(&path, place)?, &arches, &digests, &dropped, &settings);
    source::parse(&text)
        .map_err(|reason| Error::config(place, format!("makes no manifest: {reason}")))?;
    paths::write_below(sources, &path, text.as_bytes())?;
    Ok((path, notes))
}

fn manifest(
    name: &RuntimeName,
    place: &str,
    arches: &[Arch],
    digests: &BTreeSet<Checksum>,
    dropped: &BTreeSet<source::Dropped>,
    settings: &Settings,
) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string(); // YAML reads JSON's texts
    let label = |key: &str| {
        let labels = settings.labels.as_ref();
        labels.and_then(|it| it.get(&format!("org.opencontainers.image.{key}"))).cloned()
    };
    let description = label("description").filter(|text| !text.contains('\n'));
    let description = description.unwrap_or_else(|| template::DESCRIPTION.to_owned());
    let version = label("version").filter(|text| text.parse::<joblet_format::Version>().is_ok());
    let version = version.unwrap_or_else(|| "1.0.0".to_owned());
    let mut text = format!(
        "name: {name}\nversion: {version}\ndescription: {}\nplatforms: [{}]\n\n\
         # All of the image, as the base of the other members: debian, python, files, run.\nimage:\n  path: {}\n",
        quoted(&description),
        template::platforms(arches),
        quoted(place),
    );
    // Nothing below fails: it is a String.
    if let [digest] = digests.iter().collect::<Vec<_>>()[..] {
        _ = writeln!(text, "  digest: \"{digest}\"");
    }
    if !dropped.is_empty() {
        let keys: Vec<_> = dropped.iter().map(|it| it.key()).collect();
        _ = writeln!(text, "  drop: [{}]   # what no runtime has", keys.join(", "));
    }
    text.push_str(
        "\n# Its variables and its working directory are the runtime's, unless these say otherwise.\n\
         # environment: { PATH: \"/usr/local/bin:/usr/bin:/bin\" }\n# workdir: /app\n\n\
         # What is left out of it.\n# exclude: [\"usr/share/doc/**\"]\n",
    );
    let words: Vec<_> =
        [&settings.entrypoint, &settings.cmd].into_iter().flatten().flatten().collect();
    if !words.is_empty() {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        _ = writeln!(
            text,
            "\n# What a container of it runs:\n# check:\n#   - [{}]",
            words.join(", ")
        );
    }
    text
}

/// The path of `place` relative to the directory of the manifest `path`.
fn relative(path: &Path, place: &Path) -> Result<String, Error> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::file("find", path));
    let (from, to) = (absolute(path.parent().unwrap_or(path))?, absolute(place)?);
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Path::new(".."));
    let down = to.components().skip(common);
    let relative: PathBuf =
        up.map(Path::to_owned).chain(down.map(|it| PathBuf::from(it.as_os_str()))).collect();
    let text = relative.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Usage(format!("{} is not UTF-8", place.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_manifest() {
        for (path, place, want) in [
            ("/r/runtimes-src/d/manifest.yaml", "/r/images:tool", "../../images:tool"),
            ("/r/d/manifest.yaml", "/r/d/x.tar", "x.tar"),
            ("/r/d/manifest.yaml", "/other/x.tar", "../../other/x.tar"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(place)).unwrap(), want);
        }
    }
}
