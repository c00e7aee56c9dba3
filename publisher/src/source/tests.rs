//! Valid manifests, and mistakes in them.

use super::*;

const FULL: &str = r#"
name: python-3.11-ml
version: 1.4.0
description: Python 3.11 with NumPy
platforms: [ubuntu-amd64, ubuntu-arm64, rhel-amd64]
debian: { suite: bookworm, packages: [python3.11, libstdc++6, "tzdata=2024a-0+deb12u1"] }
python: { version: "3.11", before: 2024-01-01, compile: true, packages: [numpy==1.26.2] }
urls:   [{ into: usr/lib/jvm/graalvm-21, strip: 1, amd64: "https://example.org/a.tar.gz" }]
files:  files/
links:  { usr/bin/python3: python3.11 }
environment: { PATH: "/usr/local/bin:/usr/bin:/bin", THREADS: 1 }
allow_missing: [libcuda.so.1]
check:  [[python3, -c, "import numpy"], [echo, 1]]
"#;

const SMALL: &str = "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n";

#[test]
fn every_field_is_read() {
    let source = parse(FULL).unwrap();
    assert_eq!(source.directory(), "python-3.11-ml-1.4.0");
    assert_eq!(source.arches(), BTreeSet::from([Arch::Amd64, Arch::Arm64]));
    assert!(source.packages().contains("python3.11") && source.packages().contains("dash"));
    assert_eq!(source.python.as_ref().unwrap().before, "2024-01-01");
    assert_eq!(source.urls[0].strip, 1);
    assert_eq!(source.links["usr/bin/python3"], "python3.11");
    assert_eq!(source.environment["THREADS"], "1");
    assert_eq!(source.check[1], ["echo", "1"]);
}

#[test]
fn faults_name_line_and_remedy() {
    for (more, message) in [
        ("pakages: []\n", "line 4: unknown key `pakages`; known here: name, version, "),
        ("enviroment: {}\n", "line 4: unknown key `enviroment`; did you mean `environment`?"),
        (
            "debian: { suite: bookworm, pakages: [] }\n",
            "line 4: debian: unknown key `pakages`; did you mean `packages`?",
        ),
        ("version: 1.0.1\n", "duplicate key `version`"),
        ("links: { a: b, a: c }\n", "line 4: links: duplicate key \"a\""),
        ("links: { /a: b }\n", "links: \"/a\" is absolute: it must be relative to the root"),
        ("links: { a/../b: c }\n", "links: \"a/../b\" contains `.`, `..` or an empty component"),
        ("links: { a: '' }\n", "links: \"a\" has no target"),
        ("links: { a: '{arch}' }\n", "links: unknown placeholder {arch}; known: {deb_arch}, "),
        ("files: ../x\n", "files: \"../x\" contains `.`, `..` or an empty component"),
        ("check: [[]]\n", "check: each command is a list of words"),
        ("debian: { suite: ../x, packages: [] }\n", "debian.suite: \"../x\" is not a code name"),
        (
            "debian: { suite: b, packages: ['-oX=y'] }\n",
            "debian.packages: \"-oX=y\" is neither NAME nor NAME=VERSION",
        ),
        ("description: \"a\\nb\"\n", "description: must be one line"),
        (
            "python: { version: '2.7', before: 2024-01-01, packages: [] }\n",
            "python.version: \"2.7\" is not a version like 3.11",
        ),
        (
            "python: { version: '3.11', before: 2024-1-1, packages: [] }\n",
            "python.before: \"2024-1-1\" is not a day like 2024-01-01",
        ),
        (
            "python: { version: '3.11', before: 2024-01-01, packages: ['--pre'] }\n",
            "python.packages: \"--pre\" is not a requirement like numpy==1.26.2",
        ),
        (
            "python: { version: '3.11', before: 2024-01-01, packages: ['a @ https://x'] }\n",
            "is not a requirement like numpy==1.26.2",
        ),
        (
            "urls: [{ into: opt, amd64: 'ftp://x/a.tar.gz' }]\n",
            "urls: \"ftp://x/a.tar.gz\" is not an http or https address",
        ),
        (
            "urls: [{ into: opt, amd64: 'https://x/a.7z' }]\n",
            "urls: \"https://x/a.7z\" is not an archive; known: .tar.gz, .tgz, .tar.xz",
        ),
        ("urls: [{ into: opt, sha256: { amd64: 00 } }]\n", "is not 64 hex digits"),
    ] {
        let error = parse(&format!("{SMALL}{more}")).unwrap_err();
        assert!(error.contains(message), "{more}: {error}");
    }
    for (from, to, message) in [
        ("1.0.0", "1.0", "\"1.0\" is not a version like 1.4.0"),
        ("ubuntu-amd64", "ubuntu", "\"ubuntu\" is not a platform"),
        ("[ubuntu-amd64]", "[]", "platforms: at least one is needed"),
        (
            "[ubuntu-amd64]",
            "[ubuntu-amd64, alpine-amd64]",
            "platforms: \"alpine-amd64\" is not of ubuntu, rhel, amzn, debian; a runtime has its own C library, and runs on \
             any Linux host of the architecture",
        ),
        ("ubuntu-amd64", "ubunut-amd64", "did you mean ubuntu-amd64?"),
        ("name: d", "name: D", "\"D\" is not a runtime name"),
    ] {
        let error = parse(&SMALL.replace(from, to)).unwrap_err();
        assert!(error.contains(message), "{to}: {error}");
    }
}

#[test]
fn placeholders_follow_the_architecture() {
    let text = "lib/{multiarch}/x-{deb_arch}";
    assert_eq!(expand(text, Arch::Amd64).unwrap(), "lib/x86_64-linux-gnu/x-amd64");
    assert_eq!(expand(text, Arch::Arm64).unwrap(), "lib/aarch64-linux-gnu/x-arm64");
}

#[test]
fn a_missing_runtime_is_answered_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("python-3.11");
    std::fs::create_dir(&made).unwrap();
    std::fs::write(made.join(MANIFEST), SMALL).unwrap();
    let error = read(dir.path(), &"pyhton-3.11".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("did you mean `python-3.11`?"), "{error}");
    let error = read(dir.path(), &"python-3.11".parse().unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("has name `d`; it must be the directory's name"), "{error}");
}
