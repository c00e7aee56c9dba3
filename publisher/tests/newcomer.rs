//! What somebody meets who publishes for the first time, and forgets or guesses something.

use crate::records::world::{Deb, World, deb, repository};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

fn demo(text: &str) -> Deb {
    deb("demo", "1", "MIT", &[("./usr/bin/demo", &format!("#!/usr/bin/demo\n# {text}\n"))])
}

/// A world with version 1.0.0 in the registry `pub`.
fn published() -> World {
    let world = World::new();
    world.runtime("1.0.0", &[demo("first")], "");
    world.build("--arch amd64 --out pub").done();
    world.publish("site --records pub/records --out pub").done();
    world
}

/// Every file below `below`, with its bytes.
fn files(world: &World, below: &str) -> BTreeMap<String, Vec<u8>> {
    let files = world.tree(below).into_iter().filter(|it| world.path(below).join(it).is_file());
    files.map(|it| (it.clone(), fs::read(world.path(below).join(it)).unwrap())).collect()
}

#[test]
fn a_build_does_not_overwrite_what_its_registry_offers() {
    let world = published();
    let before = files(&world, "pub");
    world.runtime("1.0.0", &[demo("second")], "");
    let refused = world.build("--arch amd64 --out pub").failed(13);
    let start = "error[INTEGRITY]: demo@1.0.0 amd64, offered in pub/registry.json: checksum differs: expected sha256:";
    let end = "; nothing was overwritten: raise `version` in the manifest, or remove that registry.json if it \
               was only a trial";
    assert!(refused.starts_with(start) && refused.ends_with(end), "{refused}");
    assert_eq!(files(&world, "pub"), before);
    // The first way out.
    world.runtime("1.1.0", &[demo("second")], "");
    world.build("--arch amd64 --out pub").done();
    world.publish("site --records pub/records --out pub").done();
    assert!(world.read("pub/registry.json").contains("\"1.1.0\""));
    // What is not offered yet may be built as often as it takes.
    world.runtime("1.2.0", &[demo("third")], "");
    world.build("--arch amd64 --out pub").done();
    world.runtime("1.2.0", &[demo("fourth")], "");
    world.build("--arch amd64 --out pub").done();
    // The other architecture of an offered version is new.
    world.runtime("1.1.0", &[demo("second")], "");
    world.build("--arch arm64 --out pub").done();
    world.publish("site --records pub/records --out pub").done();
    // The second way out.
    fs::remove_file(world.path("pub/registry.json")).unwrap();
    world.runtime("1.0.0", &[demo("second")], "");
    world.build("--arch amd64 --out pub").done();
    world.publish("site --records pub/records --out pub").done();
}

#[test]
fn the_same_bytes_of_an_offered_version_are_built_again() {
    let world = published();
    let before = files(&world, "pub");
    fs::remove_dir_all(world.path("cache/built")).unwrap();
    world.build("--arch amd64 --out pub").done();
    fs::remove_file(world.path("pub/demo-1.0.0-amd64.tar.gz")).unwrap();
    world.build("--arch amd64 --out pub").done();
    assert_eq!(files(&world, "pub"), before);
    // What checks read is in the index alone: the archive would be the same.
    world.write("runtimes-src/demo/reads.txt", "0-64 usr/bin/demo\n");
    let refused = world.build("--arch amd64 --out pub").failed(13);
    let start = "error[INTEGRITY]: demo@1.0.0 amd64, offered in pub/registry.json: index (with reads.txt) differs: ";
    assert!(refused.starts_with(start), "{refused}");
    assert_eq!(files(&world, "pub"), before);
}

#[test]
fn what_is_no_registry_is_no_place_for_builds() {
    let world = World::new();
    world.runtime("1.0.0", &[demo("first")], "");
    world.write("pub/registry.json", "{");
    let refused = world.build("--arch amd64 --out pub").failed(17);
    assert!(
        refused.starts_with("error[CONFIG]: pub/registry.json: is not a registry: "),
        "{refused}"
    );
    assert_eq!(world.tree("pub"), ["registry.json"]);
}

/// Where a command takes the file of a registry, its directory is the same.
#[test]
fn a_registry_is_named_by_its_directory() {
    let world = published();
    let line = "pub/registry.json: runtimes: 1, versions: 1\n";
    assert_eq!(world.publish("index --records pub/records --out pub").done(), line);
    world.publish("keygen --no-password company.key").done();
    world.publish("sign --key company.key pub").done();
    assert!(world.path("pub/registry.json.minisig").is_file());
    world.publish("adopt --records adopted pub").done();
    assert!(world.path("adopted/demo/1.0.0.json").is_file());
}

