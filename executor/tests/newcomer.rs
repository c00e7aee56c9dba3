//! The first commands of a new user: README's, then habits of other tools and mistakes, in a new account and a real
//! terminal of 40, 80 and 120 columns; also on dumb terminals, in pipes and in locales without UTF-8.

use crate::common::{World, copy_program, program};
use crate::support::{self, NOBODY, pty::Pty, tmux::Tmux};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Arguments of commands after README's, the beginning of the first line of output, and the status. Every line of
/// tables and help fits the terminal.
const COMMAND_LINES: &[(&str, &str, i32)] = &[
    ("", "error[USAGE]: no command given; joblet-exec --help lists the", 2),
    ("ls", "NAME         VERSION  SIZE", 0),
    ("images", "NAME         VERSION  SIZE", 0),
    ("list --available", "NAME         VERSION  SIZE", 0),
    ("search python", "NAME         VERSION  SIZE", 0),
    ("search pythn", "no runtime matches \"pythn\"; these match \"python\"", 0),
    ("search cobol", "no runtime has \"cobol\" in its name or description;", 0),
    ("instal python-3.11", "error[USAGE]: unknown command \"instal\"; did you mean", 2),
    ("install numpy", "error[NOTFOUND]: no runtime is called numpy in ", 12),
    ("install pyton-3.11", "error[NOTFOUND]: no runtime is called pyton-3.11 in ", 12),
    ("install python-3.11@9", "error[NOTFOUND]: no version of python-3.11@9 in ", 12),
    ("pull python:3.11", "error[USAGE]: \"python:3.11\" is not how a runtime is named; did", 2),
    ("install python-3.11==1.4.0", "error[USAGE]: \"python-3.11==1.4.0\" is not how a runtime", 2),
    ("install -r requirements.txt", "error[USAGE]: -r: a runtime's packages are fixed; ", 2),
    ("update", "every installed runtime is the latest", 0),
    ("uninstall node-20", "error[NOTFOUND]: node-20 is not installed", 12),
    ("run python-3.11", "error[USAGE]: run needs a COMMAND after the runtime;", 125),
    ("run --rm -it python:3.11 bash", "error[USAGE]: run needs --runtime=SPEC:", 125),
    ("run -v ./data python-3.11 ls", "error[USAGE]: ./data is not a runtime, which comes", 125),
    ("run -p 80:80 python-3.11 ls", "error[USAGE]: -p: ports need no publishing: with", 125),
    ("run --name x python-3.11 ls", "error[USAGE]: --name: jobs have no name;", 125),
    ("run -d python-3.11 ls", "error[USAGE]: -d: a job ends with joblet-exec;", 125),
    ("run python-3.11 -m 2g ls", "error[USAGE]: -m is after the runtime python-3.11, where", 125),
    ("run -v $PWD:/data:z python-3.11 ls /data/script.py", "/data/script.py", 0),
    ("run --rm -i -w /tmp python-3.11 bash -c pwd", "/tmp", 0),
    ("run --pwd /tmp --cleanenv --contain python-3.11 bash -c pwd", "/tmp", 0),
    ("run --restart always python-3.11 ls", "error[USAGE]: --restart: jobs are not", 125),
    ("run --shm-size 1g python-3.11 ls", "error[USAGE]: --shm-size: a job's /dev/shm may", 125),
    ("run --cap-add SYS_ADMIN python-3.11 ls", "error[USAGE]: --cap-add: jobs never have", 125),
    ("run --platform linux/arm64 python-3.11 ls", "error[USAGE]: --platform: jobs run on", 125),
    ("run --with numpy python-3.11 ls", "error[USAGE]: --with: a runtime's packages are", 125),
    ("run --python 3.11 script.py", "error[USAGE]: --python: the runtime says which: run", 125),
    (
        "run python-3.11 script.py",
        "error[COMMAND]: script.py: not found in the runtime; a script",
        127,
    ),
    ("run python-3.11 'python -V'", "error[COMMAND]: python -V: not found in the runtime; a", 127),
    (
        "run python-3.11 ./script.py",
        "error[COMMAND]: ./script.py: it has no execute permission",
        126,
    ),
    ("run python-3.11 pytohn x.py", "error[COMMAND]: pytohn: not found in the runtime; PATH", 127),
    ("run python-3.11 ../tool", "error[COMMAND]: ../tool: not found in the job, which sees", 127),
    ("run python-3.11 cat ../outside.py", "cat: ../outside.py: No such file or directory", 1),
    ("exec python-3.11 ls", "error[USAGE]: exec is not a command here: use joblet-exec", 2),
    ("ps", "error[USAGE]: ps is not a command here: jobs are processes", 2),
    ("stop x", "error[USAGE]: stop is not a command here: jobs are processes", 2),
    ("logs", "error[USAGE]: logs is not a command here: a job writes to", 2),
    ("system prune", "error[USAGE]: system is not a command here: use joblet-exec", 2),
    ("cache clean", "error[USAGE]: cache is not a command here: use joblet-exec", 2),
    ("env list", "error[USAGE]: env is not a command here: use joblet-exec list", 2),
    ("sync", "error[USAGE]: sync is not a command here: a runtime's packages", 2),
    ("inspect python-3.11", "name      python-3.11", 0),
    ("build .", "error[USAGE]: build is not a command here: runtimes are built", 2),
    ("activate python-3.11", "error[USAGE]: activate is not a command here: use joblet-exec", 2),
    ("login", "error[USAGE]: login is not a command here: a registry's", 2),
    ("job list", "error[USAGE]: job list is not a command here: it needs a", 2),
    ("list >/dev/full", "error[STORE]: cannot write standard output: No space left", 15),
    ("install numpy --json", "{\"error\":{\"class\":\"NOTFOUND\",\"message\":\"no runtime is", 12),
    ("verify", "python-3.11@1.4.0: intact", 0),
    ("prune --keep 0 </dev/null", "error[USAGE]: prune --keep 0 removes every version; add", 2),
    ("help", "Install Joblet runtimes and run jobs in them: no daemon, no root.", 0),
    ("run --help", "Run a job in a runtime; installs it first if no version is installed.", 0),
];

