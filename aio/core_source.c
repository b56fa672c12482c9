/* What cffi compiles against: nothing but our own headers. */
#include <sys/uio.h>

#include "file.h"
#include "process.h"
#include "queue.h"

/* cffi's destructor: what fuaio_queue_open has put there, if it came so far. */
static void fuaio_queue_free_held(struct fuaio_queue **queue)
{
	if (*queue)
		fuaio_queue_free(*queue);
}

/* For tests, which put their own functions into the table of system calls. */
static void *fuaio_syscalls_table(void)
{
	return &fuaio_syscalls;
}
