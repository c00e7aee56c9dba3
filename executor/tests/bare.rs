//! SEC-D10: only the static binary in a read-only root: no certificates, resolv.conf, passwd, /tmp
//! or HOME. It works, or one line names what is missing.

use crate::common::World;
use crate::common::server::{Reply, Server};
use crate::common::skip::skip;
use std::fs;
use std::process::{Command, Output};

/// Runs the program in such a root, which has a registry, an authority's certificate and a writable
/// mount at `/store`. Reports a skip where that is not possible.
fn exec(world: &World, env: &[(&str, &str)], args: &[&str]) -> Option<Output> {
    if std::env::var_os("JOBLET_EXEC_UNDER_TEST").is_none() {
        skip("JOBLET_EXEC_UNDER_TEST names no static binary (make test)");
        return None;
    }
    let root = world.path("root");
    fs::create_dir_all(root.join("store")).unwrap();
    crate::common::copy_program(crate::common::program(), root.join("joblet-exec"));
    let script = "mount --bind \"$0\" \"$0\" && mount -t tmpfs -o mode=755 none \"$0/store\" &&
        mount -o remount,ro,bind \"$0\" && exec chroot \"$0\" /joblet-exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-ec", script]).arg(&root).args(args);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(env.iter().copied());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.starts_with("unshare:") {
        skip(&format!("user namespaces do not work: {stderr}"));
        return None;
    }
    Some(output)
}

/// Compares output and status. An error is exactly one line.
fn check(world: &World, env: &[(&str, &str)], args: &[&str], want: &str, status: i32) {
    let Some(output) = exec(world, env, args) else { return };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?} {stdout}{stderr}");
    if status == 0 {
        assert!(format!("{stdout}{stderr}").contains(want), "{args:?} {stdout}{stderr}");
    } else {
        assert!(stderr.contains(want) && stderr.lines().count() == 1, "{args:?} {stderr}");
        assert_eq!(stdout, "", "{args:?} {stderr}");
    }
}

/// A root with a registry in it.
fn world() -> World {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("root/registry");
    fs::create_dir_all(&registry).unwrap();
    for name in crate::common::list(&world.path("registry")) {
        fs::copy(world.path("registry").join(&name), registry.join(&name)).unwrap();
    }
    world
}

#[test]
fn without_anything() {
    let world = world();
    let registry = ["--registry", "/registry"];
    let all = |words: &[&'static str]| [&registry, words].concat();
    for (args, want, status) in [
        (vec!["version"], "joblet-exec ", 0),
        (vec!["list"], "no runtime is installed in /opt/joblet/runtimes", 0),
        (all(&["list", "--available"]), "demo", 0),
        (all(&["install", "demo"]), "Read-only file system", 15),
        (all(&["install", "demo", "--store", "/store"]), "installed demo@1.0.0", 0),
        (
            all(&["run", "--store", "/store", "--runtime=demo", "none"]),
            "the host has no /dev/null",
            125,
        ),
        (vec!["list", "--available", "--registry", "https://host.invalid"], "error[NET]: ", 10),
    ] {
        check(&world, &[], &args, want, status);
    }
}

#[test]
fn certificates_are_built_in_or_named() {
    let world = world();
    let files = world.path("registry");
    let serve = move |path: &str, _| match fs::read(files.join(path.trim_start_matches('/'))) {
        Ok(body) => Reply::ok(&body),
        Err(_) => Reply::new("404 Not Found", &[], b""),
    };
    let (server, authority) = Server::tls("127.0.0.1", serve.clone());
    let (proxy, other) = Server::proxy("registry.example", serve);
    fs::write(world.path("root/ca.pem"), authority + &other).unwrap();
    let address = |server: &Server| server.address.replace("localhost", "127.0.0.1");
    let direct = format!("{}/registry.json", address(&server));
    let behind = "https://registry.example/registry.json";
    let through = address(&proxy);
    let named = ("SSL_CERT_FILE", "/ca.pem");
    let proxied = ("HTTPS_PROXY", through.as_str());
    for (env, registry) in [(vec![], direct.as_str()), (vec![proxied], behind)] {
        let args = ["list", "--available", "--registry", registry];
        // The built-in authorities of Mozilla have signed neither.
        check(&world, &env, &args, "UnknownIssuer", 10);
        check(&world, &[env.as_slice(), &[named]].concat(), &args, "demo", 0);
        let gone = ("SSL_CERT_FILE", "/nothing.pem");
        let want = "SSL_CERT_FILE and SSL_CERT_DIR have no readable certificate";
        check(&world, &[env.as_slice(), &[gone]].concat(), &args, want, 10);
    }
}
