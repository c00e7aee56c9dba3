//! Registries: names, tokens, signatures, cached copies and their age. End-to-end tests.

use crate::common::server::{Reply, Server};
use crate::common::{Outcome, World, checksum, runtime_archive};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Two worlds: the registries `x` and `y`, and a configuration of both for the first.
fn two(x: &[&str], y: &[&str]) -> (World, World) {
    let (mut first, mut second) = (World::new(), World::new());
    for (world, versions) in [(&mut first, x), (&mut second, y)] {
        for version in versions {
            world.publish("demo", version);
        }
    }
    let url = |world: &World| world.path("registry").to_str().unwrap().to_owned();
    configure(
        &first,
        &format!(
            "- {{ name: y, url: {}, order: 7 }}\n    - {{ name: x, url: {}, order: 1 }}",
            url(&second),
            url(&first)
        ),
    );
    (first, second)
}

fn configure(world: &World, registries: &str) {
    fs::create_dir_all(world.path("home/.rnx")).unwrap();
    let text = format!("nodes: {{}}\nruntimes:\n  registries:\n    {registries}\n");
    fs::write(world.path("home/.rnx/config.yaml"), text).unwrap();
}

/// The program without options, which finds its registries by configuration.
fn exec(world: &World, args: &str) -> Outcome {
    exec_with(world, args, &[])
}

fn exec_with(world: &World, args: &str, variables: &[(&str, &str)]) -> Outcome {
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").args(args.split_whitespace());
    command.envs(variables.iter().copied());
    world.outcome(command.output().unwrap())
}

