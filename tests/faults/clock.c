#include "clock.h"

#include "faults.h"
#include "syscalls.h"

static _Atomic int64_t now_ns, write_ns, fua_ns, flush_ns;

void faults_clock_set(int64_t write, int64_t fua, int64_t flush)
{
	now_ns = 0;
	write_ns = write;
	fua_ns = fua;
	flush_ns = flush;
}

void faults_clock_add(int kind, int flags)
{
	if (kind == FAULTS_WRITE)
		now_ns += flags & FUAIO_RWF_DSYNC ? fua_ns : write_ns;
	else if (kind == FAULTS_FLUSH)
		now_ns += flush_ns;
}

int64_t faults_clock_now(void)
{
	return now_ns;
}
