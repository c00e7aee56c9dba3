//! install, list, path, remove: end-to-end tests with directories and a loopback server.

use crate::common::server::{Reply, Server};
use crate::common::{World, checksum, gzip, list, runtime_archive, tar};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Asserts that the program fails with this status and this one line on stderr.
fn assert_fails(world: &World, args: &str, status: i32, message: &str) {
    let outcome = world.exec(args.split_whitespace());
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{outcome:?}");
    assert!(outcome.stderr.starts_with(message), "{args}: {}", outcome.stderr);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn a_runtime_comes_and_goes() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let installed = world.exec(["install", "demo"]);
    assert_eq!((installed.status, installed.stdout.as_str()), (Some(0), ""));
    assert!(installed.stderr.starts_with("installed demo@1.0.0 ("), "{installed:?}");
    let file = world.path("store/demo-1.0.0/isolated/etc/version");
    assert_eq!(fs::read_to_string(file).unwrap(), "1.0.0");
    world.assert_store(&["demo-1.0.0"]);
    let path = world.exec(["path", "demo"]);
    assert_eq!((path.stdout.as_str(), path.stderr.as_str()), ("~/store/demo-1.0.0\n", ""));
    let again = world.exec(["runtime", "install", "demo@1.0.0"]);
    assert_eq!(again.stderr, "demo@1.0.0 is installed already\n");
    let listed = world.exec(["list"]);
    let (head, row) = listed.stdout.split_once('\n').unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["NAME", "VERSION", "SIZE", "INSTALLED", "FROM"]
    );
    assert!(row.starts_with("demo  1.0.0    ") && row.ends_with("  ~/registry\n"), "{listed:?}");
    let listed = world.exec(["runtime", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(json[0]["name"], "demo");
    let removed = world.exec(["remove", "demo@1.0.0"]);
    assert_eq!(removed.stderr, "removed ~/store/demo-1.0.0\n");
    world.assert_store(&[]);
    assert_eq!(list(&world.path("store/.joblet/receipts")), Vec::<String>::new());
}

#[test]
fn latest_is_chosen_by_number_and_versions_live_side_by_side() {
    let mut world = World::new();
    for version in ["1.9.0", "1.10.0", "2.0.0-rc.1"] {
        world.publish("demo", version);
    }
    assert_eq!(world.exec(["install", "demo@latest", "demo@1.9.0"]).status, Some(0));
    world.assert_store(&["demo-1.10.0", "demo-1.9.0"]);
    assert_eq!(world.exec(["path", "demo"]).stdout, "~/store/demo-1.10.0\n");
    let available = world.exec(["list", "--available"]).stdout;
    assert!(available.contains("demo  1.10.0"), "{available}");
    assert_eq!(available.lines().count(), 2, "{available}");
    let all = world.exec(["list", "--available", "--all-versions", "--json"]).stdout;
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!(
        (all[0]["version"].as_str(), all.as_array().unwrap().len()),
        (Some("2.0.0-rc.1"), 3)
    );
    assert_fails(
        &world,
        "remove demo",
        2,
        "error[USAGE]: 2 versions of demo are installed; name those to remove: joblet-exec remove demo@1.9.0 demo@1.10.0",
    );
}

/// Serves `world`, and responds to the first request for an archive when there is a second, or
/// after ten seconds. Also returns the largest number of simultaneous requests.
fn serving_two_at_a_time(world: &World) -> (Server, Arc<Mutex<(usize, usize)>>) {
    let (root, waiting) = (world.path("registry"), Arc::new(Mutex::new((0, 0))));
    let (seen, met) = (Arc::clone(&waiting), Condvar::new());
    let server = Server::new(move |path, _| {
        if path.ends_with(".tar.gz") {
            let mut count = waiting.lock().unwrap();
            count.0 += 1;
            count.1 = count.1.max(count.0);
            met.notify_all();
            let two = met.wait_timeout_while(count, Duration::from_secs(10), |it| it.1 < 2);
            two.unwrap().0.0 -= 1;
        }
        fs::read(root.join(&path[1..]))
            .map_or_else(|_| Reply::new("404 x", &[], b""), |it| Reply::ok(&it))
    });
    (server, seen)
}

#[test]
fn several_runtimes_are_fetched_concurrently_and_reported_in_order() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.publish(name, "1.0.0");
    }
    world.publish("b", "2.0.0");
    let (server, waited) = serving_two_at_a_time(&world);
    let args = "install e b@1.0.0 a b f@1.0.0 -v --registry";
    let outcome = world.exec(args.split(' ').chain([server.address.as_str()]));
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let did = outcome.stderr.lines().filter_map(|line| line.strip_prefix("installed "));
    let did: Vec<_> = did.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(did, ["e@1.0.0", "b@1.0.0", "a@1.0.0", "b@2.0.0", "f@1.0.0"]);
    let order: Vec<_> = outcome.stderr.lines().filter(|line| line.contains("fetching")).collect();
    assert!(order.len() == 5 && order[3].starts_with("b@2.0.0: fetching http"), "{order:?}");
    assert!((2..=4).contains(&waited.lock().unwrap().1));
    let registry = |path: &&String| path.ends_with("registry.json");
    assert_eq!(server.requests().iter().filter(registry).count(), 1);
    world.assert_store(&["a-1.0.0", "b-1.0.0", "b-2.0.0", "e-1.0.0", "f-1.0.0"]);
    let twice = world.exec(["install", "d", "d@1.0.0", "a", "--json", "-q"]);
    let rows: serde_json::Value = serde_json::from_str(&twice.stdout).unwrap();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["d", "d", "a"]);
}

