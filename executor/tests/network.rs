//! Hostile addresses, servers and responses.

use crate::common::server::{Reply, Server, Tunnel};
use crate::common::{Outcome, World};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[track_caller]
fn assert_refused(outcome: &Outcome, status: i32, message: &str) {
    assert_eq!(outcome.status, Some(status), "{message}: {outcome:?}");
    assert!(outcome.stderr.contains(message), "{message}: {outcome:?}");
}

/// Serves what the world publishes as `https://registry.example`, which only a proxy can reach.
struct Far {
    tunnel: Tunnel,
    ca: PathBuf,
}

const FAR: &str = "https://registry.example/registry.json";

impl Far {
    /// `redirects` are paths and where they lead.
    fn new(world: &World, redirects: Arc<Mutex<Vec<(String, String)>>>) -> Self {
        let files = world.path("registry");
        let (server, authority) = Server::tls("registry.example", move |path, _| {
            let redirects = redirects.lock().unwrap();
            if let Some((_, to)) = redirects.iter().find(|(from, _)| from == path) {
                return Reply::new("302 Found", &[("Location", to)], b"");
            }
            match fs::read(files.join(path.trim_start_matches('/'))) {
                Ok(body) => Reply::ok(&body),
                Err(_) => Reply::new("404 Not Found", &[], b""),
            }
        });
        let ca = world.path("ca.pem");
        fs::write(&ca, authority).unwrap();
        Self { tunnel: Tunnel::new(&server, None), ca }
    }

    fn install(&self, world: &World) -> Outcome {
        let mut command = world.command();
        command.args(["install", "demo", "--refresh", "--registry", FAR]);
        command.env("HTTPS_PROXY", format!("http://{}", self.tunnel.address));
        // Requests that bypass the proxy are detected.
        command.env("NO_PROXY", "localhost,127.0.0.0/8,::1").env("SSL_CERT_FILE", &self.ca);
        world.outcome(command.output().unwrap())
    }
}

/// SEC-E13
#[test]
fn a_registry_elsewhere_does_not_lead_to_this_host() {
    let mut world = World::new();
    let archive = world.publish("demo", "1.0.0");
    let redirects = Arc::new(Mutex::new(Vec::new()));
    let far = Far::new(&world, Arc::clone(&redirects));
    assert_eq!(far.install(&world).status, Some(0));
    world.exec(["remove", "demo"]);
    // Requests to services on loopback.
    let here = Server::files(world.path("registry"));
    let port = here.address.rsplit(':').next().unwrap().to_owned();
    let hosts = [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "127.9.9.9", "localhost",
        "LOCALHOST", "localhost.", "sub.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
        "[::]",
    ];
    let url = |host: &str| format!("http://{host}:{port}/demo-1.0.0.tar.gz");
    let whole = fs::read_to_string(world.path("registry/registry.json")).unwrap();
    let message = "only a registry on this host may link to addresses of this host";
    for host in hosts {
        for url in
            [url(host), url(host).replace("http:", "https:"), url(host).replace("http:", "HTTP:")]
        {
            world.edit("demo", "1.0.0", |entry| entry["download_url"] = url.as_str().into());
            assert_refused(&far.install(&world), 11, message);
        }
    }
    // As an archive, as an index, and as a part.
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = "demo-1.0.0.tar.gz".into());
    let half = fs::metadata(&archive).unwrap().len() / 2;
    world.part("demo", "1.0.0", &[usize::try_from(half).unwrap()]);
    for member in ["download_url", "index", "part"] {
        world.edit("demo", "1.0.0", |entry| {
            for arch in ["amd64", "arm64"] {
                let artifact = &mut entry["artifacts"][arch];
                match member {
                    "part" => artifact["parts"][1]["download_url"] = url("localhost").into(),
                    _ => artifact["download_url"] = url("localhost").into(),
                }
                if member == "index" {
                    artifact["index"] = serde_json::json!({
                        "size": 1, "checksum": artifact["checksum"],
                    });
                }
            }
        });
        assert_refused(&far.install(&world), 11, message);
        world.edit("demo", "1.0.0", |entry| {
            for arch in ["amd64", "arm64"] {
                let artifact = &mut entry["artifacts"][arch];
                artifact["download_url"] = "demo-1.0.0.tar.gz".into();
                artifact["parts"][1]["download_url"] = "demo-1.0.0.tar.gz.part1".into();
                artifact.as_object_mut().unwrap().remove("index");
            }
        });
    }
    // By a redirect from any of them.
    for from in ["/registry.json", "/demo-1.0.0.tar.gz.part0"] {
        for host in hosts {
            let to = url(host).replace("demo-1.0.0.tar.gz", from.trim_start_matches('/'));
            *redirects.lock().unwrap() = vec![(from.to_owned(), to)];
            _ = fs::remove_dir_all(world.path("cache/joblet"));
            assert_refused(&far.install(&world), 10, message);
        }
    }
    assert_eq!(here.requests(), Vec::<String>::new());
    world.assert_store(&[]);
    // A registry on loopback may refer to loopback.
    fs::write(world.path("registry/registry.json"), whole).unwrap();
    for host in ["127.0.0.1", "127.1", "2130706433", "localhost", "sub.localhost", "0.0.0.0"] {
        let text = fs::read_to_string(world.path("registry/registry.json")).unwrap();
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["runtimes"]["demo"]["1.0.0"]["download_url"] = url(host).into();
        fs::write(world.path("registry/registry.json"), document.to_string()).unwrap();
        // The archive is in parts.
        fs::write(&archive, crate::common::runtime_archive("demo", "1.0.0")).unwrap();
        for registry in [world.path("registry").to_str().unwrap(), &here.address] {
            let outcome = world.exec(["install", "demo", "--refresh", "--registry", registry]);
            assert_eq!(outcome.status, Some(0), "{host}: {outcome:?}");
            world.exec(["remove", "demo"]);
        }
    }
    assert!(here.requests().contains(&"/demo-1.0.0.tar.gz".to_owned()));
}