#[track_caller]
fn assert_done(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

#[track_caller]
fn assert_refused(outcome: &Outcome, status: i32, message: &str) {
    assert_eq!(outcome.status, Some(status), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.starts_with("error[") && last.contains(message), "{message}: {}", outcome.stderr);
}

fn receipt(world: &World, directory: &str) -> serde_json::Value {
    let file = world.path("store/.joblet/receipts").join(format!("{directory}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// SEC-C14
#[test]
fn the_first_registry_with_the_name_serves_it() {
    let (mut world, mut other) = two(&["1.0.0"], &["9.9.9"]);
    other.publish("extra", "1.0.0");
    assert_done(&exec(&world, "install demo@latest extra"));
    world.assert_store(&["demo-1.0.0", "extra-1.0.0"]);
    assert_eq!(receipt(&world, "demo-1.0.0")["origin"], "x");
    assert_eq!(receipt(&world, "extra-1.0.0")["origin"], "y");
    assert_refused(&exec(&world, "install demo@9.9.9"), 12, "demo has no version 9.9.9");
    assert_done(&exec(&world, "install y/demo"));
    world.assert_store(&["demo-1.0.0", "demo-9.9.9", "extra-1.0.0"]);
    // A runtime of y is not upgraded from x.
    assert!(exec(&world, "upgrade").stderr.contains("every installed runtime is the latest"));
    assert_refused(&exec(&world, "install z/demo"), 12, "called z is configured; these are: x, y");
    assert_refused(&exec(&world, "install nothing"), 12, "no runtime is called nothing in ");
    let listed = exec(&world, "list --available").stdout;
    assert!(listed.contains("x/demo   1.0.0") && listed.contains("y/extra  1.0.0"), "{listed}");
    assert!(!listed.contains("9.9.9"), "{listed}");
    assert_done(&exec(&world, "list --available --registry y"));
    // The same version in both registries, with equal and with different bytes.
    other.publish("demo", "1.0.0");
    assert_done(&exec(&world, "install y/demo@1.0.0"));
    let different = runtime_archive("demo", "1.0.0-rc");
    other.publish_archive("demo", "1.0.0", &different);
    let before = crate::common::snapshot(&world.path("store/demo-1.0.0"));
    let outcome = exec(&world, "install y/demo@1.0.0");
    assert_refused(&outcome, 13, &checksum(&different));
    assert!(outcome.stderr.contains(&checksum(&runtime_archive("demo", "1.0.0"))), "{outcome:?}");
    assert_eq!(crate::common::snapshot(&world.path("store/demo-1.0.0")), before);
    assert_eq!(receipt(&world, "demo-1.0.0")["origin"], "x");
    // To install it, remove the other one.
    assert_done(&exec(&world, "remove demo@1.0.0"));
    assert_done(&exec(&world, "install y/demo@1.0.0"));
    assert_eq!(receipt(&world, "demo-1.0.0")["origin"], "y");
    assert_ne!(crate::common::snapshot(&world.path("store/demo-1.0.0")), before);
    world.publish("demo", "1.1.0");
    assert_done(&exec(&world, "install demo"));
}

/// SEC-C11, SEC-E16: control and invisible characters in untrusted text are escaped, also in `--json`.
#[test]
fn hostile_text_is_shown_as_text() {
    let unseen = "\u{61c}\u{ad}\u{feff}\u{3164}\u{e0041}\u{fe0f}".chars();
    let unseen = unseen.chain('\u{200b}'..='\u{200f}').chain('\u{2028}'..='\u{202e}');
    let unseen: String = unseen.chain('\u{2060}'..='\u{206f}').collect();
    let hostile = format!("</script>\u{1b}[2J\u{9b}31m\u{7}{unseen}gpj\r\" x='");
    let hostile = hostile.as_str();
    let steers = |text: &str| {
        text.contains(|char: char| char.is_control() && char != '\n' || unseen.contains(char))
    };
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.edit("demo", "1.0.0", |entry| entry["description"] = hostile.into());
    world.edit("demo", "1.0.0", |entry| entry["yanked"] = hostile.into());
    assert!(!steers(&world.exec(["info", "demo"]).stdout));
    world.edit("demo", "1.0.0", |entry| drop(entry.as_object_mut().unwrap().remove("yanked")));
    let listed = world.exec(["list", "--available"]);
    assert_done(&listed);
    assert!(listed.stdout.contains("</script>\\u{1b}[2J"), "{listed:?}");
    assert!(!steers(&listed.stdout) && !steers(&listed.stderr), "{listed:?}");
    let json = world.exec(["list", "--available", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.to_string().contains(&serde_json::to_string(hostile).unwrap()), "{json}");
    // Names, addresses, and text of a server.
    for address in [format!("ftp://host.invalid/{hostile}"), hostile.to_owned()] {
        world.edit("demo", "1.0.0", |entry| entry["download_url"] = address.into());
        let outcome = world.exec(["install", "demo"]);
        assert_ne!(outcome.status, Some(0), "{outcome:?}");
        assert!(!steers(&outcome.stderr), "{outcome:?}");
    }
    smuggle(&world, &[(hostile, "1.0.0")]);
    let listed = world.exec(["list", "--available"]);
    assert!(!steers(&listed.stdout) && !steers(&listed.stderr), "{listed:?}");
    for status in ["404 \u{1b}[2J\u{9b}", "302 Found", "200 OK"] {
        let body = hostile.to_owned();
        let server = Server::new(move |_, _| {
            Reply::new(status, &[("Location", "ftp://\u{1b}[2J\u{9b}")], body.as_bytes())
        });
        let outcome = world.exec(["install", "demo", "--registry", server.address.as_str()]);
        assert_ne!(outcome.status, Some(0), "{outcome:?}");
        assert!(!steers(&outcome.stderr), "{outcome:?}");
    }
}

/// SEC-C05
#[test]
fn a_published_version_does_not_change() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    assert_done(&world.exec(["install", "demo"]));
    let before = crate::common::snapshot(&world.path("store/demo-1.0.0"));
    let other = runtime_archive("demo", "1.0.1");
    world.publish_archive("demo", "1.0.0", &other);
    let outcome = world.exec(["install", "demo"]);
    assert_refused(&outcome, 13, &checksum(&other));
    assert!(outcome.stderr.contains(&checksum(&runtime_archive("demo", "1.0.0"))), "{outcome:?}");
    assert_eq!(crate::common::snapshot(&world.path("store/demo-1.0.0")), before);
    // Installed runtimes work without any request.
    assert_done(&world.exec(["install", "demo@1.0.0"]));
}

#[test]
fn a_configuration_is_strict_and_found_in_order() {
    let (world, other) = two(&["1.0.0"], &["9.9.9"]);
    configure(&world, "- { name: x, ulr: /r }");
    let message = "~/home/.rnx/config.yaml: line 4: runtimes.registries[0]: unknown key `ulr`; did \
                   you mean `url`?";
    assert_refused(&exec(&world, "install demo"), 17, message);
    let file = world.path("other.yaml");
    let url = other.path("registry");
    let text = format!("runtimes: {{ registries: [{{ name: o, url: {} }}] }}\n", url.display());
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    assert_done(&exec(&world, &format!("install demo --config {file}")));
    assert_done(&exec_with(&world, "install demo", &[("JOBLET_EXEC_CONFIG", file)]));
    world.assert_store(&["demo-9.9.9"]);
    assert_refused(&exec(&world, "install demo --config none.yaml"), 15, "cannot open none.yaml");
}

/// SEC-C08
#[test]
fn a_token_never_leaves_its_registry() {
    type Seen = Arc<Mutex<Vec<String>>>;
    const SECRET: &str = "s3cr3t-t0ken";
    let mut world = World::new();
    let archive = world.publish("demo", "1.0.0");
    let (seen, elsewhere): (Seen, Seen) = Default::default();
    let log = |seen: &Seen, path: &str, head: &[String]| {
        let shown = head.iter().any(|line| *line == format!("authorization: bearer {SECRET}"));
        let any = head.iter().any(|line| line.starts_with("authorization"));
        assert_eq!(shown, any);
        seen.lock().unwrap().push(format!("{path} {shown}"));
    };
    let there = Arc::clone(&elsewhere);
    let body = fs::read(&archive).unwrap();
    let back = Arc::new(Mutex::new(String::new()));
    let home = Arc::clone(&back);
    let other = Server::with_heads(move |path, head| {
        log(&there, path, head);
        if path == "/back" {
            let home = home.lock().unwrap().clone() + "/org/archive";
            return Reply::new("302 Found", &[("Location", &home)], b"");
        }
        Reply::ok(&body)
    });
    let here = Arc::clone(&seen);
    let document = world.path("registry/registry.json");
    let (away, body) = (other.address.clone(), fs::read(&archive).unwrap());
    let server = Server::with_heads(move |path, head| {
        log(&here, path, head);
        let code = path.strip_prefix("/org/to-");
        match (path, code) {
            ("/org/registry.json", _) => Reply::ok(&fs::read(&document).unwrap()),
            ("/org/back", _) => {
                Reply::new("302 Found", &[("Location", &(away.clone() + "/back"))], b"")
            }
            ("/org/evil", _) => Reply::new("302 Found", &[("Location", "/org-evil/a")], b""),
            (_, Some(code)) => Reply::new(code, &[("Location", &(away.clone() + "/a"))], b""),
            _ => Reply::ok(&body),
        }
    });
    *back.lock().unwrap() = server.address.clone();
    let auth = "auth: { type: token, token_env: MY_TOKEN }";
    configure(&world, &format!("- {{ name: x, url: \"{}/org\", {auth} }}", server.address));
    let message = "is expected in the environment variable MY_TOKEN, which is not set";
    assert_refused(&exec(&world, "install demo"), 2, message);
    let urls = ["to-301", "to-302", "to-303", "to-307", "to-308", "back", "evil", "archive"];
    let urls = urls.map(|path| format!("{}/org/{path}", server.address));
    let direct = [format!("{}/a", other.address), format!("{}/org-evil/a", server.address)];
    for url in urls.iter().chain(&direct) {
        world.edit("demo", "1.0.0", |entry| entry["download_url"] = url.as_str().into());
        let variables = [("MY_TOKEN", SECRET)];
        let outcome = exec_with(&world, "install demo --refresh -v", &variables);
        assert_done(&outcome);
        assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
        let receipt = receipt(&world, "demo-1.0.0").to_string();
        assert!(!receipt.contains(SECRET), "{receipt}");
        assert_done(&exec(&world, "remove demo"));
    }
    let elsewhere = elsewhere.lock().unwrap();
    assert!(elsewhere.len() == 7 && elsewhere.iter().all(|line| line.ends_with(" false")));
    let seen = seen.lock().unwrap();
    let shown = |path: &str| seen.iter().filter(|line| **line == format!("{path} true")).count();
    let hidden = |path: &str| seen.iter().filter(|line| **line == format!("{path} false")).count();
    assert_eq!((shown("/org/registry.json"), hidden("/org/registry.json")), (10, 0));
    assert_eq!((shown("/org-evil/a"), hidden("/org-evil/a")), (0, 2));
    // Direct requests have the token; redirected ones do not.
    assert_eq!((shown("/org/archive"), hidden("/org/archive")), (1, 1));
    for entry in ["cache", "home", "store"] {
        let grep = Command::new("grep").args(["-r", SECRET]).arg(world.path(entry)).output();
        assert_eq!(String::from_utf8(grep.unwrap().stdout).unwrap(), "");
    }
}

/// Runs Debian's minisign in `directory`.
fn minisign(directory: &Path, args: &str) {
    let mut command = Command::new("minisign");
    command.current_dir(directory).args(args.split_whitespace()).stdin(Stdio::null());
    let output = command.output().expect("minisign is needed: .ci/deps trust");
    assert!(output.status.success(), "{args}: {output:?}");
}

/// Makes a key without a password; returns the public one.
fn key(directory: &Path, name: &str) -> String {
    minisign(directory, &format!("-G -W -p {name}.pub -s {name}.key"));
    let text = fs::read_to_string(directory.join(format!("{name}.pub"))).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

/// `freshness.json` of a registry with a key is used only if it is signed.
#[test]
fn freshness_of_a_signed_registry_is_signed() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("registry");
    let (a, _) = (key(&registry, "a"), key(&registry, "b"));
    let server = Server::files(registry.clone());
    configure(&world, &format!("- {{ name: x, url: \"{}\", public_key: {a} }}", server.address));
    let sign = |key: &str, file: &str| minisign(&registry, &format!("-S -s {key}.key -m {file}"));
    sign("a", "registry.json");
    assert_done(&exec(&world, "install demo"));
    world.publish("demo", "1.1.0");
    sign("a", "registry.json");
    let found = r#"{"version": "1", "checked_at": "2026-03-02T04:00:00Z", "runtimes": {"demo": {"1.0.0":
        {"inputs_of": "2026-01-31T12:00:00Z", "inputs": 9, "newer": 1, "security": 1}}}}"#;
    fs::write(registry.join("freshness.json"), found).unwrap();
    let outdated = || exec(&world, "outdated --refresh -v");
    let refused = |why: &str| {
        let outcome = outdated();
        assert_done(&outcome);
        assert!(!outcome.stdout.contains("security fixes"), "{outcome:?}");
        assert!(outcome.stderr.contains("freshness.json is not used: "), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    };
    refused("404");
    sign("b", "freshness.json");
    refused("0 of 1 signatures by ");
    sign("a", "freshness.json");
    assert!(outdated().stdout.contains("security fixes since, 1\n"), "{:?}", outdated());
}

/// SEC-C06
#[test]
fn a_signed_registry_is_trusted_only_with_its_signature() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("registry");
    let (a, b) = (key(&registry, "a"), key(&registry, "b"));
    let server = Server::files(registry.clone());
    let signed = registry.join("registry.json.minisig");
    let trust = |keys: &str| {
        configure(&world, &format!("- {{ name: x, url: \"{}\", {keys} }}", server.address));
    };
    let sign = |key: &str, more: &str| {
        minisign(&registry, &format!("-S -s {key}.key -m registry.json {more}"));
        fs::read(&signed).unwrap()
    };
    let list = || exec(&world, "list --available --refresh");
    trust(&format!("public_key: {a}"));
    assert_refused(&list(), 13, "its signature is refused: the signature file is missing");
    let by_b = sign("b", "");
    assert_refused(&list(), 13, "0 of 1 signatures by ");
    let by_a = sign("a", "");
    assert_done(&list());
    minisign(&registry, "-S -l -s a.key -m registry.json");
    assert_refused(&list(), 13, "it is a legacy signature");
    for (bad, message) in [
        (&b""[..], "it is empty"),
        (&by_a[..by_a.len() / 2], "it is"),
        (&by_a[..by_a.len() - 2], "is not a minisign signature"),
        (b"<html>", "it is cut off"),
    ] {
        fs::write(&signed, bad).unwrap();
        assert_refused(&list(), 13, message);
    }
    // The last trusted copy is used as long as it is fresh.
    assert_done(&exec(&world, "list --available"));
    fs::write(&signed, &by_a).unwrap();
    let document = fs::read(registry.join("registry.json")).unwrap();
    fs::write(registry.join("registry.json"), [&document[..], b" "].concat()).unwrap();
    assert_refused(&list(), 13, "the signature of the document by key ");
    fs::write(registry.join("registry.json"), &document).unwrap();
    // A copy verified with one key is not used with another.
    trust(&format!("public_key: {b}"));
    assert_refused(&exec(&world, "list --available"), 13, "0 of 1 signatures by ");
    // Key rotation: signatures by both.
    fs::write(&signed, [&by_a[..], &by_b].concat()).unwrap();
    for keys in [
        format!("public_key: {a}"),
        format!("public_key: {b}"),
        format!("public_keys: [{a}, {b}], threshold: 2"),
    ] {
        trust(&keys);
        assert_done(&list());
    }
    fs::write(&signed, [&by_a[..], &by_a].concat()).unwrap();
    assert_refused(&list(), 13, "1 of 2 signatures by ");
    // The same registry by its address.
    assert_refused(
        &exec(&world, &format!("list --available --refresh --registry {}", server.address)),
        13,
        "1 of 2 signatures by ",
    );
    assert_done(&exec(&world, &format!("list --available --registry {}", registry.display())));
}

/// SEC-C04
#[test]
fn rollback_and_freeze_of_a_registry_are_refused() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("registry");
    let document = fs::read_to_string(registry.join("registry.json")).unwrap();
    let server = Server::files(registry.clone());
    let of = |stamp: &str| {
        let text = document.replace("2025-10-20T23:56:08Z", stamp);
        fs::write(registry.join("registry.json"), text).unwrap();
        let args = ["list", "--available", "--refresh", "--registry", &server.address];
        world.exec(args)
    };
    assert_done(&of("2025-10-20T23:56:08Z"));
    let message =
        "it is dated 2025-10-19T00:00:00Z, but one dated 2025-10-20T23:56:08Z was seen before";
    assert_refused(&of("2025-10-19T00:00:00Z"), 11, message);
    assert_done(&world.exec(["list", "--available", "--registry", &server.address]));
    let future = of("2099-01-01T00:00:00Z");
    assert_done(&future);
    assert!(future.stderr.contains("in the future; is the clock right?"), "{future:?}");
    assert_done(&of("2025-10-21T00:00:00Z"));
    assert_refused(&of("2025-10-20T23:56:08Z"), 11, "was seen before: rollback is refused");

    let a = key(&registry, "a");
    configure(&world, &format!("- {{ name: x, url: {}, public_key: {a} }}", registry.display()));
    let sign = |seconds: u64| {
        let comment = format!("timestamp:1\texpires:{seconds}");
        let mut command = Command::new("minisign");
        command.current_dir(&registry).args(["-S", "-s", "a.key", "-m", "registry.json", "-t"]);
        assert!(command.arg(comment).output().unwrap().status.success());
    };
    sign(1_700_000_000);
    assert_refused(&exec(&world, "install demo@latest"), 11, "its signature has expired");
    let pinned = exec(&world, "install demo@1.0.0");
    assert_done(&pinned);
    assert!(pinned.stderr.starts_with("warning: registry "), "{pinned:?}");
    sign(4_000_000_000);
    assert_done(&exec(&world, "install demo@latest"));
}

