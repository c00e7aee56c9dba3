//! Proxies between the program and a registry: when they are used, and their failures.

use crate::common::server::{Reply, Server, Tunnel};
use crate::common::{Outcome, World};
use std::fs;

/// A registry of `demo` at a server `name`, with the authority `ca.pem`.
fn world(name: &str) -> (World, Server) {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let files = world.path("registry");
    let (server, authority) = Server::tls(name, move |path, _| {
        match fs::read(files.join(path.trim_start_matches('/'))) {
            Ok(body) => Reply::ok(&body),
            Err(_) => Reply::new("404 Not Found", &[], b""),
        }
    });
    fs::write(world.path("ca.pem"), authority).unwrap();
    (world, server)
}

fn install(world: &World, registry: &str, env: &[(&str, &str)]) -> Outcome {
    let mut command = world.command();
    command.args(["install", "demo", "--refresh", "--registry", registry]);
    command.env("SSL_CERT_FILE", world.path("ca.pem")).envs(env.iter().copied());
    world.outcome(command.output().unwrap())
}

/// Installs and removes.
#[track_caller]
fn assert_installs(world: &World, registry: &str, env: &[(&str, &str)]) {
    let outcome = install(world, registry, env);
    assert_eq!(outcome.status, Some(0), "{env:?} {outcome:?}");
    world.assert_store(&["demo-1.0.0"]);
    assert_eq!(world.exec(["remove", "demo"]).status, Some(0));
}

#[test]
fn what_is_fetched_by_https_goes_through_the_proxy() {
    // Only the proxy can reach it.
    let (world, server) = world("registry.example");
    let tunnel = Tunnel::new(&server, None);
    let address = format!("http://{}", tunnel.address);
    let registry = "https://registry.example/registry.json";
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let others = ("NO_PROXY", "other.example,localhost");
        assert_installs(&world, registry, &[(name, &address), others]);
        let heads = tunnel.heads();
        assert_eq!(heads.len(), 2, "{heads:?}");
        for head in heads {
            assert!(head.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{head}");
        }
    }
    assert_eq!(server.requests().len(), 6, "{:?}", server.requests());
    // `user:s3cret` and `user:s@c:t`
    for (who, basic) in [("user:s3cret", "dXNlcjpzM2NyZXQ="), ("user:s%40c:t", "dXNlcjpzQGM6dA==")]
    {
        let named = format!("http://{who}@{}", tunnel.address);
        assert_installs(&world, registry, &[("HTTPS_PROXY", &named)]);
        let says_who = format!("Proxy-Authorization: Basic {basic}\r\n");
        assert!(tunnel.heads().iter().all(|head| head.contains(&says_who)));
    }
    // As for curl: without a scheme, and bypassed only for NO_PROXY.
    for none in ["", ",", "x,", "ry.example", "gistry.example,a.registry.example"] {
        let proxy = [("HTTPS_PROXY", tunnel.address.as_str()), ("NO_PROXY", none)];
        assert_installs(&world, registry, &proxy);
        let heads = tunnel.heads();
        assert!(heads.len() == 2 && !heads[0].contains("Proxy-Authorization"), "{heads:?}");
    }
}

/// A proxy that cannot be used is not bypassed.
#[test]
fn a_proxy_that_cannot_be_used_is_an_error() {
    let (world, server) = world("localhost");
    for proxy in ["socks5://user:s3cret@localhost:1", "http://user:s3cret@:1", "s3cret@x:y", "a b"]
    {
        for name in ["HTTPS_PROXY", "all_proxy"] {
            let outcome = install(&world, &server.address, &[(name, proxy)]);
            assert_eq!(outcome.status, Some(10), "{outcome:?}");
            let message = "HTTPS_PROXY or ALL_PROXY is not an http:// or https:// URL";
            assert!(outcome.stderr.contains(message), "{outcome:?}");
            assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
        }
    }
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn no_proxy_and_loopback_bypass_the_proxy() {
    let (world, server) = world("localhost");
    let tunnel = Tunnel::new(&server, Some("403 Forbidden"));
    let address = format!("http://{}", tunnel.address);
    let proxied = ("HTTPS_PROXY", address.as_str());
    for none in ["localhost", "other.example, localhost", "*"] {
        assert_installs(&world, &server.address, &[proxied, ("NO_PROXY", none)]);
        assert_installs(&world, &server.address, &[proxied, ("no_proxy", none)]);
    }
    assert_eq!(tunnel.heads(), Vec::<String>::new());
    assert_eq!(install(&world, &server.address, &[proxied]).status, Some(10));
    // For the registry, which has a cached copy, and for the archive.
    assert_eq!(tunnel.heads().len(), 2);
    // Only loopback is allowed by http.
    let plain = Server::files(world.path("registry"));
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        assert_installs(&world, &plain.address, &[(name, &address)]);
    }
    assert_eq!(tunnel.heads(), Vec::<String>::new());
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let (world, server) = world("registry.example");
    let registry = "https://registry.example/registry.json";
    // Retried if that can help.
    for (status, tries) in
        [("403 Forbidden", 1), ("407 Proxy Authentication Required", 1), ("502 Bad Gateway", 4)]
    {
        let tunnel = Tunnel::new(&server, Some(status));
        let address = format!("http://user:s3cret@{}", tunnel.address);
        let outcome = install(&world, registry, &[("HTTPS_PROXY", &address)]);
        let want = format!(
            "error[NET]: {registry}: the proxy answered {status} (proxy {})",
            tunnel.address
        );
        assert_eq!(outcome.status, Some(10));
        assert!(outcome.stderr.starts_with(&want), "{outcome:?}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
        assert_eq!(tunnel.heads().len(), tries, "{status}");
    }
    let outcome = install(&world, registry, &[("HTTPS_PROXY", "http://user:s3cret@localhost:1")]);
    let want = format!(
        "error[NET]: {registry}: connection refused; is the server running? (proxy localhost:1)\n"
    );
    assert_eq!(outcome.status, Some(10));
    assert!(outcome.stderr.starts_with(&want), "{outcome:?}");
    assert_eq!(server.requests(), Vec::<String>::new());
    world.assert_store(&[]);
}
