//! git, as a program: queries of a checkout, and changes pushed to a branch.

use crate::error::{Error, Note, shown};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// Most attempts of a push that is rejected because of concurrent pushes.
const TRIES: u32 = 12;

/// Age from which the lock file of a branch is stale: no push takes as long.
const STALE: Duration = Duration::from_secs(2);

/// A lock file.
#[derive(PartialEq, Eq)]
struct Held {
    place: PathBuf,
    inode: u64,
    /// When it was created.
    since: SystemTime,
}

/// Runs git in `dir` and returns its output, without the final line break.
///
/// # Errors
/// [`Error::Tool`] with git's message.
pub(crate) fn git(dir: &Path, words: &[&str]) -> Result<String, Error> {
    let output = output(dir, words)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(failed(words, &output))
}

fn output(dir: &Path, words: &[&str]) -> Result<Output, Error> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(words).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command.output().map_err(|error| Error::Tool {
        tool: "git".into(),
        reason: format!("cannot be run: {error}; install git"),
    })
}

fn failed(words: &[&str], output: &Output) -> Error {
    let stderr = shown::addresses(&String::from_utf8_lossy(&output.stderr));
    let reason = format!("{} failed: {}", words.first().unwrap_or(&""), stderr.trim_end());
    Error::Tool { tool: "git".into(), reason }
}

/// Whether `commit` is an ancestor of `branch`, in the checkout `dir`.
///
/// # Errors
/// [`Error::Tool`], also when one of them does not exist.
pub(crate) fn is_ancestor(dir: &Path, commit: &str, branch: &str) -> Result<bool, Error> {
    let words = ["merge-base", "--is-ancestor", commit, branch];
    let output = output(dir, &words)?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(failed(&words, &output)),
    }
}

/// The file `path` on `branch` in the checkout `dir`; `None` if it does not exist.
///
/// # Errors
/// [`Error::Tool`].
pub(crate) fn show(dir: &Path, branch: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
    git(dir, &["rev-parse", "--verify", "--quiet", &format!("{branch}^{{commit}}")])?;
    let output = output(dir, &["cat-file", "blob", &format!("{branch}:{path}")])?;
    Ok(output.status.success().then_some(output.stdout))
}

/// Exports the registry, its signature and `records` on `branch` of the checkout `dir` to a temporary
/// directory.
///
/// # Errors
/// [`Error::Tool`]; [`Error::File`].
pub(crate) fn exported(
    dir: &Path,
    branch: &str,
    records: &Path,
) -> Result<(TempDir, PathBuf), Error> {
    let records = records.to_string_lossy();
    let wanted = ["registry.json", "registry.json.minisig", &records];
    let there = git(dir, &[&["ls-tree", "--name-only", branch, "--"], &wanted[..]].concat())?;
    let work = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
    let place = work.path().join("exported");
    std::fs::create_dir_all(place.join(&*records)).map_err(Error::file("create", &place))?;
    let there: Vec<_> = there.lines().collect();
    if !there.is_empty() {
        let words = [&["archive", "--format=tar", branch, "--"], &there[..]].concat();
        let output = output(dir, &words)?;
        if !output.status.success() {
            return Err(failed(&words, &output));
        }
        let mut archive = tar::Archive::new(output.stdout.as_slice());
        archive.unpack(&place).map_err(Error::file("unpack to", &place))?;
    }
    Ok((work, place))
}

/// A branch of a repository that changes are pushed to.
pub(crate) struct Branch<'a> {
    /// Address or directory of the repository.
    pub repository: &'a str,
    /// Name of the branch.
    pub name: &'a str,
}

