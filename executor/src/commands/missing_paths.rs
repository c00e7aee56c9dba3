//! Paths of the host on a job's command line that the job does not see.

use crate::sandbox::Job;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The first argument of a job that is a path of this host outside of what the job sees: it will not have found it.
pub(super) fn first<'j>(job: &'j Job, mounts: &[&str]) -> Option<&'j OsStr> {
    let here = std::env::current_dir().ok()?;
    let leads_out = |word: &&OsStr| {
        let bytes = word.as_encoded_bytes();
        bytes.starts_with(b"/") || bytes.starts_with(b"../")
    };
    let words = job.argv.iter().skip(1).map(AsRef::as_ref);
    words.filter(leads_out).find(|word| !is_seen(job, mounts, word) && here.join(word).exists())
}

/// Directories that every job has, of its own.
const EMPTY: [&str; 5] = ["/", "/tmp", "/run", "/home", "/var/tmp"];

/// Whether a path is one of the job: below what is mounted there.
fn is_seen(job: &Job, mounts: &[&str], word: &OsStr) -> bool {
    let start = job.workdir.as_deref().unwrap_or(Path::new("/work"));
    let path = normal(&start.join(word));
    let own = ["/dev", "/proc", "/sys", "/work"].into_iter().chain(mounts.iter().copied());
    let binds = job.binds.iter().map(|bind| bind.target.as_path());
    let tmp = job.tmp.iter().map(|_| Path::new("/tmp"));
    EMPTY.iter().any(|own| path == Path::new(own))
        || own.map(Path::new).chain(binds).chain(tmp).any(|mount| path.starts_with(mount))
}

/// An absolute path without `.` and `..`, by its text.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Bind;

    #[test]
    fn unmounted_paths_are_reported() {
        let target = PathBuf::from("/data");
        let bind = Bind { source: "/x".into(), target, writable: false };
        let job = Job { binds: vec![bind], ..Job::new(vec!["python".into()]) };
        for (word, want) in [
            ("../x.py", false),
            ("../work/x.py", true),
            ("/data/a", true),
            ("/database", false),
            ("/usr/bin/env", true),
            ("/home/u/x.py", false),
            ("/", true),
            ("/tmp", true),
            ("/tmp/x.py", false),
        ] {
            assert_eq!(is_seen(&job, &["/usr", "/etc"], OsStr::new(word)), want, "{word}");
        }
        let here = Job { workdir: Some("/data/below".into()), ..job };
        assert!(is_seen(&here, &[], OsStr::new("../x.py")));
        assert!(!is_seen(&here, &[], OsStr::new("../../x.py")));
    }
}
