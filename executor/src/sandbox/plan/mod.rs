//! The plan of a sandbox: its steps, as data.
//!
//! In: a runtime, a [`Job`] and the properties of the [`Host`]. Out: the [`Step`]s of the sandbox, in order.
//! Without side effects.

pub(crate) mod explain;
pub(crate) mod host;
pub(crate) mod job;
pub(crate) mod step;

use crate::error::Error;
use crate::runtime::{Runtime, Source};
use host::{Cwd, Host};
use job::{Ids, Job, Network, Terminal, Upload};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};
use step::{Origin, Step};

/// The private directory of a job, in which it starts.
const WORK: &str = "/work";

/// The default host name.
const HOSTNAME: &str = "joblet";

/// Files of the host's resolver.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Default `PATH`, as of shells.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Default `HOME`: private, empty and writable. With `/work`, programs would read the dot files of the
/// caller's directory, and jobs would depend on them.
const HOME: &str = "/tmp";

/// Plans the sandbox of `job`, without side effects.
///
/// # Errors
/// [`Error::Usage`] for an option that cannot be met.
pub fn plan(runtime: &Runtime, job: &Job, host: &Host) -> Result<Vec<Step>, Error> {
    check(job)?;
    let ids = job.user.unwrap_or(host.ids);
    let network = job.network == Network::None;
    let mut steps = Vec::new();
    if !job.limits.is_empty() {
        steps.push(Step::Limit(job.limits));
    }
    steps.push(Step::Namespaces { user: !host.privileged, network, ipc: !job.host_ipc });
    if !host.privileged {
        steps.push(Step::MapIds { inside: ids, outside: host.ids });
    }
    steps.push(Step::PrivateMounts);
    // With the host's network, its resolver knows the host's name.
    let name = job.hostname.as_deref().or(network.then_some(HOSTNAME)).map(str::to_owned);
    steps.extend(name.clone().map(|name| Step::Hostname { name }));
    // Files on a tmpfs count as memory used by the job.
    steps.push(Step::Root { size: job.limits.memory.map(|bytes| bytes / 2) });
    // The first mount: later steps read /proc.
    steps.push(Step::Proc { protect: host.privileged });
    let (more, shm) = (job.devices.clone(), job.host_ipc);
    steps.push(Step::Dev { make_nodes: host.privileged, more, shm });
    let groups = host.groups.clone();
    let groups = if job.limits.is_empty() { groups.inherited() } else { groups.unknown() };
    steps.push(Step::Sys { groups, network: !network });
    // Before a mount of the runtime could cover a device.
    steps.push(Step::StandardFiles);
    if runtime.server.is_some() {
        steps.push(Step::Serve { owner: served_owner(job, host) });
    }
    steps.extend(mounts(runtime, ids));
    steps.extend(job.tmp.as_ref().map(|made| Step::Bind {
        source: Origin::CreatedDir(made.path.clone(), made.identity),
        target: "/tmp".into(),
        writable: true,
    }));
    steps.push(Step::Directories { owner: ids });
    if !network {
        steps.extend(RESOLVER_FILES.map(|path| Step::ResolverFile { path }));
    }
    let env = environment(runtime, job, host);
    // Ignored if it cannot be a field of /etc/passwd.
    let is_field = |home: &&OsString| !home.as_bytes().iter().any(|byte| b":\n".contains(byte));
    let home = env.get(OsStr::new("HOME")).filter(is_field);
    let home = home.map_or_else(|| HOME.into(), PathBuf::from);
    let (user, group) = (host.user.clone(), host.group.clone());
    steps.push(Step::Account { ids, user, group, home });
    steps.extend(name.map(|name| Step::Hosts { name }));
    let work = PathBuf::from(WORK);
    let shown = job.share_cwd && host.cwd == Cwd::Files;
    // An option that mounts something there replaces it.
    if !targets(job).any(|target| target == work) {
        steps.push(if shown {
            Step::Overlay { source: Origin::Cwd, target: work.clone(), owner: ids }
        } else {
            Step::Tmpfs { target: work.clone(), mode: 0o755, size: None, owner: ids }
        });
    }
    for Upload { source, name, directory, mode, in_cwd } in &job.uploads {
        let (source, target) = (source.clone(), work.join(name));
        steps.push(match (directory, in_cwd) {
            (_, true) if shown => continue,
            (true, _) => Step::Overlay { source: Origin::Host(source), target, owner: ids },
            (false, _) => Step::Copy { source, target, mode: *mode, owner: ids },
        });
    }
    let tmpfs = job.tmpfs.iter().map(|tmpfs| {
        let (target, size) = (tmpfs.target.clone(), tmpfs.size);
        Step::Tmpfs { target, mode: 0o755, size, owner: ids }
    });
    let binds = job.binds.iter().map(|bind| {
        let (source, target) = (Origin::Host(bind.source.clone()), bind.target.clone());
        Step::Bind { source, target, writable: bind.writable }
    });
    let depth = |step: &Step| match step {
        Step::Tmpfs { target, .. } | Step::Bind { target, .. } => target.components().count(),
        _ => 0,
    };
    // Parents first, since a mount hides earlier mounts below its target; else in the order of the options.
    let first = steps.len();
    for step in tmpfs.chain(binds) {
        let deeper = steps[first..].iter().position(|other| depth(other) > depth(&step));
        steps.insert(deeper.map_or(steps.len(), |at| first + at), step);
    }
    let usual = || runtime.config.workdir().map_or(work, PathBuf::from);
    let path = job.workdir.clone().unwrap_or_else(usual);
    steps.extend([Step::SealRoot, Step::EnterRoot, Step::Session]);
    let terminal = job.terminal != Terminal::None;
    steps.extend(terminal.then_some(Step::Terminal { owner: ids }));
    steps.push(Step::Workdir { path });
    // As late as possible: it is made in parallel.
    steps.extend(network.then_some(Step::Network));
    steps.push(Step::DropPrivileges { user: host.privileged.then_some(ids) });
    // The last steps: none needs a file of the host any more.
    steps.extend([Step::Seccomp, Step::CloseFiles { kept: job.descriptors.clone() }]);
    // PID 1 ignores a terminal's signals by default.
    let init = job.init || job.terminal == Terminal::Full;
    steps.extend(init.then_some(Step::Init));
    steps.push(Step::Exec { argv: job.argv.clone(), env });
    Ok(steps)
}

