//! Profiles: named options of `run`, shipped with this program or of the configuration.
//!
//! They are chosen, by `--profile`, `JOBLET_EXEC_PROFILE` or the configuration, never guessed.

use super::Session;
use crate::cli::args::{self, Run};
use crate::env::Environment;
use crate::error::Error;
use crate::registry::config;
use joblet_format::nearest;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The shipped profiles; a profile of the configuration overrides one of the same name. `UCX_POSIX_USE_PROC_LINK=n`:
/// a sandbox has a PID namespace, so UCX must open shared memory by its name in `/dev/shm`; otherwise it falls back to TCP.
const SHIPPED: [(&str, &str); 3] = [
    (
        "slurm",
        "--here --network=host --init --tmp=${TMPDIR:-/tmp} --env=SLURM* --env=OMP_* --env=NCCL_* \
         --env=MASTER_* --env=RANK --env=LOCAL_RANK --env=WORLD_SIZE",
    ),
    (
        "mpi",
        "--here --network=host --ipc=host --init --tmp=${TMPDIR:-/tmp} --keep-fd=$PMI_FD \
         --bind=$PMIX_SERVER_TMPDIR:$PMIX_SERVER_TMPDIR:rw --env=PMI* --env=MPI* --env=OMPI_* \
         --env=UCX_POSIX_USE_PROC_LINK=n --env=UCX_* --env=FI_* --env=I_MPI_* --env=HYDRA_* --env=SLURM* \
         --env=OMP_* --env=NCCL_*",
    ),
    (
        "ci",
        "--here --network=host --init --bind=$RUNNER_TEMP:$RUNNER_TEMP:rw --env=CI* --env=GITHUB_* \
         --env=RUNNER_*",
    ),
];

/// The value of `--profile` for no profile, overriding the environment.
const NONE: &str = "none";

/// Name of the configuration's profile that applies by default.
const DEFAULT: &str = "default";

/// A profile that is in force.
pub(super) struct Profile {
    /// Its name.
    pub name: String,
    /// Its options, with variables expanded.
    pub words: Vec<OsString>,
}

impl Profile {
    fn expand(name: &str, words: &mut dyn Iterator<Item = &str>) -> Self {
        let value = |name: &OsStr| Environment::variable(name);
        let words = words.filter_map(|word| expand(word, &value)).collect();
        Self { name: name.to_owned(), words }
    }

    /// `NAME: OPTION…`, for people.
    pub(super) fn shown(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        format!("{}: {}", self.name, words.join(" "))
    }
}

impl Session<'_> {
    /// The profiles that were `asked` for, else those of the environment, else the configuration's default.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown profile, and errors of the configuration.
    pub(super) fn profiles(&self, asked: &[String]) -> Result<Vec<Profile>, Error> {
        let of_all = self.env.profile.iter().flat_map(|names| names.split(','));
        let names: Vec<_> = match asked {
            [] => of_all.collect(),
            asked => asked.iter().map(String::as_str).collect(),
        };
        if names.is_empty() {
            let default = match self.configured(DEFAULT) {
                // A file at a default path that this user cannot read is another user's.
                Err(Error::File { source, .. })
                    if self.config_file().is_none()
                        && source.kind() == ErrorKind::PermissionDenied =>
                {
                    None
                }
                default => default?,
            };
            return Ok(default.into_iter().collect());
        }
        let mut found = Vec::new();
        for name in names.into_iter().filter(|name| *name != NONE) {
            found.push(self.profile(name)?);
        }
        Ok(found)
    }

    /// The profile `name` of the configuration.
    fn configured(&self, name: &str) -> Result<Option<Profile>, Error> {
        let config = self.first(&|config: &config::Config| config.profiles[name].is_array())?;
        let config = config.unwrap_or_default();
        let words = config.profiles[name].as_array();
        Ok(words
            .map(|words| Profile::expand(name, &mut words.iter().filter_map(|word| word.as_str()))))
    }

    fn profile(&self, name: &str) -> Result<Profile, Error> {
        if let Some(profile) = self.configured(name)? {
            return Ok(profile);
        }
        let shipped = SHIPPED.into_iter().find(|(known, _)| *known == name);
        let (_, words) = shipped.ok_or_else(|| {
            let near = nearest(name, SHIPPED.into_iter().map(|(known, _)| known));
            let hint = near.map_or_else(
                || "there are slurm, mpi, ci and none, and those of the configuration".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            Error::Usage(format!("there is no profile {name:?}; {hint}"))
        })?;
        Ok(Profile::expand(name, &mut words.split(' ')))
    }
}

