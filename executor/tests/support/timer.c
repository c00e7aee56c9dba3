/* Executes a program that inherits a timer or a limit: timer KIND MILLISECONDS COMMAND...
   KIND is a number of setitimer(2), or 9 for RLIMIT_CPU (its soft limit, one second). */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 4)
		return 99;
	int kind = atoi(argv[1]);
	struct itimerval timer = { .it_value = { .tv_usec = 1000 * atoi(argv[2]) } };
	struct rlimit limit = { .rlim_cur = 1, .rlim_max = 10 };
	if (kind == 9 ? setrlimit(RLIMIT_CPU, &limit) : setitimer(kind, &timer, NULL))
		return 98;
	execv(argv[3], argv + 3);
	return 97;
}
