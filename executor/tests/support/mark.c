/* Gives the control group of its first argument the mark of a job with the digits of the second. */
#include <string.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	/* Before Linux 5.7 groups have no attributes for users. */
	return argc != 3 || setxattr(argv[1], "user.joblet-exec.job", argv[2], strlen(argv[2]), 0) ? 1 : 0;
}