/// Owner of the files of a runtime that is served to `job` by FUSE. Installed files belong to the caller.
pub fn served_owner(job: &Job, host: &Host) -> Ids {
    if host.privileged { host.ids } else { job.user.unwrap_or(host.ids) }
}

/// The mount points of `job`'s options.
fn targets(job: &Job) -> impl Iterator<Item = &Path> {
    let binds = job.binds.iter().map(|bind| &*bind.target);
    binds.chain(job.tmpfs.iter().map(|tmpfs| &*tmpfs.target))
}

/// Checks options that later steps would refuse with a worse message.
fn check(job: &Job) -> Result<(), Error> {
    let usage = |reason: String| Err(Error::Usage(reason));
    if job.argv.is_empty() {
        return usage("no command given".into());
    }
    if job.argv.iter().any(|word| word.as_encoded_bytes().contains(&0)) {
        return usage("the command contains a NUL byte".into());
    }
    for target in targets(job) {
        if let Err(rule) = check_target(target) {
            return usage(format!("target {} {rule} (--bind, --tmpfs)", target.display()));
        }
        if target == Path::new(WORK) && !job.uploads.is_empty() {
            return usage(format!("target {WORK} would hide what --upload puts there"));
        }
    }
    for (index, upload) in job.uploads.iter().enumerate() {
        if let Some(other) = job.uploads[..index].iter().find(|other| other.name == upload.name) {
            let (one, two) = (other.source.display(), upload.source.display());
            return usage(format!(
                "--upload {one} and --upload {two} have the same name in {WORK}; upload the directory \
                 that holds one of them, or rename it"
            ));
        }
    }
    if let Some(path) = job.workdir.as_ref().filter(|path| !path.is_absolute()) {
        return usage(format!("--workdir {} is not absolute", path.display()));
    }
    if let Some(path) = job.workdir.as_ref().filter(|path| path.starts_with("/proc")) {
        return usage(format!("--workdir {} is not a directory to work in", path.display()));
    }
    let name = job.hostname.as_deref().unwrap_or(HOSTNAME);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        return usage(format!(
            "--hostname {name:?} is not 1 to 64 letters, digits, '-', '.' and '_'"
        ));
    }
    for (name, value) in &job.env {
        let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
            return usage(format!("{:?} cannot be a variable", String::from_utf8_lossy(name)));
        }
    }
    Ok(())
}

