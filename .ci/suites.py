#!/usr/bin/env python3
"""Runs test suites of other projects as jobs, and failing ones also under bubblewrap: see .ci/suites.

A suite is one command in one runtime, whose output names the failed tests. joblet-exec runs it as root and as a user.
After failures bubblewrap runs it on the same runtime, with the host's names, /sys, network and the caller's directory,
and joblet-exec again: a test that fails twice here and not there is ours. KNOWN lists intended ones, with the reason.
With LAZY=1 joblet-exec runs each by `--lazy` in an empty store.
"""
import os, pathlib, pwd, re, shutil, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(os.environ.get("JOBLET_SUITES_WORK", ROOT / "target/suites"))
PROBES = ROOT / ".ci/suites-probes"
USER = "nobody"
PUBLISH, EXEC = os.environ["JOBLET_PUBLISH"], os.environ["JOBLET_EXEC"]
STORE = WORK / "store"
LAZY = os.environ.get("LAZY")

# Test modules of CPython that use the operating system, without those that need a network or a desktop.
PYTHON = """test_asyncio test_builtin test_compileall test_concurrent_futures test_dbm test_epoll test_eintr test_fcntl
    test_file test_fileio test_filecmp test_fileinput test_fork1 test_ftplib test_genericpath test_getpass test_glob
    test_grp test_gzip test_httpservers test_importlib test_io test_ioctl test_kqueue test_largefile test_locale test_mailbox
    test_memfd test_mmap test_multiprocessing_fork test_multiprocessing_main_handling test_netrc test_ntpath test_openpty
    test_os test_pathlib test_pipes test_platform test_poll test_popen test_posix test_posixpath test_pty test_pwd
    test_regrtest test_resource test_runpy test_select test_selectors test_shelve test_shutil test_signal test_site
    test_socket test_socketserver test_spwd test_sqlite3 test_stat test_subprocess test_support test_sysconfig test_tarfile
    test_tempfile test_thread test_threading test_threadsignals test_time test_tools test_tty test_urllib test_uuid
    test_venv test_wait3 test_wait4 test_xmlrpc test_zipfile test_zipimport""".split()
PACKAGES = "/usr/local/lib/python3.11/dist-packages"
PYTEST = ["python3", "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--timeout=300", "--continue-on-collection-errors"]

# Name: runtime, options of run, command, and the pattern that names a failed test.
SUITES = {
    "cpython": ("python-3.11", [f"--bind={WORK}/testsuite/usr/lib/python3.11/test:/usr/lib/python3.11/test"],
                ["python3", "-m", "test", "-j2", "-W", "--timeout=600", *PYTHON], r"^(?:FAIL|ERROR): (\S+ \(\S+?\))"),
    "numpy": ("python-3.11-ml", [], PYTEST + [f"{PACKAGES}/numpy/{it}/tests" for it in ("core", "lib", "random", "linalg")],
              r"^(?:FAILED|ERROR) (\S+)"),
    "pandas": ("python-3.11-ml", [], PYTEST + [f"{PACKAGES}/pandas/tests/{it}" for it in ("io/test_common.py", "io/test_pickle.py",
               "io/test_parquet.py", "io/parser/common", "io/json", "groupby", "test_multilevel.py")], r"^(?:FAILED|ERROR) (\S+)"),
    "sklearn": ("python-3.11-ml", [], PYTEST + [f"{PACKAGES}/sklearn/{it}/tests" for it in ("utils", "datasets", "cluster")],
                r"^(?:FAILED|ERROR) (\S+)"),
    "jdk": ("openjdk-21", [], ["java", "/work/Probe.java"], r"^FAILED (\S+)"),
    "node": ("node-20", [], ["node", "--test", "--test-reporter=tap", "/work/probe.test.mjs"], r"^\s*not ok \d+ - (?!/)(.*)"),
    "go": ("go-1.24-cgo", ["--network=host"], ["sh", "-c", "cd /usr/share/go-1.24/src && go test -short -vet=off os os/exec os/signal os/user net"],
           r"^\s*--- FAIL: (\S+)"),
    "ruby": ("ruby-3.3", [], ["sh", "-c", "cd /usr/lib/ruby/gems/3.3.0/gems/minitest-5.20.0 && for t in test/minitest/test_*.rb; do ruby -Ilib -Itest $t; done; "
             "ruby /work/probe_test.rb"], r"^ *(?:\d+\) )?(?:Failure|Error):\n(\S+)"),
    "torch": ("python-3.11-pytorch-cuda", [], ["python3", "/work/probe_torch.py"], r"^FAILED (\w+)"),
}