/// Whether an output with this first line is a table or a help page.
fn is_laid_out(first: &str) -> bool {
    first.starts_with("NAME ") || first.ends_with('.')
}

/// A new account with README's checkout after `make demo`.
struct Account {
    home: tempfile::TempDir,
    user: Option<u32>,
}

impl Account {
    /// None where no job can be run.
    fn new() -> Option<Self> {
        let tools = support::World::get()?;
        let mut world = World::new();
        crate::readme::publish(&mut world, tools);
        let home = tempfile::tempdir().unwrap();
        let root = nix::unistd::geteuid().is_root();
        let account = Self { home, user: root.then_some(NOBODY) };
        fs::create_dir_all(account.path("project/dist/bin")).unwrap();
        copy_program(program(), account.path("project/dist/bin/joblet-exec"));
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(world.path("registry")).arg(account.path("project/dist/demo"));
        assert!(copy.status().unwrap().success());
        fs::write(account.path("project/script.py"), "print(1)\n").unwrap();
        fs::write(account.path("outside.py"), "print(2)\n").unwrap();
        account.own(account.home.path());
        Some(account)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// Gives everything below `path` to the account's user.
    fn own(&self, path: &Path) {
        chown(path, self.user, self.user).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.own(&entry.unwrap().path());
            }
        }
    }

    /// Runs a line of COMMAND_LINES by bash.
    fn bash(&self, line: &str) -> Command {
        let mut command = command("bash", self.home.path(), self.user);
        command.env("JOBLET_EXEC_REGISTRY", self.path("project/dist/demo"));
        let path = self.path("project/dist/bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", path.display())).args(["-c", line]);
        command
    }
}

/// A program in the account `home`, without the tests' environment.
fn command(program: &str, home: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("USER", "newcomer");
    command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").current_dir(home.join("project"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// A shell in a terminal.
struct Screen<'a> {
    account: &'a Account,
    window: Tmux,
    prompts: usize,
}

impl<'a> Screen<'a> {
    /// None where there is no tmux.
    fn new(account: &'a Account, columns: usize) -> Option<Self> {
        let (user, home) = (account.user, account.home.path().to_owned());
        let words = ["env", "PS1=<$?>", "bash", "--norc", "--noprofile"];
        let starts = move |program: &str| command(program, &home, user);
        let window = Tmux::start(starts, account.path("tmux"), columns, &words)?;
        Some(Self { account, window, prompts: 0 })
    }

    /// Types a line, and waits for the next prompt: the output, and the status.
    fn types(&mut self, line: &str) -> (String, i32) {
        // The typed line is short, so that no terminal wraps it.
        fs::write(self.account.path("project/l"), format!("{line}\n")).unwrap();
        self.window.types(&[". ./l", "Enter"]);
        let prompts = self.prompts;
        self.prompts += 1;
        self.window.until(line, |shown| {
            let answers: Vec<_> = shown.split(">. ./l").collect();
            let last = answers.last().unwrap().trim_end();
            let (answer, status) =
                last.rsplit_once("\n<").filter(|_| answers.len() == prompts + 2)?;
            let status = status.strip_suffix('>')?.parse().ok()?;
            Some((answer.trim_start_matches([' ', '\n']).to_owned(), status))
        })
    }
}

/// README's commands for a host with the program and a registry.
fn readme() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let mut blocks = crate::readme::blocks(&readme);
    blocks.truncate(blocks.len() - 2); // those of the publisher
    let joined = blocks.concat().replace("\\\n", "");
    joined.lines().map(str::to_owned).collect()
}

