//! `adduser`, `useradd`, `addgroup` and `groupadd` in maintainer scripts, and `sysusers.d` → lines of `/etc/passwd`
//! and `/etc/group`. (adduser(8), useradd(8), sysusers.d(5).)
//!
//! Programs look up such names. IDs that scripts do not give are assigned from 100 in the order of the names, so that
//! they depend on the packages only. Passwords are not part of a runtime.

use super::{
    Fault,
    shell::Call,
    tokens::{self, Part, Token},
};
use crate::{
    error::Error,
    tree::{Member, Node, Tree, content::Content},
};
use std::{collections::BTreeMap, ops::Range};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const SYSUSERS: &str = "usr/lib/sysusers.d/";
/// The range of system user IDs in Debian.
const NUMBERS: Range<u32> = 100..1000;
/// The group of users without a group of their own.
const NOGROUP: u32 = 65534;
/// Maximum length of a file, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Users and groups that packages need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Users {
    users: BTreeMap<String, User>,
    /// Name → its ID if a script gives one, and its other members.
    groups: BTreeMap<String, (Option<u32>, Vec<String>)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct User {
    number: Option<u32>,
    /// Its fields; its own group has the same name.
    group: Option<String>,
    home: Option<String>,
    shell: Option<String>,
    comment: String,
}

/// Whether `name` is one of the programs whose calls are read here.
pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "adduser" | "useradd" | "addgroup" | "groupadd")
}

/// Options with a value, without the dashes.
const WITH_VALUE: [&str; 21] = [
    "G", "b", "c", "comment", "conf", "d", "firstgid", "firstuid", "g", "gecos", "gid", "groups",
    "home", "home-dir", "ingroup", "k", "lastgid", "lastuid", "s", "shell", "uid",
];

