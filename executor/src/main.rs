//! Maps an outcome to one line on stderr and a status. Everything else is in the library.

mod heap;

use heap::Heap;
use joblet_exec::{cli::args, cli::ui::Ui, env::Environment};
use std::io::{stderr, stdout};
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap::new();

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let runs_job = args::runs_job(&args);
    let (mut out, mut err) = (stdout(), stderr());
    let mut ui = Ui::new(&mut out, &mut err);
    match joblet_exec::run(args, &Environment::read(), &mut ui) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            ui.error(&error);
            let class = error.class();
            ExitCode::from(if runs_job { class.exit_code_beside_job() } else { class.exit_code() })
        }
    }
}
