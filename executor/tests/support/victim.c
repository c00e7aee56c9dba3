/* A program of the host that no job may execute. It is static, so that it also serves as an ELF interpreter. */
#ifdef __x86_64__
__asm__(".global _start\n_start: mov $1, %eax\n mov $1, %edi\n lea text(%rip), %rsi\n mov $7, %edx\n"
	"syscall\n mov $231, %eax\n xor %edi, %edi\n syscall\n text: .ascii \"VICTIM\\n\"");
#else
__asm__(".global _start\n_start: mov x8, 64\n mov x0, 1\n adr x1, text\n mov x2, 7\n svc 0\n"
	"mov x8, 94\n mov x0, 0\n svc 0\n text: .ascii \"VICTIM\\n\"");
#endif
