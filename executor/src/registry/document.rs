//! Parses a registry's document.

use crate::error::Error;
use crate::net::location::Location;
use joblet_format::{Registry, RuntimeName};

/// Most entries that may break a rule: with more the whole document is refused.
const MAX_REFUSED: usize = 1000;

/// Parses the document that was read from `location`.
///
/// # Errors
/// [`Error::Registry`] with the rule that the document breaks.
pub(crate) fn parse(body: &[u8], location: &Location) -> Result<Registry, Error> {
    let refuse = |reason| Error::Registry { registry: location.to_string(), reason };
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(refuse("the document is empty; check the address".into())),
        Some(b'<') => {
            let reason = "this is a web page, not a registry.json; check the address";
            return Err(refuse(reason.into()));
        }
        Some(_) => {}
    }
    let registry: Registry = serde_json::from_slice(body)
        .map_err(|error| refuse(format!("not a registry.json: {error}")))?;
    if registry.refused.len() > MAX_REFUSED {
        return Err(refuse("more than 1000 of its entries break a rule".into()));
    }
    Ok(registry)
}

/// Whether a registry has a runtime `name`, or an entry of that name that breaks a rule.
pub(super) fn has(registry: &Registry, name: &RuntimeName) -> bool {
    registry.runtimes.contains_key(name)
        || registry.refused.iter().any(|refused| refused.name == name.as_str())
}

/// The entries of `name`, with all entries that break a rule.
pub(crate) fn only(registry: &Registry, name: &RuntimeName) -> Registry {
    let found = registry.runtimes.get(name);
    Registry {
        updated_at: registry.updated_at.clone(),
        runtimes: found.map(|releases| (name.clone(), releases.clone())).into_iter().collect(),
        refused: registry.refused.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::local::Local;

    fn location() -> Location {
        Location::File(Local::from_path("registry.json".as_ref()))
    }

    fn entry(version: &str) -> String {
        format!(
            r#""{version}": {{"version": "{version}", "download_url": "x", "size": 1,
                "checksum": "sha256:{}", "platforms": ["ubuntu-amd64"]}}"#,
            "0".repeat(64)
        )
    }

    /// `runtimes` and `extended` with a name in both, and `version` last.
    fn document() -> String {
        let (one, two) = (entry("1.0.0"), entry("2.0.0"));
        format!(
            "{{\"runtimes\" : {{ \"a\" : {{{one}}}, \"b\"\n:{{{one},{two}}} }} , \"x\": [{{}}],
              \"extended\": {{\"a\": {{{two}}}}}, \"version\": \"1\", \"updated_at\": \"t\"}}"
        )
    }

    #[test]
    fn an_entry_is_parsed_as_in_the_whole_document() {
        let whole = parse(document().as_bytes(), &location()).unwrap();
        for name in ["a", "b"] {
            let name = name.parse().unwrap();
            let part = only(&whole, &name);
            assert!(has(&whole, &name) && part.runtimes.len() == 1 && part.updated_at == "t");
            assert_eq!(part.runtimes[&name], whole.runtimes[&name]);
            assert_eq!(part.runtimes[&name].len(), 2);
        }
        let none = "c".parse().unwrap();
        assert!(!has(&whole, &none) && only(&whole, &none).runtimes.is_empty());
        let broken = document().replace("sha256:", "md5:");
        let broken = parse(broken.as_bytes(), &location()).unwrap();
        assert!(has(&broken, &"b".parse().unwrap()) && broken.runtimes.is_empty());
    }

    /// SEC-C10
    #[test]
    fn other_documents_than_registries_are_refused_by_name() {
        let good = document();
        let cases = [
            (String::new(), "is empty"),
            ("  \n<!doctype html>".into(), "web page"),
            ("{".into(), "not a registry.json: EOF"),
            ("null".into(), "not a registry.json: invalid type"),
            (good.replace("\"1\"", "\"2\""), "version \"2\" is newer"),
            (good.replace("\"1\"", "1"), "invalid type: integer"),
            (good.clone() + " x", "trailing characters"),
            (format!("\u{feff}{good}"), "not a registry.json"),
            (format!("{{\"x\": {}", "[".repeat(10_000)), "not a registry.json: "),
            (good.replace("\"a\" :", "\"b\" :"), "duplicate key \"b\""),
            (good.replace("2.0.0\":", "1.0.0\":"), "duplicate key"),
            (good.replace("\"size\": 1", "\"size\": 1, \"size\": 2"), "duplicate field"),
            (good.replace("\"size\": 1", "\"size\": 1e400"), "number out of range"),
            (good.replace("\"size\": 1", "\"size\": -1"), "invalid value"),
            (good.replace("{}", "{"), "not a registry.json"),
            (good.replace("\"runtimes\"", "\"runtime\""), "missing field `runtimes`"),
        ];
        for (body, message) in cases {
            let error = parse(body.as_bytes(), &location()).unwrap_err().to_string();
            assert!(error.contains(message), "{body}: {error}");
        }
        let many: Vec<_> = (0..1001).map(|n| entry(&format!("1.{n}"))).collect();
        let broken =
            format!("{{\"version\": \"1\", \"runtimes\": {{\"a\": {{{}}}}}}}", many.join(","));
        let error = parse(broken.as_bytes(), &location()).unwrap_err().to_string();
        assert!(error.contains("more than 1000 of its entries break a rule"), "{error}");
    }
}
