//! The software bill of materials of an archive: SPDX 2.3, as JSON.
//!
//! The document describes the runtime, which contains its components. Inputs are identified by SHA-256,
//! without download locations. The document is reproducible: its time is the lock's.

use crate::{
    lock::{Kind, wheel_tags::normalized},
    record::components::Component,
    source::Source,
};
use joblet_format::{Arch, Checksum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// SPDX's value for unknown information.
const NOTHING: &str = "NOASSERTION";
/// The runtime's identifier in its own document.
const RUNTIME: &str = "SPDXRef-Runtime";

/// The document about the archive of `source` for `arch`, whose SHA-256 is `checksum`.
pub fn document(
    source: &Source,
    arch: Arch,
    checksum: Checksum,
    components: &[Component],
    timestamp: &str,
) -> String {
    let name = format!("{}-{arch}", source.directory());
    let hex = checksum.hex();
    let mut packages = vec![json!({
        "SPDXID": RUNTIME,
        "name": source.name,
        "versionInfo": source.version,
        "packageFileName": format!("{name}.tar.gz"),
        "summary": source.description,
        "primaryPackagePurpose": "ARCHIVE",
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "checksums": sha256(checksum),
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "externalRefs": [purl(&format!(
            "pkg:generic/{}@{}?checksum=sha256:{hex}",
            percent(source.name.as_str()),
            source.version
        ))],
    })];
    packages.extend(components.iter().map(|component| package(component, source, arch)));
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", RUNTIME)];
    let contains = |it: &Component| relationship(RUNTIME, "CONTAINS", &identifier(it));
    relationships.extend(components.iter().map(contains));
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{name}-{hex}"),
        "creationInfo": {
            "created": timestamp,
            "creators": [concat!("Tool: joblet-publish-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    });
    let licences = own_licences(components);
    if !licences.is_empty() {
        document["hasExtractedLicensingInfos"] = licences.into();
    }
    format!("{document:#}\n")
}

fn package(component: &Component, source: &Source, arch: Arch) -> Value {
    let Component { name, version, licence, .. } = component;
    let mut package = json!({
        "SPDXID": identifier(component),
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": licence.expression.as_deref().unwrap_or(NOTHING),
        "copyrightText": NOTHING,
        "externalRefs": [purl(&package_url(component, source, arch))],
    });
    if let Some(checksum) = component.sha256 {
        package["checksums"] = sha256(checksum);
    }
    let mut say = |key: &str, text: Option<String>| {
        if let Some(text) = text {
            package[key] = text.into();
        }
    };
    say("packageFileName", Some(component.file.clone()).filter(|file| !file.is_empty()));
    say("licenseComments", licence.comment.clone());
    say("homepage", component.homepage.clone());
    say("sourceInfo", component.source.as_ref().map(|source| format!("built from {source}")));
    package
}

/// The package URL (purl) of a component.
fn package_url(component: &Component, source: &Source, arch: Arch) -> String {
    if let Some(purl) = &component.purl {
        return purl.clone();
    }
    let (name, version) = (percent(&component.name), percent(&component.version));
    match component.kind {
        Kind::Deb => {
            let suite = source.debian.as_ref().map_or("", |debian| debian.suite.as_str());
            // Advisories are about source packages.
            let upstream = component.source.as_ref().map_or_else(String::new, |source| {
                let mut parts = source.split([' ', '(', ')']).filter(|part| !part.is_empty());
                let name = percent(parts.next().unwrap_or_default());
                let version =
                    parts.next().map_or_else(String::new, |it| format!("%40{}", percent(it)));
                format!("&upstream={name}{version}")
            });
            format!("pkg:deb/debian/{name}@{version}?arch={arch}&distro={suite}{upstream}")
        }
        Kind::Wheel => {
            let name = percent(&normalized(&component.name));
            format!("pkg:pypi/{name}@{version}?file_name={}", percent(&component.file))
        }
        Kind::Tar | Kind::Image | Kind::Layer => {
            let hex = component.sha256.map(|sha256| sha256.hex()).unwrap_or_default();
            format!("pkg:generic/{name}?checksum=sha256:{hex}")
        }
    }
}

/// A reference by a package URL.
fn purl(locator: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    })
}

pub(super) fn percent(text: &str) -> String {
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// An SPDX identifier: letters, digits, `.` and `-`; other bytes of a name are encoded in hex.
fn identifier(component: &Component) -> String {
    let mut text = match component.kind {
        Kind::Deb => "SPDXRef-deb-".to_owned(),
        Kind::Wheel => "SPDXRef-wheel-".to_owned(),
        Kind::Tar => "SPDXRef-tar-".to_owned(),
        // Several package managers may have packages of one name.
        Kind::Image | Kind::Layer => {
            let purl = component.purl.as_deref().unwrap_or_default();
            let manager = purl.trim_start_matches("pkg:").split('/').next().unwrap_or_default();
            format!("SPDXRef-image-{manager}-")
        }
    };
    for byte in component.name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-.".contains(&byte) {
            text.push(byte.into());
        } else {
            _ = write!(text, ".{byte:02X}"); // writing to a String cannot fail
        }
    }
    text
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn sha256(checksum: Checksum) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": checksum.hex() }])
}

/// The licences that are not in SPDX's list, and where their texts are.
fn own_licences(components: &[Component]) -> Vec<Value> {
    let mut licences: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
    for component in components {
        for (reference, name) in &component.licence.references {
            let entry = licences.entry(reference).or_insert((name, Vec::new()));
            entry.1.push(&component.name);
        }
    }
    let licence = |(reference, (name, packages)): (&str, (&str, Vec<&str>))| {
        let packages = packages.join(", ");
        let text =
            format!("As the copyright and metadata files in the runtime have it, of: {packages}.");
        json!({ "licenseId": reference, "name": name, "extractedText": text })
    };
    licences.into_iter().map(licence).collect()
}
