//! The command line, as typed.

use super::*;
use crate::{cli::table::VERBS, error::Class};
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
    let index = Index { records: RECORDS.into(), out: "r.json".into() };
    assert_eq!(parse("index --out r.json").unwrap(), Command::Index(index));
    assert!(matches!(parse("site").unwrap(), Command::Site(_)));
    let Command::Sign(sign) = parse("sign --key k --expires 30").unwrap() else { panic!() };
    assert_eq!((sign.registry, sign.key), ("registry.json".into(), "k".into()));
    assert_eq!((sign.expires, sign.add), (NonZero::new(30), false));
    assert!(matches!(parse("keygen k --no-password").unwrap(), Command::Keygen(_)));
    assert!(matches!(parse("new a").unwrap(), Command::New { .. }));
    let serve = |root: &str, port| Command::Serve { root: root.into(), port };
    assert_eq!(parse("serve").unwrap(), serve("dist/site", 8000));
    assert_eq!(parse("serve dist/mine --port=0").unwrap(), serve("dist/mine", 0));
    assert_eq!(parse("--version").unwrap(), Command::Version);
}

#[test]
fn every_command_has_help() {
    for verb in &VERBS {
        let Command::Help(text) = parse(&format!("{} --help", verb.name)).unwrap() else {
            panic!()
        };
        assert!(verb.options.iter().all(|option| text.contains(option.0)), "{text}");
    }
    for line in ["--help", "help", "-h"] {
        let Command::Help(text) = parse(line).unwrap() else { panic!() };
        assert!(text.contains("10 NET") && text.contains("  build  NAME"), "{text}");
    }
}

#[test]
fn slips_are_answered() {
    for (line, message) in [
        ("", "no command given; see --help"),
        ("--all", "unknown option `--all`; see --help"),
        ("bulid a", "unknown command `bulid`; did you mean `build`?"),
        ("frobnicate", "unknown command `frobnicate`; see --help"),
        ("build a --ofline", "`build` has no option `--ofline`; did you mean `--offline`?"),
        ("build a --cahce=x", "`build` has no option `--cahce`; did you mean `--cache`?"),
        ("lock a --offline", "`lock` has no option `--offline`; see --help"),
        ("index --sources x", "`index` has no option `--sources`; see --help"),
        ("index --all", "`index` has no option `--all`; see --help"),
        ("build", "`build` needs a runtime's NAME or --all"),
        ("build a --all", "give names or --all, not both"),
        ("build a --arch i386", "unknown architecture `i386`; use amd64, arm64 or all"),
        ("build a --out", "--out needs a value"),
        ("build a --jobs 0", "--jobs needs a number from 1, not `0`"),
        ("build a --jobs=many", "--jobs needs a number from 1, not `many`"),
        (
            "build a --part-size 2147483648",
            "--part-size needs a number from 1 to 2147483647, not `2147483648`",
        ),
        ("new", "`new` needs one NAME"),
        ("new a b", "`new` needs one NAME"),
        ("index x", "unexpected argument `x`"),
        ("serve a b", "unexpected argument `b`"),
        ("serve --port 65536", "--port needs a number up to 65535, not `65536`"),
        ("serve --all", "`serve` has no option `--all`; see --help"),
        ("sign", "`sign` needs --key FILE"),
        ("sign --key k a b", "unexpected argument `b`"),
        ("sign --key k --expires 0", "--expires needs a number of days from 1, not `0`"),
        ("keygen", "`keygen` needs one FILE"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (Class::Usage, message), "{line}");
    }
    let hostile = "n".repeat(65);
    for name in ["..", "a/b", "A", "a..b", ".a", "a%2fb", "foo-1.0.0", &hostile] {
        assert_eq!(parse(&format!("new {name}")).unwrap_err().class(), Class::Usage, "{name}");
    }
}
