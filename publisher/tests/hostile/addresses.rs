//! Passwords and signatures in addresses.

use super::world::{MANIFEST, SECRET, World, finished};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

/// A deb and a wheel that are not available.
fn with_inputs() -> World {
    let world = World::new();
    let path = world.main("runtimes-src/demo/versions.lock");
    let lock = fs::read_to_string(&path).unwrap();
    let sum = "ab".repeat(32);
    let deb = format!(r#"{{"kind":"deb","name":"debian/pool/a.deb","size":1,"sha256":"{sum}"}}"#);
    fs::write(&path, lock.replace("\"amd64\": [\n    ]", &format!("\"amd64\": [{deb}]"))).unwrap();
    world
}

/// A server that redirects every request there.
fn redirecting(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n";
            _ = stream.write_all(format!("{head}Location: {to}\r\n\r\n").as_bytes());
        }
    });
    host
}

/// SEC-E14: mirrors, snapshots, stores of inputs, redirects and proxies.
#[test]
fn no_message_shows_what_an_address_hides() {
    let world = with_inputs();
    let nowhere = format!("http://me:{SECRET}@127.0.0.1:9/x?sig={SECRET}");
    let redirect = format!("http://me:{SECRET}@{}/", redirecting(nowhere.clone()));
    let to_ftp = redirecting(format!("ftp://me:{SECRET}@127.0.0.1/x?sig={SECRET}"));
    let broken = format!("https:/me:{SECRET}@127.0.0.1:9");
    for (variable, value, mirror, status, shown) in [
        ("X", "", nowhere.as_str(), 10, "127.0.0.1:9/x?…"),
        ("X", "", &redirect, 10, "127.0.0.1:"),
        ("X", "", &format!("http://{to_ftp}"), 10, "127.0.0.1:"),
        ("X", "", &broken, 2, "is not an http or https address"),
        ("JOBLET_PUBLISH_DEBIAN_SNAPSHOT", &nowhere, "http://127.0.0.1:9", 10, "127.0.0.1:9/x?…"),
        ("JOBLET_PUBLISH_INPUT_STORE", &nowhere, "http://127.0.0.1:9", 10, "127.0.0.1:9/x?…"),
        ("http_proxy", &nowhere, "http://a.example.org", 10, "a.example.org"),
    ] {
        let words = ["build", "demo", "--arch", "amd64", "--mirror", mirror];
        let output = finished(world.command(&words).env(variable, value));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(shown) && !said.contains(SECRET), "{mirror}: {said}");
        world.keeps_nothing();
    }
}

/// SEC-E14: requests of `lock`, registries and repositories.
#[test]
fn registries_and_repositories_are_shown_without_secrets() {
    let world = with_inputs();
    let base = "https://example.org/releases";
    let build = ["build", "demo", "--offline", "--arch", "arm64", "--base-url", base];
    assert!(world.run(&build).status.success());
    let nowhere = format!("http://me:{SECRET}@127.0.0.1:9/x?sig={SECRET}");
    let verify = ["verify", "demo", "--records", "dist/records", "--against"];
    world.refused(
        &[&verify[..], &[&nowhere]].concat(),
        10,
        "error[NET]: http://…@127.0.0.1:9/x?…: ",
    );
    let git = format!("http://me:{SECRET}@127.0.0.1:9/x.git");
    let release = ["release", "--tag", "demo@1.0.0", "--host", "../host"];
    assert!(world.run(&release).status.success());
    let reconcile = ["reconcile", "--host", "../host", "--repository", &git];
    world.refused(&reconcile, 19, "git: clone failed: ");
    let manifest = world.main("runtimes-src/demo/manifest.yaml");
    let debian = "debian: { suite: bookworm, packages: [bash] }\n";
    fs::write(&manifest, format!("{MANIFEST}{debian}")).unwrap();
    let output = world.run(&["lock", "demo", "--mirror", &nowhere]);
    assert!(!output.status.success() && !format!("{output:?}").contains(SECRET), "{output:?}");
    world.keeps_nothing();
}

/// SEC-E14: published files contain no address with a secret.
#[test]
fn secrets_are_refused_where_they_would_be_published() {
    let world = World::new();
    let base = format!("https://me:{SECRET}@example.org/r");
    let build = ["build", "demo", "--offline", "--base-url", &base];
    world.refused(
        &build,
        2,
        "error[USAGE]: --base-url: it has a user name or password, and records",
    );
    assert!(world.run(&["build", "demo", "--offline"]).status.success());
    // A record from elsewhere, and a lock.
    let record = world.main("dist/records/demo/1.0.0.json");
    let text = fs::read_to_string(&record).unwrap();
    let signed = format!("https://example.org/a.tar.gz?X-Amz-Signature={SECRET}");
    let changed = text.replace("demo-1.0.0-arm64.tar.gz", &signed);
    fs::write(&record, changed).unwrap();
    let output = world.run(&["index", "--records", "dist/records"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("1.0.0.json: has a signature or token in its query in the address"),
        "{said}"
    );
    assert!(!said.contains(SECRET) && !world.main("registry.json").exists(), "{said}");
    fs::write(&record, text).unwrap();
    let manifest = world.main("runtimes-src/demo/manifest.yaml");
    for (address, rule) in [
        (
            format!("https://me:{SECRET}@example.org/a.tar.gz"),
            "has a user name or password, and locks",
        ),
        (
            format!("https://example.org/a.tar.gz?token={SECRET}"),
            "has a signature or token in its query",
        ),
        (format!("https:/me:{SECRET}@example.org/a.tar.gz"), "is not an http or https address"),
        (format!("https://example.org/a.7z?{SECRET}"), "is not an archive"),
    ] {
        let urls = format!("urls: [{{ into: opt, amd64: \"{address}\" }}]\n");
        fs::write(&manifest, format!("{MANIFEST}{urls}")).unwrap();
        let output = world.run(&["lock", "demo"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(rule) && !said.contains(SECRET), "{said}");
        assert_eq!(output.status.code(), Some(17), "{said}");
    }
}