#[test]
fn a_failed_installation_does_not_stop_the_others() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.publish(name, "1.0.0");
    }
    fs::write(world.path("registry/b-1.0.0.tar.gz"), "short").unwrap();
    let (server, _) = serving_two_at_a_time(&world);
    let args = "install a none b c@9.0.0 c --registry";
    let outcome = world.exec(args.split(' ').chain([server.address.as_str()]));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(12), ""));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    let [a, b, c9, c, error] = lines.as_slice() else { panic!("{outcome:?}") };
    assert!(a.starts_with("installed a@1.0.0 (") && c.starts_with("installed c@1.0.0 ("), "{a}");
    assert!(b.starts_with("warning: http") && b.contains("size differs"), "{b}");
    assert!(c9.starts_with("warning: c has no version 9.0.0 in"), "{c9}");
    assert!(error.starts_with("error[NOTFOUND]: no runtime is called none"), "{error}");
    world.assert_store(&["a-1.0.0", "c-1.0.0"]);
    // A registry that does not respond is contacted once.
    let outcome = world.exec("install a b c@1.0.0 --registry http://localhost:1".split(' '));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (Some(10), 1), "{outcome:?}");
}

#[test]
fn missing_names_are_reported_with_existing_ones() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    world.publish("elsewhere", "1.0.0");
    world.edit("elsewhere", "1.0.0", |entry| entry["platforms"] = ["ubuntu-riscv64"].into());
    for (args, message) in [
        (
            "install dmeo",
            "error[NOTFOUND]: no runtime is called dmeo in ~/registry/registry.json; did you mean demo?",
        ),
        (
            "install demo@9.9.9",
            "error[NOTFOUND]: demo has no version 9.9.9 in ~/registry/registry.json, only 1.0.0, 1.1.0",
        ),
        ("install elsewhere", "error[NOTFOUND]: elsewhere@1.0.0 is not built for"),
        (
            "path demo",
            "error[NOTFOUND]: demo is not installed; joblet-exec list shows the installed ones",
        ),
        ("remove demo", "error[NOTFOUND]: demo is not installed"),
    ] {
        assert_fails(&world, args, 12, message);
    }
    world.assert_store(&[]);
}

