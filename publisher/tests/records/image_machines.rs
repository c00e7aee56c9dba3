//! Images made on other machines, and validated by a tool of the specification.

use super::{
    images::{built, document},
    world::World,
};
use crate::{
    reproducible::has_faketime,
    skip::{not_applicable, skip},
};
use joblet_format::Arch;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_joblet-publish");
const NOBODY: u32 = 65534;

/// Each file below `root` with its bytes.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let file = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.filter(|entry| entry.file_type().is_file()).map(file).collect()
}

/// The command line that runs the program on another processor, if qemu is installed.
fn emulator() -> Vec<&'static str> {
    let words = match Arch::NATIVE {
        Arch::Amd64 => vec!["qemu-x86_64-static", "-cpu", "qemu64"],
        Arch::Arm64 => vec!["qemu-aarch64-static", "-cpu", "cortex-a57"],
    };
    if Command::new(words[0]).arg("--version").output().is_err() {
        skip("no qemu-user-static here: all images are made on the same processor");
        return Vec::new();
    }
    words
}

/// Differences between machines.
struct Machine<'m> {
    directory: &'m str,
    umask: &'m str,
    variables: [(&'m str, &'m str); 4],
    jobs: u32,
    before: Vec<&'m str>,
    user: Option<u32>,
}

impl Machine<'_> {
    /// Builds the runtime of `world` from its sources, makes images of it in each form, and reads them.
    fn makes(&self, world: &World) -> BTreeMap<String, Vec<u8>> {
        let place = world.path(self.directory);
        fs::create_dir_all(place.join("images")).unwrap();
        // By another process: children of other tests would inherit a descriptor for writing.
        for from in [world.path("runtimes-src"), world.path("cache"), PROGRAM.into()] {
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(from).arg(&place);
            assert!(copy.status().unwrap().success());
        }
        if let Some(user) = self.user {
            let own = |path: &Path| chown(path, Some(user), Some(user)).unwrap();
            walkdir::WalkDir::new(&place).into_iter().for_each(|entry| own(entry.unwrap().path()));
        }
        for line in [
            "build demo --offline --cache cache --out out",
            "oci demo --records out/records --out images/gzip",
            "oci demo --records out/records --out images/zstd.tar --compress zstd",
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", self.umask]);
            command.args(&self.before).arg(place.join("joblet-publish"));
            command.args(line.split(' ')).arg("--jobs").arg(self.jobs.to_string());
            command.env_clear().env("PATH", "/usr/bin:/bin").envs(self.variables);
            command.current_dir(&place);
            if let Some(user) = self.user {
                command.uid(user).gid(user);
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
        }
        files(&place.join("images"))
    }
}

