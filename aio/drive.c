/* Who does what: each waiting thread takes the next step that nobody is doing. One thread at
 * a time submits, one at a time reaps, and what it reaps is everybody's. The lock is held for
 * neither, nor for any other call that may block. */
#include <errno.h>
#include <unistd.h>

#include "process.h"
#include "queue_state.h"

enum {
	SLICE_MS = 100,    /* no wait is longer, so that Python sees signals */
	REAP_BATCH = 64,
	TURN_MS = 1,       /* then a loop serves others before it comes back */
	PAUSE_NS = 100000, /* before the next try where nothing is in flight that one could wait for */
};

/* ---- sleeping and waking ---- */

static struct timespec end_in(long ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += ms * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000L;
	end.tv_nsec %= 1000000000L;
	return end;
}

struct timespec fuaio_drive_slice_end(void)
{
	return end_in(SLICE_MS);
}

bool fuaio_drive_is_past(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec);
}

static int sleep_slice(struct fuaio_queue *q, pthread_cond_t *woken)
{
	struct timespec end = fuaio_drive_slice_end();

	return pthread_cond_timedwait(woken, &q->lock, &end) ? -EINTR : 0;
}

static int sleep_until_woken(struct fuaio_queue *q, struct fuaio_waiter *waiter)
{
	int rc;

	waiter->before = NULL;
	waiter->after = q->sleepers;
	if (q->sleepers)
		q->sleepers->before = waiter;
	q->sleepers = waiter;
	waiter->asleep = true;
	rc = sleep_slice(q, &waiter->woken);
	waiter->asleep = false;
	if (waiter->before)
		waiter->before->after = waiter->after;
	else
		q->sleepers = waiter->after;
	if (waiter->after)
		waiter->after->before = waiter->before;
	return rc;
}

static unsigned unsubmitted(struct fuaio_queue *q)
{
	return q->options.ops->run ? 0 : q->options.ops->unsubmitted(q->engine);
}

static bool can_submit(struct fuaio_queue *q)
{
	if (q->submitting)
		return false;
	return (q->queued.first && fuaio_rules_can_take(q)) || (unsubmitted(q) && !q->stalled);
}

static void wake_first(const struct fuaio_list *list)
{
	const struct fuaio_request *r = list->first;

	while (r && !r->waiter->asleep)
		r = r->next;
	if (r)
		pthread_cond_signal(&r->waiter->woken);
}

/* Whoever leaves wakes one that can go on. Where requests run in their own threads only that
 * thread can begin one; otherwise any thread can take any step. */
static void wake_next(struct fuaio_queue *q)
{
	if (q->options.ops->run) {
		if (fuaio_rules_can_take(q))
			wake_first(&q->queued);
		if (fuaio_rules_flush_due(q))
			wake_first(&q->promised);
	} else if (q->sleepers && (!q->reaping || can_submit(q) || fuaio_rules_flush_due(q))) {
		pthread_cond_signal(&q->sleepers->woken);
	}
	if (q->closing)
		pthread_cond_broadcast(&q->idle);
}

/* ---- submitting ---- */

static void prepare(struct fuaio_queue *q, struct fuaio_slot *slot)
{
	q->options.ops->prepare(q->engine, slot);
	q->order[q->order_end++ % (q->options.depth + 1)] = slot->index;
}

static void prepare_all(struct fuaio_queue *q)
{
	while (q->queued.first && fuaio_rules_can_take(q)) {
		struct fuaio_slot *slot = fuaio_rules_take(q, q->queued.first);

		if (slot)
			prepare(q, slot);
	}
	if (fuaio_rules_flush_due(q) && !q->engine_cannot_flush) {
		struct fuaio_slot *slot = &q->slots[q->options.depth];

		slot->op = fuaio_rules_flush_begin(q);
		prepare(q, slot);
	}
}

/* Take back what the kernel has not taken; the error belongs to the first of these. */
static void give_up_first(struct fuaio_queue *q, int error)
{
	unsigned count = unsubmitted(q), slots = q->options.depth + 1;

	q->options.ops->withdraw(q->engine);
	for (; count > 1; count--)
		fuaio_rules_put_back(q, &q->slots[q->order[--q->order_end % slots]]);
	fuaio_rules_give_up(q, &q->slots[q->order[--q->order_end % slots]], error);
}