# Intended failures that bubblewrap does not have: user, pattern, reason (SECURITY.md).
CAPABILITIES = "a job of root has no capability over files"
KNOWN = [
    ("root", r"test_tarfile\.\w*MiscReadTest\.test_extract(all|_directory|all_pathlike_name|_pathlike_name)\)", CAPABILITIES),
    ("root", r"test\.test_(posix|os)\.\w+\.test_[lf]?chown(_with_root)?\)", CAPABILITIES),
    ("root", r"PosixGroupsTester", CAPABILITIES),
    ("", r"test_fcntl_64_bit", "F_NOTIFY is refused: it observes other jobs"),
    (USER, r"rename.of.the.caller.?s.directory", "overlays of users know no redirect_dir; --here and --bind rename"),
]


def step(*command, **more):
    subprocess.run([str(word) for word in command], check=True, **more)


def prepare(runtimes):
    """Builds and installs missing runtimes, and unpacks the tests that they lack."""
    registry, names = WORK / "registry", []
    for name in sorted(runtimes):
        if not list(STORE.glob(f"{name}-[0-9]*")):
            step(PUBLISH, "build", name, "--arch", "amd64", "--out", registry, "--joblet-exec", EXEC, cwd=ROOT)
            names.append(name)
    if names:
        step(PUBLISH, "index", "--records", registry / "records", "--out", registry / "registry.json")
        step(EXEC, "install", "--registry", registry, "--store", STORE, *names)
    if not (WORK / "testsuite").exists():
        (WORK / "debs").mkdir(exist_ok=True)
        step("apt-get", "-q", "download", "libpython3.11-testsuite", cwd=WORK / "debs")
        step("dpkg-deb", "-x", *(WORK / "debs").glob("libpython3.11-testsuite_*.deb"), WORK / "testsuite.new")
        # The runtime has a part of the same directory.
        own = next(STORE.glob("python-3.11-[0-9]*")) / "isolated/usr/lib/python3.11/test"
        step("cp", "-an", f"{own}/.", WORK / "testsuite.new/usr/lib/python3.11/test")
        (WORK / "testsuite.new").rename(WORK / "testsuite")
    if not (WORK / "pytest").exists():
        step("python3", "-m", "pip", "install", "-q", "--target", WORK / "pytest", "pytest<9", "pytest-timeout", "hypothesis<7")


def place(user):
    """A directory that the user owns: `home`, with the probes, in which the job starts, and `store`, which is empty."""
    at = pathlib.Path(f"/tmp/joblet-suites-{os.getpid()}-{user}")
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(PROBES, at / "home")
    (at / "store").mkdir()
    step("chown", "-R", user, at)
    return at


def as_user(user, command):
    group = pwd.getpwnam(user).pw_gid
    return command if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]


def by_joblet(runtime, options, command, at):
    where = ["--registry", WORK / "registry", "--store", at / "store", "--lazy"] if LAZY else ["--store", STORE]
    options = [*where, *options, f"--bind={WORK}/pytest:/opt/pytest", "-e", "PYTHONPATH=/opt/pytest"]
    return [EXEC, "run", *options, f"--runtime={runtime}", "--", *command]


