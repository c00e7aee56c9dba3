//! Large registries: resolving one name fetches a small part, and after any fault of the shards the whole document.

use crate::common::server::{Reply, Server};
use crate::common::{Outcome, World, checksum, list};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Length of the whole document, at least, in bytes.
const LARGE: usize = 3 << 20;

const LIST: &str = "/registry.shards.json";

/// Enlarges the registry of `world`, dated `stamp`, and publishes it in shards.
fn publish_in_shards(world: &World, stamp: &str) {
    let registry = world.path("registry");
    let mut document = read(&registry.join("registry.json"));
    document["updated_at"] = stamp.into();
    // An unknown member, instead of thousands of versions.
    document["padding"] = "x".repeat(LARGE).into();
    fs::write(registry.join("registry.json"), document.to_string()).unwrap();
    let mut shards = BTreeMap::<&String, Value>::new();
    for member in ["runtimes", "extended"] {
        for (name, versions) in document[member].as_object().into_iter().flatten() {
            if versions.as_object().is_some_and(|versions| !versions.is_empty()) {
                let empty = || json!({ "version": "1", "runtimes": {} });
                shards.entry(name).or_insert_with(empty)[member] = json!({ name: versions });
            }
        }
    }
    let shards: BTreeMap<_, _> =
        shards.iter().map(|(name, shard)| (name.as_str(), shard.to_string())).collect();
    write_list(&registry, stamp, &shards);
}