#[test]
fn a_flipped_byte_is_never_installed() {
    let mut world = World::new();
    let archive = world.publish("demo", "1.0.0");
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let local =
        "error[INTEGRITY]: ~/registry/demo-1.0.0.tar.gz: checksum differs: expected sha256:";
    assert_fails(&world, "install demo", 13, local);
    world.assert_store(&[]);
    let server = Server::files(world.path("registry"));
    let remote = format!("error[INTEGRITY]: {}/demo-1.0.0.tar.gz: checksum", server.address);
    assert_fails(&world, &format!("install demo --registry {}", server.address), 13, &remote);
    world.assert_store(&[]);
    fs::write(&archive, &bytes[..middle]).unwrap();
    let cut = format!("install demo --registry {}", server.address);
    assert_fails(&world, &cut, 13, &remote.replace("checksum", "size"));
    fs::write(&archive, [&bytes[..], b"x"].concat()).unwrap();
    assert_fails(&world, &cut, 13, &remote.replace("checksum", "size"));
    world.assert_store(&[]);
}

#[test]
fn archives_without_a_runtime_are_refused() {
    let mut world = World::new();
    let whole = runtime_archive("cut", "1.0.0");
    for (name, archive, status, message) in [
        ("cut", &whole[..whole.len() - 9], 14, "it is cut off before its end"),
        ("text", b"#!/bin/sh\necho no archive\n", 14, "it is damaged or not a gzip file"),
        (
            "scripts",
            &gzip(&tar(&[
                ("scripts-1.0.0/setup.sh", "#!/bin/sh"),
                ("scripts-1.0.0/manifest.yaml", ""),
            ])),
            14,
            "it has no runtime.yml: this is a package of install scripts (setup.sh)",
        ),
        (
            "plain",
            &gzip(&tar(&[("README", "")])),
            14,
            "it has no runtime.yml, so it is not a runtime",
        ),
        ("odd", &gzip(&tar(&[("runtime.yml", "name: odd\nmounts: {}\n")])), 17, "runtime.yml"),
        ("empty", b"", 14, "it is cut off before its end"),
    ] {
        world.publish_archive(name, "1.0.0", archive);
        let outcome = world.exec(["install", name]);
        assert_eq!(outcome.status, Some(status), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(message), "{name}: {}", outcome.stderr);
        world.assert_store(&[]);
    }
}

#[test]
fn invalid_registries_are_refused_by_class() {
    let world = World::new();
    let document = world.path("registry/registry.json");
    for (body, message) in [
        ("<!DOCTYPE html><title>Log in</title>", "this is a web page, not a registry.json"),
        ("", "the document is empty"),
        ("{\"version\": \"2\", \"runtimes\": {}}", "format version \"2\" is newer"),
        ("{\"version\": \"1\", \"runtimes\": {\"demo\": 7}}", "invalid type"),
        ("7", "not a registry.json: invalid type: integer `7`, expected an object"),
        ("[]", "not a registry.json"),
    ] {
        fs::write(&document, body).unwrap();
        let outcome = world.exec(["list", "--available"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(11), ""), "{body}");
        assert!(outcome.stderr.contains(message), "{body}: {}", outcome.stderr);
    }
    assert_fails(
        &world,
        "install demo --registry ./nowhere",
        11,
        "error[REGISTRY]: registry ~/nowhere: it does not exist; name a ",
    );
    fs::create_dir(world.path("nowhere")).unwrap();
    assert_fails(
        &world,
        "install demo --registry ./nowhere",
        11,
        "error[REGISTRY]: registry ~/nowhere/registry.json: it does not exist; joblet-publish ",
    );
    assert_fails(
        &world,
        "install demo --registry http://example.org/",
        10,
        "error[NET]: http://example.org/: plain http is allowed only to this host; use https",
    );
}

#[test]
fn entries_that_break_a_rule_are_ignored_with_one_warning() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    world.publish("demo-1.0.0", "1.0.0");
    world.edit("demo", "1.1.0", |entry| entry["checksum"] = "md5:00".into());
    let outcome = world.exec(["install", "demo"]);
    assert_eq!(outcome.status, Some(0));
    let warning = "warning: registry ~/registry/registry.json: 2 entries are broken and ignored";
    assert!(outcome.stderr.starts_with(warning), "{}", outcome.stderr);
    world.assert_store(&["demo-1.0.0"]);
    assert_fails_after_warning(&world, "install demo@1.1.0", 11, "is refused: checksum \"md5:00\"");
}

