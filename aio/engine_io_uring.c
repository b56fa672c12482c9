/* io_uring: liburing gives the mapping and the prep helpers; the tail is published and
 * io_uring_enter called by us, so that every request passes the system call table. */
#include "engine.h"

#if !HAVE_LIBURING

bool luring_has_fua(void)
{
	return false;
}

const struct fuaio_engine_ops fuaio_engine_io_uring = {
	.name = "io_uring",
	.number = FUAIO_IO_URING,
	.has_fua = luring_has_fua,
};

#else

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Linux uapi/linux/io_uring.h, since 5.11; liburing 0.7 does not have them. */
#define ENTER_EXT_ARG (1U << 3)
#define FEAT_EXT_ARG (1U << 8)
/* Since 5.19 (the flag), 6.0 and 6.1. */
#define SETUP_TASKRUN_FLAG (1U << 9)
#define SETUP_SINGLE_ISSUER (1U << 12)
#define SETUP_DEFER_TASKRUN (1U << 13)
#define SQ_TASKRUN (1U << 2)
#define REGISTER_BUFFERS 0U
#define UNREGISTER_BUFFERS 1U
#define REGISTER_EVENTFD 4U

struct enter_timespec {
	int64_t seconds, nanoseconds;
};

struct enter_arg {
	uint64_t sigmask;
	uint32_t sigmask_size, pad;
	uint64_t timespec;
};

struct ring {
	struct io_uring uring;
	bool waits_have_timeout;
	bool defers; /* completions appear when we enter with GETEVENTS, and not before */
	uintptr_t pinned; /* where the registered memory begins */
	size_t pinned_length;
};

#if HAVE_IO_URING_PREP_WRITEV2

bool luring_has_fua(void)
{
	return true;
}

/* The only place of this engine that sets write flags. */
static void prep_write(struct io_uring_sqe *sqe, const struct fuaio_slot *slot)
{
	io_uring_prep_writev2(sqe, slot->fd, slot->iov, slot->iovcnt, 0, slot->flags);
}

#else

/* If the header has the helper after all, the build probe's answer is stale: this does not compile then. */
struct fuaio_stale_probe_rerun_meson_with_clearcache io_uring_prep_writev2(void);

bool luring_has_fua(void)
{
	return false;
}

static void prep_write(struct io_uring_sqe *sqe, const struct fuaio_slot *slot)
{
	FUAIO_REFUSE_FLAGS(slot->flags, "io_uring_prep_writev2 (liburing 2.2)");
	io_uring_prep_writev(sqe, slot->fd, slot->iov, slot->iovcnt, 0);
}

#endif

/* Takes over `fd`: it is closed where this fails. */
static int ring_map(struct ring *ring, int fd, struct io_uring_params *params, unsigned slots)
{
	/* All that can be in flight must fit the completion ring, or an answer could be lost. */
	int rc = params->cq_entries < slots ? -EOVERFLOW : io_uring_queue_mmap(fd, params, &ring->uring);

	if (rc < 0) {
		close(fd);
		return rc;
	}
	/* From some release on (2.9 is one) the mapping leaves the descriptor to its caller. */
	ring->uring.ring_fd = fd;
	/* Otherwise a child would share the rings and could move our heads and tails. */
	rc = io_uring_ring_dontfork(&ring->uring);
	if (rc < 0) {
		io_uring_queue_exit(&ring->uring);
		return rc;
	}
	for (unsigned i = 0; i < params->sq_entries; i++)
		ring->uring.sq.array[i] = i;
	ring->waits_have_timeout = params->features & FEAT_EXT_ARG;
	return 0;
}

/* With all flags that spare a ring of one thread interrupts and locks, or, on an old kernel, without. */
static int ring_setup(struct ring *ring, struct io_uring_params *params, unsigned slots, bool one_thread)
{
	int fd;

	if (one_thread) {
		params->flags = SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_TASKRUN_FLAG;
		fd = fuaio_syscalls.io_uring_setup(slots, params);
		ring->defers = fd >= 0;
		if (fd != -EINVAL)
			return fd;
		*params = (struct io_uring_params){ 0 };
	}
	return fuaio_syscalls.io_uring_setup(slots, params);
}

