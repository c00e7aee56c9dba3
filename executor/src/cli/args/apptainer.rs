//! The command line of Apptainer, for this program called by a link named `apptainer` or `singularity`.
//!
//! In: argv of `apptainer exec`, and the environment that Apptainer passes to containers by default. Out: the
//! equivalent command line of `run`. Workload managers and workflow engines (HTCondor, examples for Slurm, Nextflow,
//! Snakemake) call containers that way. As in Apptainer, a job gets the caller's home directory, current directory, `/tmp`,
//! network and variables, unless options such as `--contain` exclude them. An image is `NAME@VERSION`, or the
//! directory of a runtime in a store. Options without a counterpart are refused.

use super::{Cli, Command, Global};
use crate::error::Error;
use joblet_format::split_directory;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The version that is reported. Callers require Singularity 2.4.1 or Apptainer 1.0.0 at least.
const VERSION: &str = "3.11.0";

/// Properties of the caller that Apptainer passes to containers.
#[derive(Debug, Default)]
pub struct Caller {
    /// The current directory.
    pub directory: Option<PathBuf>,
    /// The home directory, if there is one.
    pub home: Option<PathBuf>,
    /// All variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether the host has a GPU: `--nv` without one is not an error.
    pub gpu: bool,
    /// Whether a directory exists: one that is named as an image and does not is not installed there.
    pub exists: Option<fn(&Path) -> bool>,
}

/// The name in `program`, the path by which this program was called, if it is `apptainer` or `singularity`.
pub fn name(program: &OsStr) -> Option<&str> {
    let name = Path::new(program).file_name()?.to_str()?;
    matches!(name, "apptainer" | "singularity").then_some(name)
}

/// Parses the arguments after the program's `name`.
///
/// # Errors
/// [`Error::Usage`] with the unsupported word.
pub fn parse(name: &str, args: Vec<OsString>, caller: &Caller) -> Result<Cli, Error> {
    let mut args = VecDeque::from(args);
    let mut words = Words::default();
    let command = words.options(&mut args)?;
    let command = command.to_str().unwrap_or_default();
    if words.help || matches!(command, "" | "help") && !words.version {
        return Ok(usage(name));
    }
    if words.version || command == "version" {
        let text = format!("{name} version {VERSION}\n");
        return Ok(Cli { global: Global::default(), command: Command::Print(text) });
    }
    if !matches!(command, "exec" | "run" | "shell" | "test") {
        return Err(refuse(name, command));
    }
    let image = words.options(&mut args)?;
    if words.help {
        return Ok(usage(name));
    }
    if image.is_empty() {
        return Err(Error::Usage(format!("{name} {command} needs an IMAGE: NAME or NAME@VERSION")));
    }
    words.of_caller(caller);
    let (store, spec) = runtime(&image, caller)?;
    words.out.extend(store.map(|store| joined("--store=", &store)));
    let mut line = VecDeque::from(words.out);
    if args.is_empty() && matches!(command, "run" | "shell") {
        line.push_front("shell".into());
        line.push_back(spec);
    } else {
        line.push_front("run".into());
        line.extend([joined("--runtime=", &spec), "--".into()]);
        // A runtime has no test of its own. As Apptainer does then: whether a shell starts in it.
        if command == "test" {
            line.extend(["sh", "-c", ":"].map(OsString::from));
        }
        line.extend(args);
    }
    super::parse(line.into())
}

/// Help: the supported part of Apptainer's command line.
fn usage(name: &str) -> Cli {
    let text = format!(
        "Usage: {name} exec|run|shell|test [OPTION...] IMAGE [COMMAND [ARG...]]
       {name} --version

This {name} is joblet-exec. IMAGE is a runtime, NAME or NAME@VERSION, or its
directory in a store. Options:
  -B, --bind SRC[:DST[:ro|rw]],...   -H, --home SRC[:DST]   --no-home
  --pwd, --cwd DIR   -W, --workdir DIR   -S, --scratch DIR
  -c, --contain   -C, --containall   -e, --cleanenv
  --env K=V,...   --env-file FILE
  -n, --net   --network none   -i, --ipc   --hostname NAME
  --nv, --rocm   --init   -q, --quiet   -s, --silent
  --memory SIZE   --cpus N   --pids-limit N
These change nothing: -d, -v, -p, -u, --debug, --verbose, --nocolor, --pid,
--uts, --userns, --no-privs, --no-init, --no-umask

joblet-exec --help describes the rest.
"
    );
    Cli { global: Global::default(), command: Command::Print(text) }
}

fn refuse(name: &str, word: &str) -> Error {
    Error::Usage(format!(
        "{name} {word} has no counterpart in joblet-exec, which this {name} is; exec, run, shell and test have"
    ))
}

