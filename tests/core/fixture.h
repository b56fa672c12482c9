/* A queue on a file of its own, for the C tests: faults are installed before. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "queue.h"

enum { SKIPPED = 77 };

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct fixture {
	struct fuaio_queue *queue;
	int fd;
};

static const struct fuaio_engine_ops *ops; /* set by begin */

static inline struct fixture set_up(bool page_cache, bool emulated, unsigned depth)
{
	char path[] = "fuaio-test-XXXXXX";
	struct fixture f = { .fd = mkstemp(path) };
	struct fuaio_queue_options options = {
		.ops = ops,
		.fd = f.fd,
		.depth = depth,
		.memory_align = 1,
		.offset_align = 1,
		.page_cache = page_cache,
		.two_requests = emulated,
	};
	int rc;

	CHECK(f.fd >= 0 && unlink(path) == 0);
	rc = fuaio_queue_open(&f.queue, &options);
	if (rc)
		fprintf(stderr, "%s: errno %d\n", ops->name, -rc);
	CHECK(rc == 0);
	return f;
}

static inline void tear_down(struct fixture f)
{
	CHECK(fuaio_queue_in_flight(f.queue) == 0);
	CHECK(fuaio_queue_promised(f.queue) == 0);
	while (fuaio_queue_close(f.queue, 100) == -EINTR)
		continue;
	CHECK(fuaio_queue_close(f.queue, 100) == 1);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

static inline void check_bytes(int fd, int64_t offset, const char *expected)
{
	char found[512];

	CHECK(pread(fd, found, strlen(expected), offset) == (ssize_t)strlen(expected));
	CHECK(!memcmp(found, expected, strlen(expected)));
}

/* The engine whose number is the program's argument, with faults; SKIPPED: it is not built in. */
static inline int begin(int argc, char **argv)
{
	unsigned number = argc > 1 ? (unsigned)atoi(argv[1]) : FUAIO_ENGINES;

	if (number >= FUAIO_ENGINES) {
		fprintf(stderr, "usage: %s ENGINE-NUMBER\n", argv[0]);
		return 2;
	}
	ops = fuaio_engines[number];
	if (!ops->built) {
		printf("skipped: %s is not built in\n", ops->name);
		return SKIPPED;
	}
	if (ops->has_fua())
		fuaio_engine_takes_dsync(ops); /* asked once in a process, before the faults count */
	faults_install(&fuaio_syscalls);
	return 0;
}

#endif
