//! Scripts that let shells complete our command lines, from the table in [`crate::cli::table`].

use super::table::{COMMANDS, Cmd, GLOBAL, Opt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The shells that there is a script for.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// What can stand in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Installed,
    Available,
    Files,
    Words(&'a str),
    Unknown,
}

/// What bash and zsh do alike: `want` becomes words, or `@installed`, `@available`, `@files`.
///
/// The words before the one to complete are the arguments; that one is `cur`. `%NAME%` stands for
/// what the table says.
const WANT: &str = r#"_joblet_exec_want() {
    local word command= value=
    want=
    for word in "$@"; do
        if [[ -n $value ]]; then value=; continue; fi
        case $word in
            (%WITH_VALUE%) value=$word ;;
            (-*) ;;
            (*) case $command in
                (""|%GROUPS%) command="${command:+$command }$word" ;;
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
}
_joblet_exec_runtimes() {
    local name version rest
    "$@" --quiet --offline 2>/dev/null | {
        read -r rest
        while read -r name version rest; do echo "$name"; echo "$name@$version"; done
    }
}
"#;

/// Bash parts words at `=`, `@` and `:`; what stands before the last of them is not completed again.
const BASH: &str = r#"_joblet_exec() {
    local line=${COMP_LINE:0:COMP_POINT} cur= want words stem
    read -ra words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then cur=${words[-1]}; unset 'words[-1]'; fi
    _joblet_exec_want "${words[@]:1}"
    stem=${cur%"${cur##*[=@:]}"}
    if [[ $cur == --*=* ]]; then stem=${stem#*=}; cur=${cur#*=}; fi
    case $want in
        (@installed) want=$(_joblet_exec_runtimes "$1" list) ;;
        (@available) want=$(_joblet_exec_runtimes "$1" list --available --all-versions) ;;
        (@files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$want" -- "$cur")
    COMPREPLY=("${COMPREPLY[@]#"$stem"}")
}
complete -F _joblet_exec joblet-exec
"#;

const ZSH: &str = r#"_joblet_exec() {
    local cur=${words[CURRENT]} want
    _joblet_exec_want "${(@)words[2,CURRENT-1]}"
    if [[ $cur == --*=* ]]; then compset -P '*='; fi
    case $want in
        (@installed) want=$(_joblet_exec_runtimes "${words[1]}" list) ;;
        (@available) want=$(_joblet_exec_runtimes "${words[1]}" list --available --all-versions) ;;
        (@files) _files; return ;;
    esac
    compadd -- ${=want}
}
if [[ $funcstack[1] == _joblet_exec ]]; then _joblet_exec; else compdef _joblet_exec joblet-exec; fi
"#;

const FISH: &str = r"function __joblet_exec_runtimes
    joblet-exec $argv --quiet --offline 2>/dev/null | tail -n +2 | while read -l name number rest
        echo $name
        echo $name@$number
    end
end
complete -c joblet-exec -f
";

/// The script for a shell of [`SHELLS`]; empty for others.
pub fn script(shell: &str) -> String {
    match shell {
        "bash" => want() + BASH,
        "zsh" => format!("#compdef joblet-exec\n{}{ZSH}", want()),
        "fish" => fish(),
        _ => String::new(),
    }
}

fn options() -> impl Iterator<Item = &'static Opt> {
    COMMANDS.iter().flat_map(|command| command.options).chain(GLOBAL)
}

/// What the value of an option can be.
fn of_value(option: &Opt) -> Kind<'_> {
    match option.value {
        "SPEC" => Kind::Installed,
        value if value.contains('|') && value.starts_with(|letter: char| letter.is_lowercase()) => {
            Kind::Words(value)
        }
        value if ["DIR", "FILE", "PATH", "WHERE"].contains(&value) || value.starts_with("SRC") => {
            Kind::Files
        }
        _ => Kind::Unknown,
    }
}

/// What the operands of a command can be.
fn of_operands(command: &Cmd) -> Kind<'static> {
    match command.usage {
        _ if ["install", "export"].contains(&command.name) => Kind::Available,
        usage if usage.starts_with("bash") => Kind::Words(usage),
        usage if usage.contains("COMMAND") || usage == "DIR" => Kind::Files,
        usage if usage.contains("SPEC") || usage.contains("NAME") => Kind::Installed,
        _ => Kind::Unknown,
    }
}

/// `run|"job run"`: a pattern for the names of a command.
fn names(command: &Cmd) -> String {
    if command.also.is_empty() {
        return command.name.to_owned();
    }
    format!("{}|\"{}\"", command.name, command.also)
}

/// The first words of Joblet's own spellings.
fn groups() -> BTreeSet<&'static str> {
    COMMANDS.iter().filter_map(|command| Some(command.also.split_once(' ')?.0)).collect()
}

