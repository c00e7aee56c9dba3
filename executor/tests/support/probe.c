/* Tries what a job may not do. One line each: what, and the error number (0: it worked). */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRY(name, call) (errno = 0, printf("%s %d\n", name, (long)(call) < 0 ? errno : 0))

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

int main(void)
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
	TRY("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
	TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, -100, buffer, 0));
	TRY("io_uring_setup", syscall(425, 1, buffer));
	TRY("open_tree", syscall(428, -100, "/", 0));
	TRY("fsopen", syscall(430, "tmpfs", 0));
	TRY("clone3", syscall(435, buffer, 64));
	TRY("mount_setattr", syscall(442, -100, "/", 0, buffer, 32));
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
	return 0;
}
