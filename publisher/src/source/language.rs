//! The language that a runtime's name implies.

use joblet_format::RuntimeName;

/// Prefix of names, language, and an example command.
const LANGUAGES: [(&str, &str, &str); 22] = [
    ("bun", "JavaScript", "bun app.js"),
    ("deno", "JavaScript", "deno run app.js"),
    ("dotnet", ".NET", "dotnet app.dll"),
    ("elixir", "Elixir", "elixir job.exs"),
    ("erlang", "Erlang", "escript job.erl"),
    ("gcc", "C and C++", "make"),
    ("go", "Go", "go run ."),
    ("graalvmjdk", "Java", "java -jar app.jar"),
    ("java", "Java", "java -jar app.jar"),
    ("jdk", "Java", "java -jar app.jar"),
    ("julia", "Julia", "julia job.jl"),
    ("llvm", "C and C++", "make"),
    ("lua", "Lua", "lua job.lua"),
    ("node", "JavaScript", "node app.js"),
    ("openjdk", "Java", "java -jar app.jar"),
    ("perl", "Perl", "perl job.pl"),
    ("php", "PHP", "php job.php"),
    ("pypy", "Python", "pypy3 analyze.py"),
    ("python", "Python", "python3 analyze.py"),
    ("r", "R", "Rscript analyze.R"),
    ("ruby", "Ruby", "ruby job.rb"),
    ("rust", "Rust", "cargo run"),
];

/// The language of a runtime without a particular one.
const OTHER: (&str, &str) = ("Other", "sh -c 'echo hello'");

/// Language and example: `python-3.11-ml` and `python3` are both Python.
fn for_name(name: &RuntimeName) -> (&'static str, &'static str) {
    let name = name.as_str();
    let end = name.find(|char: char| !char.is_ascii_lowercase()).unwrap_or(name.len());
    let known = LANGUAGES.into_iter().find(|&(stem, ..)| stem == &name[..end]);
    known.map_or(OTHER, |(_, language, command)| (language, command))
}

/// The language of a runtime.
pub(crate) fn language(name: &RuntimeName) -> &'static str {
    for_name(name).0
}

/// An example command for a runtime.
pub(crate) fn example(name: &RuntimeName) -> &'static str {
    for_name(name).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_language() {
        for (name, want) in [
            ("python-3.11-ml", "Python"),
            ("python3", "Python"),
            ("graalvmjdk-21", "Java"),
            ("r-4.4", "R"),
            ("ruby", "Ruby"),
            ("rustic-tools", "Other"),
            ("gopher", "Other"),
            ("7zip", "Other"),
        ] {
            assert_eq!(language(&name.parse().unwrap()), want, "{name}");
        }
        assert_eq!(example(&"node-20".parse().unwrap()), "node app.js");
    }
}
