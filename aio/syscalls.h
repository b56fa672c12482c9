/* The only place that enters the kernel: a table of system calls, replaceable by tests. */
#ifndef FUAIO_SYSCALLS_H
#define FUAIO_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* Linux uapi/linux/fs.h. Ours, because sys/uio.h shows it to _GNU_SOURCE only, and old ones not at all. */
#define FUAIO_RWF_DSYNC 0x00000002

/* One answer of the kernel: `slot` is what the request was submitted with, `result` a count or -errno. */
struct fuaio_completion {
	uint64_t slot;
	int64_t result;
};

/* Every entry answers a count or -errno and leaves errno alone. Pointers to the
 * types of libaio and liburing are void: the table is the same in every build. */
struct fuaio_syscalls {
	int (*io_setup)(unsigned requests, void **ctx);
	int (*io_destroy)(void *ctx);
	int (*io_submit)(void *ctx, long count, void **iocbs);
	int (*io_getevents)(void *ctx, long least, long most, void *events, struct timespec *timeout);
	int (*io_uring_setup)(unsigned entries, void *params);
	int (*io_uring_enter)(int ring_fd, unsigned to_submit, unsigned min_complete, unsigned flags,
			      void *arg, size_t arg_size);
	int (*io_uring_register)(int ring_fd, unsigned op, void *arg, unsigned count);
	/* The completion ring is read from memory, without a call; it stands here so that a
	 * test can withhold a completion. `ring` is a struct io_uring. */
	unsigned (*io_uring_completions)(int ring_fd, void *ring, struct fuaio_completion *out,
					 unsigned most);
	int64_t (*preadv)(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset);
	int64_t (*pwritev2)(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset, int flags);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int64_t (*monotonic_ns)(void); /* CLOCK_MONOTONIC, for what is measured; no wait ends by it */
};

extern struct fuaio_syscalls fuaio_syscalls;

#endif
