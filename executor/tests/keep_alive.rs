//! Persistent connections, remembered redirects and pipelined ranges, with servers of all kinds.

use crate::common::keep_alive::{Answer, Asked, Kept, reply, serve};
use crate::common::members::{directory, file, noise, pack, runtime};
use crate::common::{Outcome, World, list, snapshot};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Files of each version.
const FILES: usize = 40;

/// Two versions: every fourth file differs, so that an update takes many ranges.
fn world() -> World {
    let mut world = World::new();
    for version in ["1.0.0", "2.0.0"] {
        let mut more = vec![directory("isolated/lib")];
        for number in 0..FILES {
            let mut content = noise(40_000 + number).split_off(number);
            if version == "2.0.0" && number % 4 == 0 {
                content[7..20].fill(1);
            }
            more.push(file(&format!("isolated/lib/{number:02}"), &content));
        }
        let packed = pack(&format!("demo-{version}"), runtime("demo", version, more), 20_000);
        world.publish_members("demo", version, &packed);
    }
    world
}

/// The three hosts of a release: for the registry, for redirects, and for archives.
struct Hosts {
    registry: Kept,
    redirect: Kept,
    archives: Kept,
}

impl Hosts {
    /// `archives` responds for the host of archives.
    fn new(world: &mut World, archives: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let archives = Kept::new(archives);
        let (there, count) = (archives.address.clone(), AtomicUsize::new(0));
        let redirect = Kept::new(move |asked| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let to = format!("{there}{}?signature={number}", asked.path);
            Answer::Bytes(reply("302 Found", &[("Location", &to)], b"elsewhere"))
        });
        for version in ["1.0.0", "2.0.0"] {
            let url = format!("{}/demo-{version}.tar.gz", redirect.address);
            world.edit("demo", version, |entry| {
                entry["download_url"] = url.as_str().into();
                for arch in ["amd64", "arm64"] {
                    entry["artifacts"][arch]["download_url"] = url.as_str().into();
                }
            });
        }
        let root = world.path("registry");
        let registry = Kept::new(move |asked| Answer::Bytes(serve(&root, asked)));
        Self { registry, redirect, archives }
    }

    fn install(&self, world: &World, version: &str) -> Outcome {
        let spec = format!("demo@{version}");
        let args = ["install", &spec, "--refresh", "-v", "--registry", &self.registry.address];
        world.exec(args)
    }

    /// The requested ranges of the archive of 2.0.0.
    fn ranges(&self) -> Vec<Asked> {
        let mut asked = self.archives.asked();
        asked.retain(|asked| asked.path.starts_with("/demo-2.0.0.tar.gz?"));
        asked
    }
}

type Tree = BTreeMap<String, (u32, i64, i64, Vec<u8>)>;