static void pause_briefly(struct fuaio_queue *q)
{
	struct timespec pause = { 0, PAUSE_NS };

	pthread_mutex_unlock(&q->lock);
	nanosleep(&pause, NULL);
	pthread_mutex_lock(&q->lock);
}

/* The kernel has not taken all that was prepared. */
static void after_partial_submit(struct fuaio_queue *q, int rc)
{
	bool for_now = rc == 0 || rc == -EAGAIN || rc == -EBUSY;

	if (rc > 0 || rc == -EINTR)
		return; /* the rest goes with the next call */
	/* Nothing is taken back while another thread may be handing it over. */
	if (q->submitters || (for_now && fuaio_rules_slots_taken(q) > unsubmitted(q))) {
		q->stalled = true;
	} else if (for_now && q->stalled_tries++ < FUAIO_MOST_RETRIES) {
		q->submitting = true;
		pause_briefly(q);
		q->submitting = false;
	} else {
		q->stalled_tries = 0;
		give_up_first(q, rc ? rc : -EAGAIN);
	}
}

/* No more than will come, and one where others are inside, who may wait for that one. Who comes
 * later waits until these have come, or for the slice. */
static unsigned at_most(const struct fuaio_queue *q, unsigned wanted, unsigned in_kernel)
{
	if (wanted > in_kernel)
		wanted = in_kernel;
	if (wanted > REAP_BATCH)
		wanted = REAP_BATCH;
	return q->users > 1 || !wanted ? 1 : wanted;
}

static int reap(struct fuaio_queue *q, unsigned wait_ms, unsigned wanted)
{
	unsigned wait_for = at_most(q, wanted, fuaio_rules_slots_taken(q) - unsubmitted(q));
	struct fuaio_completion answers[REAP_BATCH];
	int count;

	q->reaping = true;
	pthread_mutex_unlock(&q->lock);
	count = q->options.ops->reap(q->engine, answers, REAP_BATCH, wait_ms, wait_for);
	pthread_mutex_lock(&q->lock);
	q->reaping = false;
	q->stalled = false;
	if (count < 0 && count != -EINTR && count != -ETIME)
		pause_briefly(q); /* a policy refuses to fetch: what is in flight stays so */
	for (int i = 0; i < count; i++)
		fuaio_rules_complete(q, &q->slots[answers[i].slot], answers[i].result);
	return count > 0 ? 0 : -EINTR;
}

/* Where one call can also wait, it takes the reaper's part instead of the submitter's: others
 * may submit beside it, since what it hands over stands in the ring until the kernel takes it.
 * `wanted`: completions to wait for, 0: none. */
static void submit(struct fuaio_queue *q, unsigned wanted)
{
	bool waits = wanted && q->options.ops->submit_waits && !q->reaping;
	unsigned wait_for = at_most(q, wanted, fuaio_rules_slots_taken(q));
	int rc;

	*(waits ? &q->reaping : &q->submitting) = true;
	q->submitters++;
	pthread_mutex_unlock(&q->lock);
	rc = q->options.ops->submit(q->engine, waits ? SLICE_MS : 0, wait_for);
	pthread_mutex_lock(&q->lock);
	q->submitters--;
	if (!waits)
		q->submitting = false;
	if (!unsubmitted(q))
		q->stalled_tries = 0;
	else if (!q->submitting)
		after_partial_submit(q, rc);
	if (waits)
		reap(q, 0, 0); /* gives the part back */
}

/* True: something was handed over. */
static bool submit_all(struct fuaio_queue *q, unsigned wanted)
{
	if (q->submitting)
		return false;
	prepare_all(q);
	if (!unsubmitted(q) || q->stalled)
		return false;
	submit(q, wanted);
	return true;
}

/* ---- steps ---- */

static void flush_in_this_thread(struct fuaio_queue *q)
{
	bool all = fuaio_rules_flush_begin(q) == FUAIO_FLUSH_ALL;
	int rc;

	pthread_mutex_unlock(&q->lock);
	rc = all ? fuaio_syscalls.fsync(q->options.fd) : fuaio_syscalls.fdatasync(q->options.fd);
	pthread_mutex_lock(&q->lock);
	fuaio_rules_flush_done(q, rc);
}

