//! Updates from an installed version: which ranges are fetched, and that the result is that of a full installation.

use crate::common::members::{Packed, directory, file, link, noise, pack, runtime};
use crate::common::server::Server;
use crate::common::{Outcome, World, snapshot};
use joblet_format::index::{Body, Entry, Piece};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

type Tree = Vec<(Entry, Vec<u8>)>;
type Spoil = fn(&Path);

/// A random number generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let start = self.below(1000);
        noise(start + length).split_off(start)
    }
}

/// A file with pieces of `size` bytes.
fn parted(path: &str, content: &[u8], size: usize) -> (Entry, Vec<u8>) {
    let piece =
        |bytes: &[u8]| Piece { size: bytes.len() as u64, sha256: Sha256::digest(bytes).into() };
    let pieces = content.chunks(size).map(piece).collect();
    (Entry { path: path.into(), body: Body::File { executable: false, pieces } }, content.into())
}

fn publish(world: &mut World, version: &str, more: Tree, size: usize) -> Packed {
    let packed = pack(&format!("demo-{version}"), runtime("demo", version, more), size);
    world.publish_members("demo", version, &packed);
    packed
}

fn install(world: &World, version: &str, server: &Server) -> Outcome {
    let spec = format!("demo@{version}");
    let args = ["install", &spec, "--refresh", "-v", "--registry", server.address.as_str()];
    let outcome = world.exec(args);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome
}

/// Asserts that the tree of 2.0.0 equals that of a full installation into another store.
fn assert_as_installed_in_full(world: &World) {
    let full = world.path("full");
    let store = full.to_str().unwrap();
    let outcome = world.exec(["install", "demo@2.0.0", "--store", store, "--refresh"]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let updated = snapshot(&world.path("store/demo-2.0.0"));
    assert_eq!(updated, snapshot(&full.join("demo-2.0.0")));
    fs::remove_dir_all(full).unwrap();
}

/// Two similar versions.
fn pair() -> (Tree, Tree) {
    let big = noise(600_000);
    let mut changed = big.clone();
    changed[250_000..250_010].fill(7);
    let tree = |big: &[u8], small: &str, link_to: &str| {
        vec![
            directory("isolated/lib"),
            parted("isolated/lib/big", big, 100_000),
            file("isolated/lib/empty", b""),
            link("isolated/lib/link", link_to),
            file("isolated/lib/same", &noise(50_000)),
            file("isolated/lib/small", small.as_bytes()),
        ]
    };
    (tree(&big, "old", "same"), tree(&changed, "new", "small"))
}

/// A registry with both.
fn world_of_two() -> World {
    let mut world = World::new();
    let (old, new) = pair();
    publish(&mut world, "1.0.0", old, 50_000);
    publish(&mut world, "2.0.0", new, 50_000);
    world
}

#[test]
fn only_what_changed_is_fetched() {
    let mut world = World::new();
    let (old, new) = pair();
    publish(&mut world, "1.0.0", old, 50_000);
    let packed = publish(&mut world, "2.0.0", new, 50_000);
    let server = Server::ranges(world.path("registry"));
    install(&world, "1.0.0", &server);
    let before = server.requests().len();
    let outcome = install(&world, "2.0.0", &server);
    assert!(
        outcome.stderr.contains("fetched, ") && outcome.stderr.contains(" reused"),
        "{outcome:?}"
    );
    // Registry, index; the version's own file, the changed piece, the end of the archive.
    assert_eq!(server.requests()[before..].len(), 5, "{:?}", server.requests());
    assert!(packed.members.len() > 10);
    world.assert_store(&["demo-1.0.0", "demo-2.0.0"]);
    assert_as_installed_in_full(&world);
    let of = |version: &str| {
        fs::metadata(world.path(&format!("store/demo-{version}/isolated/lib/same"))).unwrap()
    };
    // Reflinks are separate files; without them both names are hard links.
    let cloned = crate::common::clones(&world.path("store"));
    assert_eq!(of("1.0.0").ino() != of("2.0.0").ino(), cloned);
    // The old version can be removed, and installed again from the new one.
    assert_eq!(world.exec(["remove", "demo@1.0.0"]).status, Some(0));
    assert_as_installed_in_full(&world);
    install(&world, "1.0.0", &server);
}

#[test]
fn a_registry_in_a_directory_is_used_the_same_way() {
    let world = world_of_two();
    assert_eq!(world.exec(["install", "demo@1.0.0"]).status, Some(0));
    let outcome = world.exec(["install", "demo@2.0.0"]);
    assert!(outcome.stderr.contains(" reused"), "{outcome:?}");
    assert_as_installed_in_full(&world);
}

#[test]
fn changed_files_are_not_reused() {
    // Changes of the length; of content and timestamp; of the content alone, which is detected when it
    // is copied.
    let spoil: [(&str, Spoil); 3] = [
        ("same", |path| fs::write(path, "short").unwrap()),
        ("same", |path| fs::write(path, vec![1; 50_000]).unwrap()),
        ("big", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(b"rot", 450_000).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)).unwrap();
        }),
    ];
    for (name, spoil) in spoil {
        let world = world_of_two();
        let server = Server::ranges(world.path("registry"));
        install(&world, "1.0.0", &server);
        spoil(&world.path(&format!("store/demo-1.0.0/isolated/lib/{name}")));
        install(&world, "2.0.0", &server);
        assert_as_installed_in_full(&world);
    }
}

