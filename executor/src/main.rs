//! Maps an outcome to one line on stderr and a status. Everything else is in the library.

mod heap;

use heap::Heap;
use joblet_exec::cli::args::{self, Global};
use joblet_exec::{cli::ui::Ui, env::Environment};
use std::io::{stderr, stdout};
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap::new();

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let args: Vec<_> = args.collect();
    let other = args::apptainer::name(&program);
    let runs_job = other.is_some() || args::runs_job(&args);
    let (mut out, mut err) = (stdout(), stderr());
    let mut ui = Ui::new(&mut out, &mut err);
    let env = Environment::read();
    // For a command line that cannot be parsed.
    let json = args.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    ui.set(&Global { json, ..Global::default() }, &env);
    let done = match other {
        Some(name) => joblet_exec::run_as(name, args, &env, &mut ui),
        None => joblet_exec::run(args, &env, &mut ui),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            ui.error(&error);
            let class = error.class();
            ExitCode::from(if runs_job { class.exit_code_beside_job() } else { class.exit_code() })
        }
    }
}