/// The cached copy of the only registry.
fn copy(world: &World) -> PathBuf {
    let directory = world.path("cache/joblet/registries");
    let names = crate::common::list(&directory);
    let copies: Vec<_> = names.iter().filter(|name| name.ends_with(".3")).collect();
    assert_eq!(copies.len(), 1, "{names:?}");
    directory.join(copies[0])
}

fn date(file: &Path, time: SystemTime) {
    File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// SEC-D08, SEC-D09
#[test]
fn unchanged_documents_are_not_sent_again() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let registry = world.path("registry/registry.json");
    let body = fs::read(&registry).unwrap();
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let log = Arc::clone(&asked);
    let server = Server::with_heads(move |_, head| {
        let condition = head.iter().find(|line| line.starts_with("if-none-match"));
        let (tag, length) = ("\"tag-1\"", body.len().to_string());
        log.lock().unwrap().push(condition.map_or("whole", |_| "condition").to_owned());
        match condition {
            Some(line) if line.ends_with(tag) => Reply::new("304 Not Modified", &[], b""),
            _ => Reply::new("200 OK", &[("ETag", tag), ("Content-Length", &length)], &body),
        }
    });
    let mut lists = 0;
    let mut list = |wanted: &[&str]| {
        let args = ["list", "--available", "--registry", server.address.as_str()];
        let outcome = world.exec(args);
        assert_done(&outcome);
        assert!(outcome.stdout.contains("demo") && outcome.stderr.is_empty(), "{outcome:?}");
        assert_eq!(asked.lock().unwrap().split_off(0), wanted);
        lists += 1;
    };
    list(&["whole"]);
    list(&[]);
    let now = SystemTime::now();
    for time in [now - 2 * HOUR, now - 300 * DAY, now + HOUR, now + 3650 * DAY] {
        date(&copy(&world), time);
        list(&["condition"]);
        list(&[]);
    }
    // After any damage it is fetched again.
    let file = copy(&world);
    let good = fs::read(&file).unwrap();
    for spoiled in [&good[..good.len() / 2], b"", b"{\"schema\": 3}\n"] {
        fs::write(&file, spoiled).unwrap();
        list(&["whole"]);
        list(&[]);
    }
    let mut flipped = good.clone();
    let near_end = flipped.len() - 40;
    flipped[near_end] ^= 1;
    fs::write(&file, flipped).unwrap();
    list(&["whole"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    list(&["whole"]);
    list(&["whole"]);
    assert_eq!(lists, 19);
}

/// SEC-D07
#[test]
fn a_silent_registry_is_bridged_by_the_cache_for_thirty_days() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let archive = fs::read(world.path("registry/demo-1.0.0.tar.gz")).unwrap();
    let server = Server::new(move |path, count| match (path, count) {
        ("/registry.json", 0) => Reply::ok(&body),
        ("/demo-1.0.0.tar.gz", _) => Reply::ok(&archive),
        _ => Reply::new("404 Not Found", &[], b""),
    });
    let exec = |args: &str| {
        world.exec(args.split_whitespace().chain(["--registry", server.address.as_str()]))
    };
    assert_done(&exec("install demo@1.0.0"));
    let (now, count) = (SystemTime::now(), || server.requests().len());
    assert_eq!(count(), 2);
    for (age, status, asked, warnings) in
        [(HOUR / 2, 0, 0, 0), (2 * HOUR, 0, 1, 1), (29 * DAY, 0, 1, 1), (40 * DAY, 10, 1, 0)]
    {
        date(&copy(&world), now - age);
        let before = count();
        let outcome = exec("list --available");
        assert_eq!((outcome.status, count() - before), (Some(status), asked), "{outcome:?}");
        let warned = outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).count();
        assert_eq!(warned, warnings, "{outcome:?}");
        // No request for installed versions.
        assert_done(&exec("install demo@1.0.0"));
        assert_eq!(count() - before, asked);
    }
    assert_refused(
        &exec("list --available --offline"),
        10,
        "no cached copy is younger than 30 days; run the command once without --offline",
    );
}