/// The tree of 2.0.0.
fn want(world: &World) -> Tree {
    let full = world.path("full");
    let outcome = world.exec(["install", "demo@2.0.0", "--store", full.to_str().unwrap()]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    snapshot(&full.join("demo-2.0.0"))
}

/// Updates from 1.0.0 to 2.0.0, with its archive served by `archives`, and compares.
#[track_caller]
fn updated(
    archives: impl Fn(&PathBuf, &Asked) -> Answer + Send + Sync + 'static,
) -> (Hosts, Outcome) {
    let mut world = world();
    let want = want(&world);
    let root = world.path("registry");
    let hosts = Hosts::new(&mut world, move |asked| {
        if asked.path.starts_with("/demo-2.0.0.tar.gz?") {
            archives(&root, asked)
        } else {
            Answer::Bytes(serve(&root, asked))
        }
    });
    assert_eq!(hosts.install(&world, "1.0.0").status, Some(0));
    let outcome = hosts.install(&world, "2.0.0");
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(snapshot(&world.path("store/demo-2.0.0")), want);
    world.assert_store(&["demo-1.0.0", "demo-2.0.0"]);
    (hosts, outcome)
}

#[test]
fn each_host_gets_one_connection_and_one_request_for_a_redirect() {
    let (hosts, outcome) = updated(|root, asked| Answer::Bytes(serve(root, asked)));
    assert!(outcome.stderr.contains(" reused"), "{outcome:?}");
    // By two processes.
    assert_eq!(hosts.registry.connections(), 2);
    assert_eq!(hosts.redirect.connections(), 2);
    assert_eq!(hosts.archives.connections(), 2);
    let redirected: Vec<_> = hosts.redirect.asked().into_iter().map(|asked| asked.path).collect();
    let each = ["1.0.0", "2.0.0"].map(|version| format!("/demo-{version}.tar.gz"));
    let each = each.map(|path| [format!("{path}.index"), path]).concat();
    assert_eq!(redirected, each);
    assert!(hosts.ranges().len() > 8, "{:?}", hosts.ranges());
    assert!(hosts.ranges().iter().all(|asked| asked.range.is_some()));
}

/// Ranges are pipelined: a server that responds only after two requests would otherwise wait for ever.
#[test]
fn ranges_are_pipelined() {
    let waiting = Mutex::new(Vec::new());
    let (hosts, _) = updated(move |root, asked| {
        let mut waiting = waiting.lock().unwrap();
        waiting.extend(serve(root, asked));
        // With the index, the number of requests on this connection is odd.
        if asked.number == 1 { Answer::Later } else { Answer::Bytes(std::mem::take(&mut waiting)) }
    });
    assert_eq!(hosts.archives.connections(), 2);
}

#[test]
fn an_expired_address_is_requested_again() {
    for status in ["403 Forbidden", "400 Bad Request", "404 Not Found", "410 Gone"] {
        let limits = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let (hosts, outcome) = updated(move |root, asked| {
            let mut limits = limits.lock().unwrap();
            let used = limits.entry(asked.path.clone()).or_default();
            *used += 1;
            // Each address is valid for three ranges.
            Answer::Bytes(if *used > 3 {
                reply(status, &[], b"expired")
            } else {
                serve(root, asked)
            })
        });
        assert!(outcome.stderr.contains(" reused"), "{status}: {outcome:?}");
        let addresses: std::collections::BTreeSet<_> =
            hosts.ranges().into_iter().map(|asked| asked.path).collect();
        assert!(addresses.len() > 2, "{status}: {addresses:?}");
    }
}

/// An address that never works is given up.
#[test]
fn an_address_that_is_always_refused_is_given_up() {
    let mut world = world();
    let root = world.path("registry");
    let hosts = Hosts::new(&mut world, move |asked| {
        let refused = asked.path.starts_with("/demo-1.0.0.tar.gz?");
        let answer = if refused { reply("403 Forbidden", &[], b"") } else { serve(&root, asked) };
        Answer::Bytes(answer)
    });
    let outcome = hosts.install(&world, "1.0.0");
    assert_eq!(outcome.status, Some(10), "{outcome:?}");
    assert!(outcome.stderr.contains("the server answered 403 Forbidden"), "{outcome:?}");
    assert_eq!(hosts.archives.asked().len(), 2);
    world.assert_store(&[]);
}

/// SEC-C08: the token is not sent to the target of a redirect, remembered or not.
#[test]
fn a_token_does_not_follow_a_remembered_redirect() {
    let mut world = world();
    let root = world.path("registry");
    let hosts = Hosts::new(&mut world, move |asked| Answer::Bytes(serve(&root, asked)));
    let config = format!(
        "runtimes:\n  registries:\n    - name: own\n      url: {}/registry.json\n      \
         auth: {{ type: token, token_env: TOKEN }}\n",
        hosts.registry.address
    );
    std::fs::write(world.path("config.yaml"), config).unwrap();
    for version in ["1.0.0", "2.0.0"] {
        let mut command = world.command();
        command.env_remove("JOBLET_EXEC_REGISTRY").env("TOKEN", "s3cret");
        command.args(["install", "--refresh", "--config"]).arg(world.path("config.yaml"));
        let outcome = world.outcome(command.arg(format!("demo@{version}")).output().unwrap());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }
    assert!(hosts.registry.asked().iter().all(|asked| asked.token));
    assert!(!hosts.redirect.asked().iter().any(|asked| asked.token));
    assert!(!hosts.archives.asked().iter().any(|asked| asked.token));
}

#[test]
fn a_kept_connection_may_be_closed_at_any_byte() {
    // In the head of a response, in its body, between two.
    let places: Vec<usize> = (0..300).step_by(23).chain((300..160_000).step_by(13_331)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(&place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Mutex::new(BTreeMap::<usize, usize>::new());
                    let broken = AtomicUsize::new(0);
                    updated(move |root, asked| {
                        let bytes = serve(root, asked);
                        let mut sent = sent.lock().unwrap();
                        let sent = sent.entry(asked.connection).or_default();
                        let left = place.saturating_sub(*sent);
                        if left >= bytes.len() || broken.load(Ordering::Relaxed) == 2 {
                            *sent += bytes.len();
                            return Answer::Bytes(bytes);
                        }
                        broken.fetch_add(1, Ordering::Relaxed);
                        Answer::Last(bytes[..left].to_vec())
                    });
                }
            });
        }
    });
}

