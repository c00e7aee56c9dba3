//! Container images, run from their files.

use crate::common::layout::{Layout, write_archive, write_directory};
use crate::common::skip::skip;
use crate::common::tar::Tar;
use crate::common::{list, snapshot};
use crate::support::{Output, World, finish};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the program as `user` with a store of that user's.
fn exec<A: AsRef<OsStr>>(
    world: &World,
    user: Option<u32>,
    args: impl IntoIterator<Item = A>,
) -> Output {
    let store = store(world, user);
    let mut command = Command::new(world.path("joblet-exec"));
    command.args(args).current_dir(world.path("cwd")).env_clear().env("JOBLET_EXEC_STORE", store);
    command.env("JOBLET_EXEC_REGISTRY", world.path("none")).env("HOME", world.path("none"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        use std::os::unix::process::CommandExt;
        command.uid(user).gid(user);
    }
    finish(command.spawn().unwrap())
}

fn store(world: &World, user: Option<u32>) -> PathBuf {
    // One for each test: they run in parallel.
    let test = std::thread::current().name().unwrap_or_default().replace("::", "-");
    let store = world.path(&format!("{test}-{}", user.unwrap_or_default()));
    if !store.exists() {
        fs::create_dir(&store).unwrap();
        std::os::unix::fs::chown(&store, user, user).unwrap();
    }
    store
}

/// The tree of the runtime `demo` as one layer.
fn layer(world: &World) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(world.path("store/demo/isolated"));
    let tar = tar.args(["--format=gnu", "--sort=name", "-cf", "-", "."]).output().unwrap();
    assert!(tar.status.success(), "{tar:?}");
    tar.stdout
}

fn settings() -> Value {
    json!({
        "Env": ["PATH=/usr/bin:/bin", "GREETING=of the image"], "WorkingDir": "/app",
        "Entrypoint": ["/entry"], "User": "www", "ExposedPorts": { "80/tcp": {} },
    })
}