/// SEC-D06
#[test]
fn transient_failures_are_retried_in_time() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let body = Arc::new(fs::read(world.path("registry/registry.json")).unwrap());
    let list = |server: &Server| {
        let args = ["list", "--available", "--refresh", "--registry", server.address.as_str()];
        (world.exec(args), server.requests().len())
    };
    for status in ["500 Internal Server Error", "502 Bad Gateway", "429 Too Many Requests"] {
        let body = Arc::clone(&body);
        let server = Server::new(move |_, count| match count {
            0 => Reply::new(status, &[("Retry-After", "1")], b""),
            _ => Reply::ok(&body),
        });
        let begin = SystemTime::now();
        let (outcome, count) = list(&server);
        assert_eq!((outcome.status, count), (Some(0), 2), "{outcome:?}");
        let waited = begin.elapsed().unwrap();
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(9), "{waited:?}");
    }
    let later =
        Server::new(|_, _| Reply::new("429 Too Many Requests", &[("Retry-After", "86400")], b""));
    let (outcome, count) = list(&later);
    assert_refused(&outcome, 10, "answered 429 Too Many Requests; try again in 86400 s");
    assert_eq!(count, 1);
    for (status, hint) in [
        ("401 Unauthorized", "; if it needs a token, configure the registry's auth"),
        ("403 Forbidden", "; if it needs a token, configure the registry's auth"),
        ("404 Not Found", ""),
    ] {
        let server = Server::new(move |_, _| Reply::new(status, &[], b""));
        let (outcome, count) = list(&server);
        assert_refused(&outcome, 10, &format!("the server answered {status}{hint}"));
        assert_eq!(count, 1);
    }
    let dead = Server::new(|_, _| Reply::new("503 Service Unavailable", &[], b""));
    let (outcome, count) = list(&dead);
    assert_refused(&outcome, 10, "the server answered 503");
    assert_eq!(count, 4);
}

