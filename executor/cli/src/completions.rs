//! Shell completion scripts, from the table of a [`Program`].

use crate::option::{Complete, HELP, Row, VERSION, Value};
use crate::{Command, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;

/// Common part of bash and zsh: sets `want` to words, or to `@runtimes ARGS`, `@names DIRECTORY`, `@files`.
///
/// The arguments are the words before the one to complete, which is `cur`. `%NAME%` is replaced from the
/// table.
const WANT: &str = r#"%FUNCTION%_want() {
    local word command= value= named=
    want=
    for word in "$@"; do
        if [[ -n $value ]]; then value=; continue; fi
        case $word in (%INSTEAD%) named=1 ;; esac
        case $word in
            (%WITH_VALUE%) value=$word ;;
            (-*) ;;
            (*) case $command in
                (""%GROUPS%) command="${command:+$command }$word" ;;
                (%JOBS%) want=@files; return ;;
            esac ;;
        esac
    done
    if [[ $cur == --*=* ]]; then value=${cur%%=*}; fi
    case $value in
        ("") ;;
%VALUES%        (*) return ;;
    esac
    if [[ $cur == -* ]]; then
        case $command in
%OPTIONS%        esac
        want="$want %GLOBAL%"
        return
    fi
    case $command in
        ("") want="%COMMANDS%" ;;
%OPERANDS%    esac
    if [[ -n $named ]]; then want=@files; fi
}
%FUNCTION%_runtimes() {
    local name version rest
    "$@" --quiet --offline 2>/dev/null | {
        read -r rest
        while read -r name version rest; do echo "$name"; [ "$version" = - ] || echo "$name@$version"; done
    }
}
"#;

