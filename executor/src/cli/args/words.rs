//! The words of a command line, before they mean anything.

use crate::cli::table::{COMMANDS, Cmd, GLOBAL, Opt};
use crate::error::Error;
use joblet_format::nearest;
use std::ffi::{OsStr, OsString};

/// The words of a command line, sorted by what they are.
pub(super) struct Words {
    pub command: Option<&'static Cmd>,
    pub options: Vec<OsString>,
    pub operands: Vec<OsString>,
}

/// Tells options, command and operands apart and checks that each option exists.
///
/// `--key=value` comes out as two words: pico-args takes `=` only from text that is UTF-8.
pub(super) fn sort(args: Vec<OsString>) -> Result<Words, Error> {
    let mut words = Words { command: None, options: Vec::new(), operands: Vec::new() };
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        if word == "--" {
            words.operands.extend(args.by_ref());
        } else if is_option(&word) {
            let (name, inline) = split_value(&word);
            let option = option(&name, words.command)?;
            words.options.push(option.long.into());
            match (option.value.is_empty(), inline) {
                (true, None) => {}
                (true, Some(_)) => {
                    return Err(Error::Usage(format!("{} takes no value", option.long)));
                }
                (false, None) if !option.needs_value() => words.options.push(OsString::new()),
                (false, inline) => {
                    let value = inline.or_else(|| args.next()).ok_or_else(|| {
                        Error::Usage(format!("{} needs a value: {}", option.long, option.value))
                    })?;
                    words.options.push(value);
                }
            }
        } else if let Some(command) = words.command {
            words.operands.push(word);
            if command.name == "run" {
                words.operands.extend(args.by_ref());
            }
        } else {
            words.command = Some(command(&word, &mut args)?);
        }
    }
    Ok(words)
}

pub(super) fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes()[0] == b'-'
}

/// `--key=value` as its two halves.
fn split_value(word: &OsStr) -> (String, Option<OsString>) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes.starts_with(b"--"));
    let (name, value) = at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
    let value = value.map(|value| OsStr::from_bytes(value).to_owned());
    (String::from_utf8_lossy(name).into_owned(), value)
}

/// The option called `name`, among those of the program and of `command`.
fn option(name: &str, command: Option<&'static Cmd>) -> Result<&'static Opt, Error> {
    let own = command.map_or(&[][..], |command| command.options);
    let all = || own.iter().chain(GLOBAL);
    if let Some(option) = all().find(|option| name == option.long || name == option.short) {
        return Ok(option);
    }
    let hint = nearest(name, all().map(|option| option.long)).map_or_else(
        || match command {
            Some(command) => format!("joblet-exec {} --help lists them", command.name),
            None => "options of a command stand after it".to_owned(),
        },
        |near| format!("did you mean {near}?"),
    );
    Err(Error::Usage(format!("unknown option {name:?}; {hint}")))
}

/// The command that `word` names, or that it and the next word name together.
fn command(word: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<&'static Cmd, Error> {
    let word = word.to_string_lossy();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == word) {
        return Ok(command);
    }
    let pairs = || COMMANDS.iter().filter(|command| !command.also.is_empty());
    let typed = if pairs().any(|command| command.also.starts_with(&format!("{word} "))) {
        let second = rest.next().unwrap_or_default();
        format!("{word} {}", second.to_string_lossy())
    } else {
        word.into_owned()
    };
    if let Some(command) = pairs().find(|command| command.also == typed) {
        return Ok(command);
    }
    let known = COMMANDS.iter().flat_map(|command| [command.name, command.also]);
    let hint = nearest(&typed, known.filter(|name| !name.is_empty())).map_or_else(
        || "joblet-exec --help lists them".to_owned(),
        |near| format!("did you mean {near:?}?"),
    );
    Err(Error::Usage(format!("unknown command {:?}; {hint}", typed.trim_end())))
}
