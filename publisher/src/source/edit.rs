//! A manifest with another version: one line is changed, comments and order stay.

use super::parse;
use joblet_format::Version;

/// The version that follows `version` with nothing but fixes: `1.4.2` → `1.4.3`, `2.0.0-rc.1` → `2.0.0`.
///
/// # Errors
/// A number that has no successor.
pub(crate) fn next_patch(version: &Version) -> Result<Version, String> {
    let text = version.to_string();
    let (numbers, before) = text.split_once('-').map_or((&*text, ""), |(it, pre)| (it, pre));
    let next = match numbers.rsplit_once('.') {
        Some((_, _)) if !before.is_empty() => numbers.to_owned(),
        Some((rest, patch)) => {
            let next = patch.parse::<u64>().ok().and_then(|patch| patch.checked_add(1));
            format!("{rest}.{}", next.ok_or_else(|| format!("nothing follows {text}"))?)
        }
        None => return Err(format!("{text} has no last number")),
    };
    next.parse().map_err(|error| format!("{error}"))
}

/// The manifest `text` with the version `version`.
///
/// # Errors
/// Why that cannot be done by changing one line.
pub(crate) fn with_version(text: &str, version: &Version) -> Result<String, String> {
    let before = parse(text)?;
    let line = |line: &&str| line.starts_with("version:");
    let old = text.split_inclusive('\n').find(line).ok_or("has no line that begins `version:`")?;
    let written = before.version.to_string();
    let new = old.replacen(&written, &version.to_string(), 1);
    let changed = text.replacen(old, &new, 1);
    let mut wanted = before;
    wanted.version = version.clone();
    let same = parse(&changed).is_ok_and(|after| after == wanted);
    same.then_some(changed)
        .ok_or_else(|| format!("{written} cannot be replaced in {:?}; do it by hand", old.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_changed() {
        for (version, next) in [("1.4.2", "1.4.3"), ("0.9.9", "0.9.10"), ("2.0.0-rc.1", "2.0.0")] {
            assert_eq!(next_patch(&version.parse().unwrap()).unwrap().to_string(), next);
        }
        let text = |version: &str| {
            format!(
                "# of 1.4.2\nname: d # as the directory\nversion: {version} # raise it\n\
                 platforms: [ubuntu-amd64]\nlinks: {{ version: 1.4.2 }}\n"
            )
        };
        let next = "1.4.3".parse().unwrap();
        for written in ["1.4.2", "'1.4.2'", "\"1.4.2\""] {
            let quoted = written.replace("1.4.2", "1.4.3");
            assert_eq!(with_version(&text(written), &next).unwrap(), text(&quoted));
        }
        let error = with_version("{name: d, version: 1.4.2, platforms: [ubuntu-amd64]}", &next);
        assert_eq!(error.unwrap_err(), "has no line that begins `version:`");
    }
}
