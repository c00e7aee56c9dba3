//! The words of a command line, before they mean anything.

use crate::call::{Call, Usage};
use crate::option::{HELP, Row, VERSION, Value};
use crate::{Command, Program};
use joblet_format::nearest;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The words of a command line, sorted by what they are.
pub(crate) struct Words<C: 'static> {
    pub command: Option<&'static Command<C>>,
    pub call: Call,
}

/// Tells options, command and operands apart and checks that each option exists.
pub(crate) fn sort<C>(
    program: &'static Program<C>,
    args: Vec<OsString>,
) -> Result<Words<C>, Usage> {
    let mut words = Words { command: None, call: Call::default() };
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        if word == "--" {
            words.call.operands.extend(args.by_ref());
        } else if is_option(&word) {
            let (name, inline) = split_value(&word);
            let row = option(program, &name.to_string_lossy(), words.command)?;
            let value = match (row.value, inline) {
                (Value::None, Some(_)) => {
                    return Err(Usage(format!("{} takes no value", row.long)));
                }
                (Value::None | Value::Optional(..), None) => OsString::new(),
                (_, Some(value)) => value,
                (Value::Needed(name, _), None) => args
                    .next()
                    .ok_or_else(|| Usage(format!("{} needs a value: {name}", row.long)))?,
            };
            words.call.options.push((row, name, value));
        } else if let Some(command) = words.command {
            words.call.operands.push(word);
            if command.operands.end_options {
                words.call.operands.extend(args.by_ref());
            }
        } else {
            let more = length(program, &word) - 1;
            let names: Vec<_> = [word].into_iter().chain(args.by_ref().take(more)).collect();
            let command = command(program, &names)?;
            words.call.command = command.name;
            words.call.unread = command.options.iter().map(|row| row.long).collect();
            words.command = Some(command);
        }
    }
    Ok(words)
}

pub(crate) fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes()[0] == b'-'
}

/// `--key=value` as its two halves.
fn split_value(word: &OsStr) -> (OsString, Option<OsString>) {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes.starts_with(b"--"));
    let own = |bytes| OsStr::from_bytes(bytes).to_owned();
    at.map_or((own(bytes), None), |at| (own(&bytes[..at]), Some(own(&bytes[at + 1..]))))
}

/// The option called `name`, among those of the program and of `command`.
fn option<C>(
    program: &'static Program<C>,
    name: &str,
    command: Option<&'static Command<C>>,
) -> Result<&'static Row, Usage> {
    let own = command.map_or(&[][..], |command| command.options);
    let all = || own.iter().chain(program.options).copied().chain([&HELP.row, &VERSION.row]);
    if let Some(row) = all().find(|row| name == row.long || name == row.short) {
        return Ok(row);
    }
    let hint = nearest(name, all().map(|row| row.long)).map_or_else(
        || match command {
            Some(command) => format!("{} {} --help lists them", program.name, command.name),
            None => "options of a command stand after it".to_owned(),
        },
        |near| format!("did you mean {near}?"),
    );
    Err(Usage(format!("unknown option {name:?}; {hint}")))
}

/// How many words name a command whose first word is this.
pub(crate) fn length<C>(program: &Program<C>, word: &OsStr) -> usize {
    let mut pairs = program.commands.iter().flat_map(|command| command.also);
    let is_group = |also: &&str| also.split_once(' ').is_some_and(|(group, _)| word == group);
    if pairs.any(is_group) { 2 } else { 1 }
}

/// The command that `words` name together.
pub(crate) fn command<C>(
    program: &'static Program<C>,
    words: &[OsString],
) -> Result<&'static Command<C>, Usage> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let typed = words.join(" ");
    let all = || {
        let also = |it: &'static Command<C>| it.also.iter().map(move |also| (*also, it));
        program.commands.iter().flat_map(move |&it| [(it.name, it)].into_iter().chain(also(it)))
    };
    if let Some((_, command)) = all().find(|(name, _)| *name == typed) {
        return Ok(command);
    }
    let hint = nearest(&typed, all().map(|(name, _)| name)).map_or_else(
        || format!("{} --help lists them", program.name),
        |near| format!("did you mean {near:?}?"),
    );
    Err(Usage(format!("unknown command {typed:?}; {hint}")))
}