#[test]
fn a_server_may_close_after_each_response() {
    // With and without announcing it.
    for says in [true, false] {
        let (hosts, outcome) = updated(move |root, asked| {
            let mut bytes = serve(root, asked);
            if says {
                let line = bytes.windows(2).position(|end| end == b"\r\n").unwrap() + 2;
                bytes.splice(line..line, *b"Connection: close\r\n");
            }
            Answer::Last(bytes)
        });
        assert!(outcome.stderr.contains(" reused"), "{outcome:?}");
        assert!(hosts.archives.connections() > 8);
    }
}

#[test]
fn answers_in_the_wrong_order_or_of_another_range_are_not_used() {
    // The previous response is sent again instead of the requested one.
    let before = Mutex::new(None);
    updated(move |root, asked| {
        let bytes = serve(root, asked);
        let last = before.lock().unwrap().replace(bytes.clone()).filter(|_| asked.number > 1);
        Answer::Bytes(last.unwrap_or(bytes))
    });
    // Always another range: then the whole file is fetched.
    let (_, outcome) = updated(|root, asked| {
        let range = asked.range.map(|(first, last)| (first + 1, last.map(|last| last + 1)));
        Answer::Bytes(serve(root, &Asked { range, ..asked.clone() }))
    });
    assert!(outcome.stderr.contains("fetching all of it"), "{outcome:?}");
    // The right range in the header, and other bytes.
    let (_, outcome) = updated(|root, asked| {
        let mut bytes = serve(root, asked);
        if asked.range.is_some() {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        Answer::Bytes(bytes)
    });
    assert!(outcome.stderr.contains("fetching all of it"), "{outcome:?}");
}

#[test]
fn servers_without_ranges_or_without_keeping_serve_all_of_it() {
    let (hosts, outcome) =
        updated(|root, asked| Answer::Bytes(serve(root, &Asked { range: None, ..asked.clone() })));
    assert!(outcome.stderr.contains("fetching all of it"), "{outcome:?}");
    // Earlier connections may bring a pipelined request later.
    assert!(hosts.ranges().iter().any(|asked| asked.range.is_none()), "{:?}", hosts.ranges());
    // HTTP/1.0: the end of the connection is the end of the response.
    updated(|root, asked| {
        let bytes = serve(root, asked);
        Answer::Last([b"HTTP/1.0", &bytes[8..]].concat())
    });
}

/// Unrequested bytes are not used as the next response.
#[test]
fn bytes_after_a_response_are_not_another_one() {
    let (_, outcome) = updated(|root, asked| {
        let answer = serve(root, asked);
        let more = reply("200 OK", &[], b"smuggled");
        Answer::Bytes([answer, more].concat())
    });
    assert_eq!(outcome.status, Some(0));
}

/// Stops an installation of 2.0.0 by `stop`, and installs again; the bytes that the second requests
/// of the archive, and its messages.
fn interrupted(update: bool, stop: impl FnOnce(&World, &Hosts)) -> (u64, Outcome) {
    let mut world = world();
    let want = want(&world);
    let root = world.path("registry");
    let stalled = Arc::new(AtomicUsize::new(0));
    let stalls = Arc::clone(&stalled);
    let hosts = Hosts::new(&mut world, move |asked| {
        let bytes = serve(&root, asked);
        if !asked.path.starts_with("/demo-2.0.0.tar.gz?") {
            return Answer::Bytes(bytes);
        }
        // Half of it, then silence: the client waits.
        match stalls.load(Ordering::Relaxed) {
            0 if asked.range.is_none() => {
                stalls.store(1, Ordering::Relaxed);
                Answer::Bytes(bytes[..bytes.len() / 2].to_vec())
            }
            0 if asked.number < 5 => Answer::Bytes(bytes),
            0 => {
                stalls.store(1, Ordering::Relaxed);
                Answer::Later
            }
            1 => Answer::Later,
            _ => Answer::Bytes(bytes),
        }
    });
    if update {
        assert_eq!(hosts.install(&world, "1.0.0").status, Some(0));
    }
    stop(&world, &hosts);
    assert_eq!(stalled.swap(2, Ordering::Relaxed), 1);
    assert!(!world.path("store/demo-2.0.0").exists());
    // Other commands do not change it.
    assert_eq!(world.exec(["list"]).status, Some(0));
    assert_eq!(world.exec(["prune"]).status, Some(0));
    let before = hosts.ranges().len();
    let outcome = hosts.install(&world, "2.0.0");
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(snapshot(&world.path("store/demo-2.0.0")), want);
    let installed: &[_] = if update { &["demo-1.0.0", "demo-2.0.0"] } else { &["demo-2.0.0"] };
    world.assert_store(installed);
    assert_eq!(list(&world.path("store/.joblet/interrupted")), Vec::<String>::new());
    let size = |asked: &Asked| match asked.range {
        Some((first, Some(last))) => last - first + 1,
        _ => usize::MAX,
    };
    (hosts.ranges()[before..].iter().map(|asked| size(asked) as u64).sum(), outcome)
}

fn archive_size() -> u64 {
    std::fs::metadata(world().path("registry/demo-2.0.0.tar.gz")).unwrap().len()
}

/// Stops it by a signal, after the server is silent and the received members are unpacked.
fn by_signal(signal: rustix::process::Signal) -> impl FnOnce(&World, &Hosts) {
    move |world, hosts| {
        let args = ["install", "demo@2.0.0", "-q", "--registry", &hosts.registry.address];
        let mut child = world.command().args(args).spawn().unwrap();
        let start = std::time::Instant::now();
        while hosts.ranges().is_empty() && start.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
    }
}

#[test]
fn an_interrupted_installation_is_resumed() {
    use rustix::process::Signal;
    let size = archive_size();
    for signal in [Signal::INT, Signal::KILL, Signal::TERM] {
        let (fetched, outcome) = interrupted(false, by_signal(signal));
        assert!(fetched < size * 6 / 10, "{fetched} of {size}");
        let said = "demo@2.0.0: resuming an interrupted installation, ";
        assert!(outcome.stderr.contains(said), "{outcome:?}");
    }
    let (fetched, _) = interrupted(true, by_signal(Signal::INT));
    assert!(fetched < size * 3 / 10, "{fetched} of {size}");
}

#[test]
fn an_installation_is_resumed_after_a_network_failure() {
    let size = archive_size();
    let (fetched, _) = interrupted(false, |world, hosts| {
        let mut command = world.command();
        command.args(["install", "demo@2.0.0", "--registry", &hosts.registry.address]);
        let outcome = world.outcome(command.env("JOBLET_EXEC_TIMEOUT", "1").output().unwrap());
        assert_eq!(outcome.status, Some(10), "{outcome:?}");
        world.assert_store(&[]);
    });
    assert!(fetched < size * 6 / 10, "{fetched} of {size}");
}

/// SEC-D03: also if the killed one began before the command, and so was in use when that cleaned up.
#[test]
fn an_installation_that_waits_for_a_killed_one_resumes_it() {
    use std::process::Stdio;
    use std::{thread, time::Duration};
    let mut world = world();
    let want = want(&world);
    let (root, first) = (world.path("registry"), AtomicUsize::new(0));
    let hosts = Hosts::new(&mut world, move |asked| {
        let bytes = serve(&root, asked);
        let whole = asked.path.starts_with("/demo-2.0.0.tar.gz?") && asked.range.is_none();
        // Half of it, then silence.
        let half = whole && first.fetch_add(1, Ordering::Relaxed) == 0;
        Answer::Bytes(if half { bytes[..bytes.len() / 2].to_vec() } else { bytes })
    });
    let start = || {
        let args = ["install", "demo@2.0.0", "-v", "--registry", &hosts.registry.address];
        world.command().args(args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut killed = start();
    while !hosts.ranges().iter().any(|asked| asked.range.is_none()) {
        thread::sleep(Duration::from_millis(5));
    }
    let waiting = start();
    thread::sleep(Duration::from_millis(500));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let outcome = world.outcome(waiting.wait_with_output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("resuming an interrupted installation, "), "{outcome:?}");
    assert_eq!(snapshot(&world.path("store/demo-2.0.0")), want);
    world.assert_store(&["demo-2.0.0"]);
}

/// Leftovers are verified: changed files are fetched again, and with another index all files.
#[test]
fn leftovers_of_an_interrupted_installation_are_verified() {
    use rustix::process::Signal;
    let left = "store/.joblet/staging";
    let (_, outcome) = interrupted(false, |world, hosts| {
        by_signal(Signal::INT)(world, hosts);
        let [staging] = list(&world.path(left)).try_into().unwrap();
        let lib = world.path(left).join(staging).join("demo-2.0.0/isolated/lib");
        let mut spoiled = 0;
        for name in list(&lib) {
            // Length, permissions and timestamp are unchanged.
            let path = lib.join(name);
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(first) = bytes.first_mut() {
                *first ^= 1;
                spoiled += 1;
            }
            std::fs::write(&path, bytes).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        assert!(spoiled > 3);
    });
    assert_eq!(outcome.status, Some(0));
    let (fetched, outcome) = interrupted(false, |world, hosts| {
        by_signal(Signal::INT)(world, hosts);
        let [staging] = list(&world.path(left)).try_into().unwrap();
        let mark = world.path(left).join(staging).join(".joblet-index");
        std::fs::write(mark, "of another archive").unwrap();
    });
    assert!(!outcome.stderr.contains("interrupted"), "{outcome:?}");
    assert!(fetched >= archive_size(), "{fetched}");
}
