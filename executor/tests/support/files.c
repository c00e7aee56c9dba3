/* A job that attacks its standard files and its group. Prints on standard error, one line for each
   call, its name and the error number. It does nothing outside of a job. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TRY(name, call) (errno = 0, result = (long)(call), dprintf(report, "%s %d\n", name, result < 0 ? errno : 0))

static int report = 2;
static long result;

/* Every call that could give a file the bits of `mode`. */
static void set_id(const char *dir, unsigned mode)
{
	if (chdir(dir))
		_exit(3);
	int file = open("plain", O_RDWR | O_CREAT, 0644);
	unsigned long how[3] = { O_CREAT | O_RDWR, mode, 0 };
	TRY("fchmod-1", fchmod(1, mode));
	TRY("fchmod", fchmod(file, mode));
	TRY("fchmodat", syscall(SYS_fchmodat, AT_FDCWD, "plain", mode));
	TRY("fchmodat-fd", syscall(SYS_fchmodat, AT_FDCWD, "/proc/self/fd/1", mode));
	TRY("fchmodat2", syscall(452, AT_FDCWD, "plain", mode, 0));
	TRY("fchmodat2-empty", syscall(452, file, "", mode, AT_EMPTY_PATH));
	TRY("openat", syscall(SYS_openat, AT_FDCWD, "a", O_CREAT | O_WRONLY, mode));
	TRY("openat-tmpfile", syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, mode));
	TRY("mkdirat", syscall(SYS_mkdirat, AT_FDCWD, "b", mode));
	TRY("mknodat", syscall(SYS_mknodat, AT_FDCWD, "c", S_IFREG | mode, 0));
	TRY("mknodat-fifo", syscall(SYS_mknodat, AT_FDCWD, "d", S_IFIFO | mode, 0));
#ifdef SYS_chmod
	TRY("chmod", syscall(SYS_chmod, "plain", mode));
	TRY("chmod-fd", syscall(SYS_chmod, "/proc/self/fd/1", mode));
	TRY("open", syscall(SYS_open, "e", O_CREAT | O_WRONLY, mode));
	TRY("open-tmpfile", syscall(SYS_open, ".", O_TMPFILE | O_RDWR, mode));
	TRY("creat", syscall(SYS_creat, "f", mode));
	TRY("mkdir", syscall(SYS_mkdir, "g", mode));
	TRY("mknod", syscall(SYS_mknod, "h", S_IFREG | mode, 0));
#endif
	TRY("openat2", syscall(SYS_openat2, AT_FDCWD, "i", how, sizeof how));
	/* File capabilities: CAP_CHOWN, permitted and effective. */
	unsigned capability[6] = { 0x03000001, 1, 0, 0, 0, 0 };
	TRY("capability", fsetxattr(file, "security.capability", capability, 24, 0));
	TRY("works: fchmod", fchmod(file, 01755));
}