#[test]
fn an_image_is_run_like_a_runtime_and_unpacked_once() {
    let Some(world) = World::get() else { return };
    let above = Tar::default().file("app/data", "of the layer above").file("var/lib/.wh.state", "");
    let mut image = Layout::of(&[]).layer("tar", layer(world), <[u8]>::to_owned);
    image = image.layer("tar", above.end(), <[u8]>::to_owned);
    image.settings = settings();
    write_directory(&image.files("1.0"), &world.path("images/layout"));
    write_archive(&image.saved("example.org/demo:1.0"), &world.path("images/saved.tar"));
    for user in World::users() {
        let script = "pwd; echo $GREETING; cat data; ls /var/lib; echo new >data; echo new >/var/lib/x; \
                      cat data /var/lib/x; (echo x >/usr/bin/x) 2>/dev/null || echo refused";
        for (path, times) in
            [("images/layout", 2), ("images/layout:1.0", 1), ("images/saved.tar", 2)]
        {
            for time in 0..times {
                let path = world.path(path);
                let args = ["run", "--image", path.to_str().unwrap(), "--", "bash", "-c", script];
                let output = exec(world, user, args);
                let want = "/app\nof the image\nof the layer abovenew\nnew\nrefused\n";
                assert_eq!((output.stdout.as_str(), output.status), (want, Some(0)), "{output:?}");
                let said = "entrypoint: /entry; user: www; ports: 80/tcp";
                let first = time == 0 && !path.ends_with("layout:1.0");
                assert_eq!(output.stderr.contains(said), first, "{output:?}");
                assert_eq!(output.stderr.starts_with("unpacked "), first, "{output:?}");
            }
        }
        let mut there = list(&store(world, user));
        there.retain(|name| name != ".joblet");
        assert_eq!(there.len(), 2, "one by its manifest, one by its configuration: {there:?}");
        // The job has changed a private copy.
        let data = fs::read_to_string(store(world, user).join(&there[0]).join("isolated/app/data"));
        assert_eq!(data.unwrap(), "of the layer above");
        let spec = there[0].replacen('-', "@", 1);
        for (args, want) in [
            (vec!["verify"], Some(0)),
            (vec!["run", &spec, "bash", "-c", "pwd"], Some(0)),
            (vec!["upgrade"], Some(0)),
            (vec!["prune", "--yes"], Some(0)),
        ] {
            let output = exec(world, user, &args);
            assert_eq!(output.status, want, "{args:?}: {output:?}");
        }
        // The last unpacked one.
        there.sort();
        let mut left = list(&store(world, user));
        left.retain(|name| name != ".joblet");
        assert_eq!(left.len(), 1, "{left:?}");
        let output = exec(world, user, ["prune", "--keep", "0", "--yes"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        assert_eq!(list(&store(world, user)), [".joblet"]);
    }
}

#[test]
fn an_invalid_image_leaves_nothing() {
    let Some(world) = World::get() else { return };
    let hostile = Tar::default().symlink("out", "/").file("out/escaped", "x");
    write_directory(&Layout::of(&[hostile]).files("t"), &world.path("images/hostile"));
    let device = Tar::default().raw(b'3', b"node", b"", 0o666, b"");
    write_directory(&Layout::of(&[device]).files("t"), &world.path("images/device"));
    let closed = Layout::of(&[Tar::default().file("x", "")]);
    write_directory(&closed.files("t"), &world.path("images/closed"));
    let index = world.path("images/closed/index.json");
    fs::set_permissions(index, fs::Permissions::from_mode(0o000)).unwrap();
    // As an ordinary user, if possible.
    let user = World::users().pop().flatten();
    for (image, said) in [
        ("images/closed", "index.json: it cannot be read: Permission denied\n"),
        ("images/hostile", "error[ARCHIVE]: "),
        ("images/device", "\"node\": a device"),
        ("images/none", "error[NOTFOUND]: image "),
        ("cwd/in.txt", "in.txt: it is not an OCI layout"),
        ("cwd", "not an OCI layout"),
    ] {
        let path = world.path(image);
        let args = ["run", "--image", path.to_str().unwrap(), "true"];
        let output = exec(world, user, args);
        assert!(output.status == Some(125) && output.stderr.contains(said), "{output:?}");
        let store = store(world, user);
        assert_eq!(list(&store.join(".joblet/staging")), Vec::<String>::new());
        assert!(!Path::new("/escaped").exists());
    }
    let mut image = Layout::of(&[Tar::default().file("x", "")]);
    image.settings = settings();
    write_directory(&image.files("t"), &world.path("images/own"));
    let own = world.path("images/own");
    for (args, said) in [
        (vec!["run", "--image", own.to_str().unwrap()], "an image's own is not run: /entry\n"),
        (vec!["run", "--image", "x"], "error[NOTFOUND]: image x: no such file"),
        (vec!["shell", "--image", "x"], "error[NOTFOUND]: image x: no such file"),
        (vec!["shell", "demo", "--image", "x"], "a SPEC and --image are two roots; name one"),
        (vec!["run", "--image", "x", "--runtime=demo", "true"], "exclude each other"),
    ] {
        let output = exec(world, user, &args);
        assert!(output.status == Some(125) && output.stderr.contains(said), "{output:?}");
    }
}

/// SEC-G12
#[test]
fn links_of_an_image_lead_to_nothing_of_the_host() {
    let Some(world) = World::get() else { return };
    let outside = world.path("images-victim");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), "of the host").unwrap();
    let there = outside.to_str().unwrap();
    let above = Tar::default()
        .symlink("srv", there)
        .symlink("opt", "../../../../..")
        .symlink("mnt", "proc/self/root")
        .symlink("media", "/")
        .symlink("var/out", there);
    let mut image = Layout::of(&[]).layer("tar", layer(world), <[u8]>::to_owned);
    image = image.layer("tar", above.end(), <[u8]>::to_owned);
    image.settings = json!({ "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/srv" });
    write_directory(&image.files("t"), &world.path("images/links"));
    for user in World::users() {
        let path = world.path("images/links");
        let script = format!(
            "cat {there}/secret /srv/secret /var/out/secret /opt{there}/secret /mnt{there}/secret \
             /media{there}/secret; echo x >/srv/new; echo $PWD; ls /srv /opt /mnt /media"
        );
        let args = ["run", "--image", path.to_str().unwrap(), "--", "bash", "-c", &script];
        let output = exec(world, user, args);
        assert!(output.stdout.starts_with('/'), "{output:?}");
        assert!(!output.stdout.contains("of the host"), "{output:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{output:?}");
    }
}

#[test]
fn roots_of_musl_work() {
    let Some(world) = World::get() else { return };
    let loader = Path::new(if cfg!(target_arch = "aarch64") {
        "/lib/ld-musl-aarch64.so.1"
    } else {
        "/lib/ld-musl-x86_64.so.1"
    });
    let source = world.path("musl.c");
    let code = "#include <stdio.h>\n#include <pwd.h>\n#include <unistd.h>\n\
                int main(void) { struct passwd *me = getpwuid(getuid()); puts(me ? me->pw_dir : \"nobody\"); return 7; }\n";
    fs::write(&source, code).unwrap();
    let built = Command::new("musl-gcc").arg("-o").arg(world.path("musl")).arg(source).status();
    if !built.is_ok_and(|status| status.success()) || !loader.exists() {
        return skip("no musl-gcc here: roots of musl");
    }
    // As in Alpine: /lib is a separate directory.
    let body = |path: &Path| fs::read(path).unwrap();
    let layer = Tar::default()
        .raw(b'0', &loader.as_os_str().as_encoded_bytes()[1..], b"", 0o755, &body(loader))
        .raw(b'0', b"bin/program", b"", 0o755, &body(&world.path("musl")))
        .symlink("bin/again", "/bin/program")
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", "root:x:0:\n");
    write_archive(&Layout::of(&[layer]).files("edge"), &world.path("images-musl.tar"));
    for user in World::users() {
        let image = format!("{}:edge", world.path("images-musl.tar").display());
        for program in ["program", "/bin/again"] {
            let output = exec(world, user, ["run", "--image", &image, program]);
            assert_eq!((output.stdout.as_str(), output.status), ("/tmp\n", Some(7)), "{output:?}");
        }
    }
}

