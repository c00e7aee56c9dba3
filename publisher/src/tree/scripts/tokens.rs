//! The text of a shell script → words and operators (POSIX.1-2017, Shell Command Language, 2.3).
//!
//! Values that depend on running the script, such as `$(…)`, are unknown parts of words.

/// A word or an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word.
    Word(Word),
    /// `;`, `;;`, `&`, `&&`, `|`, `||`, `(`, `)` or the end of a line.
    Operator(&'static str),
    /// A redirection such as `<` or `>`, which a file name follows; whether the file is written.
    Redirection(bool),
}

/// A word: texts, variables, and unknown parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    /// Whether any part was quoted: then it is not a reserved word.
    pub(super) quoted: bool,
}

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// These characters.
    Text(String),
    /// The value of a variable, and whether it is in double quotes.
    Variable(String, bool),
    /// A command substitution, or an unsupported parameter expansion.
    Unknown,
}

impl Word {
    /// Its text, if it is unquoted: a name, a reserved word, an operator of `test`.
    pub(super) fn bare(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] if !self.quoted => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, character: char) {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            text.push(character);
        } else {
            self.parts.push(Part::Text(character.into()));
        }
    }
}

/// Operators, longer ones first.
const OPERATORS: [&str; 8] = [";;", "&&", "||", ";", "&", "|", "(", ")"];

/// Splits `script` into tokens.
pub(super) fn tokenize(script: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: script, tokens: Vec::new(), word: None, ends: Vec::new() };
    lexer.run();
    lexer.tokens
}

