#include "engine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct fuaio_engine_ops *const fuaio_engines[FUAIO_ENGINES] = {
	[FUAIO_LINUX_AIO] = &fuaio_engine_linux_aio,
	[FUAIO_IO_URING] = &fuaio_engine_io_uring,
	[FUAIO_THREADS] = &fuaio_engine_threads,
};

_Noreturn void fuaio_refuse_flags(const char *file, int line, int flags, const char *needs)
{
	const char *name = strrchr(file, '/');

	fprintf(stderr,
		"fuaio: %s:%d: write flags 0x%x reached a build without %s; "
		"dropping them would report a write durable that is not\n",
		name ? name + 1 : file, line, (unsigned)flags, needs);
	abort();
}

static int64_t submit_one(const struct fuaio_engine_ops *ops, const struct fuaio_slot *slot)
{
	struct fuaio_completion answer;
	void *engine;
	int rc = ops->open(&engine, 1, false);

	if (rc < 0)
		return rc;
	rc = ops->try_waiting ? ops->try_waiting(engine) : 0;
	if (rc < 0) {
		ops->close(engine, false);
		return rc;
	}
	ops->prepare(engine, slot);
	do
		rc = ops->submit(engine, 0, 0);
	while (rc == -EINTR);
	if (ops->unsubmitted(engine)) {
		ops->withdraw(engine);
		ops->close(engine, false);
		return rc < 0 ? rc : -EAGAIN;
	}
	do
		rc = ops->reap(engine, &answer, 1, 1000, 1);
	while (!rc || rc == -EINTR || rc == -ETIME);
	if (rc < 0)
		return rc; /* in flight for ever: the engine stays open */
	ops->close(engine, false);
	return answer.result;
}

int fuaio_engine_ask(const struct fuaio_engine_ops *ops, int flags)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	/* The number, not memfd_create(): glibc has that since 2.27 only. */
	long fd = syscall(SYS_memfd_create, "fuaio", 1U /* MFD_CLOEXEC */);
	struct fuaio_slot slot = { .iov = &iov, .iovcnt = 1, .op = FUAIO_WRITE, .flags = flags, .length = 1 };
	int64_t rc;

	if (fd < 0)
		return -ENODATA;
	slot.fd = (int)fd;
	rc = ops->run ? ops->run(&slot) : submit_one(ops, &slot);
	close(slot.fd);
	return rc < 0 ? (int)rc : 0;
}

bool fuaio_engine_takes_dsync(const struct fuaio_engine_ops *ops)
{
	enum { NOT_ASKED, NO, YES };
	static atomic_int known[FUAIO_ENGINES];
	atomic_int *answer = &known[ops->number];

	if (atomic_load(answer) == NOT_ASKED) {
		int rc = fuaio_engine_ask(ops, FUAIO_RWF_DSYNC);

		bool refused = rc == -EOPNOTSUPP || rc == -EINVAL || rc == -ENOSYS || rc == -EPERM || rc == -EACCES;

		if (rc && !refused)
			return true;
		atomic_store(answer, rc ? NO : YES);
	}
	return atomic_load(answer) == YES;
}
