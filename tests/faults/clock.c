#include "syscalls.h"

#include "clock.h"
#include "faults.h"

static struct fuaio_syscalls *table;
static _Atomic int64_t now_ns, write_ns, fua_ns, flush_ns;

void faults_clock_install(struct fuaio_syscalls *syscalls)
{
	table = syscalls;
}

static int64_t now(void)
{
	return now_ns;
}

void faults_clock(int64_t write, int64_t fua, int64_t flush)
{
	now_ns = 0;
	write_ns = write;
	fua_ns = fua;
	flush_ns = flush;
	table->monotonic_ns = now;
}

void faults_clock_add(int kind, int flags)
{
	if (kind == FAULTS_WRITE)
		now_ns += flags & FUAIO_RWF_DSYNC ? fua_ns : write_ns;
	else if (kind == FAULTS_FLUSH)
		now_ns += flush_ns;
}