/// Writes `shards`, texts by name, and the list of them and of the existing document.
fn write_list(registry: &Path, stamp: &str, shards: &BTreeMap<&str, String>) {
    fs::create_dir_all(registry.join("registry.shards")).unwrap();
    let mut sums = BTreeMap::new();
    for (name, text) in shards {
        let sum = checksum(text.as_bytes());
        fs::write(registry.join("registry.shards").join(file(name, &sum)), text).unwrap();
        sums.insert(*name, sum);
    }
    let document = fs::read(registry.join("registry.json")).unwrap();
    let list = json!({
        "version": "1", "updated_at": stamp, "shards": sums,
        "registry": { "checksum": checksum(&document), "size": document.len() },
    });
    fs::write(registry.join("registry.shards.json"), list.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn file(name: &str, sum: &str) -> String {
    format!("{name}-{}.json", &sum["sha256:".len()..][..16])
}

/// The path of the shard of `name` at the server.
fn shard(world: &World, name: &str) -> String {
    let list = read(&world.path("registry/registry.shards.json"));
    format!("/registry.shards/{}", file(name, list["shards"][name].as_str().unwrap()))
}

/// The requests, and the bytes of each response.
type Log = Arc<Mutex<Vec<(String, usize)>>>;

/// Serves `root` with entity tags, conditions and ranges. `change` may give another answer.
fn serve(
    root: PathBuf,
    change: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let server = Server::with_heads(move |path, head| {
        let find = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
        let note = |sent| seen.lock().unwrap().push((path.to_owned(), sent));
        if let Some(reply) = change(path) {
            note(0);
            return reply;
        }
        let Ok(body) = fs::read(root.join(path.trim_start_matches('/'))) else {
            note(0);
            return Reply::new("404 Not Found", &[], b"");
        };
        let tag = format!("\"{}\"", &checksum(&body)["sha256:".len()..]);
        if find("if-none-match: ") == Some(&tag) {
            note(0);
            return Reply::new("304 Not Modified", &[("ETag", &tag)], b"");
        }
        let range = find("range: bytes=").filter(|_| find("if-range: ").is_none_or(|it| it == tag));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            note(body.len());
            let length = body.len().to_string();
            let headers = [("Content-Length", length.as_str()), ("ETag", &tag)];
            return Reply::new("200 OK", &headers, &body);
        };
        let first: usize = first.parse().unwrap();
        let last = last.parse().map_or(body.len() - 1, |last: usize| last.min(body.len() - 1));
        let part = &body[first..=last];
        note(part.len());
        let length = part.len().to_string();
        let range = format!("bytes {first}-{last}/{}", body.len());
        let headers =
            [("Content-Length", length.as_str()), ("Content-Range", &range), ("ETag", &tag)];
        Reply::new("206 Partial Content", &headers, part)
    });
    (server, log)
}

fn plain(world: &World) -> (Server, Log) {
    serve(world.path("registry"), |_| None)
}

/// The requested paths since the last call, and the total bytes of the responses, without `info`'s
/// requests beside the registry.
fn taken(log: &Log) -> (Vec<String>, usize) {
    let mut log = std::mem::take(&mut *log.lock().unwrap());
    log.retain(|(path, _)| path != "/freshness.json");
    let bytes = log.iter().map(|(_, sent)| sent).sum();
    (log.into_iter().map(|(path, _)| path).collect(), bytes)
}

#[track_caller]
fn done(outcome: Outcome) -> Outcome {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome
}

/// `args` with the registry at `server`.
fn exec(world: &World, server: &Server, args: &str) -> Outcome {
    world.exec(args.split(' ').chain(["--registry", &server.address]))
}

/// Dates every cached document `age` back.
fn age(world: &World, age: Duration) {
    let registries = world.path("cache/joblet/registries");
    for name in list(&registries).iter().filter(|name| name.contains(".3")) {
        let file = fs::File::options().write(true).open(registries.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

const HOURS: Duration = Duration::from_secs(2 * 3600);
const STAMPS: [&str; 3] = ["2025-10-20T00:00:00Z", "2025-10-21T00:00:00Z", "2025-10-22T00:00:00Z"];

/// A realistic entry: two architectures, each with an index and frames.
fn entry(name: &str, version: &str) -> Value {
    let sum = |text: &str| checksum(text.as_bytes());
    let at =
        format!("https://github.com/example/runtimes/releases/download/{name}%40{version}/{name}");
    let archive = |arch: &str| {
        json!({
            "download_url": format!("{at}-{version}-{arch}.tar.gz"), "checksum": sum(arch), "size": 129_400_000,
            "unpacked_size": 410_000_000, "entries": 8674,
            "index": { "checksum": sum("index"), "size": 511_204 },
            "zstd": {
                "download_url": format!("{at}-{version}-{arch}.tar.zst"), "checksum": sum("zstd"),
                "size": 90_000_000, "table": { "checksum": sum("table"), "size": 4000 },
            },
        })
    };
    json!({
        "version": version, "description": "Python 3.11 with NumPy, SciPy, pandas, scikit-learn, Matplotlib",
        "download_url": format!("{at}-{version}-amd64.tar.gz"), "checksum": sum("amd64"), "size": 129_400_000,
        "platforms": ["ubuntu-amd64", "ubuntu-arm64", "rhel-amd64", "rhel-arm64", "amzn-amd64", "amzn-arm64"],
        "artifacts": { "amd64": archive("amd64"), "arm64": archive("arm64") },
    })
}

/// A registry of 1,000 runtimes of 50 versions: the bytes of one name on a host without a copy.
#[test]
fn a_name_of_a_thousand_costs_its_shard() {
    let mut world = World::new();
    world.publish("demo-ml", "2.0.0");
    let registry = world.path("registry");
    let mut document = read(&registry.join("registry.json"));
    let mut versions = document["runtimes"]["demo-ml"].clone();
    for number in 1..50 {
        let version = format!("1.{number}.0");
        versions[&version] = entry("demo-ml", &version);
    }
    document["padding"] = "x".repeat(LARGE).into();
    fs::write(registry.join("registry.json"), document.to_string()).unwrap();
    let names: Vec<_> = (0..999).map(|number| format!("python-3.11-sample-{number}")).collect();
    let of = |name: &str, versions: &Value| {
        json!({ "version": "1", "runtimes": { name: versions } }).to_string()
    };
    let mut shards: BTreeMap<&str, String> =
        names.iter().map(|name| (name.as_str(), of(name, &json!({})))).collect();
    shards.insert("demo-ml", of("demo-ml", &versions));
    write_list(&registry, STAMPS[0], &shards);
    let (server, log) = plain(&world);
    let archive = "/demo-ml-2.0.0.tar.gz";
    done(exec(&world, &server, "info demo-ml"));
    let (paths, bytes) = taken(&log);
    assert_eq!(paths, ["/registry.json", LIST, &shard(&world, "demo-ml")]);
    assert!((150_000..300_000).contains(&bytes), "{bytes} bytes");
    // No request for an hour, then a conditional one.
    done(exec(&world, &server, "install demo-ml"));
    assert_eq!(taken(&log).0, [archive]);
    age(&world, HOURS);
    done(exec(&world, &server, "info demo-ml"));
    assert_eq!(taken(&log), (vec!["/registry.json".into()], 0));
    done(exec(&world, &server, "info demo-ml --refresh"));
    assert_eq!(taken(&log), (vec!["/registry.json".into()], 0));
    // One more version: the length of the document, the list, the changed shard.
    let mut text = fs::read(registry.join("registry.json")).unwrap();
    text.push(b' ');
    fs::write(registry.join("registry.json"), text).unwrap();
    write_list(&registry, STAMPS[1], &shards);
    done(exec(&world, &server, "info demo-ml --refresh"));
    let (paths, bytes) = taken(&log);
    assert_eq!(paths, ["/registry.json", LIST]);
    assert_eq!(bytes, 1 + fs::read(registry.join("registry.shards.json")).unwrap().len());
    // For a missing name the registry is asked for changes, and similar names are suggested.
    let missing = exec(&world, &server, "info python-3.11-sampel-7");
    assert_eq!(missing.status, Some(12));
    assert!(missing.stderr.contains("did you mean python-3.11-sample-7?"), "{missing:?}");
    assert_eq!(taken(&log), (vec!["/registry.json".into()], 0));
}

#[test]
fn a_small_registry_costs_one_request() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let file = world.path("registry/registry.json");
    let small = read(&file);
    let padded = |length: usize| {
        let mut document = small.clone();
        document["padding"] = "x".repeat(length).into();
        fs::write(&file, document.to_string()).unwrap();
        let (server, log) = plain(&world);
        done(exec(&world, &server, "info demo"));
        let (paths, bytes) = taken(&log);
        assert_eq!(bytes, fs::read(&file).unwrap().len(), "nothing is sent twice");
        done(exec(&world, &server, "info demo --refresh"));
        assert_eq!(taken(&log), (vec!["/registry.json".into()], 0));
        paths.len()
    };
    assert_eq!(padded(0), 1);
    assert_eq!(padded(50_000), 1);
    assert_eq!(padded(500_000), 2, "the rest in one more request");
    // A server without ranges, or with another range, sends the whole document at once.
    let body = fs::read(&file).unwrap();
    for range in
        ["", "no length", "bytes 1-65536/500000", "bytes 0-65535/*", "bytes 0-9/10", "nonsense"]
    {
        let body = body.clone();
        let server = Server::with_heads(move |_, head| {
            if range == "no length" {
                return Reply::new("200 OK", &[], &body);
            }
            if range.is_empty() || !head.iter().any(|line| line.starts_with("range: ")) {
                return Reply::ok(&body);
            }
            let headers = [("Content-Range", range), ("Content-Length", "65536")];
            Reply::new("206 Partial Content", &headers, &body[..65536])
        });
        done(exec(&world, &server, "info demo"));
        let asked = server.requests();
        let asked = asked.iter().filter(|path| *path == "/registry.json").count();
        let at_once = range.is_empty() || range == "no length";
        assert_eq!(asked, if at_once { 1 } else { 2 }, "{range}");
    }
    // The file changes between the two requests.
    let (first, second) = (body.clone(), [&body[..], b" "].concat());
    let server = Server::with_heads(move |_, head| {
        match head.iter().find_map(|line| line.strip_prefix("range: bytes=")) {
            Some("0-65535") => {
                let range = format!("bytes 0-65535/{}", first.len());
                let headers = [("Content-Range", range.as_str()), ("ETag", "\"a\"")];
                Reply::new("206 Partial Content", &headers, &first[..65536])
            }
            _ => Reply::ok(&second),
        }
    });
    done(exec(&world, &server, "info demo"));
}

/// A registry with `demo`, and `other`, whose archives are 1.0.0.
fn world() -> World {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("other", "1.0.0");
    publish_in_shards(&world, STAMPS[1]);
    world
}

/// SEC-C17: shards and lists that are wrong, old, missing, too large, or of another registry cost
/// time, and change nothing.
#[test]
fn wrong_shards_are_replaced_by_the_whole_document() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let world = world();
        let place = world.path("registry/registry.shards.json");
        let mut list = read(&place);
        change(&mut list);
        fs::write(place, list.to_string()).unwrap();
        world
    };
    // The list of a registry whose shard of `demo` is this text.
    let with_shard = |text: String| {
        let world = world();
        write_list(&world.path("registry"), STAMPS[1], &BTreeMap::from([("demo", text)]));
        world
    };
    let spoiled = |spoil: &dyn Fn(&Path)| {
        let world = world();
        spoil(&world.path("registry").join(&shard(&world, "demo")[1..]));
        world
    };
    let evil = |name: &str| {
        let mut entry = entry(name, "6.6.6");
        entry["download_url"] = "evil.tar.gz".into();
        json!({ "version": "1", "runtimes": { name: { "6.6.6": entry } } })
    };
    let mut both = evil("demo");
    both["runtimes"]["other"] = evil("other")["runtimes"]["other"].clone();
    let mut broken = evil("demo");
    broken["runtimes"]["o/t"] = json!({ "1": entry("o/t", "1") });
    let large = || format!("{{{}", " ".repeat(16 << 20));
    for (world, reason) in [
        (
            changed(&|list| list["registry"]["size"] = 7.into()),
            "is for a document of 7 bytes, but that has",
        ),
        (changed(&|list| list["version"] = "2".into()), "is not known"),
        (changed(&|list| list["shards"] = 7.into()), "not a list of shards"),
        (changed(&|list| list["shards"]["../x"] = list["shards"]["demo"].clone()), "not a list of"),
        (changed(&|list| list["shards"]["demo"] = checksum(b"x").into()), "404"),
        (changed(&|list| list["shards"]["demo"] = list["shards"]["other"].clone()), "404"),
        (spoiled(&|shard| fs::remove_file(shard).unwrap()), "404"),
        (spoiled(&|shard| fs::write(shard, evil("demo").to_string()).unwrap()), "but the list has"),
        (spoiled(&|shard| fs::write(shard, "").unwrap()), "but the list has"),
        (spoiled(&|shard| fs::write(shard, large()).unwrap()), "is longer than 16777216 bytes"),
        (with_shard(evil("other").to_string()), "it has entries of \"other\""),
        (with_shard(both.to_string()), "it has entries of \"other\""),
        (with_shard(broken.to_string()), "it has entries of \"o/t\""),
        (
            with_shard(json!({ "version": "1", "runtimes": { "demo": {} } }).to_string()),
            "no entries",
        ),
        (with_shard(json!({ "version": "2", "runtimes": {} }).to_string()), "not a shard"),
        (with_shard("<html>".into()), "not a shard"),
    ] {
        let (server, log) = plain(&world);
        let outcome = done(exec(&world, &server, "install demo"));
        let warnings: Vec<_> =
            outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{reason}: {outcome:?}");
        assert!(warnings[0].contains("its shards are not used: "), "{reason}: {outcome:?}");
        assert!(warnings[0].contains(reason), "{reason}: {outcome:?}");
        world.assert_store(&["demo-1.0.0"]);
        let (paths, _) = taken(&log);
        assert_eq!(paths[0], "/registry.json");
        assert_eq!(paths[paths.len() - 2..], ["/registry.json", "/demo-1.0.0.tar.gz"], "{reason}");
    }
    // A registry without shards causes no warning; a list that is temporarily unavailable does.
    for (status, warns) in [("404 Not Found", false), ("410 Gone", false), ("403 Forbidden", true)]
    {
        let world = world();
        let (server, _) = serve(world.path("registry"), move |path| {
            (path == LIST).then(|| Reply::new(status, &[], b""))
        });
        let outcome = done(exec(&world, &server, "install demo"));
        assert_eq!(outcome.stderr.contains("warning: "), warns, "{status}: {outcome:?}");
    }
}

/// SEC-C17, SEC-C04
#[test]
fn rollback_of_a_list_is_refused() {
    let world = world();
    let (server, _) = plain(&world);
    done(exec(&world, &server, "info demo"));
    let registry = world.path("registry");
    let fit = |stamp: &str| {
        let mut list = read(&registry.join("registry.shards.json"));
        let document = fs::read(registry.join("registry.json")).unwrap();
        list["updated_at"] = stamp.into();
        list["registry"]["size"] = document.len().into();
        fs::write(registry.join("registry.shards.json"), list.to_string()).unwrap();
    };
    // An older list, adapted to a new document: the document is used.
    publish_in_shards(&world, STAMPS[2]);
    fit(STAMPS[0]);
    let outcome = done(exec(&world, &server, "info demo --refresh"));
    assert!(outcome.stderr.contains("but one dated 2025-10-21T00:00:00Z was seen"), "{outcome:?}");
    // An older document, with a list or without: neither.
    publish_in_shards(&world, STAMPS[0]);
    for keep in [true, false] {
        if !keep {
            fs::remove_file(registry.join("registry.shards.json")).unwrap();
        }
        let outcome = exec(&world, &server, "info demo --refresh");
        assert_eq!(outcome.status, Some(11), "{outcome:?}");
        assert!(outcome.stderr.contains("rollback is refused"), "{outcome:?}");
    }
    // The previous state is still cached.
    done(exec(&world, &server, "info demo"));
}

/// SEC-C17: a host that reads during a publication, through caches of any age, has the old or the new state.
#[test]
fn every_mixture_of_two_states_is_one_of_both() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("other", "1.0.0");
    publish_in_shards(&world, STAMPS[0]);
    let [old, new] = ["old", "new"].map(|name| world.path(name));
    let registry = world.path("registry");
    let copy = |to: &Path| {
        let copied = Command::new("cp").arg("-r").args([registry.as_path(), to]).status();
        assert!(copied.unwrap().success());
    };
    copy(&old);
    world.publish("demo", "1.1.0");
    publish_in_shards(&world, STAMPS[1]);
    copy(&new);
    let files = ["registry.json", "registry.shards.json", "registry.shards"];
    for mixture in 0..8 {
        let root = world.path(&format!("mixed-{mixture}"));
        fs::create_dir(&root).unwrap();
        for (bit, file) in files.iter().enumerate() {
            let from = if mixture >> bit & 1 == 1 { &new } else { &old };
            std::os::unix::fs::symlink(from.join(file), root.join(file)).unwrap();
        }
        for archive in ["demo-1.0.0.tar.gz", "demo-1.1.0.tar.gz"] {
            std::os::unix::fs::symlink(new.join(archive), root.join(archive)).unwrap();
        }
        let (server, _) = serve(root, |_| None);
        done(exec(&world, &server, "install demo"));
        // By the document: its shards, or all of it.
        world.assert_store(&[if mixture & 1 == 1 { "demo-1.1.0" } else { "demo-1.0.0" }]);
        done(world.exec(["remove", "demo"]));
    }
}