struct Lexer<'s> {
    rest: &'s str,
    tokens: Vec<Token>,
    /// The word that is being read.
    word: Option<Word>,
    /// The delimiters of the here-documents that begin at the next line.
    ends: Vec<String>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(character) = self.rest.chars().next() {
            if let Some(rest) = self.rest.strip_prefix("\\\n") {
                self.rest = rest;
                continue;
            }
            match character {
                ' ' | '\t' | '\r' => {
                    self.end_word();
                    self.skip(character);
                }
                '\n' => {
                    self.end_word();
                    self.skip(character);
                    self.tokens.push(Token::Operator("\n"));
                    self.documents();
                }
                '#' if self.word.is_none() => {
                    self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
                }
                '<' | '>' => self.redirection(),
                _ if OPERATORS.iter().any(|it| self.rest.starts_with(it)) => {
                    self.end_word();
                    if self.rest.starts_with("&>") {
                        self.skip('&');
                        self.redirection();
                        continue;
                    }
                    let operator = OPERATORS.iter().find(|it| self.rest.starts_with(**it));
                    let operator = operator.expect("one begins here");
                    self.rest = &self.rest[operator.len()..];
                    self.tokens.push(Token::Operator(operator));
                }
                _ => self.character(character),
            }
        }
        self.end_word();
    }

    fn skip(&mut self, character: char) {
        self.rest = &self.rest[character.len_utf8()..];
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_with(Word::default)
    }

    fn end_word(&mut self) {
        self.tokens.extend(self.word.take().map(Token::Word));
    }

    /// Reads one character of a word, or the quoting or expansion that it begins.
    fn character(&mut self, character: char) {
        self.skip(character);
        match character {
            '\'' => {
                let end = self.rest.find('\'').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest.strip_prefix('\'').unwrap_or(rest);
                let word = self.word();
                word.quoted = true;
                word.parts.push(Part::Text(text.to_owned()));
            }
            '"' => self.double_quotes(),
            '\\' => {
                let Some(next) = self.rest.chars().next() else { return };
                self.skip(next);
                let word = self.word();
                word.quoted = true;
                word.push(next);
            }
            '$' => self.dollar(false),
            '`' => self.backquotes(),
            _ => self.word().push(character),
        }
    }

    fn double_quotes(&mut self) {
        self.word().quoted = true;
        self.word().parts.push(Part::Text(String::new()));
        while let Some(character) = self.rest.chars().next() {
            self.skip(character);
            match character {
                '"' => return,
                '\\' => {
                    let Some(next) = self.rest.chars().next() else { return };
                    self.skip(next);
                    match next {
                        '$' | '`' | '"' | '\\' => self.word().push(next),
                        '\n' => {}
                        _ => {
                            self.word().push('\\');
                            self.word().push(next);
                        }
                    }
                }
                '$' => self.dollar(true),
                '`' => self.backquotes(),
                _ => self.word().push(character),
            }
        }
    }

    fn backquotes(&mut self) {
        let end = self.rest.find('`').unwrap_or(self.rest.len());
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.word().parts.push(Part::Unknown);
    }

    /// Reads the expansion after `$`.
    fn dollar(&mut self, quoted: bool) {
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = behind(rest, '(', ')');
            self.word().parts.push(Part::Unknown);
        } else if let Some(rest) = self.rest.strip_prefix('{') {
            let after = behind(rest, '{', '}');
            let inside = &rest[..rest.len() - after.len()];
            let inside = inside.strip_suffix('}').unwrap_or(inside);
            let part = if inside.chars().all(named) && !inside.is_empty() {
                Part::Variable(inside.to_owned(), quoted)
            } else {
                Part::Unknown
            };
            self.rest = after;
            self.word().parts.push(part);
        } else {
            let special = self.rest.starts_with(['@', '*', '#', '?', '!', '$', '-']);
            let length = match self.rest.chars().next() {
                Some(digit) if special || digit.is_ascii_digit() => 1,
                _ => self.rest.find(|c| !named(c)).unwrap_or(self.rest.len()),
            };
            let (name, rest) = self.rest.split_at(length);
            self.rest = rest;
            match name {
                "" => self.word().push('$'),
                name => self.word().parts.push(Part::Variable(name.to_owned(), quoted)),
            }
        }
    }

    /// `<`, `>`, `>>`, `>&`, `<<`: the number before it is a descriptor.
    fn redirection(&mut self) {
        let descriptor = |word: &Word| {
            word.bare().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if self.word.as_ref().is_some_and(descriptor) {
            self.word = None;
        }
        self.end_word();
        if let Some(rest) = self.rest.strip_prefix("<<").filter(|rest| !rest.starts_with('<')) {
            let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start_matches([' ', '\t']);
            let end = rest.find(|c: char| c.is_whitespace() || ";|&)".contains(c));
            let (delimiter, rest) = rest.split_at(end.unwrap_or(rest.len()));
            self.ends.push(delimiter.replace(['\'', '"', '\\'], ""));
            self.rest = rest;
            return;
        }
        let behind = self.rest.trim_start_matches(['<', '>']);
        let written = self.rest.starts_with('>') && !behind.starts_with('&');
        self.rest = behind.trim_start_matches(['&', '|']);
        self.tokens.push(Token::Redirection(written));
    }

    /// Skips the here-documents that begin here.
    fn documents(&mut self) {
        for end in std::mem::take(&mut self.ends) {
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }
}

/// The rest of `text` after the `close` that matches an `open` before it.
fn behind(text: &str, open: char, close: char) -> &str {
    let (mut depth, mut quote, mut escaped) = (1, None, false);
    for (at, character) in text.char_indices() {
        match (character, quote) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            (_, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => quote = Some(character),
            (_, None) if character == open => depth += 1,
            (_, None) if character == close => {
                depth -= 1;
                if depth == 0 {
                    return &text[at + 1..];
                }
            }
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with `?` for unknown parts and `$x` for variables; operators unchanged.
    fn shown(script: &str) -> Vec<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(name, _) => format!("${name}"),
            Part::Unknown => "?".to_owned(),
        };
        let token = |token: &Token| match token {
            Token::Word(word) => word.parts.iter().map(part).collect(),
            Token::Operator("\n") => "NL".to_owned(),
            Token::Operator(operator) => (*operator).to_owned(),
            Token::Redirection(written) => if *written { ">>" } else { ">" }.to_owned(),
        };
        tokenize(script).iter().map(token).collect()
    }

    #[test]
    fn scripts_become_words() {
        for (script, tokens) in [
            ("a \\\n  b # c\nd", "a b NL d"),
            ("a 'b c' \"d $e\" f\\ g", "a b c d $e f g"),
            ("x=$(a \"b)\" $(c)) y=`d`", "x=? y=?"),
            ("a ${b}c ${d%x} $1 $@ $", "a $bc ? $1 $@ $"),
            ("a 2>/dev/null >&2 && b | c; d", "a >> /dev/null > 2 && b | c ; d"),
            ("a <<-EOF\n\tb c\n\tEOF\nd", "a NL d"),
            ("case x in a|b) c ;; esac", "case x in a | b ) c ;; esac"),
            ("a#b 'unfinished", "a#b unfinished"),
            ("a &>b", "a >> b"),
        ] {
            assert_eq!(shown(script).join(" "), tokens, "{script}");
        }
    }
}
