//! Published documents are validated by the standards' tools: SPDX and JSON Schema.

use super::world::{World, deb, repository};
use crate::skip::skip;
use joblet_format::{Fresh, Freshness};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Names the directory into which `.ci/test` installs the Python packages of `.ci/standards.txt`.
const TOOLS: &str = "JOBLET_TEST_STANDARDS";

/// Prints a line for each document that violates its schema. Arguments: schemas, then documents,
/// each as the number of its schema and its path.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
count = int(sys.argv[1])
schemas = [json.load(open(path)) for path in sys.argv[2:2 + count]]
registry = Registry().with_resources((it["$id"], Resource.from_contents(it)) for it in schemas)
for schema in schemas:
    Draft202012Validator.check_schema(schema)
rest = sys.argv[2 + count:]
for number, path in zip(rest[::2], rest[1::2]):
    validator = Draft202012Validator(schemas[int(number)], registry=registry)
    if error := next(validator.iter_errors(json.load(open(path))), None):
        print(path, error.json_path, error.message)
"#;

/// Reports a skip without the tools.
fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os(TOOLS).map(PathBuf::from);
    if tools.is_none() {
        skip(&format!("{TOOLS} names no directory with the tools; .ci/test makes one"));
    }
    tools
}

fn python(tools: &Path, arguments: &[&str]) -> Output {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", tools).env("PYTHONDONTWRITEBYTECODE", "1");
    python.args(arguments).output().unwrap()
}

/// A build whose packages have every kind of licence, and the registry of it.
fn published() -> World {
    let world = World::new();
    let debs = [
        deb("demo", "1:2.0+dfsg~rc1-1", "Expat", &[("./usr/bin/demo", "#!/usr/bin/sh\n")]),
        deb("libdemo++1", "0.9", "GPL-2+ or Artistic, and my-own licence", &[]),
        deb("prose", "1", "Permission is hereby granted, free of charge, to any person", &[]),
        deb("sh", "1", "GPL-3+ with Autoconf exception", &[("./usr/bin/sh", "")]),
    ];
    world.runtime("1.0.0", &debs, "");
    world.build("").done();
    world.publish("index --records dist/records").done();
    world
}

#[test]
fn bills_of_materials_are_spdx() {
    let Some(tools) = tools() else { return };
    let world = published();
    let path = world.path("dist/records/demo/1.0.0.files/arm64.spdx.json");
    let check = |path: &Path| {
        let module = "spdx_tools.spdx.clitools.pyspdxtools";
        python(&tools, &["-m", module, "-i", path.to_str().unwrap()])
    };
    let output = check(&path);
    assert!(output.status.success(), "{output:?}");
    let broken = world.read("dist/records/demo/1.0.0.files/arm64.spdx.json");
    world.write("broken.spdx.json", broken.replace("LicenseRef-my-own-licence\",", "x\","));
    let output = check(&world.path("broken.spdx.json"));
    assert!(!output.status.success(), "the tool finds faults: {output:?}");
}

#[test]
fn bills_of_materials_say_what_is_inside() {
    let world = published();
    let record = world.json("dist/records/demo/1.0.0.json");
    let document = world.json("dist/records/demo/1.0.0.files/arm64.spdx.json");
    let runtime = &document["packages"][0];
    let checksum = record["release"]["artifacts"]["arm64"]["checksum"].as_str().unwrap();
    let hex = checksum.strip_prefix("sha256:").unwrap();
    assert_eq!(runtime["checksums"][0]["checksumValue"], hex);
    // Scanners match by package URLs: every package has one.
    for package in document["packages"].as_array().unwrap() {
        let reference = &package["externalRefs"][0];
        assert_eq!(reference["referenceType"], "purl", "{package}");
        assert!(reference["referenceLocator"].as_str().unwrap().starts_with("pkg:"), "{package}");
    }
    assert_eq!(document["creationInfo"]["created"], "2026-01-31T12:00:00Z");
    let package = &document["packages"][1];
    assert_eq!(package["versionInfo"], "1:2.0+dfsg~rc1-1");
    assert_eq!(package["sourceInfo"], "built from demo-src (9)");
    let locator = &package["externalRefs"][0]["referenceLocator"];
    let want = "pkg:deb/debian/demo@1%3A2.0%2Bdfsg~rc1-1?arch=arm64&distro=bookworm\
                &upstream=demo-src%409";
    assert_eq!(locator, want);
    let licences: Vec<_> = document["packages"].as_array().unwrap()[1..]
        .iter()
        .map(|package| package["licenseDeclared"].as_str().unwrap())
        .collect();
    assert_eq!(
        licences,
        [
            "MIT",
            "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND LicenseRef-my-own-licence",
            "LicenseRef-prose-copyright",
            "GPL-3.0-or-later WITH Autoconf-exception-3.0",
        ]
    );
    let contents = world.read("dist/records/demo/1.0.0.files/amd64.contents.txt");
    assert!(contents.contains("exec\t14\tdemo\tusr/bin/demo\n"), "{contents}");
    assert!(contents.contains("link\t0\t-\tbin\tusr/bin\n"), "{contents}");
}