/// Bash splits words at `=`, `@` and `:`; the part before the last of them is cut off the completions.
const BASH: &str = r#"%FUNCTION%() {
    local line=${COMP_LINE:0:COMP_POINT} cur= want words stem
    read -ra words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then cur=${words[-1]}; unset 'words[-1]'; fi
    %FUNCTION%_want "${words[@]:1}"
    stem=${cur%"${cur##*[=@:]}"}
    if [[ $cur == --*=* ]]; then stem=${stem#*=}; cur=${cur#*=}; fi
    case $want in
        (@runtimes*) want=$(%FUNCTION%_runtimes "$1" ${want#@runtimes}) ;;
        (@names*) want=$(ls ${want#@names} 2>/dev/null) ;;
        (@files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$want" -- "$cur")
    COMPREPLY=("${COMPREPLY[@]#"$stem"}")
}
complete -F %FUNCTION% %PROGRAM%
"#;

const ZSH: &str = r#"%FUNCTION%() {
    local cur=${words[CURRENT]} want
    %FUNCTION%_want "${(@)words[2,CURRENT-1]}"
    if [[ $cur == --*=* ]]; then compset -P '*='; fi
    case $want in
        (@runtimes*) want=$(%FUNCTION%_runtimes "${words[1]}" ${=want#@runtimes}) ;;
        (@names*) want=$(ls ${=want#@names} 2>/dev/null) ;;
        (@files) _files; return ;;
    esac
    compadd -- ${=want}
}
if [[ $funcstack[1] == %FUNCTION% ]]; then %FUNCTION%; else compdef %FUNCTION% %PROGRAM%; fi
"#;

const FISH: &str = r"function %FUNCTION%_runtimes
    %PROGRAM% $argv --quiet --offline 2>/dev/null | tail -n +2 | while read -l name number rest
        echo $name
        test $number = -; or echo $name@$number
    end
end
complete -c %PROGRAM% -f
";

/// The script for a shell, if there is one for it.
pub(crate) fn script<C>(program: &'static Program<C>, shell: &OsStr) -> Option<String> {
    let script = match shell.to_str()? {
        "bash" => want(program) + BASH,
        "zsh" => format!("#compdef %PROGRAM%\n{}{ZSH}", want(program)),
        "fish" => fish(program),
        _ => return None,
    };
    let function = format!("_{}", program.name.replace('-', "_"));
    Some(script.replace("%FUNCTION%", &function).replace("%PROGRAM%", program.name))
}

/// The completion of its value.
fn value_completion(row: &Row) -> Complete {
    match row.value {
        Value::None => Complete::Nothing,
        Value::Needed(_, complete) | Value::Optional(_, complete) => complete,
    }
}

/// Whether the next word may be its value.
fn takes_word(row: &Row) -> bool {
    matches!(row.value, Value::Needed(..))
}

/// The options of every command.
fn global<C>(program: &'static Program<C>) -> impl Iterator<Item = &'static Row> {
    program.options.iter().copied().chain([&HELP.row, &VERSION.row])
}

/// The first words of pairs that name commands, each with the second words.
fn groups<C>(program: &'static Program<C>) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for (group, second) in pairs(program) {
        groups.entry(group).or_default().push(second);
    }
    groups
}

fn pairs<C>(program: &'static Program<C>) -> impl Iterator<Item = (&'static str, &'static str)> {
    program.commands.iter().flat_map(|it| it.also).filter_map(|also| also.split_once(' '))
}

/// `run|"job run"`: a pattern for the names of a command.
fn names<C>(command: &Command<C>) -> String {
    let also = command.also.iter().map(|also| format!("|\"{also}\""));
    format!("{}{}", command.name, also.collect::<String>())
}

fn joined<'a>(words: impl IntoIterator<Item = &'a str>, between: &str) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(between)
}

/// A line of a `case` that sets `want` for `pattern`.
fn case(text: &mut String, pattern: &str, complete: Complete) {
    let want = match complete {
        Complete::Nothing => return,
        Complete::Files => "@files".to_owned(),
        Complete::Words(words) => words.replace('|', " "),
        Complete::Runtimes(arguments) => format!("@runtimes {arguments}"),
        Complete::Directory(path) => format!("@names {path}"),
    };
    words(text, pattern, &want);
}

fn words(text: &mut String, pattern: &str, want: &str) {
    // Writing to a String cannot fail.
    _ = writeln!(text, "        ({pattern}) want=\"{want}\" ;;");
}

fn want<C>(program: &'static Program<C>) -> String {
    let options = || program.commands.iter().flat_map(|it| it.options).copied();
    let with_value = options().chain(global(program)).filter(|row| takes_word(row));
    // Each once: an option name has the same kind of value in all commands.
    let with_value: BTreeMap<_, _> = with_value.map(|row| (row.long, row)).collect();
    let names_of_valued: BTreeSet<_> =
        with_value.values().flat_map(|it| [it.long, it.short]).collect();
    let (mut values, mut own, mut operands) = (String::new(), String::new(), String::new());
    for row in with_value.values() {
        case(&mut values, &joined([row.long, row.short], "|"), value_completion(row));
    }
    let values = values.replace(" ;;", "; return ;;");
    for command in program.commands {
        if !command.options.is_empty() {
            let long = joined(command.options.iter().map(|row| row.long), " ");
            words(&mut own, &names(command), &long);
        }
        case(&mut operands, &names(command), command.operands.complete);
    }
    let groups = groups(program);
    for (group, second) in &groups {
        words(&mut operands, group, &second.join(" "));
    }
    let jobs = program.commands.iter().filter(|command| command.operands.end_options);
    let jobs = joined(jobs.map(|it| names(it)).collect::<Vec<_>>().iter().map(String::as_str), "|");
    let instead = program.commands.iter().map(|it| it.operands.instead);
    let instead = instead.max().filter(|it| !it.is_empty()).unwrap_or("%");
    let commands = program.commands.iter().map(|it| it.name).chain(groups.keys().copied());
    WANT.replace("%WITH_VALUE%", &joined(names_of_valued, "|"))
        .replace("%GROUPS%", &groups.keys().map(|group| format!("|{group}")).collect::<String>())
        .replace("%JOBS%", if jobs.is_empty() { "%" } else { &jobs })
        .replace("%INSTEAD%", instead)
        .replace("%VALUES%", &values)
        .replace("%OPTIONS%", &own)
        .replace("%GLOBAL%", &joined(global(program).map(|row| row.long), " "))
        .replace("%COMMANDS%", &joined(commands, " "))
        .replace("%OPERANDS%", &operands)
}

fn fish<C>(program: &'static Program<C>) -> String {
    let mut text = FISH.to_owned();
    let list = |complete| match complete {
        Complete::Nothing => String::new(),
        Complete::Files => " -F".to_owned(),
        Complete::Words(words) => format!(" -a '{}'", words.replace('|', " ")),
        Complete::Runtimes(arguments) => format!(" -a '(%FUNCTION%_runtimes {arguments})'"),
        Complete::Directory(path) => format!(" -a '(ls {path} 2>/dev/null)'"),
    };
    let option = |text: &mut String, when: &str, row: &Row| {
        _ = write!(text, "complete -c %PROGRAM%{when} -l {}", &row.long[2..]);
        if let Some(short) = row.short.strip_prefix('-') {
            _ = write!(text, " -s {short}");
        }
        if takes_word(row) {
            // Without -f files are offered as well.
            let how = if value_completion(row) == Complete::Files { "" } else { " -f" };
            _ = write!(text, " -r{how}{}", list(value_completion(row)));
        }
        _ = writeln!(text, " -d '{}'", quoted(row.help));
    };
    for row in global(program) {
        option(&mut text, "", row);
    }
    let first = "complete -c %PROGRAM% -n __fish_use_subcommand -a";
    for command in program.commands {
        let name = command.name;
        _ = writeln!(text, "{first} {name} -d '{}'", quoted(command.help));
        let also = command.also.iter().filter(|also| !also.contains(' '));
        let called = joined([name].into_iter().chain(also.copied()), " ");
        let when = format!(" -n '__fish_seen_subcommand_from {called}'");
        for row in command.options {
            option(&mut text, &when, row);
        }
        let operands = command.operands.complete;
        if command.operands.end_options {
            _ = writeln!(
                text,
                "complete -c %PROGRAM%{when} -F\ncomplete -c %PROGRAM% -n '__fish_seen_subcommand_from {called}; \
                 and not __fish_seen_subcommand_from (%FUNCTION%_runtimes list)'{}",
                list(operands)
            );
        } else if operands != Complete::Nothing {
            _ = writeln!(text, "complete -c %PROGRAM%{when}{}", list(operands));
        }
    }
    for (group, second) in groups(program) {
        let second = second.join(" ");
        _ = writeln!(
            text,
            "{first} {group}\ncomplete -c %PROGRAM% -n '__fish_seen_subcommand_from {group}; and \
             not __fish_seen_subcommand_from {second}' -a '{second}'"
        );
    }
    text
}

/// For single quotes of fish.
fn quoted(text: &str) -> String {
    text.replace('\'', "\\'")
}
