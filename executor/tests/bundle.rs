//! Runtimes for hosts without network: export and import.

use crate::common::server::Server;
use crate::common::skip::skip;
use crate::common::{Outcome, World, list, members, program};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// This host's architecture.
const ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// A registry with an ordinary archive and one in members, which needs its server.
fn world() -> (World, Server) {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    let tree = members::runtime("parted", "1.0.0", vec![members::file("isolated/x", b"x")]);
    world.publish_members("parted", "1.0.0", &members::pack("parted-1.0.0", tree, 4096));
    let server = Server::files(world.path("registry"));
    (world, server)
}

fn export(world: &World, server: &Server, args: &str) -> Outcome {
    let words = args.split(' ').chain(["--registry", server.address.as_str()]);
    world.exec(["export"].into_iter().chain(words))
}

/// Imports into a new store, without a configured registry.
fn import(world: &World, more: &str) -> Outcome {
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").env("JOBLET_EXEC_STORE", world.path("other"));
    command.env("JOBLET_EXEC_OFFLINE", "1").args(["import", "bundle"]);
    world.outcome(command.args(more.split_whitespace()).output().unwrap())
}

#[test]
fn an_export_is_installed_without_network() {
    let (world, server) = world();
    let done = export(&world, &server, "--to=bundle demo@1.0.0 parted demo@1.0");
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), ""), "{done:?}");
    assert!(
        done.stderr.contains("exported demo@1.0.0 for a") && done.stderr.contains("parted@1.0.0")
    );
    assert_eq!(done.stderr.lines().count(), 3, "each once: {done:?}");
    assert!(done.stderr.ends_with("there, joblet-exec import bundle installs it\n"), "{done:?}");
    let names = [
        "bundle.json".to_owned(),
        format!("demo-1.0.0-{ARCH}.tar.gz"),
        format!("parted-1.0.0-{ARCH}.tar.gz"),
        format!("parted-1.0.0-{ARCH}.tar.gz.index"),
        "registry.json".to_owned(),
    ];
    assert_eq!(list(&world.path("bundle")), names);
    let asked = server.requests().len();
    let done = import(&world, "");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(server.requests().len(), asked);
    let names = [".joblet", "demo-1.0.0", "parted-1.0.0"];
    assert_eq!(list(&world.path("other")), names);
    let store = ["--store", "other"];
    let verified = world.exec(["verify"].iter().chain(&store));
    assert_eq!(verified.stdout, "demo@1.0.0: intact\nparted@1.0.0: intact\n");
    let again = import(&world, "--json");
    assert!(again.stderr.contains("demo@1.0.0 is installed already"), "{again:?}");
    assert!(again.stdout.contains("\"parted\""), "{again:?}");
    // A bundle is also a registry.
    fs::remove_dir_all(world.path("other")).unwrap();
    let args = ["install", "demo", "--registry", "bundle", "--store", "other"];
    assert_eq!(world.exec(args).status, Some(0));
    assert!(world.path("other/demo-1.0.0").exists());
}

