//! What a terminal shows while something is installed.

use crate::common::World;
use crate::common::members::{file, noise, pack, runtime};
use crate::support::pty::Pty;

/// Installs on a terminal of so many columns, and returns what it shows.
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
fn a_bar_is_drawn_over_and_never_wraps() {
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
fn a_terminal_that_only_types_shows_no_bar() {
    let shown = shown(80, "dumb");
    assert!(shown.starts_with("installed demo@1.0.0") && !shown.contains('\x1b'), "{shown:?}");
}
