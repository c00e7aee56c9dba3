//! A maintainer script → the commands that it may run, by static analysis.
//!
//! Every branch is taken, in the order of the text. Variables with known values, `for` loops over known words and
//! functions are evaluated, conditions are not. Values that depend on running the script are marked as unknown.

use super::tokens::{self, Part, Token, Word};
use std::collections::BTreeMap;

/// Maximum number of commands of a script, since nested loops could produce any number.
const MAX_CALLS: usize = 20_000;
/// Maximum number of loop iterations and function calls, which may run no command.
const MAX_ROUNDS: usize = 20_000;
/// Maximum depth of function calls.
const MAX_DEPTH: usize = 16;

/// A command and its arguments; `>` with a file is output to it. `None` is an unknown word.
pub(super) type Call = Vec<Option<String>>;

/// Reserved words that may precede a command.
const KEYWORDS: [&str; 15] = [
    "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "esac", "{", "}", "!",
    "time", "exec",
];

/// The commands of `script`, called with `arguments`.
pub(super) fn calls(script: &str, arguments: &[&str]) -> Vec<Call> {
    let tokens = tokens::tokenize(script);
    let mut reader = Reader { tokens: &tokens, ..Reader::default() };
    for (number, argument) in (1..).zip(arguments) {
        reader.variables.insert(format!("{number}"), Some((*argument).to_owned()));
    }
    reader.run(0, tokens.len(), 0);
    reader.calls
}

#[derive(Default)]
struct Reader<'t> {
    tokens: &'t [Token],
    /// `None`: the value is unknown.
    variables: BTreeMap<String, Option<String>>,
    /// Name → range of the tokens of its body.
    functions: BTreeMap<String, (usize, usize)>,
    calls: Vec<Call>,
    rounds: usize,
}