/// SEC-C07
#[test]
fn time_and_size_of_responses_are_limited() {
    let world = World::new();
    let list = |server: &Server| {
        let args = ["list", "--available", "--registry", server.address.as_str()];
        let mut command = world.command();
        world.outcome(command.args(args).env("JOBLET_EXEC_TIMEOUT", "1").output().unwrap())
    };
    let large = vec![b' '; 130 << 20];
    let server = Server::new(move |_, _| Reply::ok(&large));
    assert_refused(&list(&server), 11, "it is longer than 134217728 bytes");
    let endless = b"1000\r\n".iter().chain(&[b' '; 0x1000]).chain(b"\r\n").copied();
    let endless: Vec<_> = endless.collect::<Vec<_>>().repeat(33_000);
    let server = Server::new(move |_, _| {
        Reply::new("200 OK", &[("Transfer-Encoding", "chunked")], &endless)
    });
    assert_refused(&list(&server), 11, "it is longer than 134217728 bytes");
    let body = fs::read(world.path("registry/registry.json")).unwrap();
    let silent = body.clone();
    let server = Server::new(move |_, _| Reply::ok(&silent).dripping(Duration::from_secs(10)));
    assert_refused(&list(&server), 10, "no answer within 1 s");
    let slow = body.clone();
    let server = Server::new(move |_, _| Reply::ok(&slow).dripping(Duration::from_millis(300)));
    assert_refused(&list(&server), 10, "the server sends less than 1024 bytes a second");
    for length in [body.len() + 9, body.len() - 9] {
        let body = body.clone();
        let server = Server::new(move |_, _| {
            Reply::new("200 OK", &[("Content-Length", &length.to_string())], &body)
        });
        let outcome = list(&server);
        assert!(matches!(outcome.status, Some(10 | 11)), "{length}: {outcome:?}");
    }
    assert!(
        crate::common::list(&world.path("cache/joblet/registries"))
            .iter()
            .all(|it| !it.ends_with(".3"))
    );
}

