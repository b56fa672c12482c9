#include "syscalls.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

#if HAVE_LIBAIO
#include <libaio.h>

static int sys_io_setup(unsigned requests, void **ctx)
{
	io_context_t made = NULL;
	int rc = io_setup((int)requests, &made);

	*ctx = made;
	return rc;
}

static int sys_io_destroy(void *ctx)
{
	return io_destroy(ctx);
}

static int sys_io_submit(void *ctx, long count, void **iocbs)
{
	return io_submit(ctx, count, (struct iocb **)iocbs);
}

/* What a context points to: the kernel's ring of completions, mapped by io_setup (fs/aio.c). */
struct aio_ring {
	unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
	struct io_event events[];
};

static bool can_read(const struct aio_ring *ring)
{
	return ring->magic == 0xa10a10a1 && !ring->incompat_features && ring->header_length == sizeof(*ring);
}

/* What is done already, without a call. One thread at a time: the queue has one that reaps. */
static int read_ring(struct aio_ring *ring, long most, struct io_event *out)
{
	unsigned head = ring->head;
	/* Acquire: the events up to the tail were written before it. */
	unsigned tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	int count = 0;

	for (; head != tail && count < most; head = (head + 1) % ring->nr)
		out[count++] = ring->events[head];
	/* Release: the kernel may reuse a place only after we have read it. */
	__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	return count;
}

static int sys_io_getevents(void *ctx, long least, long most, void *events, struct timespec *timeout)
{
	struct io_event *out = events;
	int count = can_read(ctx) ? read_ring(ctx, most, out) : 0;
	int more;

	if (count && count >= least)
		return count;
	more = io_getevents(ctx, least - count, most - count, out + count, timeout);
	return count && more < 0 ? count : count + more;
}
#endif

#if HAVE_LIBURING
#include <liburing.h>

static int sys_io_uring_setup(unsigned entries, void *params)
{
	long rc = syscall(__NR_io_uring_setup, entries, params);

	return rc < 0 ? -errno : (int)rc;
}

static int sys_io_uring_enter(int ring_fd, unsigned to_submit, unsigned min_complete, unsigned flags,
			      void *arg, size_t arg_size)
{
	long rc = syscall(__NR_io_uring_enter, ring_fd, to_submit, min_complete, flags, arg, arg_size);

	return rc < 0 ? -errno : (int)rc;
}

static int sys_io_uring_register(int ring_fd, unsigned op, void *arg, unsigned count)
{
	long rc = syscall(__NR_io_uring_register, ring_fd, op, arg, count);

	return rc < 0 ? -errno : (int)rc;
}

static unsigned sys_io_uring_completions(int ring_fd, void *ring, struct fuaio_completion *out,
					 unsigned most)
{
	struct io_uring_cq *cq = &((struct io_uring *)ring)->cq;
	unsigned head = *cq->khead;
	/* Acquire: the entries up to the tail were written before it. */
	unsigned tail = io_uring_smp_load_acquire(cq->ktail);
	unsigned count = 0;

	(void)ring_fd;
	for (; head != tail && count < most; head++, count++) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & *cq->kring_mask];

		out[count] = (struct fuaio_completion){ cqe->user_data, cqe->res };
	}
	/* Release: the kernel may reuse an entry only after we have read it. */
	io_uring_smp_store_release(cq->khead, head);
	return count;
}
#endif

static int64_t sys_preadv(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset)
{
	ssize_t rc = preadv(fd, iov, (int)iovcnt, offset);

	return rc < 0 ? -errno : rc;
}

/* The system call itself: musl has no pwritev2, and glibc emulates it where the
 * kernel lacks it. Without flags it is pwritev, which every kernel has. */
static int64_t sys_pwritev2(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset, int flags)
{
	long rc = flags ? syscall(SYS_pwritev2, fd, iov, (long)iovcnt, offset, 0L, flags)
			: pwritev(fd, iov, (int)iovcnt, offset);

	return rc < 0 ? -errno : rc;
}

static int sys_fdatasync(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int sys_fsync(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

static int64_t sys_monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

struct fuaio_syscalls fuaio_syscalls = {
#if HAVE_LIBAIO
	.io_setup = sys_io_setup,
	.io_destroy = sys_io_destroy,
	.io_submit = sys_io_submit,
	.io_getevents = sys_io_getevents,
#endif
#if HAVE_LIBURING
	.io_uring_setup = sys_io_uring_setup,
	.io_uring_enter = sys_io_uring_enter,
	.io_uring_register = sys_io_uring_register,
	.io_uring_completions = sys_io_uring_completions,
#endif
	.preadv = sys_preadv,
	.pwritev2 = sys_pwritev2,
	.fdatasync = sys_fdatasync,
	.fsync = sys_fsync,
	.monotonic_ns = sys_monotonic_ns,
};
