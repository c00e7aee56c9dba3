/* A job that reports on its world, or attacks it: one JSON object on standard output.
   Attacks that succeed would change the host: it does nothing outside of a job. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int first = 1;
#define TRY(name, call) (errno = 0, \
	printf("%s\n  \"%s\": %d", first ? "" : ",", name, (long)(call) < 0 ? errno : 0), first = 0)

static long legacy(void)
{
#ifdef __x86_64__
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); /* getpid of i386 */
	if (result < 0)
		errno = (int)-result;
	return result < 0 ? -1 : 0;
#else
	errno = ENOSYS;
	return -1;
#endif
}

static long loopback(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(one, (void *)&at, len) || listen(one, 1) || getsockname(one, (void *)&at, &len))
		return -1;
	return connect(two, (void *)&at, len);
}

/* Forbidden calls, and two permitted ones. */
static void calls(void)
{
	char buffer[256] = "x";
	TRY("tiocsti", ioctl(0, 0x5412UL, buffer));
	TRY("tiocsti+2^32", syscall(SYS_ioctl, 0, 0x100005412UL, buffer));
	TRY("tioclinux", ioctl(0, 0x541cUL, buffer));
	TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	TRY("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -3));
	TRY("request_key", syscall(SYS_request_key, "user", "a", 0, -3));
	TRY("bpf", syscall(SYS_bpf, 0, buffer, 64));
	TRY("userfaultfd", syscall(SYS_userfaultfd, 1));
	TRY("pidfd_getfd", syscall(438, syscall(434, getpid(), 0), 0, 0));
	TRY("pidfd namespace", ioctl((int)syscall(434, getpid(), 0), 0xff03UL, 0));
	TRY("prlimit of init", syscall(SYS_prlimit64, 1, 7, 0, buffer));
	TRY("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
	TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, -100, buffer, 0));
	TRY("io_uring_setup", syscall(425, 1, buffer));
	TRY("open_tree", syscall(428, -100, "/", 0));
	TRY("move_mount", syscall(429, -100, "/", -100, "/tmp", 0));
	TRY("fsopen", syscall(430, "tmpfs", 0));
	TRY("clone3", syscall(435, buffer, 64));
	TRY("mount_setattr", syscall(442, -100, "/", 0, buffer, 32));
	TRY("mount", syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0));
	TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
	TRY("clone user", syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0));
	TRY("unshare user", unshare(CLONE_NEWUSER));
	TRY("unshare net", unshare(CLONE_NEWNET));
	TRY("setns", setns(0, 0));
	TRY("chroot", chroot("/"));
	TRY("vsock", socket(40, SOCK_STREAM, 0));
	TRY("unknown", syscall(1000));
	TRY("i386", legacy());
	TRY("works: unshare files", unshare(CLONE_FILES));
	TRY("works: loopback", loopback());
}

/* A line of /proc/self/status. */
static void status(const char *name)
{
	char line[256];
	FILE *file = fopen("/proc/self/status", "r");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			printf(", \"%s\": \"%s\"", name, strtok(line + strlen(name) + 1, " \t\n"));
	if (file)
		fclose(file);
}

static void world(void)
{
	static const char *names[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
		"NoNewPrivs", "Seccomp", "SigBlk", "SigIgn" };
	struct rlimit core;
	getrlimit(RLIMIT_CORE, &core);
	printf("{\"pid\": %d, \"uid\": %d, \"gid\": %d, \"groups\": %d, \"core\": %ld", getpid(),
		getuid(), getgid(), getgroups(0, NULL), (long)core.rlim_cur);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		status(names[i]);
	printf(", \"fds\": [");
	int comma = 0;
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%s%d", comma++ ? ", " : "", fd);
	printf("], \"interfaces\": [");
	struct if_nameindex *list = if_nameindex();
	for (int i = 0; list && list[i].if_index; i++)
		printf("%s\"%s\"", i ? ", " : "", list[i].if_name);
	printf("], \"calls\": {");
	calls();
	printf("\n}}\n");
}

