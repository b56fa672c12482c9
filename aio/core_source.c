/* What cffi compiles against: nothing but our own headers. */
#include <sys/uio.h>

#include "file.h"
#include "queue.h"

/* For tests, which put their own functions into the table of system calls. */
static void *fuaio_syscalls_table(void)
{
	return &fuaio_syscalls;
}
