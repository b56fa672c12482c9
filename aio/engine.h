/* What queue.c asks of an engine: a small table of functions, one table per engine. */
#ifndef FUAIO_ENGINE_H
#define FUAIO_ENGINE_H

#include <stdbool.h>

#include "config.h"
#include "syscalls.h"

enum fuaio_op { FUAIO_READ, FUAIO_WRITE, FUAIO_FLUSH_DATA, FUAIO_FLUSH_ALL };

/* The place of one request in flight. The kernel may read `iov` and what it
 * points to until the completion with this slot's index is reaped. */
struct fuaio_slot {
	struct fuaio_request *request; /* NULL: the queue's own flush */
	struct iovec *iov;
	bool told; /* of errors of the page cache */
	unsigned iovcnt, iov_room;
	unsigned index;
	int fd, flags;
	enum fuaio_op op;
	int64_t offset;
	size_t length;
};

enum fuaio_engine_number { FUAIO_LINUX_AIO, FUAIO_IO_URING, FUAIO_THREADS, FUAIO_ENGINES };

struct fuaio_engine_ops {
	const char *name;
	enum fuaio_engine_number number;
	bool built;
	/* One call hands over and waits: queue.c then needs no second one for a lone request. */
	bool submit_waits;
	/* Was the writev2 helper there when this was compiled? */
	bool (*has_fua)(void);
	/* With one_thread only the thread that opens it will call it. */
	int (*open)(void **engine, unsigned slots, bool one_thread);
	/* Pin this memory, so that requests in it spare that; before the first request. NULL: the
	 * engine has no such thing. Refused, requests go as without. */
	int (*keep_pinned)(void *engine, void *memory, size_t length);
	/* From now on add to the eventfd for each completion. */
	int (*notify)(void *engine, int event_fd);
	/* Line one request up for the next submit. Cannot fail: as many fit as there are slots. */
	void (*prepare)(void *engine, const struct fuaio_slot *slot);
	/* Hand over what is prepared. The kernel may take fewer; an error belongs to the first
	 * that was not taken. With wait_ms also wait for wait_for completions, if submit_waits. */
	int (*submit)(void *engine, unsigned wait_ms, unsigned wait_for);
	/* How many prepared requests the kernel has not taken: its own word, not an arithmetic on returns. */
	unsigned (*unsubmitted)(void *engine);
	/* Take back every prepared request that the kernel has not taken. Nobody may be inside submit. */
	void (*withdraw)(void *engine);
	/* Fetch completions; with wait_ms wait at most that long (milliseconds) for wait_for of them. */
	int (*reap)(void *engine, struct fuaio_completion *out, unsigned most, unsigned wait_ms,
		    unsigned wait_for);
	/* Call what waits for completions, with nothing in flight. NULL: each reap calls it. Most are read from
	 * memory instead, so that a policy that refuses the call would show late, when one is waited for. */
	int (*try_waiting)(void *engine);
	/* Only in the engine that has no submit: perform the request now, in this thread. */
	int64_t (*run)(const struct fuaio_slot *slot);
	/* Nothing may be in flight. In a forked child only descriptors are closed: the
	 * mappings are the parent's, and what is now at their addresses is not ours. */
	void (*close)(void *engine, bool in_child);
};

extern const struct fuaio_engine_ops *const fuaio_engines[FUAIO_ENGINES];
extern const struct fuaio_engine_ops fuaio_engine_linux_aio, fuaio_engine_io_uring, fuaio_engine_threads,
	fuaio_engine_pool; /* the threads engine again, for callers that must not block */

bool laio_has_fua(void);
bool luring_has_fua(void);

/* Does the kernel take RWF_DSYNC through this engine? Asked once in a process. Where it could
 * not be asked, true: a write that it then refuses is written again, and flushed. */
bool fuaio_engine_takes_dsync(const struct fuaio_engine_ops *ops);

/* The kernel's answer to a one-byte write with `flags` through this engine, on a
 * memfd so that no trace is left: 0, or -errno; -ENODATA: there is no memfd to ask with. */
int fuaio_engine_ask(const struct fuaio_engine_ops *ops, int flags);

/* Alive in every build type, where assert() vanishes from a release. A flag that
 * cannot be passed on must never be dropped: the write would not be durable. */
#define FUAIO_REFUSE_FLAGS(flags, needs)                                                           \
	do {                                                                                       \
		if (flags)                                                                         \
			fuaio_refuse_flags(__FILE__, __LINE__, flags, needs);                      \
	} while (0)

_Noreturn void fuaio_refuse_flags(const char *file, int line, int flags, const char *needs);

#endif