#[test]
fn a_server_without_ranges_gives_all_of_it() {
    let world = world_of_two();
    let server = Server::files(world.path("registry"));
    install(&world, "1.0.0", &server);
    let outcome = install(&world, "2.0.0", &server);
    assert!(outcome.stderr.contains("fetching all of it"), "{outcome:?}");
    assert!(!outcome.stderr.contains(" reused"), "{outcome:?}");
    world.assert_store(&["demo-1.0.0", "demo-2.0.0"]);
    assert_as_installed_in_full(&world);
}

#[test]
fn a_member_that_is_another_one_is_never_installed() {
    let world = world_of_two();
    let server = Server::ranges(world.path("registry"));
    install(&world, "1.0.0", &server);
    let archive = world.path("registry/demo-2.0.0.tar.gz");
    let mut bytes = fs::read(&archive).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    fs::write(&archive, bytes).unwrap();
    let outcome = world.exec(["install", "demo@2.0.0", "--registry", server.address.as_str()]);
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn versions_with_little_in_common_are_fetched_in_full() {
    let mut world = World::new();
    let tree =
        |seed| vec![directory("isolated/lib"), file("isolated/lib/x", &Random(seed).bytes(90_000))];
    publish(&mut world, "1.0.0", tree(1), 50_000);
    publish(&mut world, "2.0.0", tree(2), 50_000);
    let server = Server::ranges(world.path("registry"));
    install(&world, "1.0.0", &server);
    let outcome = install(&world, "2.0.0", &server);
    assert!(!outcome.stderr.contains("reused"), "{outcome:?}");
    assert_as_installed_in_full(&world);
}

/// Files of all kinds under random names, some of them large.
fn random_tree(random: &mut Random) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = (0..5 + random.below(15))
        .map(|_| {
            let length = [0, 5, 700, 40_000, 220_000][random.below(5)];
            (format!("isolated/lib/{:04}", random.below(10_000)), random.bytes(length))
        })
        .collect();
    files.sort();
    files.dedup_by(|a, b| a.0 == b.0);
    files
}

fn edit(random: &mut Random, files: &mut Vec<(String, Vec<u8>)>) {
    for _ in 0..random.below(4) {
        let at = random.below(files.len());
        match random.below(4) {
            0 if files.len() > 1 => drop(files.remove(at)),
            1 => files[at].1 = random.bytes(300),
            2 => {
                let content = &mut files[at].1;
                let place = random.below(content.len() + 1);
                content.insert(place, 9);
            }
            _ => {
                let copy = (format!("{}x", files[at].0), files[at].1.clone());
                files.insert(at + 1, copy);
            }
        }
    }
    files.sort();
    files.dedup_by(|a, b| a.0 == b.0);
}

