//! Tests of the command line's parser.

use super::*;
use joblet_format::Spec;

fn parse_words(line: &str) -> Result<Cli, Error> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

fn command(line: &str) -> Command {
    parse_words(line).unwrap().command
}

fn spec(text: &str) -> Spec {
    text.parse().unwrap()
}

#[test]
fn spellings_of_joblet_are_synonyms() {
    for (ours, theirs) in [
        ("install a b@1.0.0", "runtime install a b@1.0.0"),
        ("remove a@1.0.0", "runtime remove a@1.0.0"),
        ("list --available", "runtime list --available"),
        ("outdated", "list --outdated"),
        ("info a", "runtime info a"),
        ("upgrade", "runtime upgrade"),
        ("prune --keep 2 --older-than 30d", "runtime prune --older-than 720h --keep=2"),
        ("run --runtime=a python x.py", "job run --runtime=a python x.py"),
    ] {
        assert_eq!(command(ours), command(theirs), "{ours}");
    }
}

#[test]
fn options_end_where_the_job_begins() {
    for line in [
        "run --runtime=a@1.0.0 -e K=V -q ls --runtime=b -la -- x",
        "run --runtime a@1.0.0 --env K=V -q -- ls --runtime=b -la -- x",
        "-q job run -e K=V --runtime a@1.0.0 ls --runtime=b -la -- x",
    ] {
        let cli = parse_words(line).unwrap();
        assert!(cli.global.quiet, "{line}");
        let Command::Run(run) = cli.command else { panic!("{line}") };
        assert_eq!(run.spec, spec("a@1.0.0"));
        assert_eq!(run.env, [("K".into(), Some("V".into()))]);
        assert_eq!(run.argv, ["ls", "--runtime=b", "-la", "--", "x"]);
    }
}

#[test]
fn values_may_be_anything() {
    let Command::Run(run) = command("run --runtime a -e A= -e B -e C=D=E --workdir -x ls") else {
        panic!()
    };
    let variable = |k: &str, v: Option<&str>| (k.into(), v.map(Into::into));
    let env = [variable("A", Some("")), variable("B", None), variable("C", Some("D=E"))];
    assert_eq!(run.env, env);
    assert_eq!(run.workdir, Some("-x".into()));
    // A value is not an option, whatever it looks like.
    let cli = parse_words("run --runtime a --workdir --json --hostname=--offline ls").unwrap();
    let Command::Run(run) = cli.command else { panic!() };
    assert_eq!((run.workdir, run.hostname), (Some("--json".into()), Some("--offline".into())));
    assert!(!cli.global.json && !cli.global.offline);
}

#[test]
fn a_shell_is_a_job() {
    let Command::Run(run) = command("shell a@1.0.0 --init --network host") else { panic!() };
    assert_eq!((run.spec, run.terminal), (spec("a@1.0.0"), Terminal::Auto));
    assert!(run.init && run.host_network == Some(true) && run.argv == jobs::SHELL_ARGV);
    let Command::Run(run) = command("run -t --runtime a --status-fd 3 ls") else { panic!() };
    assert_eq!((run.terminal, run.status_fd), (Terminal::Always, Some(3)));
}