/// The shard of a name, or the whole document, is available offline once it was fetched.
#[test]
fn cached_names_are_available_offline() {
    let world = world();
    let (server, log) = plain(&world);
    done(exec(&world, &server, "info demo"));
    taken(&log);
    done(exec(&world, &server, "info demo --offline"));
    let outcome = exec(&world, &server, "info other --offline");
    assert_eq!(outcome.status, Some(10), "{outcome:?}");
    assert!(outcome.stderr.contains("run the command once without --offline"), "{outcome:?}");
    // Names are completed nevertheless, versions if they are cached.
    let listed = done(exec(&world, &server, "list --available --offline -q")).stdout;
    let rows: Vec<Vec<_>> =
        listed.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["NAME", "VERSION"], ["demo", "1.0.0"], ["other", "-"]], "{listed}");
    let listed = done(exec(&world, &server, "list --available --offline -q --json")).stdout;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len(), 1);
    assert_eq!(taken(&log).0, Vec::<String>::new());
    done(exec(&world, &server, "list --available"));
    assert_eq!(taken(&log).0, ["/registry.json"]);
    done(exec(&world, &server, "info other --offline"));
    done(exec(&world, &server, "search tests"));
    assert_eq!(taken(&log).0, Vec::<String>::new());
    // The list is smaller; a damaged file counts as absent.
    let registries = world.path("cache/joblet/registries");
    for name in list(&registries).iter().filter(|name| name.contains(".s") || name.contains(".3s"))
    {
        let mut bytes = fs::read(registries.join(name)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(registries.join(name), bytes).unwrap();
    }
    done(exec(&world, &server, "info demo --offline"));
}