/// `document` with `value` in place of what `pointer` names.
fn set(document: &Value, pointer: &str, value: Value) -> Value {
    let mut document = document.clone();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

/// A `freshness.json` as a refresh writes it.
fn freshness() -> Value {
    let found = Fresh {
        inputs_of: "2026-01-31T12:00:00Z".into(),
        inputs: 120,
        newer: 3,
        security: 1,
        fixes: vec!["CVE-2026-13176".into()],
    };
    let versions = BTreeMap::from([("1.0.0".parse().unwrap(), found)]);
    let runtimes = BTreeMap::from([("demo".parse().unwrap(), versions)]);
    let freshness = Freshness::new("2026-03-02T04:00:00Z".into(), runtimes);
    serde_json::to_value(freshness).unwrap()
}

/// The list of shards and a shard of a large registry, as `index` writes them.
fn shards() -> (Value, Value) {
    let world = World::new();
    crate::shards::records(&world.path(""));
    world.publish("index").done();
    let list = world.json("registry.shards.json");
    let digits = &list["shards"]["tools-0"].as_str().unwrap()["sha256:".len()..][..16];
    let shard = world.json(&format!("registry.shards/tools-0-{digits}.json"));
    (list, shard)
}

#[test]
fn registry_and_records_follow_their_schemas() {
    let Some(tools) = tools() else { return };
    let world = published();
    let (registry, record) =
        (world.json("registry.json"), world.json("dist/records/demo/1.0.0.json"));
    let mut extended = registry.clone();
    let artifact = &mut extended["runtimes"]["demo"]["1.0.0"]["artifacts"]["arm64"];
    artifact["parts"] =
        json!([{ "download_url": "x.001", "size": 1, "checksum": artifact["checksum"] }]);
    artifact["zstd"] = json!({
        "download_url": "x.tar.zst", "size": 1, "checksum": artifact["checksum"], "parts": artifact["parts"],
        "table": { "size": 1, "checksum": artifact["checksum"] },
    });
    extended["extended"] = extended["runtimes"].take();
    extended["runtimes"] = json!({});
    // The first are valid, each of the others is invalid.
    let fresh = freshness();
    let (list, shard) = shards();
    let mut documents = vec![
        (0, registry.clone()),
        (1, record.clone()),
        (0, extended.clone()),
        (2, fresh.clone()),
        (3, list.clone()),
        (0, shard),
    ];
    let right = documents.len();
    for below in ["parts/0/size", "zstd/parts/0/size", "zstd/table", "zstd/checksum"] {
        let below = format!("/extended/demo/1.0.0/artifacts/arm64/{below}");
        documents.push((0, set(&extended, &below, json!(0))));
    }
    let checksum = list["shards"]["tools-0"].clone();
    for (below, value) in [
        ("/version", json!("2")),
        ("/updated_at", json!("")),
        ("/registry/size", json!(-1)),
        ("/registry", json!({ "size": 7 })),
        ("/shards/tools-0", json!("md5:0")),
        ("/shards", json!({ "../demo": checksum })),
    ] {
        documents.push((3, set(&list, below, value)));
    }
    let release = "/runtimes/demo/1.0.0";
    for (below, value) in [
        ("/version", json!("2")),
        ("/runtimes/demo/1.0.0/size", json!(-1)),
        ("/runtimes/demo/1.0.0/checksum", json!("md5:0")),
        ("/runtimes/demo/1.0.0/artifacts/arm64/index/size", json!("5")),
        ("/runtimes/demo/1.0.0/platforms/0", json!("Ubuntu")),
        ("/runtimes/demo", json!({ "1.0": registry.pointer(release).unwrap() })),
        ("/runtimes", json!({ "demo-1.0.0": {} })),
        ("/runtimes", json!({ "../demo": {} })),
    ] {
        documents.push((0, set(&registry, below, value)));
    }
    for (below, value) in [
        ("/published_at", json!("yesterday")),
        (
            "/files",
            json!({ "../x": { "checksum": registry["runtimes"]["demo"]["1.0.0"]["checksum"], "size": 1 } }),
        ),
        ("/release/artifacts/amd64/checksum", json!(null)),
    ] {
        documents.push((1, set(&record, below, value)));
    }
    documents.push((1, json!({ "name": "demo", "release": record["release"] })));
    for (below, value) in [
        ("/version", json!("2")),
        ("/checked_at", json!("2026-03-02")),
        ("/runtimes/demo/1.0.0/security", json!(-1)),
        ("/runtimes/demo/1.0.0/fixes/0", json!(7)),
        ("/runtimes/demo/1.0.0/inputs_of", json!(null)),
        ("/runtimes", json!({ "../demo": {} })),
    ] {
        documents.push((2, set(&fresh, below, value)));
    }
    let schemas = ["registry", "record", "freshness", "shards"]
        .map(|name| repository(&format!("registry-site/schema/{name}.schema.json")));
    let mut arguments = vec!["-c".to_owned(), VALIDATE.to_owned(), schemas.len().to_string()];
    arguments.extend(schemas.iter().map(|path| path.to_str().unwrap().to_owned()));
    for (at, (schema, document)) in documents.iter().enumerate() {
        let name = format!("document-{at}.json");
        world.write(&name, document.to_string());
        arguments.extend([schema.to_string(), world.path(&name).to_str().unwrap().to_owned()]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let output = python(&tools, &arguments);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let refused: Vec<_> = said.lines().collect();
    assert_eq!(refused.len(), documents.len() - right, "{said}");
    for at in 0..right {
        assert!(!said.contains(&format!("document-{at}.json")), "{said}");
    }
}