/// Runs a tool, and returns whether it succeeded.
fn tool(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| {
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        true
    })
}

/// A tree without what runtimes do not keep: owners, set-id bits, write permission of others.
fn kept(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mode = |mode: u32| {
        if mode & 0o170_000 == 0o040_000 { mode & !0o7022 | 0o700 } else { mode & !0o7022 | 0o600 }
    };
    let found = snapshot(root).into_iter();
    let link = |it: u32| it & 0o170_000 == 0o120_000;
    let mut found: BTreeMap<_, _> = found
        .map(|(path, (bits, _, _, content))| {
            (path, (if link(bits) { bits } else { mode(bits) }, content))
        })
        .collect();
    found.remove("");
    found
}

/// SEC-G11
#[test]
fn images_of_other_tools_are_unpacked_as_by_those() {
    let Some(world) = World::get() else { return };
    let base = world.path("tools");
    fs::create_dir_all(&base).unwrap();
    let at = |name: &str| base.join(name).to_str().unwrap().to_owned();
    let (layout, root) = (at("oci"), nix::unistd::geteuid().is_root());
    if !tool_is_there("umoci") || !tool_is_there("skopeo") {
        return skip("no umoci and skopeo here: images of other tools");
    }
    let image = format!("{layout}:t");
    assert!(tool(&["umoci", "init", "--layout", &layout]));
    assert!(tool(&["umoci", "new", "--image", &image]));
    let long = format!("usr/{0}/{0}", "n".repeat(120));
    let steps = [
        format!(
            "mkdir -p d/a e/x usr {long}; echo 1 >d/a/one; echo 2 >d/a/two; ln d/a/two d/hard; \
             echo x >e/x/y; ln -s usr lib; echo s >usr/so; chmod 4755 usr/so; echo f >{long}/file; \
             echo k >keep; ln keep again; mkdir '\u{fc} odd'"
        ),
        "rm d/a/one; rm -r e; mkdir e; echo z >e/z; echo new >again; rm usr/so; mkdir usr/so".to_owned(),
        "rm lib; mkdir lib; echo own >lib/own; rm -r d; echo flat >d; ln keep usr/third; rmdir '\u{fc} odd'".to_owned(),
        "true".to_owned(),
    ];
    for (number, step) in steps.iter().enumerate() {
        let bundle = at(&format!("bundle-{number}"));
        let mut unpack = vec!["umoci", "unpack", "--image", &image, &bundle];
        if !root {
            unpack.insert(2, "--rootless");
        }
        assert!(tool(&unpack));
        assert!(tool(&["sh", "-ec", &format!("cd '{bundle}/rootfs'; {step}")]));
        assert!(tool(&["umoci", "repack", "--image", &image, &bundle]));
    }
    let want = kept(&base.join("bundle-3/rootfs"));
    assert!(want.contains_key("lib/own") && !want.contains_key("e/x"), "{:?}", want.keys());
    let from = format!("oci:{image}");
    let archive = format!("oci-archive:{}:t", at("oci.tar"));
    let saved = format!("docker-archive:{}:example.org/x:t", at("docker.tar"));
    let zstd = format!("oci:{}:t", at("zstd"));
    assert!(tool(&["skopeo", "copy", "-q", &from, &archive]));
    assert!(tool(&["skopeo", "copy", "-q", &from, &saved]));
    assert!(tool(&["skopeo", "copy", "-q", "--dest-compress-format", "zstd", &from, &zstd]));
    for name in ["oci", "oci.tar", "docker.tar", "docker.tar:t", "zstd", "zstd:t"] {
        let store = tempfile::tempdir().unwrap();
        let mut command = Command::new(world.path("joblet-exec"));
        command.args(["run", "--image", &at(name), "--store"]).arg(store.path()).arg("none");
        let output = finish(command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        assert!(output.stderr.contains("none: not found in the runtime"), "{name}: {output:?}");
        let mut there = list(store.path());
        there.retain(|name| name != ".joblet");
        let found = kept(&store.path().join(&there[0]).join("isolated"));
        assert_eq!(found, want, "{name}");
    }
}

fn tool_is_there(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}