/// SEC-C09
#[test]
fn https_is_not_downgraded_and_certificates_are_verified() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let plain = Server::files(world.path("registry"));
    let down = plain.address.clone() + "/registry.json";
    let answer = move |_: &str, _| Reply::new("301 Moved", &[("Location", &down)], b"");
    for (name, years, message) in [
        ("localhost", 1975..4096, "it leads from https to http"),
        ("localhost", 1975..1980, "check the clock"),
        ("localhost", 4000..4096, "check the clock"),
        ("example.org", 1975..4096, "not valid for name"),
    ] {
        let (server, authority) = Server::tls_in(name, years, answer.clone());
        let pem = world.path("ca.pem");
        fs::write(&pem, authority).unwrap();
        let mut command = world.command();
        command.args(["install", "demo", "--registry", &server.address]).env("SSL_CERT_FILE", &pem);
        assert_refused(&world.outcome(command.output().unwrap()), 10, message);
    }
    assert_eq!(plain.requests(), Vec::<String>::new());
    world.assert_store(&[]);
}

/// SEC-D05
#[test]
fn a_download_is_resumed_by_the_next_call_if_it_is_valid() {
    let mut world = World::new();
    let noise = crate::common::members::noise(300_000);
    let text: String = noise.iter().map(|byte| char::from(b'!' + byte % 90)).collect();
    let yml = "name: demo\nversion: 1.0.0\nmounts:\n  - { source: etc, target: /etc }\n";
    let body =
        crate::common::gzip(&crate::common::tar(&[("runtime.yml", yml), ("etc/noise", &text)]));
    world.publish_archive("demo", "1.0.0", &body);
    let digest = checksum(&body).split_off("sha256:".len());
    let downloads = world.path("store/.joblet/downloads");
    let document = fs::read(world.path("registry/registry.json")).unwrap();
    let length = body.len();
    for cut in [1, length / 2, length * 99 / 100] {
        for mode in ["right", "whole", "overlap", "wrong", "416", "changed", "foreign", "long"] {
            let (document, body) = (document.clone(), body.clone());
            let heads = Arc::new(Mutex::new(Vec::new()));
            let (log, broken) = (Arc::clone(&heads), Arc::new(Mutex::new(true)));
            let first = Arc::clone(&broken);
            let server = Server::with_heads(move |path, head| {
                if path == "/registry.json" {
                    return Reply::ok(&document);
                }
                let find = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
                let range = find("range: bytes=").map(str::to_owned);
                log.lock().unwrap().push((range.clone(), find("if-range: ").map(str::to_owned)));
                let whole = |tag: &str| {
                    let size = body.len().to_string();
                    Reply::new("200 OK", &[("Content-Length", &size), ("ETag", tag)], &body)
                };
                let part = |from: usize, said: usize| {
                    let size = (body.len() - from).to_string();
                    let range = format!("bytes {said}-{}/{}", body.len() - 1, body.len());
                    let headers = [("Content-Length", size.as_str()), ("Content-Range", &range)];
                    Reply::new("206 Partial Content", &headers, &body[from..])
                };
                if *first.lock().unwrap() {
                    let size = body.len().to_string();
                    let sent = &body[..if range.is_none() { cut } else { 0 }];
                    let headers = [("Content-Length", size.as_str()), ("ETag", "\"a\"")];
                    return match range {
                        None => Reply::new("200 OK", &headers, sent),
                        // Until the limit of the program.
                        Some(_) => Reply::new("404 Not Found", &[], b""),
                    };
                }
                let from: Option<usize> = range.map(|it| it.trim_end_matches('-').parse().unwrap());
                match (from, mode) {
                    (None, _) | (_, "whole") => whole("\"a\""),
                    (Some(_), "changed") => whole("\"b\""),
                    (Some(from), "overlap") => part(from - 1, from - 1),
                    (Some(from), "wrong") => part(from, from - 1),
                    (Some(_), "416") => Reply::new("416 Range Not Satisfiable", &[], b""),
                    (Some(from), _) => part(from, from),
                }
            });
            let args = ["install", "demo", "--registry", server.address.as_str()];
            assert_refused(&world.exec(args), 10, "404");
            let kept = crate::common::list(&downloads);
            assert_eq!(kept, [format!("{digest}-{}", hex::encode("\"a\""))], "{mode}");
            let file = downloads.join(&kept[0]);
            assert_eq!(fs::read(&file).unwrap(), body_of(&world)[..cut]);
            match mode {
                "foreign" => fs::write(&file, vec![b'x'; cut]).unwrap(),
                "long" => fs::write(&file, vec![b'x'; length + 1]).unwrap(),
                _ => {}
            }
            *broken.lock().unwrap() = false;
            heads.lock().unwrap().clear();
            assert_done(&world.exec(args));
            let heads = heads.lock().unwrap();
            let resumed = (Some(format!("{cut}-")), Some("\"a\"".to_owned()));
            let clean = (None, None);
            let wanted = match mode {
                "right" | "whole" | "changed" => vec![resumed],
                "overlap" | "wrong" | "416" | "foreign" => vec![resumed, clean],
                _ => vec![clean],
            };
            assert_eq!(*heads, wanted, "{mode} {cut}");
            world.assert_store(&["demo-1.0.0"]);
            assert_eq!(crate::common::list(&downloads), Vec::<String>::new(), "{mode} {cut}");
            assert_done(&world.exec(["remove", "demo"]));
        }
    }
}