impl Reader<'_> {
    /// Reads the commands of `tokens[at..end]`.
    fn run(&mut self, mut at: usize, end: usize, depth: usize) {
        let mut cases = 0;
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return;
        }
        while at < end && self.calls.len() < MAX_CALLS {
            let word = match &self.tokens[at] {
                Token::Word(word) => word,
                Token::Operator(";;") if cases > 0 => {
                    at = self.pattern(at + 1, end);
                    continue;
                }
                Token::Operator(_) => {
                    at += 1;
                    continue;
                }
                Token::Redirection(_) => {
                    at = self.redirection(at);
                    continue;
                }
            };
            at = match word.bare() {
                Some("for") => self.loops(at, end, depth),
                Some("case") => {
                    cases += 1;
                    let is_in =
                        |token: &Token| matches!(token, Token::Word(it) if it.bare() == Some("in"));
                    let place = self.tokens[at..end].iter().position(is_in);
                    place.map_or(end, |place| self.pattern(at + place + 1, end))
                }
                Some("esac") => {
                    cases = usize::saturating_sub(cases, 1);
                    at + 1
                }
                Some("function") => at + 1,
                Some(name) if KEYWORDS.contains(&name) => at + 1,
                Some(name) if self.is_function(at) => {
                    let (from, to) = self.body(at + 3, end);
                    self.functions.insert(name.to_owned(), (from, to));
                    to + 1
                }
                _ => self.command(at, end, depth),
            };
        }
    }

    /// The end of the pattern of a `case` that begins at `at`, if there is one.
    fn pattern(&self, mut at: usize, end: usize) -> usize {
        while at < end && self.tokens[at] == Token::Operator("\n") {
            at += 1;
        }
        if matches!(self.tokens.get(at), Some(Token::Word(word)) if word.bare() == Some("esac")) {
            return at;
        }
        let close = self.tokens[at..end].iter().position(|it| *it == Token::Operator(")"));
        close.map_or(end, |close| at + close + 1)
    }

    fn is_function(&self, at: usize) -> bool {
        let operator = |at: usize| match self.tokens.get(at) {
            Some(Token::Operator(operator)) => operator,
            _ => "",
        };
        operator(at + 1) == "(" && operator(at + 2) == ")"
    }

    /// The range of the tokens between the braces that open at or after `at`.
    fn body(&self, at: usize, end: usize) -> (usize, usize) {
        let (mut depth, mut from) = (0, at);
        for (place, token) in self.tokens.iter().enumerate().take(end).skip(at) {
            match token {
                Token::Word(word) if word.bare() == Some("{") => {
                    depth += 1;
                    if depth == 1 {
                        from = place + 1;
                    }
                }
                Token::Word(word) if word.bare() == Some("}") => {
                    depth -= 1;
                    if depth == 0 {
                        return (from, place);
                    }
                }
                _ => {}
            }
        }
        (from, end)
    }

    /// Reads `for NAME in WORDS; do …; done`; returns its end.
    fn loops(&mut self, at: usize, end: usize, depth: usize) -> usize {
        let named = |token: Option<&Token>, text: &str| matches!(token, Some(Token::Word(word)) if word.bare() == Some(text));
        let Some(Token::Word(name)) = self.tokens.get(at + 1) else { return at + 1 };
        let name = name.bare().unwrap_or_default().to_owned();
        let Some(begin) = (at..end).find(|place| named(self.tokens.get(*place), "do")) else {
            return end;
        };
        let mut values = Vec::new();
        if named(self.tokens.get(at + 2), "in") {
            for token in &self.tokens[at + 3..begin] {
                if let Token::Word(word) = token {
                    values.extend(self.expand(word));
                }
            }
        } else {
            values.push(None); // the arguments
        }
        let (mut open, mut close) = (0, end);
        for place in begin..end {
            if named(self.tokens.get(place), "do") {
                open += 1;
            } else if named(self.tokens.get(place), "done") {
                open -= 1;
                if open == 0 {
                    close = place;
                    break;
                }
            }
        }
        for value in values {
            self.variables.insert(name.clone(), value);
            self.run(begin + 1, close, depth);
        }
        close + 1
    }

    /// Reads one simple command; returns its end.
    fn command(&mut self, mut at: usize, end: usize, depth: usize) -> usize {
        let (mut call, mut assigned) = (Call::new(), Vec::new());
        while at < end {
            match &self.tokens[at] {
                Token::Operator(_) => break,
                Token::Redirection(_) => {
                    at = self.redirection(at);
                    continue;
                }
                Token::Word(word) => {
                    if let Some((name, value)) = assignment(word).filter(|_| call.is_empty()) {
                        let value = self.whole(&value);
                        assigned.push((name, value));
                    } else {
                        call.extend(self.expand(word));
                    }
                }
            }
            at += 1;
        }
        let first = call.first().cloned().flatten().unwrap_or_default();
        if matches!(first.as_str(), "export" | "local" | "readonly") {
            let words = call.iter().flatten().filter_map(|word| word.split_once('='));
            assigned.extend(words.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
        }
        for (name, value) in assigned {
            // An unknown value of a later branch does not replace a known one.
            let known = self.variables.get(&name).is_some_and(Option::is_some);
            if value.is_some() || !known {
                self.variables.insert(name, value);
            }
        }
        if first == "unset" {
            call.iter().flatten().for_each(|name| _ = self.variables.remove(name));
        }
        match self.functions.get(&first) {
            Some(&(from, to)) if depth < MAX_DEPTH => self.function(&call, from, to, depth),
            _ if call.is_empty() => {}
            _ => self.calls.push(call),
        }
        at
    }

    /// Records an output file as a command `>`; returns the end of the redirection.
    fn redirection(&mut self, at: usize) -> usize {
        if let (Token::Redirection(true), Some(Token::Word(file))) =
            (&self.tokens[at], self.tokens.get(at + 1))
        {
            let file = self.whole(file);
            self.calls.push(vec![Some(">".to_owned()), file]);
        }
        at + 2
    }

    fn function(&mut self, call: &Call, from: usize, to: usize, depth: usize) {
        let numbers = (1..=9).map(|number: u32| number.to_string());
        let before: Vec<_> =
            numbers.map(|number| (number.clone(), self.variables.remove(&number))).collect();
        for (number, argument) in (1..).zip(call.iter().skip(1)) {
            self.variables.insert(format!("{number}"), argument.clone());
        }
        self.run(from, to, depth + 1);
        for (number, value) in before {
            match value {
                Some(value) => self.variables.insert(number, value),
                None => self.variables.remove(&number),
            };
        }
    }

    /// The value of a variable; empty if it is unset.
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "@" | "*" | "#" | "?" | "!" | "$" | "-" => None,
            name => self.variables.get(name).cloned().unwrap_or_else(|| Some(String::new())),
        }
    }

    /// Expands a word without field splitting, as in assignments.
    fn whole(&self, word: &Word) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Variable(name, _) => self.value(name),
            Part::Unknown => None,
        };
        word.parts.iter().map(part).collect()
    }

    /// Expands a word to fields.
    fn expand(&self, word: &Word) -> Vec<Option<String>> {
        let mut fields: Vec<Option<String>> = Vec::new();
        let mut open: Option<Option<String>> = word.quoted.then(|| Some(String::new()));
        let append = |open: &mut Option<Option<String>>, text: &str| {
            if let Some(field) = open.get_or_insert_with(|| Some(String::new())) {
                field.push_str(text);
            }
        };
        for part in &word.parts {
            match part {
                Part::Text(text) => append(&mut open, text),
                Part::Unknown => open = Some(None),
                Part::Variable(name, quoted) => match self.value(name) {
                    None => open = Some(None),
                    Some(value) if *quoted => append(&mut open, &value),
                    Some(value) => {
                        if value.starts_with(char::is_whitespace) {
                            fields.extend(open.take());
                        }
                        for (number, field) in value.split_whitespace().enumerate() {
                            if number > 0 {
                                fields.extend(open.take());
                            }
                            append(&mut open, field);
                        }
                    }
                },
            }
        }
        fields.extend(open);
        fields
    }
}

