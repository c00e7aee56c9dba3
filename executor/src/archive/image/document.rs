//! Access to the members of an image's JSON documents.
//!
//! Members are looked up by name in untyped JSON: a type for each document, as in `joblet-publish`, would add 30 KB
//! to the program.

use joblet_format::image::{Nothing, Offer, REF_NAME, Settings};
use serde_json::Value;

/// A string; empty if it is missing.
pub(super) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of strings; empty if it is missing.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let mut strings = Vec::new();
    for it in value.as_array().map(Vec::as_slice).unwrap_or_default() {
        strings.push(string(it).to_owned());
    }
    strings
}

/// An image in an index.
pub(super) fn offer(value: &Value) -> Offer<'_> {
    let platform = &value["platform"];
    Offer {
        tag: string(&value["annotations"][REF_NAME]),
        os: string(&platform["os"]),
        architecture: string(&platform["architecture"]),
        variant: string(&platform["variant"]),
        artifact_type: string(&value["artifactType"]),
    }
}

/// The settings of containers.
pub(super) fn settings(value: &Value) -> Settings {
    Settings {
        user: Some(string(&value["User"]).to_owned()),
        env: Some(strings(&value["Env"])),
        entrypoint: Some(strings(&value["Entrypoint"])),
        cmd: Some(strings(&value["Cmd"])),
        working_dir: Some(string(&value["WorkingDir"]).to_owned()),
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
