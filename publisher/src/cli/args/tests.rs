//! Tests of the command line's parser.

use super::*;
use crate::error::Class;
use joblet_format::Arch;
use std::num::NonZero;

fn parse(line: &str) -> Result<Command, Error> {
    super::parse(line.split_whitespace().map(OsString::from).collect())
}

#[test]
fn commands() {
    let names =
        |names: &[&str]| Selection::Names(names.iter().map(|name| name.parse().unwrap()).collect());
    let Command::Build(build) = parse(
        "build --arch=arm64 a b --out o --jobs 3 --offline --base-url https://example.org/r --json",
    )
    .unwrap() else {
        panic!()
    };
    assert_eq!(build.selection, names(&["a", "b"]));
    assert_eq!((build.arches, build.out), (vec![Arch::Arm64], "o".into()));
    assert_eq!(build.base_url.as_deref(), Some("https://example.org/r"));
    assert_eq!(build.making.jobs, NonZero::new(3));
    assert!(build.making.offline && build.json && build.making.cache.is_none());
    let Command::Lock(lock) = parse("lock --all --mirror https://example.org").unwrap() else {
        panic!()
    };
    assert_eq!((lock.selection, lock.arches), (Selection::All, vec![]));
    let Command::Check(check) = parse("check a --joblet-exec x").unwrap() else { panic!() };
    assert_eq!(check.joblet_exec, Some("x".into()));
    let (records, signing) = ("registry-site/records".into(), Signing::default());
    let index = Index { records, out: "r.json".into(), signing };
    assert_eq!(parse("index --out r.json").unwrap(), Command::Index(index));
    assert!(matches!(parse("site").unwrap(), Command::Site(_)));
    let Command::Sign(sign) = parse("sign --key k --expires 30").unwrap() else { panic!() };
    assert_eq!((sign.registry, sign.signing.key), ("registry.json".into(), Some("k".into())));
    assert_eq!((sign.signing.expires, sign.add), (NonZero::new(30), false));
    assert!(matches!(parse("keygen k --no-password").unwrap(), Command::Keygen(_)));
    assert!(matches!(parse("new a").unwrap(), Command::New { .. }));
    let serve = |root: &str, port| Command::Serve { root: root.into(), port };
    assert_eq!(parse("serve").unwrap(), serve("dist/site", 8000));
    assert_eq!(parse("serve dist/mine --port=0").unwrap(), serve("dist/mine", 0));
    let Command::Release(release) =
        parse("release --tag a@1.0.0 --host h --out x --out y").unwrap()
    else {
        panic!()
    };
    assert_eq!(release.outs, [PathBuf::from("x"), "y".into()]);
}

#[test]
fn texts_come_from_the_table() {
    for (line, part) in [
        ("--help", "   10  NET       connection, TLS"),
        ("help", "   10  NET       connection, TLS"),
        ("-h", "\n  build        build OUT/NAME-VERSION-ARCH.tar.gz"),
        ("build -h", "\nOptions:\n      --all "),
        ("build --help", "\nExamples:\n  joblet-publish build python-3.11"),
        ("help sign", "Without it: $JOBLET_PUBLISH_SIGN_PASSWORD"),
        ("man", "\n.SH FILES\n"),
        ("completions zsh", "#compdef joblet-publish\n"),
        ("--version", concat!("joblet-publish ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let Command::Print(text) = parse(line).unwrap() else { panic!("{line}") };
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn misspelled_words_are_explained() {
    for (line, message) in [
        ("", "no command given; joblet-publish --help lists the commands"),
        ("--all", "unknown option \"--all\"; options of a command come after it"),
        ("bulid a", "unknown command \"bulid\"; did you mean \"build\"?"),
        ("frobnicate", "unknown command \"frobnicate\"; joblet-publish --help lists the commands"),
        ("build a --ofline", "unknown option \"--ofline\"; did you mean --offline?"),
        ("build a --cahce=x", "unknown option \"--cahce\"; did you mean --cache?"),
        ("lock a --offline", "unknown option \"--offline\"; joblet-publish lock --help lists them"),
        (
            "index --sources x",
            "unknown option \"--sources\"; joblet-publish index --help lists them",
        ),
        ("build", "build needs a runtime's NAME or --all"),
        ("build a --all", "give names or --all, not both"),
        ("build a --arch i386", "--arch: \"i386\" is not one of amd64, arm64, all"),
        ("build a --out", "--out needs a value: DIR"),
        ("build a --out x --out y", "option --out is given twice"),
        ("build a --jobs 0", "--jobs: \"0\" is not a number above zero"),
        ("build a --jobs=many", "--jobs: \"many\" is not a number above zero"),
        (
            "build a --part-size 2147483648",
            "--part-size: \"2147483648\" is not a number from 1 to 2147483647",
        ),
        (
            "build a --base-url https://u@h/",
            "--base-url: it has a user name or password, and records are public",
        ),
        ("build runtimes-src/a", "\"runtimes-src/a\" is a path; did you mean `a`?"),
        ("new ./runtimes-src/a/", "\"./runtimes-src/a/\" is a path; did you mean `a`?"),
        (
            "lock --sources s s/a/manifest.yaml",
            "\"s/a/manifest.yaml\" is a path; did you mean `a`?",
        ),
        (
            "build a /home/u/pub",
            "\"/home/u/pub\" is not a runtime's name; archives are in --out DIR, manifests in --sources DIR",
        ),
        ("bump ../a", "\"../a\" is not a runtime's name; manifests are in --sources DIR"),
        ("check a@1.1.0", "\"a@1.1.0\": the version is that of the manifest; did you mean `a`?"),
        ("build a --output x", "--output: it is called --out here"),
        ("site -o x", "-o: it is called --out here"),
        ("new", "new needs one NAME"),
        ("new a b", "new needs one NAME"),
        ("index x", "unexpected argument \"x\""),
        ("serve a b", "unexpected argument \"b\""),
        ("serve --port 65536", "--port: \"65536\" is not a number up to 65535"),
        ("sign --key k a b", "unexpected argument \"b\""),
        ("sign --key k --expires 0", "--expires: \"0\" is not a number above zero"),
        ("keygen", "keygen needs one FILE"),
        ("diff a", "diff needs two of NAME or NAME@VERSION"),
        ("verify o/a@1.0.0", "o/a@1.0.0: a registry is named with --against here"),
        ("completions tcsh", "completions takes one of bash, zsh and fish"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (Class::Usage, message), "{line}");
    }
    let hostile = "n".repeat(65);
    for name in ["..", "a/b", "A", "a..b", ".a", "a%2fb", "foo-1.0.0", &hostile] {
        assert_eq!(parse(&format!("new {name}")).unwrap_err().class(), Class::Usage, "{name}");
    }
}