fn tree_of(files: &[(String, Vec<u8>)]) -> Tree {
    let part = |(path, content): &(String, Vec<u8>)| parted(path, content, 30_000);
    std::iter::once(directory("isolated/lib")).chain(files.iter().map(part)).collect()
}

#[test]
fn every_update_is_a_full_installation() {
    let mut random = Random(11);
    let mut updates = 0;
    for _ in 0..25 {
        let mut world = World::new();
        let mut files = random_tree(&mut random);
        let cut = 5000 + random.below(60_000);
        publish(&mut world, "1.0.0", tree_of(&files), cut);
        edit(&mut random, &mut files);
        let cut = 5000 + random.below(60_000);
        publish(&mut world, "2.0.0", tree_of(&files), cut);
        if random.below(2) == 0 {
            let sizes: Vec<_> = (0..random.below(12)).map(|_| 1 + random.below(60_000)).collect();
            world.part("demo", "2.0.0", &sizes);
        }
        let server = Server::ranges(world.path("registry"));
        install(&world, "1.0.0", &server);
        let outcome = install(&world, "2.0.0", &server);
        assert!(!outcome.stderr.contains("fetching all"), "{outcome:?}");
        updates += usize::from(outcome.stderr.contains(" reused"));
        assert_as_installed_in_full(&world);
    }
    assert!(updates > 10, "{updates} of 25 were updates");
}

#[test]
fn an_update_and_a_repair_read_ranges_of_parts() {
    let mut world = world_of_two();
    // Bounds inside the changed piece, and around the end of the archive.
    world.part("demo", "2.0.0", &[230_000, 25_000, 25_000, 380_000, 100]);
    for registry in [None, Some(Server::ranges(world.path("registry")))] {
        let install = |version: &str| match &registry {
            Some(server) => install(&world, version, server),
            None => world.exec(["install", &format!("demo@{version}")]),
        };
        install("1.0.0");
        let outcome = install("2.0.0");
        assert!(outcome.stderr.contains(" reused"), "{outcome:?}");
        assert_as_installed_in_full(&world);
        let small = world.path("store/demo-2.0.0/isolated/lib/small");
        fs::remove_file(small).unwrap();
        let mut command = world.command();
        command.args(["verify", "demo@2.0.0", "--repair"]);
        if let Some(server) = &registry {
            let asked = server.requests();
            assert!(!asked.contains(&"/demo-2.0.0.tar.gz".to_owned()), "{asked:?}");
            command.args(["--registry", &server.address]);
        }
        let outcome = world.outcome(command.output().unwrap());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_as_installed_in_full(&world);
        assert_eq!(world.exec(["remove", "demo@1.0.0", "demo@2.0.0"]).status, Some(0));
    }
}

#[test]
fn damage_is_repaired_with_few_bytes() {
    let mut world = World::new();
    let (tree, _) = pair();
    publish(&mut world, "2.0.0", tree, 50_000);
    let server = Server::ranges(world.path("registry"));
    install(&world, "2.0.0", &server);
    let intact = world.exec(["verify"]);
    assert_eq!((intact.status, intact.stdout.as_str()), (Some(0), "demo@2.0.0: intact\n"));
    let lib = world.path("store/demo-2.0.0/isolated/lib");
    let big = File::options().write(true).open(lib.join("big")).unwrap();
    big.write_all_at(b"rot", 450_000).unwrap();
    big.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)).unwrap();
    fs::remove_file(lib.join("small")).unwrap();
    fs::remove_file(lib.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", lib.join("link")).unwrap();
    fs::write(lib.join("stray"), "").unwrap();
    let found = world.exec(["verify", "demo"]);
    assert_eq!(found.status, Some(13), "{found:?}");
    assert_eq!(
        found.stdout,
        "demo@2.0.0: isolated/lib/big has other content\n\
         demo@2.0.0: isolated/lib/link points elsewhere\n\
         demo@2.0.0: isolated/lib/small is missing\n\
         demo@2.0.0: isolated/lib/stray is not of this runtime\n\
         demo@2.0.0: damaged\n"
    );
    assert!(found.stderr.contains("verify --repair"), "{found:?}");
    let before = server.requests().len();
    let repaired = world.exec(["verify", "--repair", "--registry", server.address.as_str()]);
    assert_eq!(repaired.status, Some(0), "{repaired:?}");
    assert!(repaired.stdout.ends_with("demo@2.0.0: repaired\n"), "{repaired:?}");
    // The index, the damaged piece of the large file, and the small one.
    assert_eq!(server.requests()[before..].len(), 3, "{:?}", &server.requests()[before..]);
    assert_as_installed_in_full(&world);
    world.assert_store(&["demo-2.0.0"]);
    assert_eq!(world.exec(["verify"]).stdout, "demo@2.0.0: intact\n");
}

