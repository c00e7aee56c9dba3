//! The progress of an installation on a terminal.

use crate::common::World;
use crate::common::members::{file, noise, pack, runtime};
use crate::support::pty::Pty;

/// Installs on a terminal of this width, and returns its output.
fn shown(columns: u16, term: &str) -> String {
    let mut world = World::new();
    let tree = runtime("demo", "1.0.0", vec![file("isolated/noise", &noise(300_000))]);
    world.publish_members("demo", "1.0.0", &pack("demo-1.0.0", tree, 50_000));
    let mut pty = Pty::new();
    pty.resize(24, columns);
    let mut command = world.command();
    command.args(["install", "demo"]).env("TERM", term).stderr(pty.far());
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    pty.shown()
}

#[test]
fn a_bar_is_redrawn_and_never_wraps() {
    for columns in [0, 20, 40, 80, 200] {
        let shown = shown(columns, "xterm");
        let (bar, end) = shown.rsplit_once("\x1b[K").unwrap();
        assert!(bar.contains("\rinstalling demo@1"), "{shown:?}");
        assert!(end.starts_with("installed demo@1.0.0"), "{shown:?}");
        assert!(!bar.contains('\n'), "{shown:?}");
        let widest =
            bar.split(['\r', '\x1b']).map(|line| line.trim_start_matches("[K").len()).max();
        let limit = if columns == 0 { 80 } else { usize::from(columns) };
        assert!(widest.unwrap() < limit, "{columns}: {shown:?}");
    }
}

#[test]
fn a_dumb_terminal_shows_no_bar() {
    let shown = shown(80, "dumb");
    assert!(shown.starts_with("installed demo@1.0.0") && !shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn tables_fit_the_terminal_and_are_whole_in_a_pipe() {
    let mut world = World::new();
    let long = "A description that goes on and on, as those of registries do, ".repeat(3);
    let tree = runtime("demo", "1.0.0", vec![file("isolated/noise", &noise(3000))]);
    world.publish_members("demo", "1.0.0", &pack("demo-1.0.0", tree, 50_000));
    world.edit("demo", "1.0.0", |entry| entry["description"] = long.trim().into());
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    for args in [vec!["list"], vec!["list", "--available"]] {
        let piped = world.exec(&args).stdout;
        assert!(args.len() == 1 || piped.contains(long.trim()), "{piped}");
        for columns in [80, 120] {
            let mut pty = Pty::new();
            pty.resize(24, columns);
            let mut command = world.command();
            command.args(&args).env("TERM", "xterm").env("LC_ALL", "C").stdout(pty.far());
            assert_eq!(command.output().unwrap().status.code(), Some(0));
            let shown = pty.shown();
            let widest = shown.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= usize::from(columns), "{columns}: {shown}");
        }
    }
}