def by_bubblewrap(runtime, options, command, _):
    """The command line of bubblewrap for the same runtime, with the usual mounts."""
    tree = next(STORE.glob(f"{runtime}-[0-9]*")) / "isolated"
    line = ["bwrap", "--unshare-pid", "--die-with-parent", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/sys", "/sys"]
    for at in sorted(tree.iterdir()):
        if at.name != "tmp":
            line += ["--symlink", os.readlink(at), f"/{at.name}"] if at.is_symlink() else ["--ro-bind", at, f"/{at.name}"]
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        if (tree / "etc" / name).exists():
            line += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    if not (tree / "var").exists():
        line += ["--dir", "/var/tmp"]
    elif (tree / "var/tmp").exists():
        line += ["--tmpfs", "/var/tmp"]
    line += ["--tmpfs", "/tmp", "--dir", "/run", "--bind", ".", "/work", "--chdir", "/work", "--setenv", "HOME", "/tmp"]
    for option in options:
        if option.startswith("--bind="):
            line += ["--ro-bind", *option.removeprefix("--bind=").split(":")]
    line += ["--ro-bind", WORK / "pytest", "/opt/pytest", "--clearenv", "--setenv", "PYTHONPATH", "/opt/pytest"]
    yml = (tree.parent / "runtime.yml").read_text().partition("environment:\n")[2]
    for name, value in re.findall(r"^  (\w+): '?(.*?)'?$", yml.partition("requirements:")[0], re.M):
        line += ["--setenv", name, value]
    return [*line, "--setenv", "HOME", "/tmp", "--", *command]


def run(how, name, user):
    """The failed tests, and the output."""
    runtime, options, command, failure = SUITES[name]
    log = WORK / f"logs/{name}-{user}-{how.__name__}.log"
    log.parent.mkdir(exist_ok=True)
    at = place(user)
    line = [str(word) for word in as_user(user, how(runtime, options, command, at))]
    with open(log, "w") as output:
        status = subprocess.run(line, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=at / "home").returncode
    shutil.rmtree(at)
    text = log.read_text(errors="replace")
    failed = set(re.findall(failure, text, re.M))
    if status and not failed:
        failed = {f"(status {status}: {text.strip().splitlines()[-1:]})"}
    return failed, text


def known(user, test):
    """The reason for an intended failure, or an empty string."""
    return next((why for of, pattern, why in KNOWN if user.startswith(of) and re.search(pattern, test)), "")


def main():
    names = sys.argv[1:] or list(SUITES)
    for program in (PUBLISH, EXEC):
        assert os.access(program, os.X_OK), program
    WORK.mkdir(parents=True, exist_ok=True)
    prepare({SUITES[name][0] for name in names} | {"python-3.11"})
    rows, ours = [], 0
    for name in names:
        for user in ("root", USER):
            began = time.monotonic()
            here, text = run(by_joblet, name, user)
            there = run(by_bubblewrap, name, user)[0] if here else set()
            if here - there:  # a single failure may be chance
                here &= there | run(by_joblet, name, user)[0]
            took = time.monotonic() - began
            own = {test for test in here - there if not known(user, test)}
            ours += len(own)
            last = next((line for line in reversed(text.splitlines()) if re.search(r"\d+ (?:passed|tests|runs)|^ok|^# pass|Result", line)), "")
            rows.append(f"{name:8} {user:7} {took:5.0f} s  {len(here):3} fail, {len(here & there)} of them in bubblewrap, too  {last.strip()[:60]}")
            print(rows[-1], flush=True)
            for test in sorted(here):
                whose = "both " if test in there else "OURS " if test in own else "known"
                print(f"    {whose}  {test}  {known(user, test) if whose == 'known' else ''}".rstrip(), flush=True)
    print("\n" + "\n".join(rows))
    sys.exit(f"{ours} failures are ours" if ours else 0)


main()