/// The trusted comment's period of the signature `file`, in days.
fn period(world: &World, file: &str) -> Option<u64> {
    let signature = world.read(file);
    let comment = signature.lines().nth(2).unwrap();
    let field = |name: &str| {
        let value = comment.split(['\t', ' ']).find_map(|field| field.strip_prefix(name))?;
        Some(value.parse::<u64>().unwrap())
    };
    let length = field("expires:")? - field("timestamp:").unwrap();
    assert_eq!(length % 86_400, 0, "{comment}");
    Some(length / 86_400)
}

/// As README does it, for the second version, too.
#[test]
fn a_new_signature_is_valid_as_long_as_the_one_before() {
    let world = published();
    let minisig = "pub/registry.json.minisig";
    world.publish("keygen --no-password company.key").done();
    world.publish("sign --key company.key --expires 30 pub").done();
    assert_eq!(period(&world, minisig), Some(30));
    let site = "site --records pub/records --out pub";
    let first = world.read(minisig);
    world.publish(&format!("{site} --key company.key")).done();
    assert_eq!(world.read(minisig), first, "the same registry");
    world.runtime("1.1.0", &[demo("second")], "");
    world.build("--arch amd64 --out pub").done();
    let refused = world.publish(site).failed(17);
    assert!(refused.contains("give the key (--key FILE or "), "{refused}");
    for (line, want) in [
        ("site --key company.key", Some(30)),
        ("index --key company.key --expires 7", Some(7)),
        ("index --key company.key", Some(7)),
        ("site --key company.key --expires 9", Some(9)),
    ] {
        let (command, options) = line.split_once(' ').unwrap();
        world.publish(&format!("{command} {options} --records pub/records --out pub")).done();
        assert_eq!(period(&world, minisig), want, "{line}");
    }
    world.publish("sign --key company.key pub").done();
    assert_eq!(period(&world, minisig), Some(9));
    // Half of its validity is over.
    let old = format!("timestamp:1\tfile:registry.json\thashed\texpires:{}", 1 + 9 * 86_400);
    let signature: Vec<_> = world.read(minisig).lines().map(str::to_owned).collect();
    let lines = [&signature[0], &signature[1], &format!("trusted comment: {old}"), &signature[3]];
    world.write(minisig, lines.map(|line| line.to_owned() + "\n").concat());
    world.publish(&format!("{site} --key company.key")).done();
    assert_eq!(period(&world, minisig), Some(9));
    assert!(!world.read(minisig).contains("timestamp:1\t"));
    fs::remove_file(world.path(minisig)).unwrap();
    world.publish("sign --key company.key pub").done();
    assert_eq!(period(&world, minisig), None);
}

/// A directory may hold more than the user thinks of.
#[test]
fn nobody_is_told_to_remove_a_directory() {
    let world = published();
    fs::create_dir(world.path("other")).unwrap();
    for line in ["new app --from other", "sign --key company.key other/../other"] {
        let refused = world.publish(line);
        assert_ne!(refused.status, 0, "{line}");
        assert!(!refused.stderr.contains("remove it"), "{line}: {}", refused.stderr);
    }
    fs::create_dir_all(world.path("twice/registry.json")).unwrap();
    assert_eq!(
        world.publish("index --records pub/records --out twice").failed(17),
        "error[CONFIG]: twice/registry.json: is a directory, not a file; name a file in it, or move it away"
    );
}