fn check_target(target: &Path) -> Result<(), &'static str> {
    if !target.is_absolute() {
        return Err("is not absolute");
    }
    if target.components().any(|part| part == Component::ParentDir) {
        return Err("contains `..`");
    }
    if target == Path::new("/") {
        return Err("is the root directory");
    }
    if ["/proc", "/dev", "/sys"].iter().any(|reserved| target.starts_with(reserved)) {
        return Err("is reserved: every job gets its own");
    }
    Ok(())
}

/// Steps for the mounts of `runtime.yml`, parents first, and a private `/tmp`.
fn mounts(runtime: &Runtime, owner: Ids) -> Vec<Step> {
    let mut found: Vec<_> = runtime.config.mounts().iter().zip(&runtime.sources).collect();
    // A mount hides earlier mounts below its target. The sort is stable.
    found.sort_by_key(|(mount, _)| mount.target.split('/').count());
    let tmp = Step::Tmpfs { target: "/tmp".into(), mode: 0o1777, size: None, owner };
    let fills_tmp = |source: &Source| !matches!(source, Source::Missing | Source::Empty(_));
    let mut steps = Vec::new();
    if !found.iter().any(|(mount, source)| mount.target == "/tmp" && fills_tmp(source)) {
        steps.push(tmp);
    }
    for (mount, source) in found {
        let target = PathBuf::from(&mount.target);
        let origin = Origin::Runtime((&mount.source).into());
        match source {
            Source::Missing => {}
            Source::Empty(_) if mount.target == "/tmp" => {}
            _ if mount.readonly => {
                steps.push(Step::Bind { source: origin, target, writable: false });
            }
            Source::Empty(mode) => {
                let mode = if mount.target == "/var/tmp" { 0o1777 } else { *mode };
                steps.push(Step::Tmpfs { target, mode, size: None, owner });
            }
            Source::Directory | Source::File => {
                steps.push(Step::Overlay { source: origin, target, owner });
            }
        }
    }
    steps
}

