//! Inputs that are no Debian packages: archives at addresses, and wheels.

use super::{
    server::{Reply, Server},
    world::{World, sha256},
};
use std::io::Write;

/// A `.tar.gz` with one directory, and in it a program and a link to it.
fn upstream() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let text = "#!/opt/tool/bin/tool\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "tool-1.2/bin/tool", text.as_bytes()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "tool-1.2/tool", "bin/tool").unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar.into_inner().unwrap()).unwrap();
    gz.finish().unwrap()
}

fn manifest(world: &World, more: &str) {
    let text =
        format!("name: demo\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n{more}");
    world.write("runtimes-src/demo/manifest.yaml", text);
}

#[test]
fn an_archive_at_an_address_is_locked_fetched_and_unpacked() {
    let (world, archive) = (World::new(), upstream());
    let body = archive.clone();
    let server = Server::new(move |path, _| match path {
        "/tool-1.2.tar.gz" => Reply::ok(&body),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let address = format!("{}/tool-1.2.tar.gz", server.address);
    let url =
        format!("urls: [{{ into: opt/tool, strip: 1, amd64: '{address}', arm64: '{address}' }}]\n");
    manifest(&world, &url);
    let report = world.publish("lock demo --cache cache").done();
    assert!(report.contains("amd64: 1 inputs, 0.0 MB\n"), "{report}");
    let lock = world.json("runtimes-src/demo/versions.lock");
    let input = &lock["inputs"]["arm64"][0];
    assert_eq!((&input["kind"], &input["name"]), (&"tar".into(), &address.as_str().into()));
    assert_eq!(input["size"], archive.len());
    assert_eq!(input["sha256"], sha256(&archive).hex());
    // Another cache: fetched again, by the lock.
    world.publish("build demo --cache other").done();
    let inside = world.read("dist/records/demo/1.0.0.files/amd64.contents.txt");
    for line in ["exec\t21\ttool-1.2.tar.gz\topt/tool/bin/tool", "opt/tool/tool\tbin/tool"] {
        assert!(inside.contains(line), "{inside}");
    }
    // Another archive under the same address.
    let changed =
        url.replace("tool-1.2", "gone").replace("}]", ", sha256: { amd64: X, arm64: X } }]");
    manifest(&world, &changed.replace('X', &"7".repeat(64)));
    let report = world.publish("lock demo --cache cache").done();
    assert!(report.contains("; size not known yet: gone.tar.gz"), "{report}");
    let lock = world.json("runtimes-src/demo/versions.lock");
    assert_eq!(lock["inputs"]["amd64"][0]["size"], serde_json::Value::Null);
    let complaint = world.publish("build demo --cache cache").failed(10);
    let start = format!(
        "error[NET]: gone.tar.gz: cannot be had from {}/gone.tar.gz: HTTP status 404; fetch it on \
         another machine and put it here as cache/sha256/7777",
        server.address
    );
    assert!(complaint.starts_with(&start), "{complaint}");
    // Upstream's word on the hash is what counts.
    manifest(&world, &changed.replace("gone", "tool-1.2").replace('X', &"7".repeat(64)));
    let complaint = world.publish("lock demo --cache cache").failed(13);
    assert!(
        complaint.contains("tool-1.2.tar.gz: checksum differs: expected sha256:7777"),
        "{complaint}"
    );
}

#[test]
fn a_wheel_for_another_platform() {
    let world = World::new();
    let python = "python: { version: '3.11', before: 2024-01-01, packages: [a==1] }\n";
    manifest(&world, python);
    let source = joblet_publish::source::parse(&world.read("runtimes-src/demo/manifest.yaml"));
    let digest = joblet_publish::lock::digest(&source.unwrap());
    let name = "a-1-cp311-cp311-manylinux_2_17_x86_64.whl";
    let input = format!(
        "[{{\"kind\":\"wheel\",\"name\":\"{name}\",\"size\":1,\"sha256\":\"{}\"}}]",
        "7".repeat(64)
    );
    let lock = format!(
        "{{\"format\":1,\"manifest\":\"{digest}\",\"timestamp\":\"2026-01-31T12:00:00Z\",\
         \"inputs\":{{\"amd64\":{input},\"arm64\":{input}}}}}"
    );
    world.write("runtimes-src/demo/versions.lock", lock);
    assert_eq!(
        world.build("").failed(17),
        format!(
            "error[CONFIG]: runtimes-src/demo/versions.lock: {name} is not for Python 3.11 on arm64; \
             run `joblet-publish lock demo`"
        )
    );
}

/// An index without the wheel, asked as the host's configuration says.
#[test]
fn a_wheel_that_has_vanished() {
    let world = World::new();
    manifest(&world, "python: { version: '3.11', before: 2024-01-01, packages: [a==1] }\n");
    let source = joblet_publish::source::parse(&world.read("runtimes-src/demo/manifest.yaml"));
    let digest = joblet_publish::lock::digest(&source.unwrap());
    let input = format!(
        "[{{\"kind\":\"wheel\",\"name\":\"A_b-1-py3-none-any.whl\",\"size\":1,\"sha256\":\"{}\"}}]",
        "7".repeat(64)
    );
    let lock = format!(
        "{{\"format\":1,\"manifest\":\"{digest}\",\"timestamp\":\"2026-01-31T12:00:00Z\",\
         \"inputs\":{{\"amd64\":{input},\"arm64\":{input}}}}}"
    );
    world.write("runtimes-src/demo/versions.lock", lock);
    let server = Server::new(|path, _| match path {
        "/simple/a-b/" => Reply::ok(b"{\"files\":[]}"),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let index = format!("{}/simple", server.address.replace("://", "://me:secret@"));
    let complaint =
        world.publish_with("build demo --cache cache", &[("PIP_INDEX_URL", &index)]).failed(10);
    let want = format!(
        "error[NET]: A_b-1-py3-none-any.whl: cannot be had from {}/simple/a-b/: does not list it; if \
         the index has dropped it, lock again",
        server.address
    );
    assert_eq!(complaint, want, "and no password is shown");
}

/// An index that has a project as source alone: what the maintainer reads names it and the reason.
#[test]
fn a_project_without_wheels() {
    let Some(tools) = std::env::var_os("JOBLET_TEST_STANDARDS").map(std::path::PathBuf::from)
    else {
        #[allow(clippy::print_stderr)] // a skipped test says so
        {
            eprintln!("SKIPPED: JOBLET_TEST_STANDARDS names no directory with uv");
        }
        return;
    };
    let world = World::new();
    manifest(
        &world,
        "python: { version: '3.11', before: 2024-01-01, packages: [only-source==1] }\n",
    );
    let page = r#"{"meta":{"api-version":"1.1"},"name":"only-source","versions":["1"],"files":[
        {"filename":"only_source-1.tar.gz","url":"only_source-1.tar.gz","hashes":{},"size":1,
         "upload-time":"2023-01-01T00:00:00Z"}]}"#;
    let server = Server::new(move |path, _| match path {
        "/simple/only-source/" => {
            let json = [("Content-Type", "application/vnd.pypi.simple.v1+json")];
            Reply::new("200 OK", &json, page.as_bytes())
        }
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let index = format!("{}/simple", server.address);
    // uv asks some Python of this host what it is.
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap());
    let cache = world.path("uv").display().to_string();
    let variables =
        [("PIP_INDEX_URL", index.as_str()), ("PATH", path.as_str()), ("UV_CACHE_DIR", &cache)];
    let complaint = world.publish_with("lock demo --cache cache", &variables).failed(12);
    let start = "error[NOTFOUND]: cannot resolve the Python packages for amd64 with wheels from before \
                 2024-01-01: ";
    assert!(complaint.starts_with(start), "{complaint}");
    assert!(complaint.contains("only-source==1 has no usable wheels"), "{complaint}");
    let asked = server.requests();
    assert!(
        asked.iter().all(|path| path == "/simple/only-source/"),
        "no source is fetched: {asked:?}"
    );
    assert!(!world.path("runtimes-src/demo/versions.lock").exists());
}
