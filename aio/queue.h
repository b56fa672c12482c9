/* One queue per open file: the durability rules, the same for every engine.
 *
 * Every function answers a count or -errno. A request is made, run by the thread
 * that wants its outcome, and freed when it is done. Several threads may run
 * requests of one queue at once. After a fork the child gets -ECHILD. */
#ifndef FUAIO_QUEUE_H
#define FUAIO_QUEUE_H

#include "auto.h"
#include "engine.h"

/* What makes the writes of a batch durable: nothing, RWF_DSYNC or else a flush, a flush for as
 * many as fit into the queue at once, whichever of these two is measured to be quicker. */
enum fuaio_durable { FUAIO_PLAIN, FUAIO_FUA, FUAIO_GROUPED, FUAIO_AUTO };

/* A buffer for each offset; or, with `block`, the first one cut into pieces of so many bytes.
 * `latencies`, where it is not NULL, is filled with the nanoseconds from when each request began
 * until it was done, and durable if that was asked for, or had failed. */
struct fuaio_pieces {
	uint64_t count;
	const int64_t *offsets;
	void *const *buffers;
	const size_t *lengths;
	size_t block;
	uint64_t *latencies;
};

/* Of one request of a batch; all zero where a write was done whole. */
struct fuaio_outcome {
	int error; /* -errno */
	bool lost_durability;
	size_t bytes; /* read; or written before it failed */
};

struct fuaio_batch;
struct fuaio_queue;
struct fuaio_request;

struct fuaio_queue_options {
	const struct fuaio_engine_ops *ops;
	int fd;
	unsigned depth;        /* most reads and writes in flight, at least 1 */
	unsigned memory_align; /* bytes; what an O_DIRECT buffer's address must be a multiple of, else 1; a power of two */
	unsigned offset_align; /* bytes; likewise for offset and length */
	bool page_cache;       /* writes may go through the page cache, which tells an error once */
	bool writes_told;      /* it tells plain writes too: then one write at a time */
	bool two_requests;     /* a durable write is a write and a flush here, also with FUA */
	bool one_thread;       /* only the thread that opens the queue will use it */
	bool has_event_fd;     /* then to this eventfd is added for each completion, and nothing runs in the
				* caller's thread but fdatasync where the kernel's engine has no flush (Linux
				* AIO before 4.18); the caller closes it after the queue */
	int event_fd;
	void *pool; /* memory for requests, NULL: none; the caller's, mapped as it is until the queue is closed */
	size_t pool_length;
};

/* -ENOPKG: the engine was not built in; otherwise what the kernel said to its set-up. */
int fuaio_queue_open(struct fuaio_queue **queue, const struct fuaio_queue_options *options);

/* RWF_DSYNC where the engine passes it on, the kernel takes it and this file is better served by it, else 0. */
int fuaio_queue_write_flags(struct fuaio_queue *queue);

/* Is the pool pinned for the queue's requests: 1, 0: there is none, or the engine has no such thing,
 * or what the kernel said to it, -errno: then requests go as without. */
int fuaio_queue_pool_pinned(const struct fuaio_queue *queue);

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

/* Both in one call, for a request of one buffer. It stays in *kept: to be asked, run further if it
 * is -EINTR, and used again once it is done, or freed. Where there is none nothing began: -EINVAL:
 * not aligned, -ENOMEM. */
int64_t fuaio_request_once(struct fuaio_queue *queue, enum fuaio_op op, bool fua, int64_t offset, void *memory,
			   size_t length, struct fuaio_request **kept);

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

/* ---- batches: `count` reads or writes of a buffer each, as many in flight at once as the queue has slots ---- */

/* The arrays stay the caller's: they must live as long as the batch, and their content not change.
 * -ENOMEM; -EINVAL where piece *wrong is not aligned, -ERANGE where its offset is negative. Nothing
 * was submitted, and *batch is as it was. */
int fuaio_batch_new(struct fuaio_batch **batch, struct fuaio_queue *queue, enum fuaio_op op,
		    enum fuaio_durable durable, const struct fuaio_pieces *pieces,
		    struct fuaio_outcome *outcomes, uint64_t *wrong);

/* Go on until every request is done: how many failed. -EINTR after a tenth of a second or so: call again. */
int64_t fuaio_batch_run(struct fuaio_batch *batch);

/* Begin no more of it. True: the kernel has none, free it now. False: memory, arrays and buffers
 * stay taken until fuaio_batch_is_done. */
bool fuaio_batch_abandon(struct fuaio_batch *batch);
bool fuaio_batch_is_done(struct fuaio_batch *batch);
void fuaio_batch_free(struct fuaio_batch *batch);

/* ---- what was measured ---- */

struct fuaio_way_told {
	uint64_t samples;
	double median_s; /* a write, of the latest FUAIO_SAMPLES; 0: there are none */
};

/* Of writes of lengths and widths (as many at once) from the first up to, but not with, the second. */
struct fuaio_choice_told {
	size_t widths[2], lengths[2];
	bool known;
	enum fuaio_way chosen;
	struct fuaio_way_told ways[FUAIO_WAYS];
	double total_s, trials_s;
	uint64_t switches;
};

struct fuaio_statistics {
	uint64_t writes;  /* that the kernel completed; a short one and its tail are two */
	uint64_t flushes; /* that were submitted */
	unsigned choices;
	struct fuaio_choice_told choice[FUAIO_CLASSES];
};

int fuaio_queue_statistics(struct fuaio_queue *queue, struct fuaio_statistics *statistics);

/* ---- for an event loop: nothing here waits; one thread, a queue with an eventfd ---- */

enum { FUAIO_TOLD_MOST = 128 };

/* What one turn has to tell. It is the caller's, who may be stopped in the middle of it (Ctrl-C). */
struct fuaio_told {
	unsigned next, count; /* the first that is not told yet, and how many there are */
	bool more;            /* there is more to do: come back without waiting for the eventfd */
	/* Apart from each other, so that Python takes all of a kind in one piece. */
	uint64_t tags[FUAIO_TOLD_MOST];
	int64_t results[FUAIO_TOLD_MOST]; /* of a batch: how many failed */
	size_t bytes[FUAIO_TOLD_MOST];    /* written before it failed */
	bool lost_durability[FUAIO_TOLD_MOST];
};

/* Begin one request, which is freed when it is told as done; with `now` also submit it. Its bytes
 * if it is done already, else -EINPROGRESS, or -EALREADY: a turn has more to do or to tell. -EINVAL:
 * not aligned, -ENOMEM, -ECHILD: nothing began. */
int64_t fuaio_loop_begin(struct fuaio_queue *queue, enum fuaio_op op, bool fua, int64_t offset, void *memory,
			 size_t length, uint64_t tag, bool now);

/* Begin a batch at the next turn. It stays the caller's, to be freed after it is told as done. */
int fuaio_loop_begin_batch(struct fuaio_batch *batch, uint64_t tag);

/* Submit and reap what can be without waiting, for about a millisecond. What was to be told is lost.
 * `readable`: the eventfd is. */
int fuaio_loop_turn(struct fuaio_queue *queue, struct fuaio_told *told, bool readable);

#endif