/// Files below `directory` that contain the secret, with their modes.
fn with_secret(directory: &Path) -> Vec<(PathBuf, u32)> {
    let (mut left, mut found) = (vec![directory.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        let data = path.symlink_metadata().unwrap();
        if data.is_dir() {
            left.extend(crate::common::list(&path).iter().map(|name| path.join(name)));
        } else if fs::read(&path).unwrap().windows(6).any(|it| it == b"s3cret") {
            found.push((path.clone(), data.mode() & 0o777));
        }
        assert!(
            !path.file_name().unwrap().to_str().unwrap().contains("s3cret"),
            "{}",
            path.display()
        );
    }
    found
}

/// SEC-E14
#[test]
fn secrets_of_addresses_are_sent_and_never_shown() {
    let mut world = World::new();
    let archive = fs::read(world.publish("demo", "1.0.0")).unwrap();
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = "demo.tar.gz?sig=s3cret".into());
    let document = world.path("registry/registry.json");
    let server = Server::new(move |path, _| match path {
        "/registry.json?token=s3cret" => Reply::ok(&fs::read(&document).unwrap()),
        "/demo.tar.gz?sig=s3cret" => {
            Reply::new("302 Found", &[("Location", "/there?x=s3cret#s3cret")], b"")
        }
        "/there?x=s3cret" => Reply::ok(&archive),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let registry = format!("{}/registry.json?token=s3cret", server.address);
    let said = |args: &str, status: i32| {
        let mut words: Vec<_> = args.split(' ').collect();
        words.splice(1..1, ["--verbose", "--registry", &registry]);
        let outcome = world.exec(words);
        assert_eq!(outcome.status, Some(status), "{args}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("s3cret"), "{args}: {outcome:?}");
        outcome
    };
    let shown = format!("{}/registry.json?…", server.address);
    assert!(said("install demo", 0).stderr.contains(&format!("registry {shown}: requesting")));
    let asked = ["/registry.json?token=s3cret", "/demo.tar.gz?sig=s3cret", "/there?x=s3cret"];
    assert_eq!(server.requests(), asked);
    let run = "run --runtime=demo --dry-run true";
    for args in ["list", "list --available", "info demo", "verify", "outdated", run] {
        said(args, 0);
        said(&args.replacen(' ', " --json ", 1), 0);
    }
    said("list --json", 0);
    assert!(said("info demo --json", 0).stdout.contains(&shown));
    assert!(said("doctor", 0).stdout.contains("registry"));
    said("doctor --json", 0);
    said("install nothing", 12);
    said("install demo@7.0.0", 12);
    // One cached copy, for this address only; `outdated` and what it lacks ask for changes of it.
    assert_eq!(server.requests().iter().filter(|it| *it == asked[0]).count(), 7);
    let other = format!("{}/registry.json?token=other", server.address);
    assert_refused(&world.exec(["list", "--available", "--registry", &other]), 10, "404 Not Found");
    for (file, mode) in with_secret(&world.path("cache")) {
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    for directory in ["store", "home"] {
        assert_eq!(with_secret(&world.path(directory)), []);
    }
    // A receipt in the format of earlier versions.
    let receipt = world.path("store/.joblet/receipts/demo-1.0.0.json");
    let text = fs::read_to_string(&receipt).unwrap();
    assert!(text.contains("registry.json?…"), "{text}");
    fs::write(&receipt, text.replace("?…", "?token=s3cret")).unwrap();
    said("info demo", 0);
    said("info demo --json", 0);
    said("remove demo", 0);
}

/// SEC-E14: in error messages.
#[test]
fn secrets_of_addresses_are_in_no_failure() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let hostile = Arc::new(Mutex::new(String::new()));
    let (document, to) = (world.path("registry/registry.json"), Arc::clone(&hostile));
    let server = Server::new(move |path, _| match path {
        "/registry.json?s3cret" => Reply::ok(&fs::read(&document).unwrap()),
        "/wrong?s3cret" => Reply::ok(b"wrong"),
        "/moved?s3cret" => {
            Reply::new("302 Found", &[("Location", &to.lock().unwrap().clone())], b"")
        }
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let registry = format!("{}/registry.json?s3cret", server.address);
    let failed = |world: &World, args: &[&str]| {
        let outcome = world.exec(args);
        assert_ne!(outcome.status, Some(0), "{outcome:?}");
        assert!(!outcome.stderr.contains("s3cret"), "{args:?}: {outcome:?}");
        assert!(!outcome.stdout.contains("s3cret"), "{args:?}: {outcome:?}");
    };
    for named in [
        "https://user:s3cret@localhost:1/x",
        "https://s3cret@localhost:1/x",
        "https://user:s3/cret/s3cret@localhost:1/x",
        "https:/user:s3cret@localhost/x",
        "https:user:s3cret@localhost",
        "user:s3cret@localhost/x",
        "https://localhost:1/x?sig=s3cret",
        "https://localhost:1/x#s3cret",
        "ftp://localhost/x?s3cret",
        "https://user:s3cret@[::1",
        "https://user:s3cret@ho st/",
        "https://user:s3cret@github.com/owner/repo",
        "http://example.org/?s3cret",
        "https://localhost:1/\n?s3cret",
    ] {
        for command in [&["list", "--available"][..], &["install", "demo"], &["doctor", "--json"]] {
            failed(&world, &[command, &["-v", "--registry", named]].concat());
        }
    }
    failed(&world, &["install", "https://user:s3cret@localhost/x?s3cret"]);
    let install = ["install", "demo", "--refresh", "--registry", &registry];
    let redirects = [
        "https://user:s3cret@localhost:1/",
        "ftp://x/?s3cret",
        "http://example.org/?s3cret",
        "//user:s3cret@localhost/",
        "https://localhost:1/?s3cret",
        "http://localhost:1/?s3cret",
        "https://u:s3cret@[::1",
        "\\\\s3cret@x",
        "/moved?s3cret",
        "/none?s3cret",
    ];
    for to in redirects {
        world.edit("demo", "1.0.0", |entry| entry["download_url"] = "moved?s3cret".into());
        to.clone_into(&mut hostile.lock().unwrap());
        failed(&world, &install);
    }
    for url in ["wrong?s3cret", "none?s3cret", "ftp://u:s3cret@x/?s3cret", "https://u:s3cret@x/"] {
        world.edit("demo", "1.0.0", |entry| entry["download_url"] = url.into());
        failed(&world, &install);
        failed(&world, &[&["export", "--to", "bundle"], &install[1..2], &install[3..]].concat());
        if url.contains("//") {
            failed(&world, &["install", "demo"]);
        }
    }
    // A malformed document, which the parser quotes.
    for body in ["\"https://u:s3cret@x/?s3cret\"", "{\"version\": \"https://u:s3cret@x\"}"] {
        fs::write(world.path("registry/registry.json"), body).unwrap();
        failed(&world, &install);
    }
}

fn list(world: &World, registry: &str) -> (Outcome, Duration) {
    let begin = Instant::now();
    let mut command = world.command();
    command.args(["list", "--available", "--registry", registry]).env("JOBLET_EXEC_TIMEOUT", "1");
    (world.outcome(command.output().unwrap()), begin.elapsed())
}

/// SEC-C07: handshakes and response heads are subject to the timeout.
#[test]
fn a_slow_server_is_given_up() {
    let world = World::new();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", mute.local_addr().unwrap().port());
    thread::spawn(move || mute.incoming().collect::<Vec<_>>());
    let pause = Duration::from_millis(300);
    let head = Server::new(move |_, _| Reply::ok(&[b' '; 900]).trickling(pause));
    // A slow TLS record of the handshake.
    let hello = [&b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"[..], &[3; 900]].concat();
    let slow_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("https://localhost:{}", slow_tls.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut stream in slow_tls.incoming().flatten() {
            let hello = hello.clone();
            thread::spawn(move || {
                use std::io::Write;
                for byte in hello {
                    thread::sleep(pause);
                    stream.write_all(&[byte])?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    let slow = "the server sends less than 1024 bytes a second";
    let cases = [
        (format!("https://{address}"), "no answer within 1 s"),
        (format!("http://{address}"), "no answer within 1 s"),
        (head.address.clone(), slow),
        (tls, slow),
    ];
    let world = &world;
    thread::scope(|scope| {
        for (registry, message) in &cases {
            scope.spawn(move || {
                let (outcome, took) = list(world, registry);
                assert_refused(&outcome, 10, message);
                assert!(took < Duration::from_secs(30), "{registry}: {took:?}");
            });
        }
    });
    // A proxy that does not respond.
    let mut command = world.command();
    command.args(["list", "--available", "--registry", FAR]).env("JOBLET_EXEC_TIMEOUT", "1");
    command.env("HTTPS_PROXY", &address);
    assert_refused(&world.outcome(command.output().unwrap()), 10, "no answer within 1 s (proxy ");
}

/// SEC-C07: endless response heads, and ambiguous responses.
#[test]
fn malformed_responses_are_refused_by_name() {
    let world = World::new();
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let with = |head: &str| [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), b"\r\n", &body].concat();
    let length = body.len();
    let too_long = "the head of the response is too long";
    for (answer, message) in [
        (with(&"X: y\r\n".repeat(1 << 20)), too_long),
        (with(&format!("X: {}\r\n", "y".repeat(10 << 20))), too_long),
        ("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000).into_bytes(), too_long),
        (
            with(&format!("Content-Length: {length}\r\nContent-Length: 9\r\n")),
            "two Content-Length fields",
        ),
        (with("Content-Length: -1\r\n"), "is not a number"),
        (with("Content-Length: 99999999999999999999999\r\n"), "is not a number"),
        (with("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n"), "is not supported"),
        (with("Transfer-Encoding: gzip, chunked\r\n"), "is not supported"),
        (with("X : y\r\n"), "a line that is not a header field"),
        (with("X: y\r\n folded\r\n"), "a line that is not a header field"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "does not speak HTTP/1.1"),
        (b"HTTP/2 200 OK\r\n\r\n".to_vec(), "does not speak HTTP/1.1"),
        (b"\x15\x03\x01\x00\x02\x02\n\x00".to_vec(), "does not speak HTTP/1.1"),
        ([with("Transfer-Encoding: chunked\r\n"), b"\n".to_vec()].concat(), "has no length"),
    ] {
        let server = Server::new(move |_, _| Reply::raw(&answer));
        let (outcome, _) = list(&world, &server.address);
        assert_refused(&outcome, 10, message);
        assert_eq!(server.requests().len(), 1, "{message}");
    }
    // Interim responses without end.
    let mut command = world.command();
    command.args(["list", "--available", "--registry", "http://localhost:1"]);
    command.env("JOBLET_EXEC_TIMEOUT", u64::MAX.to_string());
    assert_refused(&world.outcome(command.output().unwrap()), 10, "connection refused");
    // Invalid responses are not retried; valid ones are accepted.
    let hints =
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", &with("Set-Cookie: a=b\r\n")[..]].concat();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    let server = Server::with_heads(move |path, head| {
        log.lock().unwrap().extend(head.to_owned());
        match path {
            "/registry.json" => Reply::new(
                "307 Temporary Redirect",
                &[("Location", "a?b"), ("Set-Cookie", "c=d")],
                b"",
            ),
            _ => Reply::raw(&hints),
        }
    });
    assert_eq!(list(&world, &server.address).0.status, Some(0));
    assert_eq!(server.requests(), ["/registry.json", "/a?b"]);
    let heads = heads.lock().unwrap();
    let named = server.address.trim_start_matches("http://");
    assert_eq!(heads.iter().filter(|line| **line == format!("host: {named}")).count(), 2);
    assert!(heads.iter().all(|line| !line.starts_with("cookie") && !line.starts_with("referer")));
}

/// SEC-C09: redirects are followed to valid addresses only.
#[test]
fn redirects_lead_to_addresses_only() {
    let world = World::new();
    let to = Arc::new(Mutex::new(String::new()));
    let target = Arc::clone(&to);
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let server = Server::new(move |path, _| match path {
        "/registry.json" => {
            Reply::new("301 x", &[("Location", &target.lock().unwrap().clone())], b"")
        }
        "/a" => Reply::ok(&body),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let host = server.address.trim_start_matches("http:");
    for (location, message) in [
        ("file:///etc/passwd", "\"file\" addresses are not supported"),
        ("file://localhost/etc/passwd", "\"file\" addresses are not supported"),
        ("data:,{}", "\"data\" addresses are not supported"),
        ("javascript:1", "\"javascript\" addresses are not supported"),
        ("http://user@localhost/", "must not carry a user name or password"),
        ("//user:x@localhost/", "must not carry a user name or password"),
        ("\\\\example.org\\a", "no control characters and no backslashes"),
        ("ht\ttp://localhost/a", "no control characters and no backslashes"),
        ("http://localhost:99999/", "invalid port number"),
        ("HTTP:a", "two slashes before its host"),
        ("https:///localhost/a", "two slashes before its host"),
        ("http://[::1/", "invalid IPv6 address"),
        ("http://127.0.0.256/", "invalid IPv4 address"),
        ("http://b\u{fc}cher.example/", "without a usable Location"),
        ("http://xn--/", "refused"),
        ("http://", "empty host"),
        ("http://example.org/", "plain http is allowed only to this host"),
        ("http://localhost.example.org/", "plain http is allowed only to this host"),
        ("http://169.254.169.254/latest", "plain http is allowed only to this host"),
        ("registry.json", "more than 5 redirects"),
        ("", "more than 5 redirects"),
        ("/%2e%2e/none", "404 Not Found"),
    ] {
        location.clone_into(&mut to.lock().unwrap());
        assert_refused(&list(&world, &server.address).0, 10, message);
    }
    for location in ["a", "/a", "/x/%2e%2e/a#frag", &format!("{host}/a"), "./x/.././a"] {
        location.clone_into(&mut to.lock().unwrap());
        let (outcome, _) = list(&world, &server.address);
        assert_eq!(outcome.status, Some(0), "{location}: {outcome:?}");
        fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    }
}

/// A redirect from http on loopback to https is verified by the caller's certificates.
#[test]
fn a_redirect_to_https_is_verified_as_any_https() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let files = world.path("registry");
    let (tls, authority) = Server::tls("localhost", move |path, _| {
        Reply::ok(&fs::read(files.join(path.trim_start_matches('/'))).unwrap())
    });
    fs::write(world.path("ca.pem"), authority).unwrap();
    let to = tls.address.clone();
    let plain = Server::new(move |path, _| {
        Reply::new("302 Found", &[("Location", &format!("{to}{path}"))], b"")
    });
    let install = |ca: Option<&str>| {
        let mut command = world.command();
        command.args(["install", "demo", "--registry", &plain.address]);
        command.envs(ca.map(|ca| ("SSL_CERT_FILE", world.path(ca))));
        world.outcome(command.output().unwrap())
    };
    assert_refused(&install(None), 10, "certificate");
    assert_refused(
        &install(Some("none.pem")),
        10,
        "have no readable certificate; correct or unset",
    );
    assert_eq!(install(Some("ca.pem")).status, Some(0));
}

/// A certificate that is a CA's and a server's at once: accepted where exactly it is trusted, under its name alone.
#[test]
fn a_servers_certificate_that_is_a_cas_is_named() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let start = |name: &str| {
        let files = world.path("registry");
        Server::tls_of_authority(name, move |path, _| {
            Reply::ok(&fs::read(files.join(path.trim_start_matches('/'))).unwrap())
        })
    };
    let (server, own) = start("localhost");
    let (other, named_otherwise) = start("elsewhere");
    let (_, authority) = Server::tls("localhost", |_, _| Reply::ok(b""));
    let install = |address: &str, trusted: &str| {
        fs::write(world.path("ca.pem"), trusted).unwrap();
        let mut command = world.command();
        command.args(["install", "demo", "--registry", address]);
        command.env("SSL_CERT_FILE", world.path("ca.pem"));
        world.outcome(command.output().unwrap())
    };
    for trusted in [&authority, &named_otherwise] {
        let outcome = install(&server.address, trusted);
        assert_refused(&outcome, 10, "name that certificate in SSL_CERT_FILE");
        assert!(!outcome.stderr.contains("clock"), "{outcome:?}");
    }
    // The owner of that certificate cannot impersonate other servers.
    let at = other.address.clone();
    assert_refused(&install(&at, &named_otherwise), 10, "not valid for name");
    assert_eq!(install(&server.address, &own).status, Some(0));
}

/// Addresses of IPv6, where this host has them.
#[test]
fn an_address_of_ipv6_is_an_address() {
    let world = World::new();
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return crate::common::skip::not_applicable("this kernel has no IPv6 on loopback");
    };
    let port = listener.local_addr().unwrap().port();
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let served = thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
        String::from_utf8_lossy(&head[..count]).into_owned()
    });
    assert_eq!(list(&world, &format!("http://[0:0::1]:{port}/")).0.status, Some(0));
    let head = served.join().unwrap();
    assert!(head.starts_with("GET /registry.json HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: [::1]:{port}\r\n")), "{head}");
}

/// A host that closes its connections: the next one resumes the TLS session, and no certificate is sent
/// and verified again.
#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let root = world.path("registry");
    let (server, authority, resumed) = Server::tls_watched("localhost", move |path, _| {
        match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(body) => Reply::ok(&body),
            Err(_) => Reply::new("404 Not Found", &[], b""),
        }
    });
    fs::write(world.path("ca.pem"), authority).unwrap();
    let mut command = world.command();
    command.args(["install", "demo", "--registry", &server.address]);
    command.env("SSL_CERT_FILE", world.path("ca.pem"));
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(server.requests(), ["/registry.json", "/demo-1.0.0.tar.gz"]);
    assert_eq!(*resumed.lock().unwrap(), [false, true]);
}
