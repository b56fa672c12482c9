/* Linux AIO: io_submit and io_getevents, with the inline helpers of libaio.h. */
#include "engine.h"

#if !HAVE_LIBAIO

bool laio_has_fua(void)
{
	return false;
}

const struct fuaio_engine_ops fuaio_engine_linux_aio = {
	.name = "linux_aio",
	.number = FUAIO_LINUX_AIO,
	.has_fua = laio_has_fua,
};

#else

#include <errno.h>
#include <libaio.h>
#include <stdlib.h>
#include <string.h>

struct linux_aio {
	void *ctx;
	struct iocb *iocbs; /* one for each slot */
	void **pending;     /* the first `count`: prepared and not yet taken */
	unsigned count;
	int event_fd;
};

#if HAVE_IO_PREP_PWRITEV2

bool laio_has_fua(void)
{
	return true;
}

/* The only place of this engine that sets write flags. */
static void prep_write(struct iocb *iocb, const struct fuaio_slot *slot)
{
	io_prep_pwritev2(iocb, slot->fd, slot->iov, (int)slot->iovcnt, slot->offset, slot->flags);
}

#else

/* If the header has the helper after all, the build probe's answer is stale: this does not compile then. */
struct fuaio_stale_probe_rerun_meson_with_clearcache io_prep_pwritev2(void);

bool laio_has_fua(void)
{
	return false;
}

static void prep_write(struct iocb *iocb, const struct fuaio_slot *slot)
{
	FUAIO_REFUSE_FLAGS(slot->flags, "io_prep_pwritev2 (libaio 0.3.111)");
	io_prep_pwritev(iocb, slot->fd, slot->iov, (int)slot->iovcnt, slot->offset);
}

#endif

static void laio_free(struct linux_aio *aio)
{
	free(aio->iocbs);
	free(aio->pending);
	free(aio);
}

static int laio_open(void **engine, unsigned slots, bool one_thread)
{
	struct linux_aio *aio = calloc(1, sizeof(*aio));
	int rc = -ENOMEM;

	(void)one_thread;
	if (!aio)
		return rc;
	aio->event_fd = -1;
	aio->iocbs = calloc(slots, sizeof(*aio->iocbs));
	aio->pending = calloc(slots, sizeof(*aio->pending));
	if (aio->iocbs && aio->pending)
		rc = fuaio_syscalls.io_setup(slots, &aio->ctx);
	if (rc < 0) {
		laio_free(aio);
		return rc;
	}
	*engine = aio;
	return 0;
}

static int laio_notify(void *engine, int event_fd)
{
	((struct linux_aio *)engine)->event_fd = event_fd;
	return 0;
}

static void laio_prepare(void *engine, const struct fuaio_slot *slot)
{
	struct linux_aio *aio = engine;
	struct iocb *iocb = &aio->iocbs[slot->index];

	switch (slot->op) {
	case FUAIO_READ:
		io_prep_preadv(iocb, slot->fd, slot->iov, (int)slot->iovcnt, slot->offset);
		break;
	case FUAIO_WRITE:
		prep_write(iocb, slot);
		break;
	case FUAIO_FLUSH_DATA:
		io_prep_fdsync(iocb, slot->fd);
		break;
	case FUAIO_FLUSH_ALL:
		io_prep_fsync(iocb, slot->fd);
		break;
	}
	if (aio->event_fd >= 0)
		io_set_eventfd(iocb, aio->event_fd);
	iocb->data = (void *)(uintptr_t)slot->index;
	aio->pending[aio->count++] = iocb;
}

static int laio_submit(void *engine, unsigned wait_ms, unsigned wait_for)
{
	struct linux_aio *aio = engine;
	int taken;

	(void)wait_ms;
	(void)wait_for;
	if (!aio->count)
		return 0;
	taken = fuaio_syscalls.io_submit(aio->ctx, (long)aio->count, aio->pending);
	if (taken > 0) {
		aio->count -= (unsigned)taken;
		memmove(aio->pending, aio->pending + taken, aio->count * sizeof(*aio->pending));
	}
	return taken;
}

static unsigned laio_unsubmitted(void *engine)
{
	return ((struct linux_aio *)engine)->count;
}

static void laio_withdraw(void *engine)
{
	((struct linux_aio *)engine)->count = 0;
}

static int laio_reap(void *engine, struct fuaio_completion *out, unsigned most, unsigned wait_ms,
		     unsigned wait_for)
{
	enum { BATCH = 64 };
	struct linux_aio *aio = engine;
	struct io_event events[BATCH];
	struct timespec timeout = { .tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L };
	int count = fuaio_syscalls.io_getevents(aio->ctx, wait_ms ? (long)wait_for : 0, most < BATCH ? most : BATCH,
						events, &timeout);

	for (int i = 0; i < count; i++)
		/* libaio declares res unsigned; the kernel's is a signed 64-bit. */
		out[i] = (struct fuaio_completion){ (uintptr_t)events[i].data, (int64_t)events[i].res };
	return count;
}

/* With none at all to wait, libaio would not ask the kernel. */
static int laio_try_waiting(void *engine)
{
	struct linux_aio *aio = engine;
	struct timespec timeout = { 0, 1 };
	struct io_event event;

	return fuaio_syscalls.io_getevents(aio->ctx, 0, 1, &event, &timeout);
}

static void laio_close(void *engine, bool in_child)
{
	struct linux_aio *aio = engine;

	if (in_child)
		return; /* a context has no descriptor, and does not exist in the child */
	fuaio_syscalls.io_destroy(aio->ctx);
	laio_free(aio);
}

const struct fuaio_engine_ops fuaio_engine_linux_aio = {
	.name = "linux_aio",
	.number = FUAIO_LINUX_AIO,
	.built = true,
	.has_fua = laio_has_fua,
	.open = laio_open,
	.notify = laio_notify,
	.prepare = laio_prepare,
	.submit = laio_submit,
	.unsubmitted = laio_unsubmitted,
	.withdraw = laio_withdraw,
	.reap = laio_reap,
	.try_waiting = laio_try_waiting,
	.close = laio_close,
};

#endif
