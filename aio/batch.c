/* Many requests by one call: as many in flight as there are slots, and for each that is done
 * the next one begins. The rules are the queue's; a batch only begins requests and notes how
 * they end. Its requests are used again, so that its memory does not grow with its count. */
#include <errno.h>
#include <stdlib.h>

#include "queue_state.h"
#include "syscalls.h"

static struct iovec piece(const struct fuaio_batch *b, uint64_t number)
{
	if (!b->pieces.block)
		return (struct iovec){ b->pieces.buffers[number], b->pieces.lengths[number] };
	return (struct iovec){ (char *)b->pieces.buffers[0] + number * b->pieces.block, b->pieces.block };
}

static int check(const struct fuaio_batch *b, uint64_t *wrong, uint64_t *bytes)
{
	*bytes = 0;
	for (*wrong = 0; *wrong < b->count; ++*wrong) {
		struct iovec iov = piece(b, *wrong);

		if (b->pieces.offsets[*wrong] < 0)
			return -ERANGE;
		if (!fuaio_request_is_aligned(&b->queue->options, b->pieces.offsets[*wrong], &iov))
			return -EINVAL;
		*bytes += iov.iov_len;
	}
	return 0;
}

enum { WAKE_UPS = 2 }; /* for as many requests as are in flight */

/* A request has its iovecs behind it. */
#define REQUEST_BYTES (sizeof(struct fuaio_request) + sizeof(struct iovec))

static struct fuaio_request *request_at(const struct fuaio_batch *b, unsigned index)
{
	return (struct fuaio_request *)(void *)(b->memory + index * REQUEST_BYTES);
}

/* As many requests as can be in flight, and no more than there are. */
static bool requests_new(struct fuaio_batch *b)
{
	unsigned depth = b->queue->options.depth;

	b->width = b->count < depth ? (unsigned)b->count : depth;
	b->memory = calloc(b->width, REQUEST_BYTES);
	for (unsigned i = 0; b->memory && i < b->width; i++) {
		struct fuaio_request *r = request_at(b, i);

		r->queue = b->queue;
		r->waiter = &b->waiter;
		r->batch = b;
		r->next = b->spare;
		b->spare = r;
	}
	return b->memory;
}

int fuaio_batch_new(struct fuaio_batch **batch, struct fuaio_queue *q, enum fuaio_op op,
		    enum fuaio_durable durable, const struct fuaio_pieces *pieces,
		    struct fuaio_outcome *outcomes, uint64_t *wrong)
{
	struct fuaio_batch *b = calloc(1, sizeof(*b));
	uint64_t bytes;
	int rc;

	if (!b)
		return -ENOMEM;
	b->queue = q;
	b->op = op;
	b->durable = durable;
	b->way = durable == FUAIO_GROUPED ? FUAIO_BY_GROUP : FUAIO_BY_FUA;
	b->pieces = *pieces;
	b->count = pieces->count;
	b->outcomes = outcomes;
	rc = check(b, wrong, &bytes);
	if (!rc)
		rc = requests_new(b) ? fuaio_waiter_init(&b->waiter) : -ENOMEM;
	if (rc < 0) {
		free(b->memory);
		free(b);
		return rc;
	}
	if (durable == FUAIO_AUTO && b->count)
		b->choice = &q->choices[fuaio_auto_class(b->width, bytes / b->count)];
	*batch = b;
	return 0;
}

/* ---- the way ---- */

/* A latched file refuses every group, so that none is tried there; RWF_DSYNC may still be had. */
static enum fuaio_way way_to_go(const struct fuaio_batch *b)
{
	return b->queue->latched ? FUAIO_BY_FUA : b->choice->now;
}

/* Where the way has changed nothing begins until all that is in use has ended: both at once
 * would be a measure of neither, and a group would wait for what is no part of it. */
static bool is_on_its_way(struct fuaio_batch *b)
{
	enum fuaio_way way;

	if (!b->choice)
		return true;
	way = way_to_go(b);
	if (b->in_use)
		return b->way == way;
	b->way = way;
	if (!b->next)
		b->stretch.since_ns = fuaio_syscalls.monotonic_ns();
	return true;
}

static void stretch_end(struct fuaio_batch *b, int64_t now_ns)
{
	struct fuaio_stretch *s = &b->stretch;
	double seconds = (double)(now_ns - s->since_ns) / 1e9;

	if (s->failed)
		fuaio_auto_waste(b->choice, b->way, seconds);
	else
		fuaio_auto_learn(b->choice, b->way, b->width, s->writes, seconds);
	*s = (struct fuaio_stretch){ .since_ns = now_ns };
}

/* One more is done. An empty write takes no time, and tells nothing. */
static void stretch_add(struct fuaio_batch *b, const struct fuaio_request *r)
{
	struct fuaio_stretch *s = &b->stretch;
	bool last = !b->in_use && (b->next == b->count || b->way != way_to_go(b));

	s->writes += r->length > 0;
	s->failed = s->failed || r->result < 0;
	if (last || s->writes >= fuaio_auto_stretch(b->width))
		stretch_end(b, fuaio_syscalls.monotonic_ns());
}

