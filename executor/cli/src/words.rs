//! Splits a command line into options, command and operands.

use crate::call::{Call, Usage};
use crate::foreign_words::{self, Meaning};
use crate::option::{HELP, Row, VERSION, Value};
use crate::{Command, Program};
use joblet_format::nearest;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A command line, split into command, options and operands.
pub(crate) struct Words<C: 'static> {
    pub command: Option<&'static Command<C>>,
    pub call: Call,
}

/// Splits a command line, and checks that each option exists.
pub(crate) fn sort<C>(
    program: &'static Program<C>,
    args: Vec<OsString>,
) -> Result<Words<C>, Usage> {
    let mut words = Words { command: None, call: Call::default() };
    let mut args = VecDeque::from(args);
    while let Some(word) = args.pop_front() {
        if word == "--" {
            words.call.operands.extend(args.drain(..));
        } else if is_option(&word) {
            words.call.options.extend(option(program, words.command, &word, &mut args)?);
        } else if let Some(command) = words.command {
            words.call.operands.push(word);
            if command.operands.end_options {
                words.call.operands.extend(args.drain(..));
            }
        } else {
            let more = (length(program, &word) - 1).min(args.len());
            let names: Vec<_> = [word].into_iter().chain(args.drain(..more)).collect();
            let command = command(program, &names)?;
            words.call.command = command.name;
            words.call.unread = command.options.iter().map(|row| row.long).collect();
            words.command = Some(command);
        }
    }
    Ok(words)
}

/// Parses the option `word`: its row, its name and its value, which may be the next of `args`. `None` for
/// an option that is ignored.
fn option<C>(
    program: &'static Program<C>,
    command: Option<&'static Command<C>>,
    word: &OsStr,
    args: &mut VecDeque<OsString>,
) -> Result<Option<(&'static Row, OsString, OsString)>, Usage> {
    let (mut name, mut inline) = split_value(word);
    let text = name.to_string_lossy().into_owned();
    let foreign = |word: &str| foreign_words::of_option(program, command?.name, word);
    let known =
        |name: &str| known(program, command).find(|row| row.long == name || row.short == name);
    let row = match (foreign(&text), known(&text)) {
        (Some(Meaning::SameBefore(row, is_value)), _)
            if args.front().is_some_and(|next| is_value(next)) =>
        {
            row
        }
        (_, Some(row)) => row,
        (Some(Meaning::Same(row)), None) => row,
        (Some(Meaning::Implied), None) => return Ok(None),
        (Some(Meaning::Advice(advice)), None) => return Err(Usage(format!("{text}: {advice}"))),
        _ => {
            // -qv is -q -v, and -m2G is -m 2G.
            let is_switch = |name: &str| {
                matches!(foreign(name), Some(Meaning::Implied))
                    || known(name).is_some_and(|row| !matches!(row.value, Value::Needed(..)))
            };
            let letters: Vec<_> = text[1..].chars().map(|letter| format!("-{letter}")).collect();
            if letters.len() > 1 && letters.iter().all(|name| is_switch(name)) {
                letters.into_iter().rev().for_each(|letter| args.push_front(letter.into()));
                return Ok(None);
            }
            let first = letters.first().and_then(|name| known(name));
            let row = first.filter(|row| matches!(row.value, Value::Needed(..)));
            let row = row.ok_or_else(|| unknown(program, command, &text))?;
            (name, inline) =
                (row.short.into(), Some(OsStr::from_bytes(&word.as_bytes()[2..]).into()));
            row
        }
    };
    let value = match (row.value, inline) {
        (Value::None, Some(_)) => return Err(Usage(format!("{} takes no value", row.long))),
        (Value::None | Value::Optional(..), None) => OsString::new(),
        (_, Some(value)) => value,
        (Value::Needed(name, _), None) => {
            args.pop_front().ok_or_else(|| Usage(format!("{} needs a value: {name}", row.long)))?
        }
    };
    Ok(Some((row, name, value)))
}

pub(crate) fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes()[0] == b'-'
}

/// Splits `--key=value`.
fn split_value(word: &OsStr) -> (OsString, Option<OsString>) {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes.starts_with(b"--"));
    let own = |bytes| OsStr::from_bytes(bytes).to_owned();
    at.map_or((own(bytes), None), |at| (own(&bytes[..at]), Some(own(&bytes[at + 1..]))))
}

/// The options of the program and of `command`.
fn known<C>(
    program: &'static Program<C>,
    command: Option<&'static Command<C>>,
) -> impl Iterator<Item = &'static Row> {
    let own = command.map_or(&[][..], |command| command.options);
    own.iter().chain(program.options).copied().chain([&HELP.row, &VERSION.row])
}

fn unknown<C>(
    program: &'static Program<C>,
    command: Option<&'static Command<C>>,
    name: &str,
) -> Usage {
    let hint = nearest(name, known(program, command).map(|row| row.long)).map_or_else(
        || match command {
            Some(command) => format!("{} {} --help lists them", program.name, command.name),
            None => "options of a command come after it".to_owned(),
        },
        |near| format!("did you mean {near}?"),
    );
    Usage(format!("unknown option {name:?}; {hint}"))
}

/// The number of words of a command whose first word is `word`.
pub(crate) fn length<C>(program: &Program<C>, word: &OsStr) -> usize {
    let mut pairs = program.commands.iter().flat_map(|command| command.also);
    let is_group = |also: &&str| also.split_once(' ').is_some_and(|(group, _)| word == group);
    if pairs.any(is_group) { 2 } else { 1 }
}

/// The command with the name or alias `words`.
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
    if let Some(advice) = foreign_words::of_command(program, &typed) {
        return Err(Usage(format!("{typed} is not a command here: {advice}")));
    }
    let hint = nearest(&typed, all().map(|(name, _)| name)).map_or_else(
        || {
            // The name of an object, such as `python-3.11`, belongs after a command.
            let job = program.commands.iter().find(|it| it.operands.end_options);
            match job.filter(|_| typed.contains('-')) {
                Some(job) => format!("did you mean {} {} {typed} …?", program.name, job.name),
                None => format!("{} --help lists the commands", program.name),
            }
        },
        |near| format!("did you mean {near:?}?"),
    );
    Err(Usage(format!("unknown command {typed:?}; {hint}")))
}