impl Branch<'_> {
    /// Applies `change` to a new checkout, commits and pushes; repeated on a new checkout when another push
    /// came first. `change` returns the commit message, or `None` if there is nothing to do.
    ///
    /// Returns whether a commit was pushed.
    ///
    /// # Errors
    /// Those of `change`; [`Error::Tool`].
    pub(crate) fn change(
        &self,
        note: Note,
        mut change: impl FnMut(&Path) -> Result<Option<String>, Error>,
    ) -> Result<bool, Error> {
        let mut held = Vec::new();
        for attempt in 1..=TRIES {
            let (_keep, checkout) = self.checkout()?;
            let Some(message) = change(&checkout)? else { return Ok(false) };
            git(&checkout, &["add", "--all"])?;
            if git(&checkout, &["status", "--porcelain"])?.is_empty() {
                return Ok(false);
            }
            commit(&checkout, &message)?;
            let target = format!("HEAD:refs/heads/{}", self.name);
            let push = ["push", "--quiet", "origin", &target];
            let output = output(&checkout, &push)?;
            if output.status.success() {
                return Ok(true);
            }
            if protected(&output) {
                let reason = format!(
                    "push failed: {} is protected, and this token may not push to it; let its owner \
                     bypass the protection, or set REGISTRY_TOKEN of a user who may (RELEASING.md), \
                     then run this again",
                    self.name
                );
                return Err(Error::Tool { tool: "git".into(), reason });
            }
            if !lost_race(&output) || attempt == TRIES {
                return Err(failed(&push, &output));
            }
            held = self.locks(&held)?;
            note(&format!("{} has changed; trying again on its new state", self.name));
            thread::sleep(wait(attempt));
        }
        unreachable!("the last try returns")
    }

    /// Finds lock files of the branch in a local repository. Those of a killed git would block pushes for ever.
    /// Returns the lock files, to pass as `before` to the next call.
    ///
    /// # Errors
    /// [`Error::Tool`] for lock files that are still the same and older than [`STALE`].
    fn locks(&self, before: &[Held]) -> Result<Vec<Held>, Error> {
        let repository = self.repository.strip_prefix("file://").unwrap_or(self.repository);
        let repository = Path::new(repository);
        let names = [format!("refs/heads/{}.lock", self.name), "HEAD.lock".to_owned()];
        let dirs = [repository.to_owned(), repository.join(".git")];
        let places = dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        let found = places.filter_map(|place| {
            let metadata = std::fs::symlink_metadata(&place).ok()?;
            Some(Held { place, inode: metadata.ino(), since: metadata.modified().ok()? })
        });
        let found: Vec<_> = found.collect();
        let ages = || found.iter().map(|it| it.since.elapsed().unwrap_or_default());
        let Some(age) = ages().min().filter(|age| *age >= STALE && found == before) else {
            return Ok(found);
        };
        let places: Vec<_> = found.iter().map(|it| it.place.display().to_string()).collect();
        let reason = format!(
            "push failed: {} is {} seconds old, left over from a killed git; if no git runs there now, \
             remove it and run this again",
            places.join(" and "),
            age.as_secs()
        );
        Err(Error::Tool { tool: "git".into(), reason })
    }

    fn checkout(&self) -> Result<(TempDir, PathBuf), Error> {
        let work = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
        let checkout = work.path().join("checkout");
        // git ignores --depth for a local path, but not for a file:// URL.
        let local = Path::new(self.repository).canonicalize();
        let address =
            local.map_or(self.repository.to_owned(), |it| format!("file://{}", it.display()));
        let into = checkout.to_string_lossy();
        let clone = ["clone", "--quiet", "--depth=1", "--branch", self.name, "--", &address, &into];
        git(Path::new("."), &clone)?;
        Ok((work, checkout))
    }
}

/// Commits the staged changes, as git's configured user, else as `joblet-publish`.
fn commit(checkout: &Path, message: &str) -> Result<(), Error> {
    let known = output(checkout, &["config", "user.email"])?.status.success();
    let name = ["-c", "user.name=joblet-publish", "-c", "user.email=joblet-publish@localhost"];
    let words = ["commit", "--quiet", "--message", message];
    let all: Vec<&str> = if known { words.to_vec() } else { [&name[..], &words[..]].concat() };
    git(checkout, &all).map(drop)
}

/// Whether a push failed because the branch has changed since it was cloned, or is locked.
fn lost_race(output: &Output) -> bool {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ["fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref"]
        .iter()
        .any(|sign| stderr.contains(sign))
}

/// Whether a push was rejected by branch protection, by the messages of GitHub and of git for hooks.
fn protected(output: &Output) -> bool {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ["protected branch", "repository rule", "hook declined"]
        .iter()
        .any(|sign| stderr.contains(sign))
}

/// A growing delay with jitter.
fn wait(attempt: u32) -> Duration {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let most = 200 * attempt.min(10);
    Duration::from_millis(u64::from(most / 2 + clock.subsec_nanos() % most))
}
