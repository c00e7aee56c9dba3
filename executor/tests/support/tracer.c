/* Executes a command as a user and prints what each of its processes has open at the entry of execve(2)
   and execveat(2): tracer OUTPUT UID COMMAND... One line for each: whether /proc/PID/exe is a file
   without a name on the root of the process ("own") or what it is, then each descriptor. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct entry { /* struct ptrace_syscall_info of linux/ptrace.h, as far as it is needed */
	unsigned char op, pad[3];
	unsigned int arch;
	unsigned long long ip, sp, nr, args[6];
};

static void show(FILE *out, pid_t pid)
{
	char path[64], name[4096];
	struct stat exe, root;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	ssize_t len = readlink(path, name, sizeof name - 1);
	name[len < 0 ? 0 : len] = 0;
	int known = stat(path, &exe) == 0;
	snprintf(path, sizeof path, "/proc/%d/root", pid);
	known = known && stat(path, &root) == 0;
	if (known && exe.st_nlink == 0 && exe.st_dev == root.st_dev)
		strcpy(name, "own");
	fputs(name, out);
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
		len = readlink(path, name, sizeof name - 1);
		if (len < 0)
			continue;
		name[len] = 0;
		fprintf(out, "\t%d %s", fd, name);
	}
	fputc('\n', out);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 99;
	FILE *out = fopen(argv[1], "we");
	int uid = atoi(argv[2]), last = 98, status;
	pid_t first = fork();
	if (first == 0) {
		if (uid >= 0 && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(97);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(argv[3], argv + 3);
		_exit(96);
	}
	if (!out || waitpid(first, &status, 0) != first)
		return 95;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
		PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SETOPTIONS, first, 0, options) || ptrace(PTRACE_SYSCALL, first, 0, 0))
		return 94;
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == ECHILD)
			break;
		if (pid < 0)
			continue;
		if (!WIFSTOPPED(status)) {
			if (pid == first)
				last = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		int deliver = WSTOPSIG(status);
		if (deliver == (SIGTRAP | 0x80)) {
			struct entry entry;
			if (ptrace(0x420e /* PTRACE_GET_SYSCALL_INFO */, pid, sizeof entry, &entry) > 0 &&
			    entry.op == 1 && (entry.nr == SYS_execve || entry.nr == SYS_execveat))
				show(out, pid);
			deliver = 0;
		} else if (status >> 16 || deliver == SIGSTOP) {
			deliver = 0; /* an event, or the first stop of a process */
		}
		ptrace(PTRACE_SYSCALL, pid, 0, deliver);
	}
	return fclose(out) ? 93 : last;
}