/// Faults of the `answer` to a line of COMMAND_LINES on a terminal of this width.
fn faults(case: &(&str, &str, i32), (answer, status): (&str, i32), columns: usize) -> Vec<String> {
    let (line, want, wanted) = *case;
    let mut faults = Vec::new();
    let mut check = |right: bool, what: &str| {
        if !right {
            faults.push(format!("{columns} columns: {line}: {what}, status {status}: {answer:?}"));
        }
    };
    check(answer.starts_with(want) && status == wanted, "another answer");
    let odd = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{fffd}';
    check(!answer.contains(odd), "control characters or broken bytes");
    // Help is laid out for 80 columns.
    let limit = if want.ends_with('.') { columns.max(80) } else { columns };
    let widest = answer.lines().map(|line| line.trim_end().chars().count()).max();
    check(!is_laid_out(want) || widest.unwrap_or_default() <= limit, "too wide");
    // One sentence and one hint, on one line.
    check(!want.starts_with("error") || answer.lines().count() == 1, "more than a line");
    faults
}

#[test]
fn a_new_user_in_a_terminal() {
    let mut wrong = Vec::new();
    for columns in [40, 80, 120] {
        let Some(account) = Account::new() else { return };
        let Some(mut screen) = Screen::new(&account, columns) else { return };
        for line in readme() {
            let (answer, status) = screen.types(&line);
            assert_eq!(status, 0, "{columns}: {line}: {answer}");
            // The progress bar was erased.
            if line.starts_with("joblet-exec install") {
                let lines: Vec<_> = answer.lines().collect();
                let first = lines[0].starts_with("installed ")
                    || lines[0].ends_with(" is installed already");
                assert!(first && lines.len() <= 2, "{columns}: {answer}");
            }
        }
        // Messages are the same on every terminal.
        for case in COMMAND_LINES.iter().filter(|case| columns == 80 || is_laid_out(case.1)) {
            let (answer, status) = screen.types(&format!("joblet-exec {}", case.0));
            wrong.extend(faults(case, (&answer, status), columns));
        }
        // The error of a missing script explains where it must be.
        let (answer, _) = screen.types("joblet-exec run python-3.11 cat ../outside.py");
        let hint = "../outside.py is not in the job, which sees the current directory as /work; \
                    --upload ../outside.py puts a copy there";
        assert_eq!(answer.lines().nth(1), Some(hint), "{answer}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dumb_terminals_pipes_and_other_locales_get_plain_bytes() {
    let Some(account) = Account::new() else { return };
    let installed = account.bash("joblet-exec install python-3.11 2>&1").output().unwrap();
    let said = String::from_utf8(installed.stdout).unwrap();
    assert!(
        said.starts_with("installed python-3.11@1.4.0 (") && said.lines().count() == 1,
        "{said}"
    );
    let mut wrong = Vec::new();
    for case in COMMAND_LINES {
        let (words, want, wanted) = *case;
        let line = &format!("joblet-exec {words}");
        let mut places = vec![("TERM", "dumb"), ("LANG", "C")];
        places.extend(is_laid_out(want).then_some(("LC_ALL", "de_DE.ISO-8859-1")));
        for (name, value) in places {
            let mut pty = Pty::new();
            pty.resize(24, 80);
            if let Some(user) = account.user {
                pty.give_to(user);
            }
            let mut command = account.bash(line);
            command.env("NO_COLOR", "1").env(name, value);
            command.stdin(pty.far()).stdout(pty.far()).stderr(pty.far());
            let mut child = command.spawn().unwrap();
            let mut shown = String::new();
            // A terminal that is not read blocks.
            let status = loop {
                let ended = child.try_wait().unwrap();
                shown += &pty.shown();
                match ended {
                    Some(ended) => break ended.code().unwrap(),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            };
            let shown = shown.replace("\r\n", "\n");
            // The shell warns that it does not know the locale.
            let shown: Vec<_> =
                shown.lines().filter(|line| !line.contains(" setlocale: ")).collect();
            let shown = shown.join("\n");
            let of = |fault: String| format!("{name}={value}: {fault}");
            wrong.extend(faults(case, (&shown, status), 80).into_iter().map(of));
            if name != "TERM" && !shown.is_ascii() {
                wrong.push(format!("{name}={value}: {line}: not ASCII: {shown}"));
            }
        }
        // Pipes: the same without a width, and without control sequences.
        let output = account.bash(line).output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        let begins = out.starts_with(want) || err.starts_with(want);
        if output.status.code() != Some(wanted) || !begins || (out + &err).contains(['\x1b', '\r'])
        {
            wrong.push(format!("in pipes: {line}: {:?} {err:?}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