fn body_of(world: &World) -> Vec<u8> {
    fs::read(world.path("registry/demo-1.0.0.tar.gz")).unwrap()
}

/// Adds copies of the entry of demo@1.0.0 to the registry under arbitrary names and versions.
fn smuggle(world: &World, entries: &[(&str, &str)]) {
    let file = world.path("registry/registry.json");
    let mut document: serde_json::Value =
        serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for (name, version) in entries {
        let mut entry = document["runtimes"]["demo"]["1.0.0"].clone();
        entry["version"] = (*version).into();
        document["runtimes"][*name][*version] = entry;
    }
    fs::write(file, document.to_string()).unwrap();
}

/// SEC-C01: an invalid name or version is never used in a path or an address.
#[test]
fn names_and_versions_that_break_the_grammar_are_left_out_with_one_warning() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("con", "1.0.0");
    let long = "a".repeat(300);
    let names = [
        "..", ".", "-rf", "a/b", "a\\b", "a%2fb", "A", "a..b", ".a", &long, "a\0", "a\n", "", "a ",
    ];
    let versions = ["../1", "v1.0.0", "1.0", "01.0.0", "18446744073709551616.0.0", "1.0.0\n", ""];
    let entries = names.iter().map(|name| (*name, "1.0.0"));
    let entries: Vec<_> = entries.chain(versions.iter().map(|it| ("demo", *it))).collect();
    smuggle(&world, &entries);
    let server = Server::files(world.path("registry"));
    let outcome = world.exec(["install", "demo", "con", "--registry", &server.address]);
    assert_done(&outcome);
    let warnings: Vec<_> =
        outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    let [warning] = warnings.as_slice() else { panic!("{outcome:?}") };
    assert!(warning.contains(&format!("{} entries are broken", entries.len())), "{warning}");
    world.assert_store(&["con-1.0.0", "demo-1.0.0"]);
    let mut requests = server.requests();
    requests.sort();
    assert_eq!(requests, ["/con-1.0.0.tar.gz", "/demo-1.0.0.tar.gz", "/registry.json"]);
    let listed = world.exec(["list", "--available", "--all-versions"]).stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    for spec in ["..", "a/b/c", "A", "a..b", "demo@../1", "demo@v1.0.0", "demo@01.0.0", "a%2fb"] {
        assert_refused(&world.exec(["install", spec]), 2, "");
    }
}

