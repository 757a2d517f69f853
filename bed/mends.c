/* Mends of a guest's kernel, loaded before it.
 *
 * Registers. It gives a process its registers back as Linux's PTRACE_SETREGSET wants
 * them, all at once, but has room for 2,696 bytes: those up to AVX-512 and the
 * protection keys. Where a processor has AMX they are 11,008, and Linux refuses less
 * with EFAULT. What the kernel does not know of comes last and no process of a guest
 * asks for it, so it is added as it is at the beginning: nothing.
 *
 * Time. It has one timer, which it sets to ring once, for whatever comes next. A ring
 * that comes while it still deals with the one before is dropped (unblock_signals in
 * arch/um/os-Linux/signal.c, Linux 6.1), and for this guest time stands still: it spins,
 * and wakes nobody any more. So the timer rings again until it is set anew; to look at
 * what is due once too often is no harm.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <time.h>

#define AGAIN_NS 10000000

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

int timer_settime(timer_t timer, int flags, const struct itimerspec *set,
		  struct itimerspec *before)
{
	static int (*original)(timer_t, int, const struct itimerspec *, struct itimerspec *);
	struct itimerspec often = *set;

	if (!original)
		original = dlsym(RTLD_NEXT, "timer_settime");
	if (!often.it_interval.tv_sec && !often.it_interval.tv_nsec)
		often.it_interval.tv_nsec = AGAIN_NS;
	return original(timer, flags, &often, before);
}
