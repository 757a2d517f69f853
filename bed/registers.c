/* Room for the registers of AMX, loaded before a guest's kernel.
 *
 * The kernel gives a process its registers back as Linux's PTRACE_SETREGSET wants
 * them, all at once, but has room for 2,696 bytes: those up to AVX-512 and the
 * protection keys. Where a processor has AMX they are 11,008, and Linux refuses less
 * with EFAULT. What the kernel does not know of comes last and no process of a guest
 * asks for it, so it is added as it is at the beginning: nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static char registers[1 << 16];
static size_t size;

long ptrace(enum __ptrace_request request, ...)
{
	static long (*original)(enum __ptrace_request, ...);
	va_list rest;
	va_start(rest, request);
	int pid = va_arg(rest, int);
	void *kind = va_arg(rest, void *), *data = va_arg(rest, void *);
	va_end(rest);

	if (!original)
		original = dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || kind != (void *)NT_X86_XSTATE)
		return original(request, pid, kind, data);

	struct iovec all = {registers, sizeof registers};
	if (!size) {
		if (original(PTRACE_GETREGSET, pid, kind, &all) < 0)
			return -1;
		size = all.iov_len;
		memset(registers, 0, size);
	}
	struct iovec *known = data;
	all.iov_len = size;
	memcpy(registers, known->iov_base, known->iov_len);
	return original(request, pid, kind, &all);
}
