//! Archives at addresses as inputs.

use super::world::{World, sha256};
use crate::server::{Reply, Server};
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
    assert!(report.contains(&format!("amd64: 1 inputs, {} B\n", archive.len())), "{report}");
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
    // Another archive at the same address.
    let changed =
        url.replace("tool-1.2", "gone").replace("}]", ", sha256: { amd64: X, arm64: X } }]");
    manifest(&world, &changed.replace('X', &"7".repeat(64)));
    let report = world.publish("lock demo --cache cache").done();
    assert!(report.contains("; size not known yet: gone.tar.gz"), "{report}");
    let lock = world.json("runtimes-src/demo/versions.lock");
    assert_eq!(lock["inputs"]["amd64"][0]["size"], serde_json::Value::Null);
    let complaint = world.publish("build demo --cache cache").failed(10);
    let start = format!(
        "error[NET]: gone.tar.gz: not available from {}/gone.tar.gz: HTTP status 404; fetch it on \
         another machine and copy it to cache/sha256/7777",
        server.address
    );
    assert!(complaint.starts_with(&start), "{complaint}");
    // The hash published upstream decides.
    manifest(&world, &changed.replace("gone", "tool-1.2").replace('X', &"7".repeat(64)));
    let complaint = world.publish("lock demo --cache cache").failed(13);
    assert!(
        complaint.contains("tool-1.2.tar.gz: checksum differs: expected sha256:7777"),
        "{complaint}"
    );
}