/// What `line` prints on a terminal.
fn on_a_terminal(world: &World, line: &str) -> String {
    let mut command = Command::new("script");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_joblet-publish"));
    command.args(["-qec", &line, "/dev/null"]).current_dir(world.path(""));
    let output = command.env("TERM", "dumb").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

#[test]
fn a_build_says_what_comes_next_to_people_alone() {
    let world = World::new();
    world.runtime("1.0.0", &[demo("first")], "");
    let build = "build demo --offline --cache cache --arch amd64 --out pub";
    let site = "joblet-publish site --records pub/records --out pub";
    let next = format!("\nnext: joblet-publish check demo --out pub\n      {site}\n");
    let said = on_a_terminal(&world, build);
    assert!(said.ends_with(&next), "{said}");
    assert!(!on_a_terminal(&world, &format!("{build} --json")).contains("next"));
    assert!(!world.publish(build).done().contains("next"));
    world.publish(site.split_once(' ').unwrap().1).done();
    // It is there.
    assert!(!on_a_terminal(&world, build).contains("next"));
}

#[test]
fn where_records_were_looked_for_is_said() {
    let world = published();
    let none = "no records: registry-site/records is not a directory; name that of the records with --records DIR";
    for line in ["site --out pub", "diff demo@1.0.0 demo@1.1.0"] {
        assert_eq!(world.publish(line).failed(12), format!("error[NOTFOUND]: {none}"), "{line}");
    }
    fs::create_dir_all(world.path("registry-site/records")).unwrap();
    assert_eq!(
        world.publish("site --out pub").failed(13),
        "error[INTEGRITY]: demo@1.0.0: record differs: expected one, as it is in the registry, got none in \
         registry-site/records; a published version must not disappear: name the directory of its record with \
         --records DIR, restore the record, yank it, or, for a registry of other tools, run joblet-publish adopt"
    );
    for line in ["diff demo@1.0.0 demo@1.1.0", "verify demo", "oci demo --out x.tar", "zstd demo"] {
        assert_eq!(
            world.publish(line).failed(12),
            "error[NOTFOUND]: no record of demo in registry-site/records; --records DIR names another directory",
            "{line}"
        );
    }
}

#[test]
fn commands_in_a_subdirectory_name_the_checkout() {
    let world = World::new();
    world.runtime("1.0.0", &[demo("first")], "");
    fs::create_dir_all(world.path("a/b")).unwrap();
    let there = world.path("runtimes-src").canonicalize().unwrap();
    let there = there.display();
    for (line, start) in [
        (
            "lock demo",
            format!(
                "no runtime `demo`: runtimes-src does not exist here, but is {there}; use --sources {there}"
            ),
        ),
        (
            "build --all",
            format!(
                "no runtime: runtimes-src does not exist here, but is {there}; use --sources {there}"
            ),
        ),
        (
            "new other",
            format!(
                "runtimes-src does not exist here, but is {there}; use --sources {there}, or `mkdir runtimes-src` first"
            ),
        ),
    ] {
        assert_eq!(
            world.publish_in("a/b", line).failed(12),
            format!("error[NOTFOUND]: {start}"),
            "{line}"
        );
    }
    assert!(world.tree("a").iter().all(|it| it == "b"), "{:?}", world.tree("a"));
    let elsewhere = World::new();
    assert_eq!(
        elsewhere.publish("lock demo").failed(12),
        "error[NOTFOUND]: no runtime `demo`: runtimes-src does not exist here; run this in the root of the checkout, or \
         use --sources DIR"
    );
}

#[test]
fn a_new_manifest_is_edited_before_it_is_released() {
    let world = World::new();
    let made = world.publish("new demo").done();
    let path = "runtimes-src/demo/manifest.yaml";
    assert_eq!(made, format!("{path}\nnext: edit {path}, then joblet-publish lock demo\n"));
    let platforms = "[ubuntu-amd64, ubuntu-arm64, rhel-amd64, rhel-arm64, amzn-amd64, amzn-arm64, debian-amd64, debian-arm64]";
    assert!(world.read(path).contains(platforms));
    world.runtime("1.0.0", &[demo("first")], "");
    world.write(path, world.read(path).replace("a demo", "One line for people"));
    let reason = format!(
        "{path}: description: is still that of a new manifest; say what the runtime is for"
    );
    let built = world.build("--arch amd64");
    assert_eq!((built.status, built.stderr), (0, format!("warning: {reason}\n")));
    assert_eq!(
        world.build("--arch amd64 --release").failed(17),
        format!("error[CONFIG]: {reason}")
    );
    world.write(path, world.read(path).replace("One line for people", "a demo"));
    world.build("--arch amd64 --release").done();
}

/// A directory with these files of the repository, and with `programs` alone as its `PATH`.
fn with_programs(files: &[&str], programs: &[&str]) -> World {
    let world = World::new();
    for file in files {
        world.write(file, fs::read(repository(file)).unwrap());
        let mode = fs::metadata(repository(file)).unwrap().permissions();
        fs::set_permissions(world.path(file), mode).unwrap();
    }
    fs::create_dir(world.path("programs")).unwrap();
    for program in programs {
        let place = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
        let place = place.iter().find(|place| place.exists()).unwrap();
        symlink(place, world.path("programs").join(program)).unwrap();
    }
    world
}

/// Runs `line` in it: standard error, if it succeeds.
fn succeeds(world: &World, line: &str) -> String {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", line]).current_dir(world.path("")).env_clear();
    let output = command.env("PATH", world.path("programs")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn make_clean_leaves_what_make_did_not_make() {
    let programs = ["bash", "dirname", "rm", "rmdir"];
    let world = with_programs(&[".ci/clean"], &programs);
    world.write("programs/cargo", "#!/bin/bash\necho \"$@\" >cargo.log\n");
    fs::set_permissions(world.path("programs/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    for own in ["bin/joblet-exec", "demo/registry.json", "demo-times", "bench/x"] {
        world.write(&format!("dist/{own}"), "");
    }
    world.write("dist/mine/registry.json", "{}");
    let said = succeeds(&world, ".ci/clean");
    assert_eq!(said, "clean: kept, since make has not built it: dist/mine\n");
    assert_eq!(world.tree("dist"), ["mine", "mine/registry.json"]);
    assert_eq!(world.read("cargo.log"), "clean\n");
    fs::remove_dir_all(world.path("dist/mine")).unwrap();
    assert_eq!(
        (succeeds(&world, ".ci/clean"), world.path("dist").exists()),
        (String::new(), false)
    );
    assert_eq!(succeeds(&world, ".ci/clean"), "");
}

#[test]
fn what_is_optional_is_said_to_be() {
    // Neither Rust for musl nor a way to install it.
    let world = with_programs(&[".ci/deps", "Cargo.toml"], &["bash", "dirname", "sort"]);
    let said = succeeds(&world, ".ci/deps -- musl");
    assert_eq!(
        said,
        "deps: optional, for a smaller joblet-exec that runs on every Linux; going on without: missing, and there is no \
         apt-get: musl-tools\n"
    );
    let mut needed = Command::new("/bin/bash");
    needed.args(["-c", ".ci/deps musl"]).current_dir(world.path("")).env_clear();
    let needed = needed.env("PATH", world.path("programs")).output().unwrap();
    let said = String::from_utf8(needed.stderr).unwrap();
    assert!(!needed.status.success(), "{said}");
    assert_eq!(said, "deps: missing, and there is no apt-get: musl-tools\n");
}

#[test]
fn the_demo_ends_with_the_first_commands_of_the_readme() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let first = readme.split("```bash\n").nth(1).unwrap().split("```").next().unwrap();
    let demo = fs::read_to_string(repository(".ci/demo")).unwrap();
    let shown = demo.split("cat >&2 <<END\n").nth(1).unwrap().split("END\n").next().unwrap();
    let shown = shown.replace("\\$", "$").replace("$out", "dist/demo");
    assert_eq!(shown.replace("$runtime", "python-3.11"), first);
}

/// A command line of a page or a document with a wrong option would be answered with status 2.
#[test]
fn commands_of_pages_and_documents_are_command_lines() {
    let mut lines = Vec::new();
    for file in [
        "README.md",
        "CREATING_RUNTIMES.md",
        "IMAGES.md",
        "registry-site/templates/host-your-own.html",
        "registry-site/templates/install.html",
        "registry-site/templates/version.html",
    ] {
        let text = fs::read_to_string(repository(file)).unwrap();
        let text = text.replace("{{ of_records }}", " --records records").replace("</code>", "\n");
        let text =
            ["{{ spec }}", "{{ page.name }}", "{{ page.version }}", "{{ page.changes.before }}"]
                .into_iter()
                .zip(["demo@1.0.0", "demo", "1.0.0", "0.9.0"])
                .fold(text, |text, (from, to)| text.replace(from, to));
        let found = text.lines().filter_map(|line| line.split_once("joblet-publish "));
        let begins = |before: &str| before.trim().is_empty() || before.ends_with("<code>");
        let found = found.filter(|(before, _)| begins(before)).map(|(_, line)| line.to_owned());
        // `joblet-publish keygen` in a sentence is its name.
        let found: Vec<_> = found.filter(|line| line.contains(' ')).collect();
        assert!(!found.is_empty(), "{file}");
        lines.extend(found.into_iter().map(|line| (file, line)));
    }
    assert!(lines.len() > 25, "{lines:?}");
    for (file, line) in lines {
        let world = World::new();
        fs::create_dir(world.path("here")).unwrap();
        let command = format!("{} {line}", env!("CARGO_BIN_EXE_joblet-publish"));
        let mut bash = Command::new("bash");
        bash.args(["-c", &command])
            .current_dir(world.path("here"))
            .stdin(std::process::Stdio::null());
        let output = bash.env("HOME", world.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("error[USAGE]"), "{file}: {line}: {said}");
    }
}

#[test]
fn help_of_make_fits_a_terminal() {
    let makefile = fs::read_to_string(repository("Makefile")).unwrap();
    let targets = makefile.lines().filter_map(|line| line.split_once(": "));
    let help =
        targets.filter_map(|(name, rest)| Some((name, rest.trim_start().strip_prefix("## ")?)));
    let help: Vec<_> = help.collect();
    assert!(help.len() > 15, "{help:?}");
    for (name, text) in help {
        let columns = "  make ".len() + 12.max(name.len() + 1) + text.chars().count();
        assert!(columns <= 80, "{name}: {columns} columns");
    }
}