#[test]
fn mistakes_are_named() {
    for (line, message) in [
        ("", "no command given; joblet-exec --help lists the commands"),
        ("instal a", "unknown command \"instal\"; did you mean \"install\"?"),
        ("frobnicate", "unknown command \"frobnicate\"; joblet-exec --help lists the commands"),
        ("runtime instal a", "did you mean \"runtime install\"?"),
        ("runtime", "unknown command \"runtime\""),
        ("list --availible", "unknown option \"--availible\"; did you mean --available?"),
        ("list --zzz", "joblet-exec list --help lists them"),
        ("--runtime=a run ls", "options of a command come after it"),
        ("list x", "list takes no NAME; use joblet-exec search or info"),
        ("python-3.11 python", "did you mean joblet-exec run python-3.11 …?"),
        ("install ./usb/ml", "is a path, not the name of a runtime; joblet-exec import DIR"),
        ("run x.py", "a script is run by: joblet-exec run RUNTIME python x.py"),
        ("run x.sh", "a script is run by: joblet-exec run RUNTIME sh x.sh"),
        ("list --json=yes", "--json takes no value"),
        ("list --store", "--store needs a value: DIR"),
        ("list --store a --store b", "option --store is given twice"),
        ("list --color=blue", "--color: \"blue\" is not one of auto, always, never"),
        ("list --offline --refresh", "exclude each other"),
        ("install", "install needs a runtime"),
        ("install A", "\"A\" is not how a runtime is named; did you mean a, if"),
        ("install _", "\"_\" is not a runtime name"),
        ("install a@1.x", "\"1.x\" is not a version like 1.4.0"),
        ("path a b", "path takes one SPEC"),
        ("info", "info needs a runtime"),
        ("upgrade a@1.0.0", "\"a@1.0.0\" is not a runtime name"),
        ("list --outdated --available", "--outdated excludes"),
        ("outdated x", "unexpected argument"),
        ("prune x", "unexpected argument"),
        ("export a", "export needs --to=DIR: the directory to create"),
        ("export --to=x", "export needs a runtime"),
        ("export --to=x --arch=mips a", "--arch: \"mips\" is not one of amd64, arm64"),
        ("import", "import takes the directory of one bundle"),
        ("completions tcsh", "one of bash, zsh and fish"),
        ("man ls", "unexpected argument"),
        ("help instal", "unknown command \"instal\"; did you mean \"install\"?"),
        ("help install x", "unknown command \"install x\""),
        ("prune --keep some", "--keep: \"some\" is not a number"),
        ("prune --older-than 1y", "--older-than: \"1y\" is not a time"),
        ("run", "run needs --runtime=SPEC and a COMMAND"),
        ("run ls", "run needs a COMMAND after the runtime; joblet-exec shell ls gives you a shell"),
        ("run --runtime=a", "run needs a COMMAND"),
        ("run --runtime=a --network=lan ls", "--network: \"lan\" is not one of none, host"),
        ("run --gpu a-3.11 b-3 -V", "--gpu: \"a-3.11\" is not a number above zero, or all"),
        ("run --memory a-3.11 b", "--memory: \"a-3.11\" is not a number of MiB, or a size like 8G"),
        ("shell --gpu a", "--gpu: \"a\" is not a number"),
        ("run --runtime=a --env =x ls", "--env: \"=x\" has no name"),
        ("run --runtime=a --upload= ls", "--upload: is empty"),
        ("run --runtime=a --status-fd 0 ls", "--status-fd: \"0\" is not a descriptor"),
        ("shell", "shell needs a runtime"),
        ("shell a b", "shell takes one SPEC; joblet-exec run SPEC COMMAND runs a command"),
        ("run --user me a ls", "--user: \"me\" is not a number, as $(id -u me) prints it"),
        ("shell a --runtime b", "unknown option \"--runtime\""),
        ("run --runtime=a --bind x ls", "--bind: \"x\" is not SRC:DST"),
        (
            "run -v ./x a ls",
            "./x is not a runtime, which comes before the command; to show a path of the host",
        ),
    ] {
        match parse_words(line) {
            Err(Error::Usage(text)) => assert!(text.contains(message), "{line}: {text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn help_and_version_need_nothing_else() {
    let printed = |line| match command(line) {
        Command::Print(text) => text,
        other => panic!("{line}: {other:?}"),
    };
    for (line, part) in [
        ("--help", "Exit status:"),
        ("help", "Exit status:"),
        ("-h", "joblet-exec COMMAND -h lists"),
        ("install -h", "Usage: joblet-exec install SPEC…\n"),
        ("runtime install --help", "Also:  runtime install, "),
        ("help runtime install", "Also:  runtime install, "),
        ("help install", "Examples:\n  joblet-exec install python-3.11"),
        ("-V", concat!("joblet-exec ", env!("CARGO_PKG_VERSION"), "\n")),
        ("version", concat!("joblet-exec ", env!("CARGO_PKG_VERSION"), "\n")),
        ("version --json", concat!("{\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}\n")),
        ("man", ".SH EXAMPLES\n"),
        ("completions fish", "complete -c joblet-exec"),
    ] {
        assert!(printed(line).contains(part), "{line}: {}", printed(line));
    }
    // The short form has a line for each option, without the global ones.
    let short = printed("prune -h");
    assert!(!short.contains("Examples:") && !short.contains("--registry"), "{short}");
    assert_eq!(short.lines().filter(|line| line.contains(" --")).count(), 5, "{short}");
}

#[test]
fn a_broken_run_is_still_a_run() {
    let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    assert!(runs_job(&words("run --bogus ls")));
    assert!(runs_job(&words("job run ls")));
    assert!(runs_job(&words("shell --bogus a")));
    assert!(!runs_job(&words("install run")));
    assert!(!runs_job(&words("lst --bogus")));
}

/// Commands and options of other tools: their synonyms, or the advice in the error.
#[test]
fn words_of_other_tools_are_accepted_or_explained() {
    for (foreign, ours) in [
        ("uninstall a@1.0.0", "remove a@1.0.0"),
        ("rm a", "remove a"),
        ("rmi a", "remove a"),
        ("ls", "list"),
        ("images --json", "list"),
        ("update", "upgrade"),
        ("pull a@1.0.0", "install a@1.0.0"),
        ("install -y a", "install a"),
        ("prune -f", "prune --yes"),
        ("which a", "path a"),
        ("export --to=x --arch aarch64 a", "export --to=x --arch arm64 a"),
        ("help run", "run --help"),
        ("run a ls -la", "run --runtime=a ls -la"),
        ("run a -- ls", "run --runtime=a ls"),
        ("run --rm -it a bash", "run --tty --runtime=a bash"),
        ("run -ti a bash", "run --tty --runtime=a bash"),
        ("run -m 2g a ls", "run --memory 2G --runtime=a ls"),
        ("run -m2g a ls", "run --memory 2G --runtime=a ls"),
        ("run -w /x -u 7 a ls", "run --workdir /x --user 7 --runtime=a ls"),
        ("run -eA=b a ls", "run --env A=b --runtime=a ls"),
        ("run -v /tmp:/data a ls", "run --bind /tmp:/data:rw --runtime=a ls"),
        ("run -v /tmp:/data:z a ls", "run --bind /tmp:/data:rw --runtime=a ls"),
        ("run -v /tmp:/data:ro,Z a ls", "run --bind /tmp:/data --runtime=a ls"),
        ("run -v /tmp:/data:ro a ls", "run --bind /tmp:/data --runtime=a ls"),
        ("run --volume=/tmp:/data a ls", "run --bind /tmp:/data:rw --runtime=a ls"),
        ("run --net=host --gpus all --cpus 2 a ls", "run --network host --gpu all --cpu 2 a ls"),
        ("shell a -v /tmp:/data", "shell a --bind /tmp:/data:rw"),
    ] {
        assert_eq!(command(foreign), command(ours), "{foreign}");
    }
    // -v is --verbose unless SRC:DST follows, and switches can be combined.
    for line in ["run -v a ls", "run -qv a http://x/:/y", "list -qv"] {
        assert!(parse_words(line).unwrap().global.verbose, "{line}");
    }
    let Command::List { available, words, .. } = command("search Python ML") else { panic!() };
    assert!(available && words == ["python", "ml"]);
    for (foreign, advice) in [
        ("run -p 80:80 a ls", "-p: ports need no publishing: with --network host"),
        ("run --name x a ls", "--name: jobs have no name; --hostname NAME"),
        ("run -d a ls", "-d: a job ends with joblet-exec; end the line with &"),
        ("run --privileged a ls", "--privileged: jobs never have privileges"),
        ("run a --memory 2G ls", "--memory is after the runtime a, where the job's command"),
        ("run --rm -it python:3.11 bash", "did you mean python-3.11, if joblet-exec search"),
        ("install python>=3.11", "did you mean python-3.11, if joblet-exec search lists it?"),
        ("install x==1.3.2", "did you mean x@1.3.2, if joblet-exec search lists it?"),
        ("list --format json", "--format: use --json"),
        ("upgrade --all", "--all: without NAME it upgrades all"),
        ("shell a -c ls", "-c: use joblet-exec run SPEC COMMAND"),
        ("cp a b", "cp is not a command here: use --upload and --output"),
        ("pip install x", "pip is not a command here: a runtime's packages are fixed"),
        ("container ls", "container is not a command here: jobs are processes of this host"),
        ("exec a ls", "exec is not a command here: use joblet-exec run --runtime=SPEC COMMAND"),
        ("ps", "ps is not a command here: jobs are processes of this host"),
        ("job list", "job list is not a command here: it needs a Joblet server"),
        ("job log 1", "job log is not a command here: it needs a Joblet server"),
        ("node list", "node is not a command here: it needs a Joblet server"),
        ("runtime build x", "joblet-publish build"),
    ] {
        match parse_words(foreign) {
            Err(Error::Usage(text)) => assert!(text.contains(advice), "{foreign}: {text}"),
            other => panic!("{foreign}: {other:?}"),
        }
    }
}