static int luring_open(void **engine, unsigned slots, bool one_thread)
{
	struct io_uring_params params = { 0 };
	struct ring *ring = calloc(1, sizeof(*ring));
	int fd, rc;

	if (!ring)
		return -ENOMEM;
	fd = ring_setup(ring, &params, slots, one_thread);
	rc = fd < 0 ? fd : ring_map(ring, fd, &params, slots);
	if (rc < 0) {
		free(ring);
		return rc;
	}
	*engine = ring;
	return 0;
}

static int luring_notify(void *engine, int event_fd)
{
	int fd = ((struct ring *)engine)->uring.ring_fd;

	return fuaio_syscalls.io_uring_register(fd, REGISTER_EVENTFD, &event_fd, 1);
}

/* Not the file too: that was no faster (measured, 6.18), and the ring, which the kernel takes apart
 * some time after it is closed, would keep the file open until then. */
static int luring_keep_pinned(void *engine, void *memory, size_t length)
{
	struct ring *ring = engine;
	struct iovec all = { memory, length };
	int rc = fuaio_syscalls.io_uring_register(ring->uring.ring_fd, REGISTER_BUFFERS, &all, 1);

	if (rc < 0)
		return rc;
	ring->pinned = (uintptr_t)memory;
	ring->pinned_length = length;
	return 0;
}

/* Does this read or write have one buffer, and that wholly in there? */
static bool is_pinned(const struct ring *ring, const struct fuaio_slot *slot)
{
	size_t length = ring->pinned_length;

	if (slot->iovcnt != 1 || slot->length > length)
		return false;
	return (uintptr_t)slot->iov->iov_base - ring->pinned <= length - slot->length;
}

/* The same request, with the flags that it was prepared with, of pinned memory. */
static void use_pinned(struct io_uring_sqe *sqe, const struct fuaio_slot *slot)
{
	sqe->opcode = slot->op == FUAIO_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
	sqe->addr = (uintptr_t)slot->iov->iov_base;
	sqe->len = (uint32_t)slot->length;
	sqe->buf_index = 0;
}

static void luring_prepare(void *engine, const struct fuaio_slot *slot)
{
	struct ring *ring = engine;
	struct io_uring_sq *sq = &ring->uring.sq;
	unsigned tail = *sq->ktail;
	struct io_uring_sqe *sqe = &sq->sqes[tail & *sq->kring_mask];
	bool is_transfer = slot->op == FUAIO_READ || slot->op == FUAIO_WRITE;

	/* From liburing 2.6 on the prep helpers leave rw_flags as they were. */
	memset(sqe, 0, sizeof(*sqe));
	switch (slot->op) {
	case FUAIO_READ:
		io_uring_prep_readv(sqe, slot->fd, slot->iov, slot->iovcnt, 0);
		break;
	case FUAIO_WRITE:
		prep_write(sqe, slot);
		break;
	case FUAIO_FLUSH_DATA:
		io_uring_prep_fsync(sqe, slot->fd, IORING_FSYNC_DATASYNC);
		break;
	case FUAIO_FLUSH_ALL:
		io_uring_prep_fsync(sqe, slot->fd, 0);
		break;
	}
	if (is_transfer && is_pinned(ring, slot))
		use_pinned(sqe, slot);
	/* Here, because the helpers changed the type of their offset between releases. */
	sqe->off = (uint64_t)slot->offset;
	sqe->user_data = slot->index;
	/* Release: the entry is whole before the kernel can see the new tail. */
	io_uring_smp_store_release(sq->ktail, tail + 1);
}

static unsigned luring_unsubmitted(void *engine)
{
	const struct io_uring_sq *sq = &((struct ring *)engine)->uring.sq;

	return io_uring_smp_load_acquire(sq->ktail) - io_uring_smp_load_acquire(sq->khead);
}

