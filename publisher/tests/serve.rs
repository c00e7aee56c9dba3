//! `joblet-publish serve`, with requests of browsers, attackers and `joblet-exec`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A running server, stopped on drop.
pub struct Served {
    process: Child,
    /// `127.0.0.1:PORT`
    pub host: String,
}

impl Served {
    pub fn new(root: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_joblet-publish"))
            .args(["serve", "--port", "0"])
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/\n"));
        Self { host: host.unwrap_or_else(|| panic!("{line:?}")).to_owned(), process }
    }

    /// Head and body of the response to a request with these header lines.
    fn ask(&self, first: &str, lines: &[&str]) -> (String, Vec<u8>) {
        let host = format!("Host: {}", self.host);
        let has_host = lines.iter().any(|line| line.starts_with("Host:"));
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut request = vec![format!("{first} HTTP/1.1"), "Connection: close".into()];
        request.extend(lines.iter().map(|&line| line.to_owned()));
        request.extend((!has_host).then_some(host));
        stream.write_all((request.join("\r\n") + "\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn status(&self, first: &str, lines: &[&str]) -> String {
        self.ask(first, lines).0[9..12].to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A site of two files, with other objects beside and in it that must not be served.
fn site() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site");
    fs::create_dir_all(root.join("runtimes/demo")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for (path, text) in [
        ("index.html", "home"),
        ("404.html", "lost"),
        ("runtimes/demo/index.html", "demo"),
        ("data.bin", "0123456789"),
        (".hidden", "hidden"),
        ("../secret", "secret"),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    symlink("../secret", root.join("out")).unwrap();
    symlink("data.bin", root.join("in")).unwrap();
    (dir, root)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[test]
fn files_are_served_as_a_web_server_does() {
    let (_dir, root) = site();
    let server = Served::new(&root);
    for (path, status, body) in [
        ("/", "200", "home"),
        ("/index.html?q=1", "200", "home"),
        ("/runtimes/demo/", "200", "demo"),
        ("/%64ata.bin", "200", "0123456789"),
        ("/in", "200", "0123456789"),
        ("/nothing", "404", "lost"),
        ("/empty/", "404", "lost"),
        ("/index.html/", "404", "lost"),
    ] {
        let (head, answer) = server.ask(&format!("GET {path}"), &[]);
        assert_eq!(
            (&head[9..12], String::from_utf8_lossy(&answer).as_ref()),
            (status, body),
            "{path}"
        );
        assert_eq!(header(&head, "Content-Length"), Some(body.len().to_string().as_str()));
    }
    let (head, body) = server.ask("HEAD /data.bin", &[]);
    assert_eq!((header(&head, "Content-Length"), body.len()), (Some("10"), 0));
    let (head, _) = server.ask("GET /runtimes/demo", &[]);
    assert_eq!((&head[9..12], header(&head, "Location")), ("301", Some("/runtimes/demo/")));
    assert_eq!(
        header(&server.ask("GET /", &[]).0, "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    let (head, _) = server.ask("POST /", &["Content-Length: 0"]);
    assert_eq!((&head[9..12], header(&head, "Allow")), ("405", Some("GET, HEAD")));
}

#[test]
fn ranges_and_conditional_requests() {
    let (_dir, root) = site();
    let server = Served::new(&root);
    let (head, _) = server.ask("GET /data.bin", &[]);
    let etag = header(&head, "ETag").unwrap().to_owned();
    assert_eq!(server.status("GET /data.bin", &[&format!("If-None-Match: {etag}")]), "304");
    let (head, body) =
        server.ask("GET /data.bin", &["Range: bytes=3-5", &format!("If-Range: {etag}")]);
    assert_eq!((&head[9..12], header(&head, "Content-Range")), ("206", Some("bytes 3-5/10")));
    assert_eq!(body, b"345");
    let (head, _) = server.ask("GET /data.bin", &["Range: bytes=10-"]);
    assert_eq!((&head[9..12], header(&head, "Content-Range")), ("416", Some("bytes */10")));

    // Other content has another tag: a request with the old tag gets neither a range nor 304.
    fs::write(root.join("data.new"), "abcdefghij").unwrap();
    fs::rename(root.join("data.new"), root.join("data.bin")).unwrap();
    let (head, body) =
        server.ask("GET /data.bin", &["Range: bytes=3-5", &format!("If-Range: {etag}")]);
    assert_eq!((&head[9..12], body.as_slice()), ("200", b"abcdefghij".as_slice()));
    assert_eq!(server.status("GET /data.bin", &[&format!("If-None-Match: {etag}")]), "200");
}

#[test]
fn nothing_else_on_the_host_is_served() {
    let (_dir, root) = site();
    let server = Served::new(&root);
    for path in [
        "/../secret", "/%2e%2e/secret", "/runtimes/../../secret", "/out", "/.hidden",
        "//runtimes/demo", "/%00", "/%c3%a9",
    ] {
        let (head, body) = server.ask(&format!("GET {path}"), &[]);
        assert_ne!(body, b"secret", "{path}");
        assert!(["404", "400"].contains(&&head[9..12]), "{path}: {head}");
    }
    assert_eq!(server.status("GET /", &["Host: evil.example"]), "403");
    let port = server.host.rsplit_once(':').unwrap().1;
    assert_eq!(server.status("GET /", &[&format!("Host: localhost:{port}")]), "200");

    let taken = publish(&["serve", "--port", port, root.to_str().unwrap()]);
    let message = format!("error[NET]: port {port}: address already in use");
    let said = String::from_utf8(taken.stderr).unwrap();
    assert!(said.starts_with(&message) && said.ends_with("another with --port, or 0\n"), "{said}");
    let missing = publish(&["serve", "/nowhere"]);
    let said = String::from_utf8(missing.stderr).unwrap();
    let message =
        "error[NOTFOUND]: nothing to serve: /nowhere is not a directory; run `site` first\n";
    assert_eq!((missing.status.code(), said.as_str()), (Some(12), message));
}

/// SEC-E15: links and special files, in place of a page and of the error page.
#[test]
fn only_files_of_the_site_are_served() {
    let (_dir, root) = site();
    symlink(".hidden", root.join("shown")).unwrap();
    symlink("..", root.join("up")).unwrap();
    fs::create_dir(root.join("pipe")).unwrap();
    for fifo in ["fifo", "pipe/index.html"] {
        assert!(Command::new("mkfifo").arg(root.join(fifo)).status().unwrap().success());
    }
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    let server = Served::new(&root);
    for missing in ["lost", "no such file\n"] {
        for path in ["/shown", "/up/secret", "/up/", "/fifo", "/pipe/", "/socket", "/out"] {
            let (head, body) = server.ask(&format!("GET {path}"), &[]);
            assert_eq!(
                (&head[9..12], &*String::from_utf8_lossy(&body)),
                ("404", missing),
                "{path}"
            );
        }
        fs::remove_file(root.join("404.html")).unwrap();
        if missing == "lost" {
            symlink("../secret", root.join("404.html")).unwrap();
        }
        // The second time it points outside; afterwards it is not read.
    }
    assert!(Command::new("mkfifo").arg(root.join("404.html")).status().unwrap().success());
    assert_eq!(server.ask("GET /nothing", &[]).1, b"no such file\n");
}

/// SEC-E15: clients that hang do not delay others.
#[test]
fn others_are_answered_meanwhile() {
    let (_dir, root) = site();
    fs::File::create(root.join("large.bin")).unwrap().set_len(64 << 20).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    let server = Served::new(&root);
    let (mut hanging, host) = (Vec::new(), &server.host);
    let asks = |text: String| {
        let mut stream = TcpStream::connect(&server.host).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    for _ in 0..40 {
        hanging.push(asks(String::new()));
        hanging.push(asks(format!("GET / HTTP/1.1\r\nHost: {host}\r\n")));
        hanging.push(asks(format!("GET /fifo HTTP/1.1\r\nHost: {host}\r\n\r\n")));
        // Requests large responses, and reads nothing.
        hanging.push(asks(format!("GET /large.bin HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(4)));
    }
    let began = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(server.ask("GET /", &[]).1, b"home");
    }
    // They would time out after 20 seconds.
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn requests_follow_each_other_and_broken_ones_are_refused() {
    let (_dir, root) = site();
    let server = Served::new(&root);
    let said = |text: &str| {
        let mut stream = TcpStream::connect(&server.host).unwrap();
        stream.write_all(text.replace("HOST", &server.host).as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect()
    };
    let one = "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n";
    let last = "HEAD /nothing HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    for (text, want) in [
        (format!("{one}\r\n{one}{last}{one}"), vec!["200", "200", "404"]),
        ("GET / HTTP/1.0\r\nHost: HOST\r\n\r\n".to_owned(), vec!["200"]),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n\r\nGET /".to_owned(), vec!["405"]),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), vec!["403"]),
        ("GET / HTTP/2\r\n\r\n".to_owned(), vec!["400"]),
        ("GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned(), vec!["400"]),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), vec!["431"]),
    ] {
        let statuses: Vec<String> = said(&text);
        assert_eq!(statuses, want, "{text:.80}");
    }
}

fn publish(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_joblet-publish")).args(args).output().unwrap()
}

/// The program under test: the shipped binary where `make test` names it, else cargo's own build.
pub fn joblet_exec() -> PathBuf {
    std::env::var_os("JOBLET_EXEC_UNDER_TEST").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_joblet-publish")).with_file_name("joblet-exec"),
        PathBuf::from,
    )
}

/// Builds a version of a runtime with a constant and a changing file, and its site.
fn release(dir: &Path, version: &str) {
    let source = dir.join("runtimes-src/demo");
    fs::create_dir_all(source.join("files/usr")).unwrap();
    let manifest = format!(
        "name: demo\nversion: {version}\nplatforms: [ubuntu-amd64, ubuntu-arm64]\nfiles: files/\n"
    );
    fs::write(source.join("manifest.yaml"), manifest).unwrap();
    let noise = |seed: u32| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..2_000_000).map(|_| next()).collect::<Vec<u8>>()
    };
    fs::write(source.join("files/usr/same"), noise(1)).unwrap();
    fs::write(source.join("files/usr/version"), version).unwrap();
    for line in [
        "lock demo --mirror http://127.0.0.1:9",
        "build demo --offline --out public",
        "site --records public/records --out public",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_joblet-publish"))
            .args(line.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
}

#[test]
fn a_runtime_is_installed_and_updated_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let exec = |server: &Served, args: &[&str]| {
        let output = Command::new(joblet_exec())
            .env_clear()
            .env("HOME", dir.path())
            .env("JOBLET_EXEC_STORE", dir.path().join("store"))
            .env("JOBLET_EXEC_REGISTRY", format!("http://{}/registry.json", server.host))
            .args(args)
            .output()
            .expect("first: cargo build");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    release(dir.path(), "1.0.0");
    let server = Served::new(&dir.path().join("public"));
    exec(&server, &["install", "demo"]);
    release(dir.path(), "1.0.1");
    exec(&server, &["--refresh", "install", "demo@latest"]);
    for version in ["1.0.0", "1.0.1"] {
        let path = dir.path().join(format!("store/demo-{version}/isolated/usr/version"));
        assert_eq!(fs::read_to_string(path).unwrap(), version);
    }
    exec(&server, &["verify"]);
}
