/* The threads engine: a request is a plain system call in the thread that waits for it. */
#include <errno.h>

#include "engine.h"

/* pwritev2 is a system call and needs no header: whether the kernel takes the flag is asked at run time. */
static bool threads_has_fua(void)
{
	return true;
}

static int threads_open(void **engine, unsigned slots, bool one_thread)
{
	(void)slots;
	(void)one_thread;
	*engine = NULL;
	return 0;
}

static int64_t threads_run(const struct fuaio_slot *slot)
{
	switch (slot->op) {
	case FUAIO_READ:
		return fuaio_syscalls.preadv(slot->fd, slot->iov, slot->iovcnt, slot->offset);
	case FUAIO_WRITE:
		return fuaio_syscalls.pwritev2(slot->fd, slot->iov, slot->iovcnt, slot->offset, slot->flags);
	case FUAIO_FLUSH_DATA:
		return fuaio_syscalls.fdatasync(slot->fd);
	case FUAIO_FLUSH_ALL:
		return fuaio_syscalls.fsync(slot->fd);
	}
	return -EINVAL;
}

static void threads_close(void *engine, bool in_child)
{
	(void)engine;
	(void)in_child;
}

const struct fuaio_engine_ops fuaio_engine_threads = {
	.name = "threads",
	.number = FUAIO_THREADS,
	.built = true,
	.has_fua = threads_has_fua,
	.open = threads_open,
	.run = threads_run,
	.close = threads_close,
};