#[test]
fn a_copy_of_a_registry_is_used_in_place() {
    let world = world();
    let mirror = world.path("mirror");
    let copied = Command::new("cp").arg("-r").args([&world.path("registry"), &mirror]).status();
    assert!(copied.unwrap().success());
    // The document is not read, except for its length.
    let length = fs::read(mirror.join("registry.json")).unwrap().len();
    fs::write(mirror.join("registry.json"), vec![b'?'; length]).unwrap();
    let exec = |args: &str| world.exec(args.split(' ').chain(["--registry", "mirror"]));
    done(exec("install demo"));
    assert_eq!(exec("list --available").status, Some(11));
    fs::copy(world.path("registry/registry.json"), mirror.join("registry.json")).unwrap();
    done(exec("list --available"));
    // A copy without the shards.
    fs::remove_dir_all(mirror.join("registry.shards")).unwrap();
    let outcome = done(exec("install other"));
    assert!(outcome.stderr.contains("its shards are not used: "), "{outcome:?}");
    fs::remove_file(mirror.join("registry.shards.json")).unwrap();
    assert!(!done(exec("info demo")).stderr.contains("warning"));
    // Links in it that lead out are refused.
    std::os::unix::fs::symlink(
        world.path("registry/registry.shards.json"),
        mirror.join("registry.shards.json"),
    )
    .unwrap();
    let outcome = done(exec("info demo"));
    assert!(outcome.stderr.contains("its shards are not used: "), "{outcome:?}");
}