fn assert_fails_after_warning(world: &World, args: &str, status: i32, message: &str) {
    let outcome = world.exec(args.split_whitespace());
    assert_eq!(outcome.status, Some(status), "{outcome:?}");
    assert!(outcome.stderr.lines().last().unwrap().contains(message), "{}", outcome.stderr);
}

#[test]
fn one_registry_request_an_hour() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("tool", "1.0.0");
    let server = Server::files(world.path("registry"));
    let exec = |args: &str| {
        world.exec(args.split_whitespace().chain(["--registry", server.address.as_str()]))
    };
    assert_eq!(exec("install demo").status, Some(0));
    assert_eq!(exec("install tool").status, Some(0));
    assert_eq!(exec("list --available").status, Some(0));
    assert_eq!(server.requests(), ["/registry.json", "/demo-1.0.0.tar.gz", "/tool-1.0.0.tar.gz"]);
    assert_eq!(exec("list --available --refresh").status, Some(0));
    assert_eq!(server.requests().len(), 4);
    // Installed versions need no registry.
    assert_eq!(exec("install demo@1.0.0 --refresh").status, Some(0));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_silent_network_is_bridged_by_the_cache_or_named() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let dead = {
        let server = Server::files(world.path("registry"));
        let args = ["list", "--available", "--registry", &server.address];
        assert_eq!(world.exec(args).status, Some(0));
        server.address
    };
    let offline = ["list", "--available", "--offline", "--registry", dead.as_str()];
    let outcome = world.exec(offline);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "a fresh copy");
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    let outcome = world.exec(offline);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(10), ""));
    assert!(outcome.stderr.contains("once without --offline"), "{outcome:?}");
    let refused = ["list", "--available", "--registry", "http://127.0.0.1:1/"];
    let outcome = world.exec(refused);
    assert_eq!(outcome.status, Some(10));
    assert!(outcome.stderr.contains("connection refused"), "{outcome:?}");
}

#[test]
fn only_transient_failures_are_retried() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let moody = Server::new(move |_, count| match count {
        0 => Reply::new("503 Service Unavailable", &[], b""),
        _ => Reply::ok(&body),
    });
    let args = |server: &Server| {
        ["list", "--available", "--refresh", "--registry"]
            .map(str::to_owned)
            .into_iter()
            .chain([server.address.clone()])
            .collect::<Vec<_>>()
    };
    assert_eq!(world.exec(args(&moody)).status, Some(0));
    assert_eq!(moody.requests().len(), 2);
    let gone = Server::new(|_, _| Reply::new("404 Not Found", &[], b""));
    let outcome = world.exec(args(&gone));
    assert_eq!((outcome.status, gone.requests().len()), (Some(10), 1));
    assert!(outcome.stderr.contains("the server answered 404 Not Found"), "{outcome:?}");
    let leaving =
        Server::new(|_, _| Reply::new("302 Found", &[("Location", "http://example.org/")], b""));
    let outcome = world.exec(args(&leaving));
    assert_eq!((outcome.status, leaving.requests().len()), (Some(10), 1));
    assert!(outcome.stderr.contains("redirect to http://example.org/ refused"), "{outcome:?}");
    let round = Server::new(|_, _| Reply::new("302 Found", &[("Location", "/registry.json")], b""));
    let outcome = world.exec(args(&round));
    assert!(outcome.stderr.contains("more than 5 redirects"), "{outcome:?}");
}