/// SEC-C02: two entries with the same directory are refused.
#[test]
fn no_two_runtimes_share_a_directory() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("foo", "1.0.0-2.0.0");
    assert_done(&world.exec(["install", "foo@1.0.0-2.0.0"]));
    world.assert_store(&["foo-1.0.0-2.0.0"]);
    smuggle(&world, &[("foo-1.0.0", "2.0.0")]);
    assert_refused(&world.exec(["install", "foo-1.0.0@2.0.0"]), 2, "ambiguous");
    let outcome = world.exec(["install", "demo"]);
    assert_done(&outcome);
    assert!(outcome.stderr.contains("one entry is broken and ignored"), "{outcome:?}");
    assert!(outcome.stderr.contains("\"foo-1.0.0\"@\"2.0.0\""), "{outcome:?}");
    assert_eq!(world.exec(["verify", "foo"]).stdout, "foo@1.0.0-2.0.0: intact\n");
}

/// SEC-C03
#[test]
fn the_latest_is_the_highest_release_that_is_one() {
    let mut world = World::new();
    for version in ["1.0.0", "1.9.0", "1.10.0", "2.0.0-rc.1", "3.0.0"] {
        world.publish("demo", version);
    }
    world.edit("demo", "3.0.0", |entry| entry["version"] = "3.0.1".into());
    for version in ["1.0.0-alpha", "1.0.0-rc.1", "1.0.0-rc.2"] {
        world.publish("early", version);
    }
    world.publish("elsewhere", "1.0.0");
    world.edit("elsewhere", "1.0.0", |entry| entry["platforms"] = ["ubuntu-riscv64"].into());
    smuggle(&world, &[("demo", "1.11.0+b1"), ("demo", "latest")]);
    let outcome = world.exec(["install", "demo@latest", "early"]);
    assert_done(&outcome);
    assert_eq!(outcome.stderr.matches("warning: ").count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("3 entries are broken and ignored"), "{outcome:?}");
    world.assert_store(&["demo-1.10.0", "early-1.0.0-rc.2"]);
    assert_refused(&world.exec(["install", "demo@1.11.0"]), 12, "2.0.0-rc.1");
    assert_refused(&world.exec(["install", "elsewhere"]), 12, "elsewhere@1.0.0 is not built for");
}