fn joined(option: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// The store and the runtime that an image names.
fn runtime(image: &OsStr, caller: &Caller) -> Result<(Option<OsString>, OsString), Error> {
    let text = image.to_string_lossy();
    // NAME-X.Y.Z cannot be a name: it is a directory here.
    if !text.contains('/') && !text.ends_with(".sif") && split_directory(&text).is_none() {
        return Ok((None, image.to_owned()));
    }
    let path = caller.directory.clone().unwrap_or_default().join(image);
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let spec = split_directory(name).map(|(name, version)| format!("{name}@{version}"));
    if spec.is_some() && caller.exists.is_some_and(|exists| !exists(&path)) {
        return Err(Error::Usage(format!("the image {text} does not exist")));
    }
    match (spec, path.parent()) {
        (Some(spec), Some(store)) if !text.contains("://") => Ok((Some(store.into()), spec.into())),
        _ => Err(Error::Usage(format!(
            "{text} is not a runtime; name one (NAME@VERSION), or its directory in a store"
        ))),
    }
}

/// The words for `run`, and options that are converted in the end.
#[derive(Default)]
struct Words {
    out: Vec<OsString>,
    help: bool,
    version: bool,
    quiet: bool,
    contained: bool,
    clean: bool,
    no_home: bool,
    own_network: bool,
    own_ipc: bool,
    own_tmp: bool,
    gpu: bool,
    directory: bool,
    home: Option<OsString>,
    scratch: Option<OsString>,
}

impl Words {
    /// Removes options up to the first operand, and returns that; empty if there is none.
    fn options(&mut self, args: &mut VecDeque<OsString>) -> Result<OsString, Error> {
        while let Some(word) = args.pop_front() {
            let bytes = word.as_bytes();
            if !bytes.starts_with(b"-") {
                return Ok(word);
            }
            let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
            if self.switch(&name) {
                continue;
            }
            let inline = bytes.get(at + 1..).map(|value| OsStr::from_bytes(value).to_owned());
            let value = inline.or_else(|| args.pop_front()).unwrap_or_default();
            if !self.value(&name, value) {
                return Err(refuse("apptainer", &name));
            }
        }
        Ok(OsString::new())
    }

    /// An option without a value.
    fn switch(&mut self, name: &str) -> bool {
        match name {
            // Always in effect, or without effect.
            "-d" | "--debug" | "-v" | "--verbose" | "--nocolor" | "-p" | "--pid" | "--uts"
            | "-u" | "--userns" | "--no-privs" | "--no-init" | "--no-umask" => {}
            "-h" | "--help" => self.help = true,
            "--version" => self.version = true,
            "-q" | "--quiet" | "-s" | "--silent" => self.quiet = true,
            "-c" | "--contain" => self.contained = true,
            "-C" | "--containall" => {
                (self.contained, self.clean, self.own_ipc) = (true, true, true);
            }
            "-e" | "--cleanenv" => self.clean = true,
            "--no-home" => self.no_home = true,
            "-n" | "--net" => self.own_network = true,
            "-i" | "--ipc" => self.own_ipc = true,
            "--nv" | "--rocm" => self.gpu = true,
            "--init" => self.out.push("--init".into()),
            _ => return false,
        }
        true
    }

    /// An option with a value.
    fn value(&mut self, name: &str, value: OsString) -> bool {
        match name {
            "-B" | "--bind" => self.binds(&value),
            "--pwd" | "--cwd" => {
                self.directory = true;
                self.out.push(joined("--workdir=", value));
            }
            "-W" | "--workdir" => self.scratch = Some(value),
            "-S" | "--scratch" if value == "/tmp" => self.own_tmp = true,
            "-S" | "--scratch" => self.out.push(joined("--tmpfs=", value)),
            "-H" | "--home" => self.home = Some(value),
            "--env" => {
                let pairs = value.as_bytes().split(|byte| *byte == b',');
                self.out.extend(pairs.map(|pair| joined("--env=", OsStr::from_bytes(pair))));
            }
            "--env-file" => self.out.push(joined("--env-file=", value)),
            "--hostname" => self.out.push(joined("--hostname=", value)),
            "--network" if value == "none" => self.own_network = true,
            "--memory" | "--cpus" | "--pids-limit" => {
                let mut option = OsString::from(name);
                option.push("=");
                option.push(value);
                self.out.push(option);
            }
            _ => return false,
        }
        true
    }

    /// `SRC[:DST[:ro|rw]],…`
    fn binds(&mut self, value: &OsStr) {
        for bind in value.as_bytes().split(|byte| *byte == b',').filter(|bind| !bind.is_empty()) {
            let mut word = joined("--volume=", OsStr::from_bytes(bind));
            if !bind.contains(&b':') {
                word.push(":");
                word.push(OsStr::from_bytes(bind));
            }
            self.out.push(word);
        }
    }

    /// Adds the caller's properties. The words of the command line follow, and override them.
    fn of_caller(&mut self, caller: &Caller) {
        let typed = std::mem::take(&mut self.out);
        if !self.own_network {
            self.out.push("--network=host".into());
        }
        if !self.own_ipc {
            self.out.push("--ipc=host".into());
        }
        if !self.clean {
            self.out.push("--env=*".into());
        }
        if self.quiet {
            self.out.push("--quiet".into());
        }
        if self.gpu && caller.gpu {
            self.out.push("--gpu=all".into());
        }
        match self.scratch.take().filter(|_| self.contained || self.own_tmp) {
            Some(scratch) => self.out.push(joined("--tmp=", scratch)),
            None if self.contained || self.own_tmp => {}
            None => self.binds(OsStr::new("/tmp,/var/tmp")),
        }
        let hidden = self.no_home || self.contained;
        let own = caller.home.clone().filter(|_| !hidden).map(OsString::from);
        if let Some(home) = self.home.take().or(own) {
            self.binds(&home);
            let inside = home.as_bytes().rsplit(|byte| *byte == b':').next().unwrap_or_default();
            self.out.push(joined("--env=HOME=", OsStr::from_bytes(inside)));
        }
        let shares_host = ["/proc", "/dev", "/sys"];
        let here = caller.directory.as_deref().filter(|directory| {
            let kernel = shares_host.iter().any(|place| directory.starts_with(place));
            !kernel && !self.contained && *directory != Path::new("/")
        });
        if here.is_some() {
            self.out.push("--here".into());
        } else if !self.directory {
            self.out.push("--workdir=/".into());
        }
        for (name, value) in &caller.variables {
            let name = name.as_bytes();
            let own = name.strip_prefix(b"APPTAINER").or(name.strip_prefix(b"SINGULARITY"));
            match own {
                Some(b"_BIND" | b"_BINDPATH") => self.binds(value),
                Some(rest) if rest.starts_with(b"ENV_") => {
                    let mut word = joined("--env=", OsStr::from_bytes(&rest[4..]));
                    word.push("=");
                    word.push(value);
                    self.out.push(word);
                }
                _ => {}
            }
        }
        self.out.extend(typed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let variable = |name: &str, value: &str| (name.into(), value.into());
        Caller {
            directory: Some("/data/run".into()),
            home: Some("/home/me".into()),
            variables: vec![
                variable("APPTAINERENV_A", "1"),
                variable("SINGULARITY_BIND", "/sw"),
                variable("B", "2"),
            ],
            ..Caller::default()
        }
    }

    fn parsed(name: &str, line: &str) -> Result<Cli, Error> {
        parse(name, line.split(' ').map(OsString::from).collect(), &caller())
    }

    fn ours(line: &str) -> Cli {
        crate::cli::args::parse(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn calls_of_engines_are_translated() {
        let host = "--network=host --ipc=host";
        let open = "--env=* -v /tmp:/tmp -v /var/tmp:/var/tmp";
        let home = "-v /home/me:/home/me --env=HOME=/home/me --here";
        let own = "--env=A=1 -v /sw:/sw";
        for (theirs, want) in [
            (
                "exec a@1.0.0 ls -la",
                format!("run {host} {open} {home} {own} --runtime=a@1.0.0 -- ls -la"),
            ),
            // HTCondor
            (
                "exec -S /tmp -W /d --pwd /d -B /d --no-home -C /s/a-1.0.0 ./x",
                format!(
                    "run --network=host --tmp=/d {own} -w /d -v /d:/d --store=/s --runtime=a@1.0.0 -- ./x"
                ),
            ),
            // Snakemake
            (
                "--quiet exec --home /data/run a@1.0.0 sh -c x",
                format!(
                    "-q run {host} {open} -v /data/run:/data/run --env=HOME=/data/run --here {own} \
                     --runtime=a@1.0.0 -- sh -c x"
                ),
            ),
            // Nextflow
            (
                "exec --no-home --pid -B /data/run ../a-1.0.0 /bin/bash",
                format!(
                    "run {host} {open} --here {own} -v /data/run:/data/run --store=/data/run/.. --runtime=a@1.0.0 -- /bin/bash"
                ),
            ),
            (
                "exec --cleanenv --env K=V,L=W -B /x:/y:ro,/z --nv a b",
                format!(
                    "run {host} -v /tmp:/tmp -v /var/tmp:/var/tmp {home} {own} --env=K=V --env=L=W \
                     -v /x:/y:ro -v /z:/z --runtime=a -- b"
                ),
            ),
            // HTCondor's test of an image, before each job.
            (
                "-s -q test -S /tmp -W /d --pwd /d -B /d --no-home -C /s/a-1.0.0",
                format!(
                    "-q run --network=host --tmp=/d {own} -w /d -v /d:/d --store=/s --runtime=a@1.0.0 -- sh -c :"
                ),
            ),
            // A name that is not a spec is a directory.
            (
                "exec -C a-1.0.0 x",
                format!("run --network=host -w / {own} --store=/data/run --runtime=a@1.0.0 -- x"),
            ),
            ("shell a", format!("shell {host} {open} {home} {own} a")),
            ("run a x", format!("run {host} {open} {home} {own} --runtime=a -- x")),
        ] {
            assert_eq!(parsed("singularity", theirs).unwrap(), ours(&want), "{theirs}");
        }
    }

    #[test]
    fn gpus_and_variables_are_the_callers() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect();
        let gpu = Caller { gpu: true, ..Caller::default() };
        for option in ["--nv", "--rocm"] {
            let theirs = parse("apptainer", words(&format!("exec {option} -C a b")), &gpu);
            let want = ours("run --network=host --gpu=all -w / --runtime=a -- b");
            assert_eq!(theirs.unwrap(), want);
        }
        let variables = [
            ("SINGULARITYENV_A", "1"),
            ("APPTAINERENV_B", "2"),
            ("APPTAINER_BINDPATH", "/x,/y:/z"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).into();
        let caller = Caller { variables, ..Caller::default() };
        let theirs = parse("singularity", words("exec --env A=3 -C a b"), &caller).unwrap();
        let own = "--env=A=1 --env=B=2 -v /x:/x -v /y:/z";
        let want = format!("run --network=host -w / {own} --env=A=3 --runtime=a -- b");
        assert_eq!(theirs, ours(&want));
    }

    /// Options of Apptainer 1.3 that differ from the properties of every job.
    #[test]
    fn unsupported_options_are_refused_by_name() {
        for option in "--add-caps --allow-setuid --app --apply-cgroups --authfile --blkio-weight --compat \
             --cpu-shares --disable-cache --dns --docker-login --drop-caps --fakeroot --fusemount --keep-privs \
             --mount --network-args --no-mount --nvccli --oom-kill-disable --overlay --passphrase --pem-path \
             --security --sharens --underlay --unsquash --vm --writable --writable-tmpfs -f -w -o"
            .split_whitespace()
        {
            let error = parsed("apptainer", &format!("exec {option} x a b")).unwrap_err();
            let want = format!("apptainer {option} has no counterpart in joblet-exec");
            assert!(error.to_string().starts_with(&want), "{option}: {error}");
        }
        let error = parsed("apptainer", "exec --network bridge a b").unwrap_err().to_string();
        assert!(error.starts_with("apptainer --network has no counterpart"), "{error}");
        for command in
            "build cache capability checkpoint config delete inspect instance key keyserver oci overlay \
             plugin pull push registry remote search sif sign verify"
                .split_whitespace()
        {
            let error = parsed("singularity", &format!("{command} x")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("singularity {command} has no")), "{error}");
        }
    }

    #[test]
    fn versions_and_refusals() {
        for name in ["apptainer", "singularity"] {
            let Command::Print(text) = parsed(name, "--version").unwrap().command else { panic!() };
            assert_eq!(text, format!("{name} version {VERSION}\n"));
        }
        for line in ["--help", "-h", "help", "", "exec --help", "run -h x", "help exec"] {
            let args = line.split_whitespace().map(OsString::from).collect();
            let Command::Print(text) = parse("apptainer", args, &caller()).unwrap().command else {
                panic!("{line}")
            };
            assert!(
                text.starts_with("Usage: apptainer exec|run|shell|test [OPTION...] IMAGE"),
                "{text}"
            );
            // Each option of the profile is valid.
            let all = text.split(|c: char| c.is_whitespace() || ",/".contains(c));
            let options: Vec<_> = all.filter(|word| word.starts_with("--")).collect();
            assert!(options.len() > 30, "{options:?}");
            for option in options.into_iter().filter(|it| !["--version", "--help"].contains(it)) {
                let mut words = Words::default();
                let value = if option == "--network" { "none" } else { "1" };
                assert!(words.switch(option) || words.value(option, value.into()), "{option}");
            }
        }
        for (line, part) in [
            ("pull docker://x", "apptainer pull has no counterpart"),
            ("exec --overlay x a b", "apptainer --overlay has no counterpart"),
            ("exec --fakeroot a b", "apptainer --fakeroot has no counterpart"),
            ("exec docker://python:3 b", "docker://python:3 is not a runtime; name one"),
            ("exec x.sif b", "x.sif is not a runtime"),
            ("exec a", "run needs a COMMAND"),
            ("exec --nv", "apptainer exec needs an IMAGE"),
        ] {
            let error = parsed("apptainer", line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        assert_eq!(super::name(OsStr::new("/usr/bin/apptainer")), Some("apptainer"));
        assert_eq!(super::name(OsStr::new("joblet-exec")), None);
    }
}