fn joined<'a>(words: impl IntoIterator<Item = &'a str>, between: &str) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(between)
}

fn long(options: &'static [Opt]) -> String {
    joined(options.iter().map(|option| option.long), " ")
}

/// A line of a `case`: for `pattern` is wanted what `kind` says.
fn case(text: &mut String, pattern: &str, kind: Kind<'_>) {
    let want = match kind {
        Kind::Installed => "@installed".to_owned(),
        Kind::Available => "@available".to_owned(),
        Kind::Files => "@files".to_owned(),
        Kind::Words(words) => words.replace('|', " "),
        Kind::Unknown => return,
    };
    // Writing to a String does not fail.
    _ = writeln!(text, "        ({pattern}) want=\"{want}\" ;;");
}

fn want() -> String {
    let with_value = options().filter(|option| option.needs_value());
    let with_value: BTreeMap<_, _> = with_value.map(|option| (option.long, option)).collect();
    let words = with_value.values().flat_map(|option| [option.long, option.short]);
    let (mut values, mut own, mut operands) = (String::new(), String::new(), String::new());
    for option in with_value.values() {
        let pattern = joined([option.long, option.short], "|");
        case(&mut values, &pattern, of_value(option));
    }
    let values = values.replace(" ;;", "; return ;;");
    for command in COMMANDS {
        let names = names(command);
        if !command.options.is_empty() {
            case(&mut own, &names, Kind::Words(&long(command.options)));
        }
        case(&mut operands, &names, of_operands(command));
    }
    for group in groups() {
        let second = COMMANDS.iter().filter_map(|it| it.also.strip_prefix(group));
        case(&mut operands, group, Kind::Words(&joined(second.map(str::trim), " ")));
    }
    let jobs = COMMANDS.iter().filter(|command| command.runs_job).map(names);
    let commands = COMMANDS.iter().map(|command| command.name).chain(groups());
    WANT.replace("%WITH_VALUE%", &joined(words, "|"))
        .replace("%GROUPS%", &joined(groups(), "|"))
        .replace("%JOBS%", &jobs.collect::<Vec<_>>().join("|"))
        .replace("%VALUES%", &values)
        .replace("%OPTIONS%", &own)
        .replace("%GLOBAL%", &long(GLOBAL))
        .replace("%COMMANDS%", &joined(commands, " "))
        .replace("%OPERANDS%", &operands)
}

fn fish() -> String {
    let mut text = FISH.to_owned();
    let list = |kind: Kind<'_>| match kind {
        Kind::Installed => " -a '(__joblet_exec_runtimes list)'".to_owned(),
        Kind::Available => {
            " -a '(__joblet_exec_runtimes list --available --all-versions)'".to_owned()
        }
        Kind::Files => " -F".to_owned(),
        Kind::Words(words) => format!(" -a '{}'", words.replace('|', " ")),
        Kind::Unknown => String::new(),
    };
    let option = |text: &mut String, when: &str, option: &Opt| {
        _ = write!(text, "complete -c joblet-exec{when} -l {}", &option.long[2..]);
        if let Some(short) = option.short.strip_prefix('-') {
            _ = write!(text, " -s {short}");
        }
        if option.needs_value() {
            // Without -f files are offered as well.
            let how = if of_value(option) == Kind::Files { "" } else { " -f" };
            _ = write!(text, " -r{how}{}", list(of_value(option)));
        }
        _ = writeln!(text, " -d '{}'", quoted(option.help));
    };
    for global in GLOBAL {
        option(&mut text, "", global);
    }
    for command in COMMANDS {
        let name = command.name;
        let help = quoted(command.help);
        _ = writeln!(
            text,
            "complete -c joblet-exec -n __fish_use_subcommand -a {name} -d '{help}'"
        );
        let when = format!(" -n '__fish_seen_subcommand_from {name}'");
        for own in command.options {
            option(&mut text, &when, own);
        }
        let operands = of_operands(command);
        if operands != Kind::Unknown {
            _ = writeln!(text, "complete -c joblet-exec{when}{}", list(operands));
        }
    }
    for group in groups() {
        let second = COMMANDS.iter().filter_map(|it| it.also.strip_prefix(group));
        let second = joined(second.map(str::trim), " ");
        _ = writeln!(text, "complete -c joblet-exec -n __fish_use_subcommand -a {group}");
        _ = writeln!(
            text,
            "complete -c joblet-exec -n '__fish_seen_subcommand_from {group}; and not \
             __fish_seen_subcommand_from {second}' -a '{second}'"
        );
    }
    text
}

/// For single quotes of fish.
fn quoted(text: &str) -> String {
    text.replace('\'', "\\'")
}
