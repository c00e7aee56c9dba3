//! `joblet-exec` as tests weaken it: see `env/weaken.rs`.
#![allow(clippy::print_stderr, reason = "an aid for tests")]

use joblet_exec::{cli::ui::Ui, env::Environment};
use std::{io, process::ExitCode};

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let args = std::env::args_os().skip(1).collect();
    match joblet_exec::run(args, &Environment::read(), &mut Ui::new(&mut out, &mut err)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.class().exit_code())
        }
    }
}