#[test]
fn of_a_damaged_file_only_its_damaged_pieces_are_fetched() {
    let mut world = World::new();
    let big = noise(2_000_000);
    let tree = vec![directory("isolated/lib"), parted("isolated/lib/big", &big, 100_000)];
    publish(&mut world, "2.0.0", tree, 50_000);
    let server = Server::ranges(world.path("registry"));
    install(&world, "2.0.0", &server);
    let path = world.path("store/demo-2.0.0/isolated/lib/big");
    let spoil: [Spoil; 4] = [
        // Changes of bytes and timestamp; truncation; appended bytes; a changed timestamp alone.
        |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(b"rot", 450_000).unwrap();
        },
        |path| File::options().write(true).open(path).unwrap().set_len(1_950_000).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(2_000_001).unwrap(),
        |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now()).unwrap();
        },
    ];
    for (spoil, most) in spoil.into_iter().zip([4, 4, 1, 1]) {
        spoil(&path);
        assert_eq!(world.exec(["verify"]).status, Some(13));
        let args = ["verify", "--repair", "--json", "--registry", server.address.as_str()];
        let repaired = world.exec(args);
        assert_eq!(repaired.status, Some(0), "{repaired:?}");
        let (_, fetched) = repaired.stderr.split_once(" (").unwrap();
        let kilobytes: usize = fetched.split(['.', ' ']).next().unwrap().parse().unwrap();
        assert!(fetched.ends_with(" kB fetched)\n") && kilobytes <= most * 55, "{repaired:?}");
        assert_as_installed_in_full(&world);
    }
}

/// SEC-D01 for archives in members, whole, updated, and in parts.
#[test]
fn an_installation_killed_at_any_time_leaves_no_incomplete_version() {
    for (sizes, first) in
        [(&[][..], None), (&[], Some("1.0.0")), (&[230_000, 25_000], Some("1.0.0"))]
    {
        let mut world = world_of_two();
        if !sizes.is_empty() {
            world.part("demo", "2.0.0", sizes);
        }
        let server = Server::ranges(world.path("registry"));
        if let Some(version) = first {
            install(&world, version, &server);
        }
        let start = Instant::now();
        install(&world, "2.0.0", &server);
        let time = start.elapsed();
        let before = first.map(|_| snapshot(&world.path("store/demo-1.0.0")));
        for part in 1..16 {
            assert_eq!(world.exec(["remove", "demo@2.0.0"]).status, Some(0));
            let args = ["install", "demo@2.0.0", "-q", "--registry", server.address.as_str()];
            let mut killed = world.command().args(args).spawn().unwrap();
            std::thread::sleep(time * part / 16);
            killed.kill().unwrap();
            killed.wait().unwrap();
            // A version with its final name is complete; otherwise the next installation makes it.
            if world.path("store/demo-2.0.0").exists() {
                assert_as_installed_in_full(&world);
            }
            install(&world, "2.0.0", &server);
            assert_as_installed_in_full(&world);
            let both = ["demo-1.0.0", "demo-2.0.0"];
            world.assert_store(if first.is_some() { &both } else { &both[1..] });
            assert_eq!(first.map(|_| snapshot(&world.path("store/demo-1.0.0"))), before);
        }
    }
}