/* Without IORING_SETUP_SQPOLL the kernel reads entries in io_uring_enter only. */
static void luring_withdraw(void *engine)
{
	struct io_uring_sq *sq = &((struct ring *)engine)->uring.sq;

	io_uring_smp_store_release(sq->ktail, io_uring_smp_load_acquire(sq->khead));
}

static int ring_enter(const struct ring *ring, unsigned to_submit, unsigned wait_ms, unsigned wait_for)
{
	struct enter_timespec timeout = { wait_ms / 1000, wait_ms % 1000 * 1000000L };
	struct enter_arg arg = { .timespec = (uintptr_t)&timeout };
	int fd = ring->uring.ring_fd;

	if (!wait_ms)
		return fuaio_syscalls.io_uring_enter(fd, to_submit, 0, 0, NULL, 0);
	/* Without a timeout, for one only: another's answer must not wait for one that may never come. */
	if (!ring->waits_have_timeout)
		return fuaio_syscalls.io_uring_enter(fd, to_submit, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	return fuaio_syscalls.io_uring_enter(fd, to_submit, wait_for, IORING_ENTER_GETEVENTS | ENTER_EXT_ARG,
					     &arg, sizeof(arg));
}

/* After a failed or short enter the entries are still in the ring: enter again, never
 * prepare again, or the kernel would write twice. */
static int luring_submit(void *engine, unsigned wait_ms, unsigned wait_for)
{
	unsigned count = luring_unsubmitted(engine);

	return count ? ring_enter(engine, count, wait_ms, wait_for) : 0;
}

static bool has_deferred_work(const struct ring *ring)
{
	return ring->defers && (io_uring_smp_load_acquire(ring->uring.sq.kflags) & SQ_TASKRUN);
}

/* Without waiting. One call runs a part of the work that was deferred (since 6.13: 20 pieces), which
 * need not have completed anything; the eventfd says nothing of the rest, the flag does. */
static int run_deferred(struct ring *ring, struct fuaio_completion *out, unsigned most, unsigned *count)
{
	int fd = ring->uring.ring_fd, rc;

	do {
		rc = fuaio_syscalls.io_uring_enter(fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		*count = fuaio_syscalls.io_uring_completions(fd, &ring->uring, out, most);
	} while (!*count && rc >= 0 && has_deferred_work(ring));
	return rc;
}

static int luring_reap(void *engine, struct fuaio_completion *out, unsigned most, unsigned wait_ms,
		       unsigned wait_for)
{
	struct ring *ring = engine;
	int fd = ring->uring.ring_fd;
	unsigned count = fuaio_syscalls.io_uring_completions(fd, &ring->uring, out, most);
	int rc;

	if (count || (!wait_ms && !ring->defers))
		return (int)count;
	if (wait_ms) {
		rc = ring_enter(ring, 0, wait_ms, wait_for);
		count = fuaio_syscalls.io_uring_completions(fd, &ring->uring, out, most);
	} else {
		rc = run_deferred(ring, out, most, &count);
	}
	return !count && rc < 0 ? rc : (int)count;
}

static void luring_close(void *engine, bool in_child)
{
	struct ring *ring = engine;

	if (in_child) {
		close(ring->uring.ring_fd);
		return;
	}
	/* The kernel takes a ring apart some time after it is closed, and charges for the memory until then. */
	if (ring->pinned_length)
		fuaio_syscalls.io_uring_register(ring->uring.ring_fd, UNREGISTER_BUFFERS, NULL, 0);
	io_uring_queue_exit(&ring->uring);
	free(ring);
}

const struct fuaio_engine_ops fuaio_engine_io_uring = {
	.name = "io_uring",
	.number = FUAIO_IO_URING,
	.built = true,
	.submit_waits = true,
	.has_fua = luring_has_fua,
	.open = luring_open,
	.keep_pinned = luring_keep_pinned,
	.notify = luring_notify,
	.prepare = luring_prepare,
	.submit = luring_submit,
	.unsubmitted = luring_unsubmitted,
	.withdraw = luring_withdraw,
	.reap = luring_reap,
	.close = luring_close,
};

#endif