/// Adds the options of `profiles` to those of the command line, which override them; earlier profiles
/// override later ones.
///
/// # Errors
/// [`Error::Usage`] with the profile and its error.
pub(super) fn add(run: &mut Run, profiles: &[Profile]) -> Result<(), Error> {
    for Profile { name, words } in profiles {
        let below = args::profile(words.clone());
        run.add(below.map_err(|error| Error::Usage(format!("profile {name}: {error}")))?);
    }
    Ok(())
}

/// Expands `$NAME`, `${NAME}` and `${NAME:-VALUE}` in `word`; `None` if a variable is not set.
fn expand(word: &str, value: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<OsString> {
    let mut parts = word.split('$');
    let mut text = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let braced = part.strip_prefix('{').and_then(|part| part.split_once('}'));
        let (name, rest) = braced.unwrap_or_else(|| {
            let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            part.split_at(part.find(is_end).unwrap_or(part.len()))
        });
        let (name, default) = name.split_once(":-").map_or((name, None), |it| (it.0, Some(it.1)));
        let value = value(OsStr::new(name)).filter(|value| !value.is_empty());
        text.extend(value.or_else(|| default.map(OsString::from))?.as_bytes());
        text.extend(rest.as_bytes());
    }
    Some(OsString::from_vec(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_or_the_word_is_omitted() {
        let value = |name: &OsStr| match name.to_str() {
            Some("A") => Some("/a".into()),
            Some("EMPTY") => Some(OsString::new()),
            _ => None,
        };
        for (word, want) in [
            ("--here", Some("--here")),
            ("--tmp=$A", Some("--tmp=/a")),
            ("--tmp=${A}x", Some("--tmp=/ax")),
            ("--bind=$A:$A:rw", Some("--bind=/a:/a:rw")),
            ("--tmp=${B:-/tmp}", Some("--tmp=/tmp")),
            ("--tmp=${EMPTY:-/tmp}/x", Some("--tmp=/tmp/x")),
            ("--tmp=${A:-/tmp}", Some("--tmp=/a")),
            ("--keep-fd=$B", None),
            ("--bind=$A:$B", None),
            ("--env=$", None),
        ] {
            assert_eq!(expand(word, &value).as_deref(), want.map(OsStr::new), "{word}");
        }
    }

    #[test]
    fn shipped_profiles_are_options_of_run() {
        for (name, words) in SHIPPED {
            let all = |_: &OsStr| Some("7".into());
            let words = words.split(' ').filter_map(|word| expand(word, &all));
            let words: Vec<_> =
                words.filter(|word| !word.to_string_lossy().contains("7:7")).collect();
            let run = args::profile(words).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(run.here && run.init && run.host_network == Some(true), "{name}");
        }
        for bad in ["ls", "--bogus", "--json", "--profile=ci", "--help"] {
            assert!(args::profile(vec![bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_line_overrides_profiles() {
        let run =
            |words: &[&str]| args::profile(words.iter().map(OsString::from).collect()).unwrap();
        let mut typed = run(&["--network=none", "--env=A=typed", "--memory=1G"]);
        typed.add(run(&["--network=host", "--env=A=profile", "--memory=2G", "--here", "--cpu=1"]));
        assert_eq!(
            (typed.host_network, typed.memory, typed.here),
            (Some(false), Some(1 << 30), true)
        );
        assert_eq!(typed.cpu, Some(1000));
        let values: Vec<_> = typed.env.iter().filter_map(|(_, value)| value.clone()).collect();
        assert_eq!(values, ["profile", "typed"], "the last one counts");
    }
}