#[test]
fn https_is_trusted_only_with_a_known_authority() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("registry");
    let files = move |path: &str, _| {
        Reply::ok(&fs::read(registry.join(path.trim_start_matches('/'))).unwrap())
    };
    let (server, authority) = Server::tls("localhost", files.clone());
    let pem = world.path("ca.pem");
    fs::write(&pem, authority).unwrap();
    let install = |address: &str, variable: &str| {
        let mut command = world.command();
        command.args(["install", "demo", "--registry", address]).env("SSL_CERT_FILE", variable);
        world.outcome(command.output().unwrap())
    };
    let unknown = world.exec(["install", "demo", "--registry", server.address.as_str()]);
    assert_eq!(unknown.status, Some(10), "{unknown:?}");
    assert!(unknown.stderr.contains("UnknownIssuer"), "{unknown:?}");
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", plain.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            _ = stream.read(&mut [0; 4096]);
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let outcome = world.exec(["install", "demo", "--registry", &address]);
    assert_eq!(outcome.status, Some(10), "{outcome:?}");
    assert!(outcome.stderr.contains("does not speak TLS; is its address http://?"), "{outcome:?}");
    let missing = install(&server.address, "/no/such/file");
    assert!(missing.stderr.contains("SSL_CERT_FILE and SSL_CERT_DIR have no"), "{missing:?}");
    let (other, _) = Server::tls("example.org", files);
    let wrong = install(&other.address, pem.to_str().unwrap());
    assert_eq!((wrong.status, other.requests().len()), (Some(10), 0), "{wrong:?}");
    world.assert_store(&[]);
    let known = install(&server.address, pem.to_str().unwrap());
    assert_eq!(known.status, Some(0), "{known:?}");
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn addresses_that_lead_elsewhere_are_refused() {
    let mut world = World::new();
    for url in ["../outside.tar.gz", "/etc/passwd", "file:///etc/passwd", "http://example.org/x"] {
        world.publish("demo", "1.0.0");
        world.edit("demo", "1.0.0", |entry| entry["download_url"] = url.into());
        let outcome = world.exec(["install", "demo"]);
        assert_eq!(outcome.status, Some(11), "{url}: {outcome:?}");
        assert!(outcome.stderr.contains("of demo@1.0.0 is refused"), "{url}: {}", outcome.stderr);
        world.assert_store(&[]);
    }
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let store = world.path("file");
    fs::write(&store, "").unwrap();
    let outcome = world.exec(["install", "demo", "--store", store.to_str().unwrap()]);
    assert_eq!(outcome.status, Some(15), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[STORE]: cannot "), "{}", outcome.stderr);
    if rustix::process::geteuid().is_root() {
        let outcome = world.exec(["install", "demo", "--store", "/proc/store"]);
        assert_eq!(outcome.status, Some(15), "{outcome:?}");
    } else {
        let closed = world.path("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        let outcome = world.exec(["install", "demo", "--store", closed.to_str().unwrap()]);
        assert!(outcome.stderr.contains("choose a store of your own with --store"), "{outcome:?}");
    }
}

#[test]
fn leftovers_of_a_dead_process_are_removed() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let staging = world.path("store/.joblet/staging/demo-1.0.0/demo-1.0.0/isolated");
    let other = world.path("store/.joblet/staging/gone-2.0.0");
    for leftover in [&staging, &other, &world.path("store/.joblet/downloads")] {
        fs::create_dir_all(leftover).unwrap();
    }
    fs::write(world.path("store/.joblet/downloads/demo-1.0.0"), "half").unwrap();
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn many_processes_install_the_same_runtime_once() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let server = Server::files(world.path("registry"));
    world.assert_installed_once(&server);
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn a_yanked_version_is_installed_only_by_name_and_with_a_warning() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    world.edit("demo", "1.1.0", |entry| entry["yanked"] = "loses\u{1b}[2J data".into());
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    world.assert_store(&["demo-1.0.0"]);
    let outcome = world.exec(["install", "demo@1.1.0"]);
    let warning = "warning: demo@1.1.0 is yanked: loses\\u{1b}[2J data\n";
    assert!(outcome.stderr.starts_with(warning), "{}", outcome.stderr);
    let series = world.exec(["install", "demo@1.1"]);
    assert_eq!(series.status, Some(12), "{series:?}");
    assert!(series.stderr.contains("demo@1.1: every version in "), "{series:?}");
    assert!(series.stderr.ends_with(" is yanked: 1.1.0\n"), "{series:?}");
}

/// A version that is yanked after its installation: others are preferred to it, and it is the first to be removed.
#[test]
fn a_version_that_is_yanked_later_is_replaced() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    world.edit("demo", "1.1.0", |entry| entry["yanked"] = "loses data".into());
    let warning = "warning: demo@1.1.0 is yanked: loses data\n";
    let outdated = world.exec(["outdated"]);
    let row = "demo  1.1.0      1.0.0   yanked: loses data\n";
    assert!(outdated.stdout.ends_with(row), "{outdated:?}");
    // Recorded, so no registry is asked.
    let named =
        |spec: &str| world.exec(["--offline", "run", "--dry-run", "--runtime", spec, "true"]);
    assert!(named("demo").stderr.starts_with(warning), "{:?}", named("demo"));
    let upgraded = world.exec(["upgrade"]);
    assert!(upgraded.stderr.starts_with(warning), "{upgraded:?}");
    assert!(upgraded.stderr.contains("installed demo@1.0.0 ("), "{upgraded:?}");
    world.assert_store(&["demo-1.0.0", "demo-1.1.0"]);
    assert!(!named("demo").stderr.contains("yanked"), "{:?}", named("demo"));
    assert!(world.exec(["path", "demo"]).stdout.ends_with("/demo-1.0.0\n"));
    assert!(named("demo@1.1.0").stderr.starts_with(warning));
    world.edit("demo", "1.1.0", |entry| drop(entry.as_object_mut().unwrap().remove("yanked")));
    assert_eq!(world.exec(["upgrade"]).stderr, "every installed runtime is the latest\n");
    assert!(world.exec(["path", "demo"]).stdout.ends_with("/demo-1.1.0\n"));
    world.edit("demo", "1.1.0", |entry| entry["yanked"] = "loses data".into());
    assert_eq!(world.exec(["upgrade"]).status, Some(0));
    assert_eq!(world.exec(["prune", "--yes"]).status, Some(0));
    world.assert_store(&["demo-1.0.0"]);
    assert!(!world.path("store/.joblet/receipts/demo-1.1.0.yanked").exists());
}

