/* What queue.c (the rules), drive.c (who does the next step) and request.c (memory) share. */
#ifndef FUAIO_QUEUE_STATE_H
#define FUAIO_QUEUE_STATE_H

#include <pthread.h>

#include "queue.h"

enum fuaio_state { FUAIO_FRESH, FUAIO_QUEUED, FUAIO_IN_FLIGHT, FUAIO_PROMISED, FUAIO_DONE };

struct fuaio_request {
	struct fuaio_queue *queue;
	struct fuaio_request *next;                       /* in `queued` or `promised` */
	struct fuaio_request *sleep_before, *sleep_after; /* in `sleepers` */
	pthread_cond_t woken;
	enum fuaio_state state;
	enum fuaio_op op;
	bool fua, needs_flush, abandoned, asleep, lost_durability;
	unsigned retries;
	uint64_t goal; /* promised: a write's count, a flush's number */
	int64_t offset, result;
	size_t length, bytes;
	unsigned iovcnt, iov_first; /* the first buffer that is not done, */
	size_t iov_skip;            /* and how much of it is */
	struct iovec iov[];
};

struct fuaio_list {
	struct fuaio_request *first, **end;
};

struct fuaio_queue {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	pid_t pid;
	struct fuaio_queue_options options;
	void *engine;

	/* the rules */
	int write_flags;          /* the mask: no other flag reaches the engine */
	bool engine_cannot_flush; /* then a waiter calls fdatasync */
	bool closing, closed;
	struct fuaio_list queued, promised;
	struct fuaio_slot *slots; /* depth of them, and one for the flush */
	unsigned *free_slots, free_count;
	unsigned told; /* writes in flight that may be told of errors: with RWF_DSYNC, or where all are */
	uint64_t completed, durable;
	bool flushing;
	uint64_t flush_number, flush_covers; /* of the last flush submitted */
	uint64_t flushed;                    /* number of the last good one */
	unsigned flush_retries;
	int latched; /* -errno of the first failure, 0 while all is well */

	/* the steps */
	struct fuaio_request *sleepers;
	unsigned users;      /* threads inside */
	unsigned submitters; /* threads inside a call of the engine that submits */
	bool submitting, reaping;
	bool stalled; /* the kernel takes no more until something completes */
	unsigned stalled_tries;
	unsigned *order; /* slots as prepared: the last unsubmitted() before order_end are not taken */
	uint64_t order_end;
};

enum { FUAIO_MOST_RETRIES = 64 }; /* of EAGAIN with nothing in flight, or without progress */

/* queue.c. The lock is held. */
void fuaio_list_init(struct fuaio_list *list);
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

#endif