/* Forbidden calls for the file open as `fd`; `path` is a similar file. */
static void change(int fd, const char *path)
{
	int flags = 0x10; /* FS_IMMUTABLE_FL */
	TRY("open", open(path, O_WRONLY));
	TRY("open-rw", open(path, O_RDWR));
	TRY("open-truncate", open(path, O_WRONLY | O_TRUNC));
	TRY("open-append", open(path, O_WRONLY | O_APPEND));
	TRY("truncate", truncate(path, 0));
	TRY("ftruncate", ftruncate(fd, 1));
	TRY("fallocate", fallocate(fd, 0, 0, 100000));
	TRY("pwrite", pwrite(fd, "XXXX", 4, 0));
	TRY("chmod", chmod(path, 0));
	TRY("fchmod-666", fchmod(fd, 0666));
	TRY("fchmod-0", fchmod(fd, 0));
	TRY("chown", chown(path, getuid(), getgid()));
	TRY("fchown", fchown(fd, getuid(), getgid()));
	TRY("futimens", futimens(fd, NULL));
	TRY("fsetxattr", fsetxattr(fd, "user.x", "y", 1, 0));
	TRY("flags", ioctl(fd, 0x40086602UL /* FS_IOC_SETFLAGS */, &flags));
	TRY("mmap", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	TRY("linkat", linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/link", AT_SYMLINK_FOLLOW));
	TRY("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
	TRY("lease-write", fcntl(fd, F_SETLEASE, F_WRLCK));
	TRY("notify", fcntl(fd, F_NOTIFY, DN_MODIFY | DN_MULTISHOT));
	TRY("above", open("/proc/self/fd/0/..", O_RDONLY));
	TRY("execveat", syscall(SYS_execveat, fd, "", (char *[]){ "x", NULL }, NULL, AT_EMPTY_PATH));
	/* Permitted calls, for an open file description of its own. */
	TRY("works: append", fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND | O_ASYNC));
	TRY("works: lock", flock(fd, LOCK_EX | LOCK_NB));
}

static void group(void)
{
	signal(SIGTERM, SIG_IGN);
	TRY("nice-group", setpriority(PRIO_PGRP, 0, 19));
	TRY("nice-user", setpriority(PRIO_USER, 0, 19));
	TRY("io-group", syscall(SYS_ioprio_set, 2 /* IOPRIO_WHO_PGRP */, 0, 3 << 13));
	TRY("io-user", syscall(SYS_ioprio_set, 3 /* IOPRIO_WHO_USER */, 0, 3 << 13));
	TRY("death-0", prctl(PR_SET_PDEATHSIG, 0));
	TRY("death-15", prctl(PR_SET_PDEATHSIG, SIGTERM));
	TRY("death-9", prctl(PR_SET_PDEATHSIG, SIGKILL));
	TRY("tty", open("/dev/tty", O_RDWR));
	TRY("parent", kill(getppid() ? getppid() : 1 << 22, 0));
	pid_t self = getpid(), child = fork();
	if (child == 0) {
		for (setsid();; usleep(20000))
			kill(self, SIGCONT);
	}
	usleep(100000); /* until the child is out of the group */
	TRY("stop-group", kill(0, SIGSTOP));
	TRY("stop-all", kill(-1, SIGSTOP));
	TRY("kill-all", kill(-1, SIGKILL));
	TRY("kill-group", kill(0, SIGKILL));
}

static void *execute(void *words)
{
	execv("/usr/bin/sleep", words);
	return NULL;
}

static void *stay(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
	char name[65] = "";
	pthread_t thread;
	if (gethostname(name, sizeof name) || strcmp(name, "joblet"))
		return 2;
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(verb, "unfollow"))
		prctl(PR_SET_PDEATHSIG, 0), prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!strcmp(verb, "unfollow") || !strcmp(verb, "fork-twice") || !strncmp(verb, "thread", 6))
		puts("ready");
	if (!strcmp(verb, "set-id"))
		set_id(what, (unsigned)strtoul(argc > 3 ? argv[3] : "", NULL, 8));
	else if (!strcmp(verb, "change"))
		change(atoi(what), argc > 3 ? argv[3] : "");
	else if (!strcmp(verb, "lease")) {
		int fd = open(what, O_RDONLY);
		TRY("lease", fcntl(fd, F_SETLEASE, F_RDLCK));
		TRY("notify", fcntl(fd, F_NOTIFY, DN_ACCESS));
		int dir = open("/usr/bin", O_RDONLY | O_DIRECTORY);
		TRY("notify-directory", fcntl(dir, F_NOTIFY, DN_ACCESS | DN_MULTISHOT));
	} else if (!strcmp(verb, "group"))
		group();
	else if (!strcmp(verb, "unfollow")) {
		execv("/usr/bin/sleep", (char *[]){ "sleep", (char *)what, NULL });
	} else if (!strcmp(verb, "thread-exec")) {
		pthread_create(&thread, NULL, execute, (char *[]){ "sleep", (char *)what, NULL });
		stay(NULL);
	} else if (!strcmp(verb, "thread-left")) {
		pthread_create(&thread, NULL, stay, NULL);
		syscall(SYS_exit, 0);
	} else if (!strcmp(verb, "fork-twice")) {
		if (fork() == 0 && fork() == 0 && setsid() > 0)
			execv("/usr/bin/sleep", (char *[]){ "sleep", (char *)what, NULL });
		stay(NULL);
	}
	return 0;
}