static int step_together(struct fuaio_queue *q, struct fuaio_waiter *waiter, unsigned wanted)
{
	if (submit_all(q, wanted))
		return 0;
	if (fuaio_rules_flush_due(q) && q->engine_cannot_flush) {
		flush_in_this_thread(q);
		return 0;
	}
	if (!q->reaping && fuaio_rules_slots_taken(q))
		return reap(q, SLICE_MS, wanted);
	return sleep_until_woken(q, waiter);
}

/* Not where others that sleep were queued before it: a batch that goes round and round would
 * otherwise take the only slot again before they are awake. */
static bool is_its_turn(const struct fuaio_queue *q, const struct fuaio_request *request)
{
	unsigned room = q->options.writes_told ? 1 : q->free_count;

	if (request->state != FUAIO_QUEUED || !fuaio_rules_can_take(q))
		return false;
	for (const struct fuaio_request *r = q->queued.first; r != request; r = r->next)
		if (r->waiter->asleep && !--room)
			return false;
	return true;
}

/* Is there something of this thread's that waits for the flush, or is kept from its turn by it? */
static bool needs_the_flush(const struct fuaio_queue *q, const struct fuaio_request *request)
{
	return request->state == FUAIO_PROMISED || (request->batch && request->batch->promised) ||
	       q->options.writes_told;
}

static void run_alone(struct fuaio_queue *q, struct fuaio_request *request)
{
	struct fuaio_slot *slot = fuaio_rules_take(q, request);
	int64_t result;

	if (!slot)
		return;
	wake_next(q); /* there may be room for more */
	pthread_mutex_unlock(&q->lock);
	result = q->options.ops->run(slot);
	pthread_mutex_lock(&q->lock);
	fuaio_rules_complete(q, slot, result);
	wake_next(q);
}

static int step_alone(struct fuaio_queue *q, struct fuaio_request *request)
{
	if (is_its_turn(q, request)) {
		run_alone(q, request);
		return 0;
	}
	if (fuaio_rules_flush_due(q) && needs_the_flush(q, request)) {
		flush_in_this_thread(q);
		wake_next(q);
		return 0;
	}
	return sleep_until_woken(q, request->waiter);
}

int fuaio_drive_step(struct fuaio_queue *q, struct fuaio_request *own, struct fuaio_waiter *waiter,
		     unsigned wanted)
{
	return q->options.ops->run ? step_alone(q, own) : step_together(q, waiter, wanted);
}

bool fuaio_drive_turn(struct fuaio_queue *q)
{
	struct timespec end = end_in(TURN_MS);

	if (q->closed)
		return false; /* a turn that was planned before, and the engine is gone */
	for (int steps = 0; steps < FUAIO_MOST_STEPS; steps++) {
		bool progress = false;

		for (struct fuaio_batch *b = q->batches; b; b = b->next_of_a_loop)
			fuaio_batch_begin_more(b);
		if (submit_all(q, 0))
			progress = true;
		if (fuaio_rules_flush_due(q) && q->engine_cannot_flush) {
			flush_in_this_thread(q);
			progress = true;
		}
		if (!q->reaping && fuaio_rules_slots_taken(q) && reap(q, 0, 0) == 0)
			progress = true;
		if (!progress)
			return false;
		if (fuaio_drive_is_past(&end))
			break;
	}
	return true;
}

/* The one who reaps may be in the kernel while its own request waits here. */
void fuaio_drive_hand_over(struct fuaio_queue *q)
{
	if (!q->options.ops->run && !q->sleepers && !q->closed)
		submit_all(q, 0);
}

/* ---- in and out ---- */

int fuaio_drive_enter(struct fuaio_queue *q)
{
	if (q->process != fuaio_process())
		return -ECHILD; /* before the lock: in a child it may be held for ever */
	pthread_mutex_lock(&q->lock);
	q->users++;
	return 0;
}

void fuaio_drive_leave(struct fuaio_queue *q)
{
	q->users--;
	wake_next(q);
	pthread_mutex_unlock(&q->lock);
}