/// SEC-C06, SEC-C17
#[test]
fn a_list_is_trusted_by_the_keys_of_its_registry() {
    let world = world();
    let registry = world.path("registry");
    let minisign = |args: &str| {
        let mut command = Command::new("minisign");
        command.current_dir(&registry).args(args.split(' '));
        let output = command.output().expect("minisign is needed: .ci/deps trust");
        assert!(output.status.success(), "{args}: {output:?}");
    };
    let key = |name: &str| {
        minisign(&format!("-G -W -p {name}.pub -s {name}.key"));
        let text = fs::read_to_string(registry.join(format!("{name}.pub"))).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    };
    let (a, _) = (key("a"), key("b"));
    let (server, log) = plain(&world);
    let config = format!(
        "runtimes:\n  registries:\n    - {{ name: x, url: \"{}\", public_key: {a} }}\n",
        server.address
    );
    fs::create_dir_all(world.path("home/.rnx")).unwrap();
    fs::write(world.path("home/.rnx/config.yaml"), config).unwrap();
    let exec = |args: &str| {
        let mut command = world.command();
        command.env_remove("JOBLET_EXEC_REGISTRY").args(args.split(' '));
        world.outcome(command.output().unwrap())
    };
    let sign = |key: &str, file: &str| minisign(&format!("-S -s {key}.key -m {file}"));
    sign("a", "registry.json");
    let whole = ["/registry.json", "/registry.json.minisig"];
    let refused = |reason: &str| {
        let outcome = done(exec("info demo --refresh"));
        assert!(outcome.stderr.contains("its shards are not used: "), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{reason}: {outcome:?}");
        let paths = taken(&log).0;
        assert_eq!(paths[paths.len() - 2..], whole, "{reason}");
    };
    refused("the signature file is missing");
    // The copy of the document is current: a list that is signed later is used from the next change on.
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    sign("b", "registry.shards.json");
    refused("0 of 1 signatures by ");
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    sign("a", "registry.shards.json");
    done(exec("info demo"));
    let signature = "/registry.shards.json.minisig";
    assert_eq!(taken(&log).0, ["/registry.json", LIST, signature, &shard(&world, "demo")]);
    done(exec("info demo --refresh"));
    assert_eq!(taken(&log).0, ["/registry.json", signature]);
    // Signed again by the same key: nothing else is requested. By another: the whole document.
    sign("a", "registry.shards.json -c again");
    done(exec("info demo --refresh"));
    assert_eq!(taken(&log).0, ["/registry.json", signature]);
    sign("b", "registry.shards.json");
    refused("0 of 1 signatures by ");
    // An expired list is not used.
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    let mut command = Command::new("minisign");
    command.current_dir(&registry).args(["-S", "-s", "a.key", "-m", "registry.shards.json", "-t"]);
    assert!(command.arg("timestamp:1\texpires:1700000000").output().unwrap().status.success());
    refused("has expired");
    // A bundle has the whole document and its signature, and installs.
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    sign("a", "registry.shards.json");
    done(exec("export demo --to bundle"));
    let names = list(&world.path("bundle"));
    assert!(names.contains(&"registry.json.minisig".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("shards")), "{names:?}");
    done(exec("import bundle"));
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn commands_of_every_kind_work_with_a_large_registry() {
    let mut world = world();
    let (server, log) = plain(&world);
    done(exec(&world, &server, "install demo other"));
    world.publish("demo", "1.1.0");
    publish_in_shards(&world, STAMPS[2]);
    taken(&log);
    let outdated = done(exec(&world, &server, "outdated --refresh")).stdout;
    assert!(outdated.contains("1.1.0"), "{outdated}");
    let asked = taken(&log).0;
    assert!(
        asked.contains(&LIST.to_owned()) && asked.contains(&shard(&world, "demo")),
        "{asked:?}"
    );
    assert!(!asked.contains(&shard(&world, "other")), "it has not changed: {asked:?}");
    done(exec(&world, &server, "upgrade"));
    world.assert_store(&["demo-1.0.0", "demo-1.1.0", "other-1.0.0"]);
    done(exec(&world, &server, "export demo@1.0.0 --to bundle"));
    assert!(fs::read(world.path("bundle/registry.json")).unwrap().len() < 4096);
    let listed = done(exec(&world, &server, "list --available")).stdout;
    assert!(listed.contains("demo   1.1.0") && listed.contains("other  1.0.0"), "{listed}");
    // Only names are counted.
    fs::remove_dir_all(world.path("cache/joblet")).unwrap();
    taken(&log);
    let report = exec(&world, &server, "doctor").stdout;
    assert!(report.contains("2 runtimes in http://localhost:"), "{report}");
    assert_eq!(taken(&log).0, ["/registry.json", LIST]);
}