impl Users {
    /// Reads a call of `adduser` or a similar program.
    ///
    /// # Errors
    /// Unknown words.
    pub(super) fn read(&mut self, call: &Call) -> Result<(), Fault> {
        let program = super::name(call);
        let unknown = || {
            Fault::new(
                program,
                format!("runs `{program}` with words that are known only at run time"),
            )
        };
        let (mut options, mut operands) = (BTreeMap::new(), Vec::new());
        let mut words = call.iter().skip(1);
        while let Some(word) = words.next() {
            let word = word.as_deref().ok_or_else(unknown)?;
            let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            match option.map(|option| option.split_once('=').unwrap_or((option, ""))) {
                None => operands.push(word.to_owned()),
                Some((option, "")) if option == "u" || WITH_VALUE.contains(&option) => {
                    // Only the text of a comment may be unknown.
                    let value = words.next().ok_or_else(unknown)?.clone();
                    let comment = matches!(option, "gecos" | "comment" | "c");
                    let value = if comment { value.or_else(|| Some(String::new())) } else { value };
                    options.insert(option.to_owned(), value.ok_or_else(unknown)?);
                }
                Some((option, value)) => _ = options.insert(option.to_owned(), value.to_owned()),
            }
        }
        let option = |names: &[&str]| names.iter().find_map(|name| options.get(*name)).cloned();
        let number = |names: &[&str]| option(names).and_then(|text| text.parse().ok());
        let is_group = matches!(program, "addgroup" | "groupadd");
        match operands.as_slice() {
            [name] if !is_name(name) => return Err(unknown()),
            [name]
                if is_group
                    || (program == "adduser"
                        && option(&["group"]).is_some()
                        && option(&["system"]).is_none()) =>
            {
                self.group(name, number(&["gid", "g"]));
            }
            [name] => {
                let own = match program {
                    "adduser" => option(&["group"]).is_some() || option(&["system"]).is_none(),
                    _ => option(&["N", "no-user-group"]).is_none(),
                };
                let group = option(&["ingroup", "gid", "g"]).or_else(|| own.then(|| name.clone()));
                if group.as_ref() == Some(name) {
                    self.group(name, None);
                }
                for group in option(&["G", "groups"]).iter().flat_map(|groups| groups.split(',')) {
                    self.member(name, group);
                }
                let user = User {
                    number: number(&["uid", "u"]),
                    group,
                    home: option(&["home", "home-dir", "d", "b"]),
                    shell: option(&["shell", "s"]),
                    comment: option(&["gecos", "comment", "c"]).unwrap_or_default(),
                };
                self.users.entry(name.clone()).or_insert(user);
            }
            [user, group] if is_name(user) && is_name(group) => self.member(user, group),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Reads the `sysusers.d` files of a package.
    pub(super) fn read_sysusers(&mut self, members: &[Member]) {
        for Member { path, node } in members {
            let Node::File { content, .. } = node else { continue };
            if path.starts_with(SYSUSERS) {
                let text = content.head(64 << 10).unwrap_or_default();
                String::from_utf8_lossy(&text).lines().for_each(|line| self.sysuser(line));
            }
        }
    }

    /// A line: `u NAME ID "COMMENT" HOME SHELL`, `g NAME ID` or `m NAME GROUP`; `-` is an empty field.
    fn sysuser(&mut self, line: &str) {
        let words: Vec<String> = tokens::tokenize(line).into_iter().filter_map(word_text).collect();
        let word =
            |at: usize| words.get(at).filter(|word| !matches!(word.as_str(), "-" | "")).cloned();
        let (Some(kind), Some(name)) = (word(0), word(1).filter(|name| is_name(name))) else {
            return;
        };
        let (number, group) = match word(2) {
            None => (None, None),
            Some(text) => match text.split_once(':') {
                None => (text.parse().ok(), None),
                Some((number, group)) => (number.parse().ok(), Some(group.to_owned())),
            },
        };
        match kind.trim_end_matches(['!', '-']) {
            "g" => self.group(&name, number),
            "u" => {
                let own = group.is_none();
                if own {
                    self.group(&name, number);
                }
                let user = User {
                    number,
                    group: group.or_else(|| Some(name.clone())),
                    home: word(4).or_else(|| Some("/".into())),
                    shell: word(5),
                    comment: word(3).unwrap_or_default(),
                };
                self.users.entry(name).or_insert(user);
            }
            "m" => {
                if let Some(group) = word(2).filter(|group| is_name(group)) {
                    self.member(&name, &group);
                }
            }
            _ => {}
        }
    }

    fn group(&mut self, name: &str, number: Option<u32>) {
        let group = self.groups.entry(name.to_owned()).or_default();
        group.0 = group.0.or(number);
    }

    fn member(&mut self, user: &str, group: &str) {
        if is_name(group) {
            let members = &mut self.groups.entry(group.to_owned()).or_default().1;
            if !members.iter().any(|member| member == user) {
                members.push(user.to_owned());
            }
        }
    }

    /// Adds the missing users and groups to the files of `tree`.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Config`] if a path is a directory or a symlink.
    pub(super) fn apply(&self, tree: &mut Tree) -> Result<(), Error> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Ok(());
        }
        let (mut passwd, mut group) = (lines(tree, PASSWD)?, lines(tree, GROUP)?);
        let mut groups = Numbers::new(&group, 2);
        for (name, (number, members)) in &self.groups {
            if let Some(line) = group.iter_mut().find(|line| line[0] == *name) {
                let list = line.last_mut().expect("a line has a name");
                *list = with_members(list, members);
            } else {
                let number = groups.take(*number).to_string();
                group.push(vec![name.clone(), "x".into(), number, members.join(",")]);
            }
        }
        let mut users = Numbers::new(&passwd, 2);
        for (name, user) in &self.users {
            if passwd.iter().any(|line| line[0] == *name) {
                continue;
            }
            let of_group = user.group.as_ref().and_then(|wanted| {
                wanted
                    .parse()
                    .ok()
                    .or_else(|| group.iter().find(|line| line[0] == *wanted)?.get(2)?.parse().ok())
            });
            let gid: u32 = of_group.unwrap_or(NOGROUP);
            let home = user.home.clone().unwrap_or_else(|| "/nonexistent".into());
            let shell = user.shell.clone().unwrap_or_else(|| "/usr/sbin/nologin".into());
            let uid = users.take(user.number).to_string();
            let fields =
                [name.clone(), "x".into(), uid, gid.to_string(), user.comment.clone(), home, shell];
            passwd.push(fields.map(|field| field.replace([':', '\n'], " ")).to_vec());
        }
        for (path, lines) in [(PASSWD, passwd), (GROUP, group)] {
            let text: String = lines.iter().map(|line| line.join(":") + "\n").collect();
            let place = tree.resolve(path).unwrap_or_else(|| path.to_owned());
            let node = Node::File { executable: false, content: Content::from(text.into_bytes()) };
            tree.replace(&place, node).map_err(|rule| Error::config(path, rule))?;
        }
        Ok(())
    }
}

/// The text of a word; `None` for other tokens.
fn word_text(token: Token) -> Option<String> {
    let Token::Word(word) = token else { return None };
    let text = |part| match part {
        Part::Text(text) => text,
        Part::Variable(..) | Part::Unknown => String::new(),
    };
    Some(word.parts.into_iter().map(text).collect())
}

/// The lines of such a file, split into fields.
fn lines(tree: &Tree, path: &str) -> Result<Vec<Vec<String>>, Error> {
    let Some((_, content)) = tree.file(path) else { return Ok(Vec::new()) };
    let bytes = content.whole(MAX_TEXT).map_err(Error::file("read", path))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines.map(|line| line.split(':').map(str::to_owned).collect()).collect())
}

