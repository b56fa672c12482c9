/* The threads engine for callers that must not block: the same system calls, in threads of ours,
 * which never call Python. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"

enum { MOST_WORKERS = 32 };

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, answer;
	const struct fuaio_slot **prepared, **queued; /* each with room for all slots */
	struct fuaio_completion *answers;
	unsigned prepared_count, queued_first, queued_count, answer_count, slots;
	int event_fd;
	bool ending;
	unsigned workers;
	pthread_t threads[MOST_WORKERS];
};

static void tell(const struct pool *p)
{
	uint64_t one = 1;

	/* It cannot fail: the counter would need 2^64 completions that nobody reads. */
	if (p->event_fd >= 0 && write(p->event_fd, &one, sizeof(one)) < 0)
		return;
}

static bool pool_has_fua(void)
{
	return fuaio_engine_threads.has_fua();
}

static void *work(void *argument)
{
	struct pool *p = argument;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		const struct fuaio_slot *slot;
		struct fuaio_completion answer;

		while (!p->queued_count && !p->ending)
			pthread_cond_wait(&p->work, &p->lock);
		if (!p->queued_count)
			break;
		slot = p->queued[p->queued_first];
		p->queued_first = (p->queued_first + 1) % p->slots;
		p->queued_count--;
		pthread_mutex_unlock(&p->lock);
		answer = (struct fuaio_completion){ slot->index, fuaio_engine_threads.run(slot) };
		pthread_mutex_lock(&p->lock);
		p->answers[p->answer_count++] = answer;
		pthread_cond_signal(&p->answer);
		tell(p);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Python's signals are for Python's threads. */
static int workers_start(struct pool *p)
{
	unsigned wanted = p->slots < MOST_WORKERS ? p->slots : MOST_WORKERS;
	sigset_t all, before;
	int rc = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!rc && p->workers < wanted) {
		rc = pthread_create(&p->threads[p->workers], NULL, work, p);
		if (!rc)
			p->workers++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* Fewer do as well. */
	return p->workers ? 0 : -rc;
}

static void pool_free(struct pool *p)
{
	free(p->prepared);
	free(p->queued);
	free(p->answers);
	free(p);
}

static void workers_end(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->workers; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->answer);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}

static int locks_init(struct pool *p)
{
	pthread_condattr_t attr;
	int rc = pthread_condattr_init(&attr);

	if (rc)
		return -rc;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	rc = pthread_mutex_init(&p->lock, NULL);
	rc = rc ? rc : pthread_cond_init(&p->work, NULL);
	rc = rc ? rc : pthread_cond_init(&p->answer, &attr);
	pthread_condattr_destroy(&attr);
	return -rc;
}

static int pool_open(void **engine, unsigned slots, bool one_thread)
{
	struct pool *p = calloc(1, sizeof(*p));
	int rc = -ENOMEM;

	(void)one_thread;
	if (!p)
		return rc;
	p->slots = slots;
	p->event_fd = -1;
	p->prepared = calloc(slots, sizeof(*p->prepared));
	p->queued = calloc(slots, sizeof(*p->queued));
	p->answers = calloc(slots, sizeof(*p->answers));
	if (p->prepared && p->queued && p->answers)
		rc = locks_init(p);
	if (!rc) {
		rc = workers_start(p);
		if (rc)
			workers_end(p);
	}
	if (rc) {
		pool_free(p);
		return rc;
	}
	*engine = p;
	return 0;
}

static int pool_notify(void *engine, int event_fd)
{
	((struct pool *)engine)->event_fd = event_fd;
	return 0;
}

static void pool_prepare(void *engine, const struct fuaio_slot *slot)
{
	struct pool *p = engine;

	p->prepared[p->prepared_count++] = slot;
}

static int pool_submit(void *engine, unsigned wait_ms, unsigned wait_for)
{
	struct pool *p = engine;
	unsigned count = p->prepared_count;

	(void)wait_ms;
	(void)wait_for;
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < count; i++) {
		p->queued[(p->queued_first + p->queued_count++) % p->slots] = p->prepared[i];
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	p->prepared_count = 0;
	return (int)count;
}

static unsigned pool_unsubmitted(void *engine)
{
	return ((struct pool *)engine)->prepared_count;
}

static void pool_withdraw(void *engine)
{
	((struct pool *)engine)->prepared_count = 0;
}

static void wait_until(struct pool *p, unsigned wait_ms, unsigned wait_for)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += wait_ms / 1000;
	end.tv_nsec += wait_ms % 1000 * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000L;
	end.tv_nsec %= 1000000000L;
	while (p->answer_count < wait_for)
		if (pthread_cond_timedwait(&p->answer, &p->lock, &end))
			return;
}

static int pool_reap(void *engine, struct fuaio_completion *out, unsigned most, unsigned wait_ms,
		     unsigned wait_for)
{
	struct pool *p = engine;
	unsigned count = 0;

	pthread_mutex_lock(&p->lock);
	if (wait_ms)
		wait_until(p, wait_ms, wait_for);
	while (count < most && p->answer_count)
		out[count++] = p->answers[--p->answer_count];
	pthread_mutex_unlock(&p->lock);
	return (int)count;
}

static void pool_close(void *engine, bool in_child)
{
	if (in_child)
		return; /* its threads are the parent's */
	workers_end(engine);
	pool_free(engine);
}

const struct fuaio_engine_ops fuaio_engine_pool = {
	.name = "threads",
	.number = FUAIO_THREADS,
	.built = true,
	.has_fua = pool_has_fua,
	.open = pool_open,
	.notify = pool_notify,
	.prepare = pool_prepare,
	.submit = pool_submit,
	.unsubmitted = pool_unsubmitted,
	.withdraw = pool_withdraw,
	.reap = pool_reap,
	.close = pool_close,
};
