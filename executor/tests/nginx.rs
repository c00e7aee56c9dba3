//! The registry and its archives, served by nginx.

use crate::common::members::{directory, file, noise, pack, runtime};
use crate::common::skip::skip;
use crate::common::{Outcome, World, gzip, list, snapshot, tar};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// nginx on loopback, stopped on drop.
struct Nginx {
    port: u16,
    process: Child,
    log: PathBuf,
    seen: usize,
}

impl Nginx {
    /// Serves the world's registry; reports a skip without nginx.
    fn start(world: &World) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(world, port, "")
    }

    /// As [`Self::start`], at a port, with further settings.
    fn start_at(world: &World, port: u16, settings: &str) -> Option<Self> {
        let base = world.path("nginx");
        fs::create_dir_all(&base).unwrap();
        let (registry, here) = (world.path("registry"), base.display());
        let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {here}/{name};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log; events {{}}
            http {{
                log_format asked escape=none '$status $body_bytes_sent $uri $http_range $http_if_range '
                    '$http_if_none_match';
                access_log {here}/access.log asked;
                {scratch} {settings}
                server {{ listen 127.0.0.1:{port}; root {}; }}
            }}",
            registry.display(),
        );
        fs::write(base.join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        nginx.arg("-c").arg(base.join("nginx.conf")).arg("-e").arg(base.join("error.log"));
        let Ok(mut process) = nginx.spawn() else {
            skip("there is no nginx (.ci/deps server)");
            return None;
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                process.try_wait().unwrap().is_none(),
                "{:?}",
                fs::read(base.join("error.log"))
            );
            sleep(Duration::from_millis(20));
        }
        let log = base.join("access.log");
        let seen = fs::read_to_string(&log).unwrap().lines().count();
        Some(Self { port, process, log, seen })
    }

    fn install(&self, world: &World, spec: &str) -> Outcome {
        world.outcome(self.command(world, spec).output().unwrap())
    }

    fn command(&self, world: &World, spec: &str) -> Command {
        let mut command = world.command();
        let address = format!("http://127.0.0.1:{}", self.port);
        command.args(["install", spec, "-v", "--refresh", "--registry", &address]);
        command
    }

    /// The requests since the last call: status, bytes of the body, path, `Range`, `If-Range` and
    /// `If-None-Match`, empty if absent.
    fn asked(&mut self) -> Vec<Vec<String>> {
        // nginx handles requests in order: the earlier ones are logged.
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /none HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        let asked: Vec<Vec<_>> = log.lines().skip(self.seen).map(words).collect();
        self.seen += asked.len();
        asked.into_iter().filter(|words| words[2] != "/none").collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[track_caller]
fn assert_done(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

/// Two versions in members, mostly equal.
fn world_of_two() -> World {
    let mut world = World::new();
    for (version, small) in [("1.0.0", "old"), ("2.0.0", "new")] {
        let more = vec![
            directory("isolated/lib"),
            file("isolated/lib/same", &noise(400_000)),
            file("isolated/lib/small", small.as_bytes()),
        ];
        let packed = pack(&format!("demo-{version}"), runtime("demo", version, more), 50_000);
        world.publish_members("demo", version, &packed);
    }
    world
}

#[test]
fn members_are_installed_and_updated_by_ranges() {
    let world = world_of_two();
    let Some(mut nginx) = Nginx::start(&world) else { return };
    assert_done(&nginx.install(&world, "demo@1.0.0"));
    let asked = nginx.asked();
    // Only the beginning of a registry is requested, which is all of a small one.
    let [registry, others @ ..] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(
        [&registry[0], &registry[2], &registry[3]],
        ["206", "/registry.json", "bytes=0-65535"]
    );
    assert!(others.iter().all(|words| words[0] == "200" && words[3].is_empty()), "{asked:?}");
    let outcome = nginx.install(&world, "demo@2.0.0");
    assert_done(&outcome);
    assert!(outcome.stderr.contains(" reused"), "{outcome:?}");
    let asked = nginx.asked();
    // The registry has not changed since the first request.
    let [registry, index, ranges @ ..] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((registry[0].as_str(), registry[2].as_str()), ("304", "/registry.json"));
    assert!(registry[5].len() > 2 && registry[5].contains('"'), "{registry:?}");
    assert_eq!((index[0].as_str(), index[2].as_str()), ("200", "/demo-2.0.0.tar.gz.index"));
    assert!(!ranges.is_empty(), "{asked:?}");
    for words in ranges {
        assert_eq!((words[0].as_str(), words[2].as_str()), ("206", "/demo-2.0.0.tar.gz"));
        assert!(words[3].starts_with("bytes="), "{words:?}");
    }
    let sent: u64 = ranges.iter().map(|words| words[1].parse::<u64>().unwrap()).sum();
    let size = fs::metadata(world.path("registry/demo-2.0.0.tar.gz")).unwrap().len();
    assert!(sent < size / 2, "{sent} of {size}");
    // A repair requests little, too.
    fs::remove_file(world.path("store/demo-2.0.0/isolated/lib/small")).unwrap();
    let address = format!("http://127.0.0.1:{}", nginx.port);
    assert_done(&world.exec(["verify", "demo@2.0.0", "--repair", "--registry", &address]));
    let asked = nginx.asked();
    assert!(asked.iter().any(|words| words[0] == "206"), "{asked:?}");
    let full = world.path("full");
    assert_done(&world.exec(["install", "demo@2.0.0", "--store", full.to_str().unwrap()]));
    assert_eq!(snapshot(&world.path("store/demo-2.0.0")), snapshot(&full.join("demo-2.0.0")));
    world.assert_store(&["demo-1.0.0", "demo-2.0.0"]);
}

/// SEC-D05: the server dies during a download; the next call requests the rest of an unchanged
/// archive, and all of a changed one.
#[test]
fn an_archive_is_resumed_after_the_server_died() {
    let mut world = World::new();
    let text: String = noise(900_000).iter().map(|byte| char::from(b'!' + byte % 90)).collect();
    let yml = "name: demo\nversion: 1.0.0\nmounts:\n  - { source: etc, target: /etc }\n";
    let archive = gzip(&tar(&[("runtime.yml", yml), ("etc/noise", &text)]));
    let archive = world.publish_archive("demo", "1.0.0", &archive);
    let size = fs::metadata(&archive).unwrap().len();
    let downloads = world.path("store/.joblet/downloads");
    let Some(Nginx { port, .. }) = Nginx::start(&world) else { return };
    for changed in [false, true] {
        let slow = "limit_rate 150k;";
        let mut nginx = Nginx::start_at(&world, port, slow).unwrap();
        let mut first = nginx.command(&world, "demo").stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let received = || {
            let files = list(&downloads).into_iter().map(|name| downloads.join(name));
            files.filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum::<u64>()
        };
        while received() == 0 && start.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(5));
        }
        nginx.process.kill().unwrap();
        nginx.process.wait().unwrap();
        assert_eq!(first.wait().unwrap().code(), Some(10));
        let kept = received();
        assert!(kept > 0 && kept < size, "{kept} of {size}");
        if changed {
            // The same bytes, but nginx cannot know that.
            let file = File::options().write(true).open(&archive).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        }
        let mut nginx = Nginx::start_at(&world, port, "").unwrap();
        assert_done(&nginx.install(&world, "demo"));
        let asked = nginx.asked();
        let [_, words] = asked.as_slice() else { panic!("{asked:?}") };
        let (status, sent) = if changed { ("200", size) } else { ("206", size - kept) };
        assert_eq!(words[..2], [status.to_owned(), sent.to_string()], "{words:?}");
        assert_eq!(words[3], format!("bytes={kept}-"), "{words:?}");
        assert!(words[4].contains('"'), "{words:?}");
        assert_eq!(fs::read_to_string(world.path("store/demo-1.0.0/etc/noise")).unwrap(), text);
        world.assert_store(&["demo-1.0.0"]);
        assert_eq!(list(&downloads), Vec::<String>::new());
        assert_done(&world.exec(["remove", "demo"]));
    }
}