/// What could not be looked at is neither the latest nor unchanged.
#[test]
fn a_registry_that_does_not_answer_is_no_success() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let empty = world.exec(["verify"]);
    assert!(empty.stderr.starts_with("no runtime is installed in "), "{empty:?}");
    let elsewhere = world.path("elsewhere");
    fs::rename(world.path("registry"), &elsewhere).unwrap();
    let from = elsewhere.to_str().unwrap();
    assert_eq!(world.exec(["--registry", from, "install", "demo"]).status, Some(0));
    fs::write(world.path("store/demo-1.0.0/runtime.yml"), "").unwrap();
    let repaired = world.exec(["verify", "--repair"]);
    assert!(repaired.stderr.starts_with("repaired demo@1.0.0"), "{repaired:?}");
    fs::write(elsewhere.join("registry.json"), "[]").unwrap();
    for command in ["outdated", "upgrade"] {
        let outcome = world.exec([command]);
        assert_eq!(outcome.status, Some(11), "{outcome:?}");
        assert!(!outcome.stderr.contains("the latest"), "{outcome:?}");
    }
}

#[test]
fn the_receipt_has_the_origin_of_a_runtime() {
    let mut world = World::new();
    let archive = fs::read(world.publish("demo", "1.0.0")).unwrap();
    world.exec(["install", "demo"]);
    let receipt = fs::read(world.path("store/.joblet/receipts/demo-1.0.0.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt["checksum"], checksum(&archive).as_str());
    assert!(Path::new(receipt["url"].as_str().unwrap()).ends_with("demo-1.0.0.tar.gz"));
}

#[test]
fn installed_files_do_not_depend_on_the_umask() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let script = "umask 077; exec \"$0\" install demo";
    let mut shell = std::process::Command::new("sh");
    let environment = world.command();
    for (name, value) in environment.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let status = shell.args(["-c", script]).arg(crate::common::program()).status().unwrap();
    assert!(status.success());
    let mode = |path: &str| fs::metadata(world.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("store/demo-1.0.0/isolated/etc"), 0o755);
    assert_eq!(mode("store/demo-1.0.0/isolated/etc/version"), 0o644);
}