/* Types `text` into the terminal of standard input, of /dev/tty and of itself reopened. */
static long type(const char *text)
{
	long pushed = 0;
	int fds[] = { 0, open("/dev/tty", O_RDWR), open("/proc/self/fd/0", O_RDWR | O_NOCTTY) };
	for (int i = 0; i < 3; i++)
		for (const char *byte = text; *byte; byte++)
			for (unsigned long high = 0; high < 2; high++)
				pushed += !syscall(SYS_ioctl, fds[i], 0x5412UL | high << 32, byte);
	return pushed;
}

static long dial(const char *abstract, const char *port)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (port) {
		tcp.sin_port = htons((unsigned short)atoi(port));
		return connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&tcp, sizeof tcp);
	}
	strncpy(at.sun_path + 1, abstract, sizeof at.sun_path - 2);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract));
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, len);
}

/* Connects to the socket `path`. */
static long dial_path(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	strncpy(at.sun_path, path, sizeof at.sun_path - 1);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at);
}

/* Writes to the FIFO `path`. */
static long feed(const char *path)
{
	int fd = open(path, O_WRONLY | O_NONBLOCK);
	return fd < 0 ? -1 : write(fd, "x", 1);
}

/* Leaves `count` grandchildren that never end. */
static long orphans(int count)
{
	while (count--) {
		pid_t child = fork();
		if (child < 0)
			return -1;
		if (child == 0) {
			if (fork() == 0)
				for (;;)
					pause();
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}

/* The number of times that `path`, a program that may be running, could be opened for writing. */
static long reopen(const char *path, int tries)
{
	long opened = 0;
	while (tries--) {
		char again[64];
		int fd = open(path, O_PATH);
		snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
		int writable = fd < 0 ? -1 : open(again, O_WRONLY);
		/* ETXTBSY: it is running. A process that waits for its end could write then. */
		opened += writable >= 0 || (fd >= 0 && errno == ETXTBSY);
		close(writable);
		close(fd);
	}
	return opened;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
	char name[65] = "";
	if (gethostname(name, sizeof name) || strcmp(name, "joblet")) {
		fputs("probe: this is not a job\n", stderr);
		return 2;
	}
	if (!*verb) {
		world();
		return 0;
	}
	errno = 0;
	long result = -1;
	if (!strcmp(verb, "type"))
		result = type("typed\n");
	else if (!strcmp(verb, "write"))
		result = open(what, O_WRONLY);
	else if (!strcmp(verb, "read"))
		result = open(what, O_RDONLY);
	else if (!strcmp(verb, "reopen"))
		result = reopen(what, 1000);
	else if (!strcmp(verb, "traced")) {
		/* The tracer must continue its tracee. */
		signal(SIGUSR1, SIG_IGN);
		result = ptrace(PTRACE_TRACEME, 0, 0, 0) ? -1 : raise(SIGUSR1);
	} else if (!strcmp(verb, "ptrace"))
		result = ptrace(PTRACE_SEIZE, atoi(what), 0, 0);
	else if (!strcmp(verb, "abstract"))
		result = dial(what, NULL);
	else if (!strcmp(verb, "socket"))
		result = dial_path(what);
	else if (!strcmp(verb, "fifo"))
		result = feed(what);
	else if (!strcmp(verb, "chmod"))
		result = chmod(what, 0640);
	else if (!strcmp(verb, "chown"))
		result = chown(what, getuid(), getgid());
	else if (!strcmp(verb, "utimes"))
		result = utimensat(AT_FDCWD, what, NULL, 0);
	else if (!strcmp(verb, "rename"))
		result = rename(what, argc > 3 ? argv[3] : "");
	else if (!strcmp(verb, "tcp"))
		result = dial(NULL, what);
	else if (!strcmp(verb, "orphans"))
		result = orphans(atoi(what));
	else if (!strcmp(verb, "userns"))
		result = unshare(CLONE_NEWUSER);
	printf("{\"result\": %ld, \"errno\": %d}\n", result < 0 ? -1 : result, result < 0 ? errno : 0);
	return result < 0;
}