/// The environment of the job: defaults, overridden by the runtime's variables, then by the job's.
fn environment(runtime: &Runtime, job: &Job, host: &Host) -> BTreeMap<OsString, OsString> {
    let user = host.user.as_str();
    let defaults = [("PATH", PATH), ("HOME", HOME), ("USER", user), ("LOGNAME", user)];
    let mut env: BTreeMap<OsString, OsString> =
        defaults.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    if served_owner(job, host).uid == 0 {
        // Root without CAP_CHOWN: tar would fail for every file of another user.
        env.insert("TAR_OPTIONS".into(), "--no-same-owner".into());
    }
    env.extend(job.term.iter().map(|term| ("TERM".into(), term.clone())));
    env.extend(runtime.config.environment().iter().map(|(k, v)| (k.into(), v.into())));
    env.extend(job.env.iter().cloned());
    for (name, directory) in &job.search {
        let list = env.entry(name.clone()).or_default();
        if !list.is_empty() {
            list.push(":");
        }
        list.push(directory);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::host::Groups;
    use super::job::{Bind, Tmpfs};
    use super::*;
    use crate::runtime;
    use std::fs;

    fn root() -> Host {
        let ids = Ids { uid: 0, gid: 0 };
        let (user, group) = ("root".into(), "root".into());
        let groups = Groups::None;
        Host { ids, user, group, groups, privileged: true, cwd: Cwd::Files }
    }

    fn user() -> Host {
        let (user, group) = ("me".into(), "us".into());
        Host { ids: Ids { uid: 1000, gid: 100 }, user, group, privileged: false, ..root() }
    }

    /// A runtime with these mounts: source, target, readonly. A source named `…/full` contains a file.
    fn runtime(mounts: &[(&str, &str, bool)]) -> Runtime {
        let dir = tempfile::tempdir().unwrap();
        let mut yaml =
            String::from("name: demo\nenvironment: { A: runtime, B: runtime }\nmounts:\n");
        for (source, target, readonly) in mounts {
            let mount = format!("source: {source}, target: {target}, readonly: {readonly}");
            yaml.extend(["  - { ", &mount, " }\n"]);
            if !source.contains("missing") {
                fs::create_dir_all(dir.path().join(source)).unwrap();
            }
            if source.ends_with("full") {
                fs::write(dir.path().join(source).join("file"), "").unwrap();
            }
        }
        fs::write(dir.path().join("runtime.yml"), yaml).unwrap();
        runtime::load(dir.path()).unwrap()
    }

    fn job() -> Job {
        Job::new(vec!["python3".into(), "x.py".into()])
    }

    fn upload(directory: bool) -> Upload {
        Upload { source: "../f".into(), name: "f".into(), directory, mode: 0o644, in_cwd: false }
    }

    fn lines(runtime: &Runtime, job: &Job, host: &Host) -> Vec<String> {
        plan(runtime, job, host).unwrap().iter().map(Step::to_string).collect()
    }

    #[test]
    fn a_plan_for_root_and_for_a_user() {
        let runtime = runtime(&[("isolated/usr", "/usr", true)]);
        let middle = ["mount isolated/usr of the runtime on /usr read-only"];
        for (host, begin, end) in [
            (
                &root(),
                vec!["make namespaces: mount pid ipc uts cgroup network"],
                "drop all privileges as 0:0",
            ),
            (
                &user(),
                vec![
                    "make namespaces: mount pid ipc uts cgroup network user",
                    "map user 1000:100 to 1000:100",
                ],
                "drop all privileges",
            ),
        ] {
            let (proc, dev, names) = if host.privileged {
                let names = "add user root and group root to /etc/passwd and /etc/group";
                ("mount /proc, kernel settings read-only", "mount /dev with new nodes", names)
            } else {
                let names = "add user me and group us to /etc/passwd and /etc/group";
                ("mount /proc", "mount /dev with the host's nodes", names)
            };
            let mut want = begin;
            want.extend([
                "make all mounts private", "set the host name joblet", "mount an empty root", proc,
                dev,
            ]);
            want.push("mount /sys with processors, memory and control groups");
            want.push("replace standard input, output and error");
            want.push("mount an empty /tmp (mode 1777)");
            want.extend(middle);
            want.push("create missing /run, /var/tmp, /home …");
            want.push(names);
            want.push("add joblet to /etc/hosts");
            want.push("mount a private copy of the current directory on /work");
            want.push("make the root read-only");
            want.extend(["enter the root and detach the host's", "start a session"]);
            want.extend([
                "change to /work",
                "enter a network namespace with a loopback interface",
                end,
            ]);
            want.extend([
                "filter system calls", "close descriptors from 3 on", "execute python3 x.py",
            ]);
            assert_eq!(lines(&runtime, &job(), host), want);
        }
    }

    #[test]
    fn mounts_of_a_runtime() {
        for (mounts, want) in [
            (vec![("tmp", "/tmp", false)], "/tmp 1777"),
            (vec![("tmp", "/tmp", true)], "/tmp 1777"),
            (vec![("tmp/full", "/tmp", false)], "/tmp overlay"),
            (vec![("tmp/full", "/tmp", true)], "/tmp ro"),
            (vec![("var", "/var", false)], "/tmp 1777, /var 755"),
            (vec![("t", "/var/tmp", false)], "/tmp 1777, /var/tmp 1777"),
            (vec![("var/full", "/var", false)], "/tmp 1777, /var overlay"),
            (vec![("missing", "/lib64", true), ("usr", "/usr", true)], "/tmp 1777, /usr ro"),
            (
                vec![("c", "/usr/a/b", true), ("b", "/usr/a", true), ("a", "/usr", true)],
                "/tmp 1777, /usr ro, /usr/a ro, /usr/a/b ro",
            ),
        ] {
            let found = super::mounts(&runtime(&mounts), root().ids);
            let found: Vec<_> = found
                .iter()
                .map(|step| match step {
                    Step::Tmpfs { target, mode, .. } => format!("{} {mode:o}", target.display()),
                    Step::Overlay { target, .. } => format!("{} overlay", target.display()),
                    Step::Bind { target, writable: false, .. } => {
                        format!("{} ro", target.display())
                    }
                    other => panic!("{other}"),
                })
                .collect();
            assert_eq!(found.join(", "), want, "{mounts:?}");
        }
    }

    #[test]
    fn options_change_the_plan() {
        let runtime = runtime(&[("usr", "/usr", true)]);
        let change = |change: fn(&mut Job)| {
            let mut job = job();
            change(&mut job);
            let (plain, changed) =
                (lines(&runtime, &self::job(), &user()), lines(&runtime, &job, &user()));
            changed.into_iter().filter(|line| !plain.contains(line)).collect::<Vec<_>>()
        };
        for (found, want) in [
            (change(|job| job.init = true), "run an init as PID 1"),
            (change(|job| job.terminal = Terminal::Output), "open a terminal of the job's own"),
            (change(|job| job.uploads = vec![upload(false)]), "copy ../f to /work/f"),
            (
                change(|job| job.uploads = vec![upload(true)]),
                "mount a private copy of ../f on /work/f",
            ),
            (change(|job| job.limits.pids = Some(7)), "limit to 7 processes"),
            (change(|job| job.share_cwd = false), "mount an empty /work (mode 755)"),
            (change(|job| job.workdir = Some("/usr".into())), "change to /usr"),
            (change(|job| job.user = Some(Ids { uid: 0, gid: 0 })), "map user 1000:100 to 0:0"),
            (
                change(|job| {
                    job.tmpfs.push(Tmpfs { target: "/scratch".into(), size: Some(4096) });
                }),
                "mount an empty /scratch (mode 755, 4096 bytes)",
            ),
            (
                change(|job| {
                    let (source, target) = ("in".into(), "/data".into());
                    job.binds.push(Bind { source, target, writable: true });
                }),
                "mount in on /data writable",
            ),
        ] {
            assert_eq!(found, [want]);
        }
        let named = change(|job| job.hostname = Some("h".into()));
        assert_eq!(named, ["set the host name h", "add h to /etc/hosts"]);
        let limited = change(|job| job.limits.memory = Some(1 << 20));
        assert_eq!(limited, ["limit to 1 MiB of memory", "mount an empty root of 524288 bytes"]);
        let network = change(|job| job.network = Network::Host);
        let want = [
            "make namespaces: mount pid ipc uts cgroup user",
            "mount /sys with processors, memory and control groups, the host's network interfaces",
            "show the host's /etc/resolv.conf",
            "show the host's /etc/hosts",
        ];
        assert_eq!(network, want);
        let memory = change(|job| job.host_ipc = true);
        let want = [
            "make namespaces: mount pid uts cgroup network user",
            "mount /dev with the host's nodes, the host's shm",
        ];
        assert_eq!(memory, want);
        let kept = change(|job| job.descriptors = vec![3, 7]);
        assert_eq!(kept, ["close descriptors from 3 on except 3, 7"]);
        let own = |job: &Job| lines(&runtime, job, &user()).join("; ");
        let mut given = job();
        given.binds.push(Bind { source: ".".into(), target: "/work".into(), writable: false });
        let (plain, bound) = (own(&job()), own(&given));
        let copy = "mount a private copy of the current directory on /work";
        assert_eq!(bound, plain.replace(copy, "mount . on /work read-only"));
        let here = Upload { in_cwd: true, ..upload(false) };
        let here = Job { uploads: vec![here], ..job() };
        assert_eq!(lines(&runtime, &here, &user()), lines(&runtime, &job(), &user()));
        let private = Host { cwd: Cwd::Private, ..user() };
        let steps = lines(&runtime, &here, &private);
        for want in ["mount an empty /work (mode 755)", "copy ../f to /work/f"] {
            assert!(steps.contains(&want.to_owned()));
        }
    }

    #[test]
    fn the_job_overrides_the_runtime_overrides_the_defaults() {
        let mut job = job();
        job.env = vec![("B".into(), "job".into()), ("C".into(), "job".into())];
        job.term = Some("xterm".into());
        let env = environment(&runtime(&[]), &job, &user());
        let env: Vec<_> = env
            .iter()
            .map(|(k, v)| format!("{}={}", k.to_str().unwrap(), v.to_str().unwrap()))
            .collect();
        assert_eq!(
            env,
            [
                "A=runtime",
                "B=job",
                "C=job",
                "HOME=/tmp",
                "LOGNAME=me",
                &format!("PATH={PATH}"),
                "TERM=xterm",
                "USER=me"
            ]
        );
        let of_root = environment(&runtime(&[]), &job, &root());
        assert_eq!(of_root[OsStr::new("TAR_OPTIONS")], "--no-same-owner");
    }

    #[test]
    fn options_that_are_refused() {
        let runtime = runtime(&[]);
        let bind = |target: &str| {
            let (source, target) = ("x".into(), target.into());
            Job { binds: vec![Bind { source, target, writable: false }], ..job() }
        };
        for (job, reason) in [
            (Job::new(vec![]), "no command given"),
            (Job::new(vec!["a\0b".into()]), "NUL"),
            (bind("data"), "target data is not absolute"),
            (bind("/"), "the root directory"),
            (bind("/a/../.."), "contains `..`"),
            (bind("/proc/1"), "is reserved: every job gets its own"),
            (bind("/sys"), "is reserved: every job gets its own"),
            (Job { uploads: vec![upload(true)], ..bind("/work/") }, "hide what --upload puts"),
            (
                Job { uploads: vec![upload(true), upload(false)], ..job() },
                "--upload ../f and --upload ../f have the same name in /work",
            ),
            (Job { workdir: Some("x".into()), ..job() }, "--workdir x is not absolute"),
            (
                Job { workdir: Some("/proc/self/fd/7".into()), ..job() },
                "not a directory to work in",
            ),
            (Job { hostname: Some(String::new()), ..job() }, "hostname"),
            (Job { hostname: Some("a\nb".into()), ..job() }, "hostname"),
            (Job { env: vec![("A=B".into(), "".into())], ..job() }, "\"A=B\" cannot be a variable"),
        ] {
            let error = plan(&runtime, &job, &user()).unwrap_err();
            assert!(
                matches!(error, Error::Usage(_)) && error.to_string().contains(reason),
                "{error}"
            );
        }
    }

    #[test]
    fn a_plan_is_data() {
        let steps = plan(&runtime(&[("usr", "/usr", true)]), &job(), &user()).unwrap();
        let json: Vec<_> = steps.iter().map(|step| serde_json::to_string(step).unwrap()).collect();
        for want in [
            r#"{"step":"namespaces","user":true,"network":true,"ipc":true}"#,
            r#"{"step":"bind","source":{"from":"runtime","path":"usr"},"target":"/usr","writable":false}"#,
            r#"{"step":"workdir","path":"/work"}"#,
        ] {
            assert!(json.iter().any(|line| line == want), "{want} in {json:#?}");
        }
    }
}