#[test]
fn an_image_is_the_same_on_another_machine() {
    let world = built();
    fs::set_permissions(world.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let root = fs::metadata("/proc/self").is_ok_and(|it| MetadataExt::uid(&it) == 0);
    let later =
        || if has_faketime() { vec!["faketime", "2031-07-01 12:00:00"] } else { Vec::new() };
    let machines = [
        Machine {
            directory: "here",
            umask: "022",
            variables: [("TZ", "UTC"), ("LC_ALL", "C"), ("HOME", "/root"), ("USER", "root")],
            jobs: 1,
            before: Vec::new(),
            user: None,
        },
        Machine {
            directory: "some/other place",
            umask: "077",
            variables: [
                ("TZ", "Asia/Tokyo"),
                ("LC_ALL", "tr_TR.UTF-8"),
                ("HOME", "/nonexistent"),
                ("USER", "nobody"),
            ],
            jobs: 7,
            before: later(),
            user: root.then_some(NOBODY),
        },
        Machine {
            directory: "another processor",
            umask: "000",
            variables: [("TZ", "America/Lima"), ("LC_ALL", "C"), ("HOME", "/"), ("USER", "")],
            jobs: 2,
            before: emulator(),
            user: None,
        },
    ];
    let made: Vec<_> = machines.iter().map(|machine| machine.makes(&world)).collect();
    // Eleven blobs of two images with the same layer, each with its bill of materials, and the two
    // files of the layout; and another layout as a file.
    assert_eq!(made[0].len(), 14, "{:?}", made[0].keys());
    for (machine, other) in machines.iter().zip(&made) {
        assert_eq!(other.keys().collect::<Vec<_>>(), made[0].keys().collect::<Vec<_>>());
        let differs = made[0].iter().find(|(name, bytes)| other[*name] != **bytes);
        assert!(differs.is_none(), "{}: {}", machine.directory, differs.unwrap().0);
    }
}

/// The message of Debian's `oci-image-tool` about a file or layout, unless it is valid.
fn complaint(kind: &str, path: &Path) -> Option<String> {
    let mut command = Command::new("oci-image-tool");
    command.args(["validate", "--type", kind]);
    if kind == "image" {
        command.args(["--ref", "name=t"]);
    }
    let output = command.arg(path).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The image of one architecture as a separate layout, which the validator checks completely.
fn single(world: &World, arch: &str, to: &str) -> bool {
    let words = ["--override-arch", arch, "copy", "-q", "oci:l:demo:1.0.0", &format!("oci:{to}:t")];
    let mut command = Command::new("skopeo");
    command.args(words).current_dir(world.path("")).status().is_ok_and(|status| status.success())
}

#[test]
fn a_validator_of_the_specification_accepts_an_image_and_refuses_a_broken_one() {
    let missing = |name: &str| Command::new(name).arg("--version").output().is_err();
    if missing("oci-image-tool") {
        // Not every distribution has it.
        return not_applicable(
            "no oci-image-tool here (.ci/deps validator): images by the specification",
        );
    }
    if missing("skopeo") {
        return skip("no skopeo here (.ci/deps images): images by the specification");
    }
    let world = built();
    world.publish("oci demo --records dist/records --out l").done();
    let layout = world.path("l");
    assert_eq!(complaint("imageIndex", &layout.join("index.json")), None);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    };
    // Its schemas accept each kind of document, and refuse one without a required member.
    let check = |kind: &str, descriptor: &Value, member: &str| {
        assert_eq!(complaint(kind, &blob(descriptor)), None);
        let mut broken = document(&layout, descriptor);
        broken.as_object_mut().unwrap().remove(member).unwrap();
        world.write("broken.json", broken.to_string());
        let said = complaint(kind, &world.path("broken.json")).unwrap();
        assert!(said.contains(&format!("{member} is required")), "{said}");
    };
    let index = &world.json("l/index.json")["manifests"][0];
    check("imageIndex", index, "manifests");
    let mut kinds = BTreeMap::new();
    for of in document(&layout, index)["manifests"].as_array().unwrap() {
        check("manifest", of, "layers");
        let config = &document(&layout, of)["config"];
        // The bill of materials has the empty configuration of the specification.
        let image = config["mediaType"] == "application/vnd.oci.image.config.v1+json";
        if image {
            check("config", config, "rootfs");
        }
        *kinds.entry(image).or_insert(0) += 1;
    }
    assert_eq!(kinds, [(false, 2), (true, 2)].into());
    for arch in ["amd64", "arm64"] {
        assert!(single(&world, arch, arch));
        assert_eq!(complaint("image", &world.path(arch)), None, "{arch}");
    }
    // A layer, a configuration and a manifest with other bytes, and a missing one.
    let blobs = files(&world.path("amd64/blobs/sha256"));
    assert_eq!(blobs.len(), 3);
    for (name, bytes) in &blobs {
        let path = format!("amd64/blobs/sha256/{name}");
        let mut other = bytes.clone();
        other[bytes.len() / 2] ^= 1;
        world.write(&path, other);
        assert!(complaint("image", &world.path("amd64")).is_some(), "{name}, another byte");
        fs::remove_file(world.path(&path)).unwrap();
        assert!(complaint("image", &world.path("amd64")).is_some(), "{name} is missing");
        world.write(&path, bytes);
    }
    assert_eq!(complaint("image", &world.path("amd64")), None);
}
