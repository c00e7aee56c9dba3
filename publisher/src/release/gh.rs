//! GitHub as a release host, by the program `gh`, which is installed and authenticated on every runner.

use super::{
    host::{Host, State},
    tag::Tag,
};
use crate::error::{Error, shown, tail};
use serde::Deserialize;
use std::{
    io::{self, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

/// `OWNER/REPO`.
pub(super) struct GitHub(pub String);

/// Most releases that are listed.
const MOST: &str = "10000";

/// The output of `gh release view --json isDraft,assets`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    is_draft: bool,
    assets: Vec<Asset>,
}

/// One file of a release. Only those in state `uploaded` are complete.
#[derive(Deserialize)]
struct Asset {
    name: String,
    size: u64,
    state: String,
}

/// One line of `gh release list --json tagName,isDraft`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    tag_name: String,
    is_draft: bool,
}

impl GitHub {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("gh");
        command.arg("release").args(words).args(["--repo", &self.0]);
        command.env("GH_PROMPT_DISABLED", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Result<Output, Error> {
        self.command(words)
            .output()
            .map_err(|error| tool(format!("cannot be run: {error}; install gh")))
    }

    fn require(&self, words: &[&str]) -> Result<Vec<u8>, Error> {
        let output = self.run(words)?;
        if output.status.success() { Ok(output.stdout) } else { Err(failed(words, &output.stderr)) }
    }
}

fn tool(reason: String) -> Error {
    Error::Tool { tool: "gh".into(), reason }
}

fn failed(words: &[&str], stderr: &[u8]) -> Error {
    let reason = shown::addresses(&String::from_utf8_lossy(stderr));
    tool(format!("release {} failed: {}", words.first().unwrap_or(&""), reason.trim_end()))
}

fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| tool(format!("unexpected answer: {error}")))
}

impl Host for GitHub {
    fn find(&self, tag: &Tag) -> Result<Option<State>, Error> {
        let words = ["view", &tag.to_string(), "--json", "isDraft,assets"];
        let output = self.run(&words)?;
        if !output.status.success() {
            // gh has the same exit status for a missing release and for every other failure.
            let is_there = self.releases()?.iter().any(|(known, _)| known == tag);
            return if is_there { Err(failed(&words, &output.stderr)) } else { Ok(None) };
        }
        let View { is_draft: draft, assets } = parse(&output.stdout)?;
        let whole = assets.into_iter().filter(|asset| asset.state == "uploaded");
        Ok(Some(State { draft, files: whole.map(|asset| (asset.name, asset.size)).collect() }))
    }

    fn draft(&self, tag: &Tag) -> Result<(), Error> {
        let tag = tag.to_string();
        let notes = format!(
            "Runtimes of {tag}. Install with `joblet-exec --registry {} install NAME@VERSION`.",
            self.0
        );
        self.require(&[
            "create", &tag, "--draft", "--verify-tag", "--title", &tag, "--notes", &notes,
        ])
        .map(drop)
    }

    fn upload(&self, tag: &Tag, name: &str, from: &Path) -> Result<(), Error> {
        // gh uses the local file name as the name of the asset.
        let dir = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
        let link = dir.path().join(name);
        let target = std::path::absolute(from).map_err(Error::file("find", from))?;
        symlink(target, &link).map_err(Error::file("create", &link))?;
        self.require(&["upload", &tag.to_string(), &link.to_string_lossy(), "--clobber"]).map(drop)
    }

    fn download(&self, tag: &Tag, name: &str, to: &mut dyn Write) -> Result<(), Error> {
        let words = ["download", &tag.to_string(), "--pattern", name, "--output", "-"];
        let mut command = self.command(&words);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| tool(format!("cannot be run: {error}")))?;
        let mut body = child.stdout.take().expect("is piped");
        let stderr = child.stderr.take().expect("is piped");
        let (copied, errors) = thread::scope(|scope| {
            let errors = scope.spawn(|| tail::read_end(stderr));
            let copied = io::copy(&mut body, to);
            drop(body); // after a write error, gh must not block on the pipe
            (copied, errors.join().unwrap_or_default())
        });
        let status = child.wait().map_err(Error::file("wait for", "gh"))?;
        copied.map_err(Error::file("read", name))?;
        if status.success() { Ok(()) } else { Err(failed(&words, &errors)) }
    }

    fn publish(&self, tag: &Tag) -> Result<(), Error> {
        self.require(&["edit", &tag.to_string(), "--draft=false"]).map(drop)
    }

    fn releases(&self) -> Result<Vec<(Tag, bool)>, Error> {
        let answer = self.require(&["list", "--limit", MOST, "--json", "tagName,isDraft"])?;
        let listed: Vec<Listed> = parse(&answer)?;
        Ok(listed
            .into_iter()
            .filter_map(|it| Some((it.tag_name.parse().ok()?, it.is_draft)))
            .collect())
    }
}
