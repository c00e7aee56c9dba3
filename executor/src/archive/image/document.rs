//! Access to the members of an image's JSON documents.
//!
//! Members are looked up by name in untyped JSON: a type for each document, as in `joblet-publish`, would add 30 KB
//! to the program.

use joblet_format::image::{Nothing, Offer, REF_NAME, Settings};
use serde_json::Value;

/// A string; empty if it is missing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of strings; empty if it is missing.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for it in value.as_array().map(Vec::as_slice).unwrap_or_default() {
        texts.push(text(it).to_owned());
    }
    texts
}

/// An image in an index.
pub(super) fn offer(value: &Value) -> Offer<'_> {
    let platform = &value["platform"];
    Offer {
        tag: text(&value["annotations"][REF_NAME]),
        os: text(&platform["os"]),
        architecture: text(&platform["architecture"]),
        variant: text(&platform["variant"]),
        artifact_type: text(&value["artifactType"]),
    }
}

/// The settings of containers.
pub(super) fn settings(value: &Value) -> Settings {
    Settings {
        user: Some(text(&value["User"]).to_owned()),
        env: Some(texts(&value["Env"])),
        entrypoint: Some(texts(&value["Entrypoint"])),
        cmd: Some(texts(&value["Cmd"])),
        working_dir: Some(text(&value["WorkingDir"]).to_owned()),
        volumes: keys(&value["Volumes"]),
        exposed_ports: keys(&value["ExposedPorts"]),
        healthcheck: value["Healthcheck"].is_object().then_some(Nothing {}),
        labels: None,
    }
}

/// The keys of an object; empty if it is missing.
fn keys(value: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(object) = value.as_object() {
        for key in object.keys() {
            keys.push(key.clone());
        }
    }
    keys
}
