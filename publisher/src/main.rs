//! `joblet-publish`: an outcome becomes stdout, one message on stderr, and an exit status.

use joblet_publish::{
    Outcome,
    env::terminal,
    error::{Error, shown},
};
use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

fn main() -> ExitCode {
    // Progress is one line that is written over, on a terminal alone.
    let terminal = terminal::is_drawn_on();
    let drawn = AtomicBool::new(false);
    let note = |text: &str| {
        if terminal && (drawn.swap(!text.is_empty(), Relaxed) || !text.is_empty()) {
            let text = terminal::fitting(&shown::message(text), terminal::columns());
            let text = terminal::readable(&text, &std::io::stderr());
            _ = write!(std::io::stderr(), "\r\x1b[K{text}"); // a closed stderr must not stop a build
        }
    };
    let outcome = joblet_publish::run(std::env::args_os().skip(1).collect(), &note);
    note("");
    let print = |text: &str| {
        let mut stdout = std::io::stdout();
        let text = terminal::readable(text, &stdout);
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    };
    let fail = |error: Error| {
        let class = error.class();
        let message = shown::message(&error.to_string());
        let message = terminal::readable(&message, &std::io::stderr());
        _ = writeln!(std::io::stderr(), "error[{}]: {message}", class.word());
        ExitCode::from(class.exit_code())
    };
    match outcome {
        Ok(Outcome::Text(text)) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE, // the reader has closed it
        },
        Ok(Outcome::Found(text, status)) => match print(&text) {
            Ok(()) => ExitCode::from(status),
            Err(_) => ExitCode::FAILURE, // as above
        },
        Ok(Outcome::Serve(server)) => {
            _ = print(&format!("{}\n", server.address())); // it can be used all the same
            server.run();
            ExitCode::SUCCESS
        }
        Ok(Outcome::Built { text, warnings, error }) => {
            for warning in warnings {
                let warning = shown::message(&warning);
                let warning = terminal::readable(&warning, &std::io::stderr());
                _ = writeln!(std::io::stderr(), "warning: {warning}"); // as above
            }
            match (print(&text), error) {
                (_, Some(error)) => fail(error),
                (Ok(()), None) => ExitCode::SUCCESS,
                (Err(_), None) => ExitCode::FAILURE,
            }
        }
        Err(error) => fail(error),
    }
}
