/* One queue per open file: the durability rules, the same for every engine.
 *
 * Every function answers a count or -errno. A request is made, run by the thread
 * that wants its outcome, and freed when it is done. Several threads may run
 * requests of one queue at once. After a fork the child gets -ECHILD. */
#ifndef FUAIO_QUEUE_H
#define FUAIO_QUEUE_H

#include "engine.h"

struct fuaio_queue;
struct fuaio_request;

struct fuaio_queue_options {
	const struct fuaio_engine_ops *ops;
	int fd;
	unsigned depth;        /* most reads and writes in flight, at least 1 */
	unsigned memory_align; /* bytes; what an O_DIRECT buffer's address must be a multiple of, else 1 */
	unsigned offset_align; /* bytes; likewise for offset and length */
	bool page_cache;       /* writes may go through the page cache, which tells an error once */
	bool writes_told;      /* it tells plain writes too: then one write at a time */
	bool flag_costs_flush; /* here RWF_DSYNC is dearer than a write and a flush of ours */
};

/* -ENOPKG: the engine was not built in; otherwise what the kernel said to its set-up. */
int fuaio_queue_open(struct fuaio_queue **queue, const struct fuaio_queue_options *options);

/* RWF_DSYNC where the engine passes it on, the kernel takes it and this file is better served by it, else 0. */
int fuaio_queue_write_flags(struct fuaio_queue *queue);

/* Refuse new requests, wait until nothing is in flight and nobody is inside, and close the
 * engine and the descriptor: 0 then, 1 where that was done before. -EINTR after at most wait_ms
 * (0: at once) or a tenth of a second: not closed, call again. */
int fuaio_queue_close(struct fuaio_queue *queue, unsigned wait_ms);

/* In a forked child, instead: closes descriptors, touches nothing else. */
void fuaio_queue_close_in_child(struct fuaio_queue *queue);

/* The memory, when nobody holds the pointer any more; nothing in a child. One that was not closed
 * loses its engine, and keeps its descriptor for the caller to close. */
void fuaio_queue_free(struct fuaio_queue *queue);

/* Requests that the kernel has and has not answered; the queue's flush counts as one. */
unsigned fuaio_queue_in_flight(struct fuaio_queue *queue);

/* Requests that wait for a flush: writes that are completed but not durable, and flushes asked for. */
unsigned fuaio_queue_promised(struct fuaio_queue *queue);

/* A request for `iovcnt` buffers, the array copied, the memory not. NULL: no memory, or
 * (-EINVAL in *error) an address, a length or the offset is not aligned. */
struct fuaio_request *fuaio_request_new(struct fuaio_queue *queue, enum fuaio_op op, bool fua,
					int64_t offset, const struct iovec *iov, unsigned iovcnt,
					int *error);

/* Submit on the first call, and wait: bytes (0 for a flush), or -errno. -EINTR after at most
 * a tenth of a second: not done, call again. A write with fua is durable when its bytes come back. */
int64_t fuaio_request_run(struct fuaio_request *request);

/* The caller will not wait any more. True: the kernel does not have it, free it now.
 * False: its memory stays taken until fuaio_request_is_done. */
bool fuaio_request_abandon(struct fuaio_request *request);
bool fuaio_request_is_done(struct fuaio_request *request);

/* Of a request that is done: bytes written before it failed; and whether it failed
 * because a flush did, now or earlier on this file. */
size_t fuaio_request_bytes(const struct fuaio_request *request);
bool fuaio_request_lost_durability(const struct fuaio_request *request);

/* Only once done. */
void fuaio_request_free(struct fuaio_request *request);

#endif