#[test]
fn a_bundle_that_was_changed_is_refused() {
    let (world, server) = world();
    assert_eq!(export(&world, &server, "--to=bundle demo@1.0.0").status, Some(0));
    let archive = world.path(&format!("bundle/demo-1.0.0-{ARCH}.tar.gz"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let outcome = import(&world, "");
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[INTEGRITY]: ~/bundle/demo-1.0.0-"), "{outcome:?}");
    assert!(!world.path("other/demo-1.0.0").exists());
    fs::write(world.path("bundle/bundle.json"), "{}").unwrap();
    let outcome = import(&world, "");
    assert_eq!(outcome.status, Some(17), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[CONFIG]: bundle/bundle.json: missing field"));
}

/// SEC-B31
#[test]
fn an_export_is_complete_or_absent() {
    let (mut world, server) = world();
    world.edit("demo", "1.1.0", |entry| entry["size"] = 7.into());
    let outcome = export(&world, &server, "--to=bundle demo@1.0.0 demo@1.1.0");
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    let outcome = export(&world, &server, "--to=bundle demo@9.0.0");
    assert_eq!(outcome.status, Some(12), "{outcome:?}");
    assert!(list(world.base.path()).iter().all(|name| !name.starts_with("bundle")));
    assert_eq!(export(&world, &server, "--to=bundle --arch=arm64 demo@1.0.0").status, Some(0));
    assert!(world.path("bundle/demo-1.0.0-arm64.tar.gz").exists());
    let outcome = export(&world, &server, "--to=bundle demo@1.0.0");
    assert_eq!(outcome.status, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("bundle exists; name a new directory"), "{outcome:?}");
    // No user can make anything there.
    let outcome = export(&world, &server, "--to=/sys/bundle demo@1.0.0");
    assert_eq!(outcome.status, Some(15), "{outcome:?}");
    let hint = "; name another directory with --to\n";
    assert!(outcome.stderr.ends_with(hint) && !outcome.stderr.contains("--store"), "{outcome:?}");
    for other in ["none", "registry", "registry/registry.json"] {
        let outcome = world.exec(["import", other]);
        let want = format!("error[NOTFOUND]: {other} is not the directory of a bundle, ");
        assert!(outcome.stderr.starts_with(&want), "{outcome:?}");
    }
}

/// Makes a key pair, signs the registry and returns the public key; reports a skip without minisign.
fn sign(world: &World, name: &str) -> Option<String> {
    let minisign = |args: &[&str]| {
        let run = Command::new("minisign").args(args).current_dir(world.path("registry")).output();
        run.is_ok_and(|output| output.status.success())
    };
    let (public, secret) = (format!("{name}.pub"), format!("{name}.key"));
    if !minisign(&["-G", "-W", "-p", &public, "-s", &secret]) {
        skip("there is no minisign (.ci/deps trust)");
        return None;
    }
    assert!(minisign(&["-S", "-s", &secret, "-m", "registry.json"]));
    let key = fs::read_to_string(world.path("registry").join(public)).unwrap();
    Some(key.lines().nth(1).unwrap().to_owned())
}

#[test]
fn a_bundle_of_a_signed_registry_needs_its_signature() {
    let (world, server) = world();
    let Some(key) = sign(&world, "one") else { return };
    let config = |url: &str| {
        let yml = format!(
            "runtimes:\n  registries:\n    - {{ name: one, url: {url}, public_key: {key} }}\n"
        );
        fs::write(world.path("config.yaml"), yml).unwrap();
    };
    config(&server.address);
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").args(["--config", "config.yaml", "export"]);
    let done = world.outcome(command.args(["--to=bundle", "parted"]).output().unwrap());
    assert_eq!(done.status, Some(0), "{done:?}");
    let original = fs::read(world.path("registry/registry.json")).unwrap();
    assert_eq!(fs::read(world.path("bundle/registry.json")).unwrap(), original);
    let strict = "--config config.yaml";
    assert_eq!(import(&world, strict).status, Some(0));
    fs::remove_dir_all(world.path("other")).unwrap();
    // It is trusted only under the keys of the registry that it names.
    config("https://example.org/other");
    let other = import(&world, strict);
    assert_eq!(other.status, Some(11), "{other:?}");
    assert!(other.stderr.contains("the bundle's registry is not configured here"), "{other:?}");
    config(&server.address);
    let changed = String::from_utf8(original).unwrap().replace("for tests", "for fools");
    fs::write(world.path("bundle/registry.json"), changed).unwrap();
    let spoilt = import(&world, strict);
    assert_eq!(spoilt.status, Some(13), "{spoilt:?}");
    fs::remove_file(world.path("bundle/registry.json.minisig")).unwrap();
    let unsigned = import(&world, strict);
    assert_eq!(unsigned.status, Some(13), "{unsigned:?}");
    assert!(unsigned.stderr.contains("the signature file is missing"), "{unsigned:?}");
    assert!(!world.path("other/parted-1.0.0").exists());
}

/// Replacements of a registry's file, with functions that make them from the file and its path.
type Odd = (&'static str, fn(&Path, &Path), &'static str);

const ODD: [Odd; 6] = [
    ("link out", |good, place| symlink(good, place).unwrap(), "a link in it leads out of"),
    (
        "relative link out",
        |good, place| {
            let name = good.strip_prefix(good.ancestors().nth(2).unwrap()).unwrap();
            symlink(Path::new("..").join(name), place).unwrap();
        },
        "a link in it leads out of",
    ),
    (
        "link by /proc",
        |good, place| symlink(format!("/proc/self/root{}", good.display()), place).unwrap(),
        "a link in it leads out of",
    ),
    (
        "FIFO",
        |_, place| {
            assert!(Command::new("mkfifo").arg(place).status().unwrap().success());
        },
        "it is not a regular file",
    ),
    ("socket", |_, place| drop(UnixListener::bind(place).unwrap()), "it is not a regular file"),
    ("directory", |_, place| fs::create_dir(place).unwrap(), "it is not a regular file"),
];

/// A bundle of `demo` and `parted`, an empty directory `outside`, and the names of its files.
fn bundled() -> (World, Vec<String>) {
    let (world, server) = world();
    assert_eq!(export(&world, &server, "--to=bundle demo@1.0.0 parted").status, Some(0));
    fs::create_dir(world.path("outside")).unwrap();
    let names = list(&world.path("bundle"));
    (world, names)
}

/// SEC-E15
#[test]
fn nothing_in_a_bundle_or_a_local_registry_leads_out_of_it() {
    let (world, names) = bundled();
    for name in &names {
        let (place, good) = (world.path("bundle").join(name), world.path("outside").join(name));
        fs::rename(&place, &good).unwrap();
        for (what, make, why) in ODD {
            make(&good, &place);
            let begin = Instant::now();
            let mut outcomes = vec![import(&world, "")];
            if name != "bundle.json" {
                let args = ["--registry", "bundle", "--store", "other"];
                outcomes.push(world.exec(["install", "demo", "parted"].iter().chain(&args)));
            }
            for outcome in outcomes {
                assert_eq!(outcome.status, Some(15), "{what} {name}: {outcome:?}");
                let message = format!("bundle/{name}: {why}");
                assert!(outcome.stderr.contains(&message), "{what} {name}: {outcome:?}");
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{what} {name}");
            if place.is_dir() && !place.is_symlink() {
                fs::remove_dir(&place).unwrap();
            } else {
                fs::remove_file(&place).unwrap();
            }
            _ = fs::remove_dir_all(world.path("other"));
        }
        fs::rename(&good, &place).unwrap();
    }
    // Links within it are allowed.
    let inner = world.path("bundle/blobs");
    fs::create_dir(&inner).unwrap();
    for name in &names {
        let place = world.path("bundle").join(name);
        fs::rename(&place, inner.join(name)).unwrap();
        symlink(Path::new("blobs").join(name), &place).unwrap();
    }
    symlink("..", inner.join("up")).unwrap();
    assert_eq!(import(&world, "").status, Some(0));
}

/// SEC-E15: parent directories, and parts.
#[test]
fn no_directory_of_a_local_registry_leads_out_of_it() {
    let mut world = World::new();
    let archive = world.publish("demo", "1.0.0");
    fs::create_dir(world.path("outside")).unwrap();
    fs::copy(&archive, world.path("outside/a.tar.gz")).unwrap();
    symlink(world.path("outside"), world.path("registry/sub")).unwrap();
    let install = |world: &World| world.exec(["install", "demo"]);
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = "sub/a.tar.gz".into());
    let outcome = install(&world);
    assert_eq!(outcome.status, Some(15), "{outcome:?}");
    assert!(outcome.stderr.contains("registry/sub/a.tar.gz: a link in it leads out of"));
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = "demo-1.0.0.tar.gz".into());
    let half = fs::metadata(&archive).unwrap().len() / 2;
    world.part("demo", "1.0.0", &[usize::try_from(half).unwrap()]);
    let second = world.path("registry/demo-1.0.0.tar.gz.part1");
    fs::rename(&second, world.path("outside/part")).unwrap();
    symlink(world.path("outside/part"), &second).unwrap();
    let outcome = install(&world);
    assert_eq!(outcome.status, Some(15), "{outcome:?}");
    assert!(outcome.stderr.contains(".part1: a link in it leads out of"), "{outcome:?}");
    world.assert_store(&[]);
    // The path of the directory itself may be a link.
    fs::remove_file(&second).unwrap();
    fs::rename(world.path("outside/part"), &second).unwrap();
    symlink("registry", world.path("named")).unwrap();
    assert_eq!(world.exec(["install", "demo", "--registry", "named"]).status, Some(0));
}

/// SEC-E15: the attack succeeds if links are followed.
#[test]
fn without_the_protection_links_lead_out() {
    let weakened = program().with_file_name("examples").join("weakened");
    let built = std::env::current_exe().unwrap();
    let built = built.parent().unwrap().parent().unwrap().join("examples/weakened");
    let Some(weakened) = [weakened, built].into_iter().find(|program| program.exists()) else {
        return skip(
            "negative proofs: cargo build -p joblet-exec --features weaken --example weakened",
        );
    };
    let (world, names) = bundled();
    for name in &names {
        let (place, good) = (world.path("bundle").join(name), world.path("outside").join(name));
        fs::rename(&place, &good).unwrap();
        symlink(&good, &place).unwrap();
    }
    let own = world.command();
    let mut command = Command::new(weakened);
    command.env_clear().current_dir(world.base.path()).env("JOBLET_EXEC_WEAKEN", "within");
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("JOBLET_EXEC_STORE", world.path("other")).args(["import", "bundle"]);
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

/// SEC-E14
#[test]
fn a_bundle_keeps_the_secrets_of_addresses_from_others() {
    use std::os::unix::fs::MetadataExt;
    let (mut world, server) = world();
    let archive = fs::read(world.path("registry/demo-1.0.0.tar.gz")).unwrap();
    fs::write(world.path("registry/demo-1.0.0.tar.gz?sig=s3cret"), archive).unwrap();
    for version in ["1.0.0", "1.1.0"] {
        let url = format!("demo-{version}.tar.gz?sig=s3cret");
        world.edit("demo", version, |entry| entry["download_url"] = url.into());
    }
    let document = world.path("registry/registry.json");
    fs::copy(&document, world.path("registry/registry.json?token=s3cret")).unwrap();
    let registry = format!("{}/registry.json?token=s3cret", server.address);
    let secret = |directory: &str| {
        let files = list(&world.path(directory)).into_iter();
        let bytes = |name: &String| fs::read(world.path(directory).join(name)).unwrap();
        let has = |name: &String| bytes(name).windows(6).any(|it| it == b"s3cret");
        files.filter(has).collect::<Vec<_>>()
    };
    for arch in ["amd64", "arm64"] {
        let args = ["export", "--to", arch, "--arch", arch, "demo@1.0.0", "--registry", &registry];
        let outcome = world.exec(args);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_eq!(secret(arch), Vec::<String>::new());
    }
    let Some(key) = sign(&world, "one") else { return };
    fs::copy(
        world.path("registry/registry.json.minisig"),
        world.path("registry/registry.json.minisig?token=s3cret"),
    )
    .unwrap();
    let yml = format!(
        "runtimes: {{ registries: [{{ name: one, url: \"{registry}\", public_key: {key} }}] }}\n"
    );
    fs::write(world.path("config.yaml"), yml).unwrap();
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").args(["--config", "config.yaml", "export"]);
    let done = world.outcome(command.args(["--to=bundle", "demo@1.0.0"]).output().unwrap());
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(secret("bundle"), ["registry.json"]);
    let mode = fs::metadata(world.path("bundle/registry.json")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(import(&world, "--config config.yaml").status, Some(0));
}