/// The list of a group's members with `more`, without duplicates.
fn with_members(list: &str, more: &[String]) -> String {
    let mut all: Vec<&str> = list.split(',').filter(|member| !member.is_empty()).collect();
    for member in more {
        if !all.contains(&member.as_str()) {
            all.push(member);
        }
    }
    all.join(",")
}

/// IDs in use.
struct Numbers(Vec<u32>);

impl Numbers {
    /// Reads them from the given field of `lines`.
    fn new(lines: &[Vec<String>], field: usize) -> Self {
        Self(lines.iter().filter_map(|line| line.get(field)?.parse().ok()).collect())
    }

    /// Takes the `wanted` ID, else the next free one.
    fn take(&mut self, wanted: Option<u32>) -> u32 {
        let free = |number: &u32| !self.0.contains(number);
        let number = wanted.filter(free).or_else(|| NUMBERS.into_iter().find(free));
        let number = number.unwrap_or(NOGROUP);
        self.0.push(number);
        number
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::scripts::shell;

    fn file(text: &str) -> Node {
        Node::File { executable: false, content: text.as_bytes().to_vec().into() }
    }

    fn read(script: &str) -> Result<Users, Fault> {
        let mut users = Users::default();
        for call in shell::calls(script, &["configure", ""]) {
            users.read(&call)?;
        }
        Ok(users)
    }

    fn made(users: &Users) -> (String, String) {
        let mut tree = Tree::default();
        tree.insert(PASSWD, file("root:x:0:0:root:/root:/bin/sh\n")).unwrap();
        tree.insert(GROUP, file("root:x:0:\naudio:x:29:a\nnogroup:x:65534:\n")).unwrap();
        users.apply(&mut tree).unwrap();
        let text =
            |path: &str| String::from_utf8(tree.file(path).unwrap().1.read().unwrap()).unwrap();
        let new = |path: &str| text(path).lines().skip(1).collect::<Vec<_>>().join(" ");
        (new(PASSWD), new(GROUP))
    }

    #[test]
    fn scripts_add_users_and_groups() {
        for (script, passwd, group) in [
            (
                "adduser --system --group --home /var/lib/b --no-create-home --quiet b",
                "b:x:100:100::/var/lib/b:/usr/sbin/nologin",
                "audio:x:29:a nogroup:x:65534: b:x:100:",
            ),
            (
                "adduser --system --quiet --gecos \"The $(x)\" --shell=/bin/sh c; adduser c audio",
                "c:x:100:65534::/nonexistent:/bin/sh",
                "audio:x:29:a,c nogroup:x:65534:",
            ),
            (
                "addgroup --system d; useradd -r -g d -d /d -s /bin/false -c 'D: e' d; groupadd -g 42 s",
                "d:x:100:100:D  e:/d:/bin/false",
                "audio:x:29:a nogroup:x:65534: d:x:100: s:x:42:",
            ),
            (
                "useradd --system --uid 7 -G audio,z u; adduser root audio",
                "u:x:7:100::/nonexistent:/usr/sbin/nologin",
                "audio:x:29:a,u,root nogroup:x:65534: u:x:100: z:x:101:u",
            ),
        ] {
            let (users, groups) = made(&read(script).unwrap());
            assert_eq!((users.as_str(), groups.as_str()), (passwd, group), "{script}");
        }
        for script in
            ["adduser --system $(x)", "adduser --system --home $(x) b", "adduser a b c", "useradd"]
        {
            assert!(read(script).unwrap_err().what.contains("known only at run time"), "{script}");
        }
    }

    #[test]
    fn sysusers_are_read() {
        let mut users = Users::default();
        let text = "# x\nu messagebus - \"System Message Bus\"\ng render 42 -\nm messagebus audio\nu! e 7:audio - /e /bin/sh\n";
        users.read_sysusers(&[
            Member { path: "usr/lib/sysusers.d/a.conf".into(), node: file(text) },
            Member { path: "usr/lib/other.conf".into(), node: file("u x -\n") },
        ]);
        assert_eq!(
            made(&users),
            (
                "e:x:7:29::/e:/bin/sh messagebus:x:100:100:System Message Bus:/:/usr/sbin/nologin"
                    .into(),
                "audio:x:29:a,messagebus nogroup:x:65534: messagebus:x:100: render:x:42:".into(),
            )
        );
    }

    /// Existing entries are not changed.
    #[test]
    fn existing_users_are_kept() {
        let mut users = read("adduser --system --home /other root").unwrap();
        assert_eq!(made(&users).0, "");
        users = Users::default();
        let mut tree = Tree::default();
        users.apply(&mut tree).unwrap();
        assert!(tree.get(PASSWD).is_none());
    }
}
