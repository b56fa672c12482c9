/* What queue.c (the rules), drive.c (who does the next step) and request.c (memory) share. */
#ifndef FUAIO_QUEUE_STATE_H
#define FUAIO_QUEUE_STATE_H

#include <pthread.h>

#include "queue.h"

/* A thread that waits for one request or for a batch. */
struct fuaio_waiter {
	struct fuaio_waiter *before, *after; /* in `sleepers` */
	pthread_cond_t woken;
	bool asleep;
};

enum fuaio_state { FUAIO_FRESH, FUAIO_QUEUED, FUAIO_IN_FLIGHT, FUAIO_PROMISED, FUAIO_DONE };

struct fuaio_request {
	struct fuaio_queue *queue;
	struct fuaio_request *next;  /* in `queued` or `promised`, or in its batch's `spare` */
	struct fuaio_waiter *waiter; /* whoever wants its outcome: its own, or its batch's */
	struct fuaio_waiter own;
	struct fuaio_batch *batch;   /* NULL: it is alone */
	uint64_t number;             /* in the batch */
	enum fuaio_state state;
	enum fuaio_op op;
	bool fua, grouped, needs_flush, abandoned, lost_durability;
	bool of_a_loop;
	int64_t began_ns; /* where its latency is asked for */
	uint64_t tag; /* the loop's name for it */
	unsigned retries;
	uint64_t goal; /* promised: a write's count, a flush's number */
	int64_t offset, result;
	size_t length, bytes;
	unsigned iovcnt, iov_first; /* the first buffer that is not done, */
	size_t iov_skip;            /* and how much of it is */
	struct iovec iov[];
};

/* What a batch has done of late, for fuaio_auto_learn. */
struct fuaio_stretch {
	int64_t since_ns;
	uint64_t writes;
	bool failed;
};

/* Where a batch stands. Its requests are as many as may be in flight, and used again. */
struct fuaio_batch {
	struct fuaio_queue *queue;
	struct fuaio_waiter waiter;
	enum fuaio_op op;
	enum fuaio_durable durable;
	enum fuaio_way way;           /* in which all that are in use have begun */
	struct fuaio_choice *choice;  /* FUAIO_AUTO: what it goes by, */
	struct fuaio_stretch stretch; /* and what it tells next */
	struct fuaio_pieces pieces;
	uint64_t count, next, failed; /* requests in all, the next to begin, and how many failed */
	struct fuaio_outcome *outcomes;
	struct fuaio_request *spare, *last; /* not in use; the last that was begun */
	char *memory;                       /* of all requests */
	struct fuaio_batch *next_of_a_loop;
	uint64_t tag;
	unsigned width, in_use, promised; /* requests that there are, that have begun, that wait for a flush */
};

struct fuaio_list {
	struct fuaio_request *first, **end;
};

struct fuaio_queue {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint64_t process;
	struct fuaio_queue_options options;
	void *engine;
	int pool_pinned; /* 1, 0, or why not: -errno */

	/* the rules */
	int write_flags;          /* the mask: no other flag reaches the engine */
	bool engine_cannot_flush; /* then a waiter calls fdatasync */
	bool closing, closed;
	struct fuaio_list queued, promised, done; /* done: those of a loop, for it to fetch */
	struct fuaio_batch *batches;              /* those of a loop */
	struct fuaio_slot *slots; /* depth of them, and one for the flush */
	unsigned *free_slots, free_count;
	unsigned told; /* writes in flight that may be told of errors: with RWF_DSYNC, or where all are */
	uint64_t completed, durable;
	bool flushing;
	uint64_t flush_number, flush_covers; /* of the last flush submitted */
	uint64_t flushed;                    /* number of the last good one */
	unsigned flush_retries;
	int latched; /* -errno of the first failure, 0 while all is well */
	struct fuaio_choice choices[FUAIO_CLASSES];

	/* the steps */
	struct fuaio_waiter *sleepers;
	unsigned users;      /* threads inside */
	unsigned submitters; /* threads inside a call of the engine that submits */
	bool submitting, reaping;
	bool stalled; /* the kernel takes no more until something completes */
	unsigned stalled_tries;
	unsigned *order; /* slots as prepared: the last unsubmitted() before order_end are not taken */
	uint64_t order_end;
};

enum {
	FUAIO_MOST_RETRIES = 64, /* of EAGAIN with nothing in flight, or without progress */
	FUAIO_MOST_STEPS = 256,  /* before Python sees signals */
};

/* queue.c. The lock is held. */
void fuaio_list_init(struct fuaio_list *list);
struct fuaio_request *fuaio_list_take(struct fuaio_list *list);
void fuaio_rules_begin(struct fuaio_queue *q, struct fuaio_request *request);
bool fuaio_rules_can_take(const struct fuaio_queue *q);
struct fuaio_slot *fuaio_rules_take(struct fuaio_queue *q, struct fuaio_request *request);
void fuaio_rules_put_back(struct fuaio_queue *q, struct fuaio_slot *slot);
void fuaio_rules_complete(struct fuaio_queue *q, struct fuaio_slot *slot, int64_t result);
void fuaio_rules_give_up(struct fuaio_queue *q, struct fuaio_slot *slot, int error);
void fuaio_rules_abandon(struct fuaio_queue *q, struct fuaio_request *request);
void fuaio_rules_shut(struct fuaio_queue *q);
bool fuaio_rules_flush_due(const struct fuaio_queue *q);
enum fuaio_op fuaio_rules_flush_begin(struct fuaio_queue *q);
void fuaio_rules_flush_done(struct fuaio_queue *q, int64_t result);
unsigned fuaio_rules_slots_taken(const struct fuaio_queue *q);

/* drive.c: -ECHILD in a forked child, otherwise with the lock until fuaio_drive_leave. */
int fuaio_drive_enter(struct fuaio_queue *q);
void fuaio_drive_leave(struct fuaio_queue *q);
/* The next step that nobody is doing; `own` is what only this thread can run, `wanted` how many
 * completions are worth a wake-up. -EINTR: there was nothing to do but to wait, and the slice is over. */
int fuaio_drive_step(struct fuaio_queue *q, struct fuaio_request *own, struct fuaio_waiter *waiter,
		     unsigned wanted);
/* What can be done without waiting, for about a millisecond; true: there may be more. */
bool fuaio_drive_turn(struct fuaio_queue *q);
/* Whoever always finds something to do goes back after a slice too, so that Python sees signals. */
struct timespec fuaio_drive_slice_end(void);
bool fuaio_drive_is_past(const struct timespec *end);
/* Before leaving: hand over what nobody else will. */
void fuaio_drive_hand_over(struct fuaio_queue *q);

/* request.c */
int fuaio_waiter_init(struct fuaio_waiter *waiter);
void fuaio_waiter_end(struct fuaio_waiter *waiter);
/* A request in *kept, where one that is done is used again; NULL there and -EINVAL or -ENOMEM, as
 * with fuaio_request_new. */
int fuaio_request_renew(struct fuaio_request **kept, struct fuaio_queue *q, enum fuaio_op op, bool fua,
			int64_t offset, struct iovec iov);
bool fuaio_request_is_aligned(const struct fuaio_queue_options *options, int64_t offset, const struct iovec *iov);

/* batch.c. The lock is held: a request of the batch is done. */
/* Begin what there is room for. */
void fuaio_batch_begin_more(struct fuaio_batch *batch);
void fuaio_batch_take_back(struct fuaio_batch *batch, struct fuaio_request *request);

#endif