/// Splits `NAME=VALUE`.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text(text)) = word.parts.first() else { return None };
    let (name, value) = text.split_once('=')?;
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(named) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let rest = word.parts[1..].iter().cloned();
    let parts = std::iter::once(Part::Text(value.to_owned())).chain(rest).collect();
    Some((name.to_owned(), Word { parts, quoted: word.quoted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str) -> Vec<String> {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "?".to_owned());
        let call = |call: &Call| call.iter().map(word).collect::<Vec<_>>().join(" ");
        calls(script, &["configure", ""]).iter().map(call).collect()
    }

    #[test]
    fn commands_are_found_in_every_branch() {
        for (script, want) in [
            (
                "for b in php phar; do\n a --install /usr/bin/${b} $b\ndone\nc",
                vec!["a --install /usr/bin/php php", "a --install /usr/bin/phar phar", "c"],
            ),
            (
                "d=/usr; case \"$1\" in\nconfigure|x) a $d/b ;;\n*) c ;;\nesac\ne",
                vec!["a /usr/b", "c", "e"],
            ),
            (
                "f() {\n a \"$1\"/\"$2\"\n}\nif [ -e x ]; then f /bin w; fi",
                vec!["[ -e x ]", "a /bin/w"],
            ),
            ("s=\"--slave a b\"; c $s $none \"$none\" e", vec!["c --slave a b  e"]),
            ("p=5; p=$(x); a $p $(y)z", vec!["a 5 ?"]),
            ("case $1 in a) case b in c) d ;; esac ;; e) f ;; esac; g", vec!["d", "f", "g"]),
            (
                "for i in a b; do for j in 1 2; do c $i$j; done; done",
                vec!["c a1", "c a2", "c b1", "c b2"],
            ),
            ("A=1 b >x 2>&1 || ! c", vec!["> x", "b", "c"]),
            ("while read l; do a; done <x", vec!["read l", "a"]),
        ] {
            assert_eq!(shown(script), want, "{script}");
        }
    }

    /// SEC-E12
    #[test]
    fn endless_scripts_are_limited() {
        assert!(shown("f() { f; f; }\nf").len() <= MAX_CALLS + 1);
        let loops = "for a in 1 2 3 4 5 6 7 8 9; do ".repeat(12) + "x;" + &"done;".repeat(12);
        assert!(shown(&loops).len() <= MAX_CALLS + 9);
        for broken in
            ["f() {", "for", "for x in a", "case", "case x in", "a )", "$(", "${", "`", "\\"]
        {
            shown(broken);
        }
    }
}