int64_t fuaio_request_run(struct fuaio_request *request)
{
	struct fuaio_queue *q = request->queue;
	int64_t rc = fuaio_drive_enter(q);

	if (rc < 0)
		return rc;
	if (request->state == FUAIO_FRESH)
		fuaio_rules_begin(q, request);
	for (int steps = 0; request->state != FUAIO_DONE && rc != -EINTR && steps < FUAIO_MOST_STEPS; steps++)
		rc = fuaio_drive_step(q, request, request->waiter, 1);
	fuaio_drive_hand_over(q);
	rc = request->state == FUAIO_DONE ? request->result : -EINTR;
	fuaio_drive_leave(q);
	return rc;
}

int64_t fuaio_request_once(struct fuaio_queue *q, enum fuaio_op op, bool fua, int64_t offset, void *memory,
			   size_t length, struct fuaio_request **kept)
{
	int rc = fuaio_request_renew(kept, q, op, fua, offset, (struct iovec){ memory, length });

	return rc < 0 ? rc : fuaio_request_run(*kept);
}

bool fuaio_request_abandon(struct fuaio_request *request)
{
	struct fuaio_queue *q = request->queue;
	bool done;

	if (fuaio_drive_enter(q) < 0)
		return request->state == FUAIO_FRESH; /* in a child none has begun, but what its parent had */
	fuaio_rules_abandon(q, request);
	done = request->state == FUAIO_DONE;
	fuaio_drive_leave(q);
	return done;
}

bool fuaio_request_is_done(struct fuaio_request *request)
{
	struct fuaio_queue *q = request->queue;
	bool done;

	if (fuaio_drive_enter(q) < 0)
		return false;
	done = request->state == FUAIO_DONE;
	fuaio_drive_leave(q);
	return done;
}

unsigned fuaio_queue_in_flight(struct fuaio_queue *q)
{
	unsigned count;

	if (fuaio_drive_enter(q) < 0)
		return 0;
	count = fuaio_rules_slots_taken(q);
	fuaio_drive_leave(q);
	return count;
}

unsigned fuaio_queue_promised(struct fuaio_queue *q)
{
	unsigned count = 0;

	if (fuaio_drive_enter(q) < 0)
		return 0;
	for (const struct fuaio_request *r = q->promised.first; r; r = r->next)
		count++;
	fuaio_drive_leave(q);
	return count;
}

/* A write whose completion was reaped here, and whose own thread is between two waits. */
static bool owes_a_flush(const struct fuaio_queue *q, unsigned wait_ms)
{
	return wait_ms && fuaio_rules_flush_due(q);
}

/* Refuse what begins from now on, and go on until nothing is in flight, no written request waits
 * for its flush, and nobody is inside. */
static int drain(struct fuaio_queue *q, unsigned wait_ms)
{
	int rc = 0;

	q->closing = true;
	while (!rc && (q->users || q->reaping || fuaio_rules_slots_taken(q) || owes_a_flush(q, wait_ms))) {
		if (q->users || q->reaping) {
			rc = wait_ms ? sleep_slice(q, &q->idle) : -EINTR;
		} else if (owes_a_flush(q, wait_ms) && (q->engine_cannot_flush || q->options.ops->run)) {
			q->users++; /* another close must not take the descriptor away meanwhile */
			flush_in_this_thread(q);
			q->users--;
			wake_next(q);
		} else if (!submit_all(q, 0)) {
			rc = reap(q, wait_ms, 1);
		}
	}
	return rc;
}

int fuaio_queue_close(struct fuaio_queue *q, unsigned wait_ms)
{
	int rc;

	if (q->process != fuaio_process())
		return -ECHILD;
	pthread_mutex_lock(&q->lock);
	rc = q->closed ? 0 : drain(q, wait_ms);
	if (!rc && q->closed) {
		rc = 1; /* by another thread, perhaps while this one waited */
	} else if (!rc) {
		q->closed = true;
		fuaio_rules_shut(q);
		q->options.ops->close(q->engine, false);
		if (q->options.fd >= 0 && close(q->options.fd) < 0 && errno != EINTR)
			rc = -errno;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}