/* ---- its requests ---- */

static void begin(struct fuaio_batch *b, struct fuaio_request *r)
{
	b->spare = r->next;
	b->last = r;
	b->in_use++;
	r->number = b->next++;
	r->op = b->op;
	r->fua = b->durable != FUAIO_PLAIN;
	r->grouped = b->way == FUAIO_BY_GROUP;
	r->needs_flush = r->lost_durability = false;
	r->retries = r->iov_first = 0;
	r->iov_skip = r->bytes = 0;
	r->offset = b->pieces.offsets[r->number];
	r->iov[0] = piece(b, r->number);
	r->iovcnt = 1;
	r->length = r->iov[0].iov_len;
	r->state = FUAIO_FRESH;
	if (b->pieces.latencies)
		r->began_ns = fuaio_syscalls.monotonic_ns();
	fuaio_rules_begin(b->queue, r);
}

/* Where requests run in the thread that wants them, one at a time. */
void fuaio_batch_begin_more(struct fuaio_batch *b)
{
	bool alone = b->queue->options.ops->run;

	while (b->spare && b->next < b->count && !(alone && b->in_use > b->promised) && is_on_its_way(b))
		begin(b, b->spare);
}

void fuaio_batch_take_back(struct fuaio_batch *b, struct fuaio_request *r)
{
	struct fuaio_outcome *outcome = &b->outcomes[r->number];

	if (r->result < 0) {
		*outcome = (struct fuaio_outcome){ (int)r->result, r->lost_durability, r->bytes };
		b->failed++;
	} else if (r->op == FUAIO_READ) {
		outcome->bytes = r->bytes;
	}
	if (b->pieces.latencies)
		b->pieces.latencies[r->number] = (uint64_t)(fuaio_syscalls.monotonic_ns() - r->began_ns);
	r->next = b->spare;
	b->spare = r;
	b->in_use--;
	if (b->choice)
		stretch_add(b, r);
}

/* What only this thread can run: the request that was begun last, else a flush for those that wait for one. */
static struct fuaio_request *own(const struct fuaio_batch *b)
{
	struct fuaio_request *r = b->queue->promised.first;

	if (b->in_use > b->promised)
		return b->last;
	while (r && r->batch != b)
		r = r->next;
	return r;
}

/* Of a group the last one matters; otherwise a wake-up for each would cost more than it brings. */
static unsigned wanted(const struct fuaio_batch *b)
{
	unsigned writing = b->in_use - b->promised;

	if (b->way == FUAIO_BY_GROUP)
		return writing ? writing : 1;
	return writing > WAKE_UPS ? writing / WAKE_UPS : 1;
}

int64_t fuaio_batch_run(struct fuaio_batch *b)
{
	struct fuaio_queue *q = b->queue;
	struct timespec end = fuaio_drive_slice_end();
	int64_t rc = fuaio_drive_enter(q);

	if (rc < 0)
		return rc;
	fuaio_batch_begin_more(b);
	while (b->in_use && rc != -EINTR && !fuaio_drive_is_past(&end)) {
		rc = fuaio_drive_step(q, own(b), &b->waiter, wanted(b));
		fuaio_batch_begin_more(b);
	}
	fuaio_drive_hand_over(q);
	/* While something was handed over another thread may have fetched all that had begun. */
	rc = b->in_use || b->next < b->count ? -EINTR : (int64_t)b->failed;
	fuaio_drive_leave(q);
	return rc;
}

bool fuaio_batch_abandon(struct fuaio_batch *b)
{
	struct fuaio_queue *q = b->queue;
	bool done;

	if (fuaio_drive_enter(q) < 0)
		return false;
	b->count = b->next;
	for (unsigned i = 0; i < b->width; i++)
		if (request_at(b, i)->state != FUAIO_FRESH && request_at(b, i)->state != FUAIO_DONE)
			fuaio_rules_abandon(q, request_at(b, i));
	done = !b->in_use;
	fuaio_drive_leave(q);
	return done;
}

bool fuaio_batch_is_done(struct fuaio_batch *b)
{
	bool done;

	if (fuaio_drive_enter(b->queue) < 0)
		return false;
	done = !b->in_use;
	fuaio_drive_leave(b->queue);
	return done;
}

static void leave_loop(struct fuaio_batch *b)
{
	struct fuaio_batch **at = &b->queue->batches;

	if (fuaio_drive_enter(b->queue) < 0)
		return;
	while (*at && *at != b)
		at = &(*at)->next_of_a_loop;
	if (*at)
		*at = b->next_of_a_loop;
	fuaio_drive_leave(b->queue);
}

/* One of a loop whose file was dropped is still in the queue's list. */
void fuaio_batch_free(struct fuaio_batch *b)
{
	leave_loop(b);
	fuaio_waiter_end(&b->waiter);
	free(b->memory);
	free(b);
}
