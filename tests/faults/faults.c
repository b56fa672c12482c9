#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "faults.h"
#include "rings.h"
#include "syscalls.h"

#define BLOCK 512

struct rule {
	int kind, nth, times, action;
	int64_t value;
};

/* What is to happen to the answer of one request in flight, known by its engine and slot. */
struct plan {
	uintptr_t engine;
	uint64_t slot;
	int action; /* -1: nothing */
	int64_t value;
	bool used;
};

struct held {
	uintptr_t engine;
	struct fuaio_completion answer;
};

enum { RULES = 32, PLANS = 4096, SEEN = 65536, HELD = 4096 };

static struct fuaio_syscalls *table, real;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct rule rules[RULES];
static struct plan plans[PLANS];
static struct faults_seen seen[SEEN];
static struct held held[HELD], ready[HELD];
static unsigned rule_count, seen_count, kind_count[5], held_count, ready_count, generation;

/* ---- rules ---- */

static const struct rule *match(int kind)
{
	int number = (int)++kind_count[kind];

	for (unsigned i = 0; i < rule_count; i++) {
		const struct rule *r = &rules[i];

		if (r->kind == kind && number >= r->nth && (r->times < 0 || number < r->nth + r->times))
			return r;
	}
	return NULL;
}

void faults_rule(int kind, int nth, int times, int action, int64_t value)
{
	pthread_mutex_lock(&lock);
	if (rule_count < RULES)
		rules[rule_count++] = (struct rule){ kind, nth, times, action, value };
	pthread_mutex_unlock(&lock);
}

void faults_forget_rules(void)
{
	pthread_mutex_lock(&lock);
	rule_count = 0;
	pthread_mutex_unlock(&lock);
}

void faults_restart(void)
{
	pthread_mutex_lock(&lock);
	rule_count = seen_count = 0;
	memset(kind_count, 0, sizeof(kind_count));
	pthread_mutex_unlock(&lock);
}

static void record(int kind, int opcode, int flags, int64_t offset, const struct iovec *iov, unsigned iovcnt)
{
	struct faults_seen *s = &seen[seen_count % SEEN];

	*s = (struct faults_seen){ kind, flags, opcode, iovcnt, offset, 0 };
	for (unsigned i = 0; i < iovcnt; i++)
		s->length += (int64_t)iov[i].iov_len;
	seen_count++;
	faults_clock_add(kind, flags);
	pthread_cond_broadcast(&changed);
}

/* A rule that asks for more than the request has leaves it whole. */
static const struct rule *match_transfer(int kind, const struct iovec *iov, unsigned iovcnt)
{
	const struct rule *r = match(kind);
	int64_t length = 0;

	for (unsigned i = 0; i < iovcnt; i++)
		length += (int64_t)iov[i].iov_len;
	return r && r->action == FAULTS_SHORT && r->value >= length ? NULL : r;
}

static void shorten(struct iovec *iov, unsigned iovcnt, size_t length)
{
	for (unsigned i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > length)
			iov[i].iov_len = length;
		length -= iov[i].iov_len;
	}
}

static size_t really(int fd, int64_t value)
{
	size_t length = (size_t)value;

	return fcntl(fd, F_GETFL) & O_DIRECT ? (length + BLOCK - 1) / BLOCK * BLOCK : length;
}

/* ---- withheld answers ---- */

static struct plan *plan_of(uintptr_t engine, uint64_t slot, bool make)
{
	struct plan *unused = NULL;

	for (unsigned i = 0; i < PLANS; i++) {
		if (plans[i].used && plans[i].engine == engine && plans[i].slot == slot)
			return &plans[i];
		if (!plans[i].used && !unused)
			unused = &plans[i];
	}
	return make ? unused : NULL;
}

static void plan(uintptr_t engine, uint64_t slot, const struct rule *r)
{
	struct plan *p = plan_of(engine, slot, true);

	if (!p)
		abort();
	*p = (struct plan){ engine, slot, r ? r->action : -1, r ? r->value : 0, true };
}

static void hold(uintptr_t engine, struct fuaio_completion answer)
{
	held[held_count++] = (struct held){ engine, answer };
	pthread_cond_broadcast(&changed);
}

/* Takes the plan into account. False: withheld. */
static bool deliver(uintptr_t engine, struct fuaio_completion *answer)
{
	struct plan *p = plan_of(engine, answer->slot, false);

	if (!p)
		return true;
	p->used = false;
	if (p->action == FAULTS_ANSWER || (p->action == FAULTS_SHORT && answer->result > p->value))
		answer->result = p->value;
	if (p->action == FAULTS_HOLD) {
		hold(engine, *answer);
		return false;
	}
	return true;
}

static unsigned take_ready(uintptr_t engine, struct fuaio_completion *out, unsigned most)
{
	unsigned count = 0, kept = 0;

	for (unsigned i = 0; i < ready_count; i++) {
		if (ready[i].engine == engine && count < most)
			out[count++] = ready[i].answer;
		else
			ready[kept++] = ready[i];
	}
	ready_count = kept;
	return count;
}

static bool has_ready(uintptr_t engine)
{
	bool has = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < ready_count; i++)
		has = has || ready[i].engine == engine;
	pthread_mutex_unlock(&lock);
	return has;
}

void faults_release(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < held_count; i++)
		ready[ready_count++] = held[i];
	held_count = 0;
	generation++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* ---- Linux AIO ---- */

static int hook_io_setup(unsigned requests, void **ctx)
{
	const struct rule *r;

	pthread_mutex_lock(&lock);
	r = match(FAULTS_SETUP);
	pthread_mutex_unlock(&lock);
	return r ? (int)r->value : real.io_setup(requests, ctx);
}

static void watch_iocb(uintptr_t engine, struct iocb *iocb)
{
	struct iovec *iov = (struct iovec *)(uintptr_t)iocb->aio_buf;
	unsigned iovcnt = (unsigned)iocb->aio_nbytes;
	const struct rule *r;
	int kind = FAULTS_FLUSH, flags = iocb->aio_lio_opcode == IOCB_CMD_FDSYNC;

	if (iocb->aio_lio_opcode == IOCB_CMD_PREADV || iocb->aio_lio_opcode == IOCB_CMD_PWRITEV) {
		kind = iocb->aio_lio_opcode == IOCB_CMD_PREADV ? FAULTS_READ : FAULTS_WRITE;
		flags = (int)iocb->aio_rw_flags;
	} else {
		iovcnt = 0;
	}
	r = match_transfer(kind, iov, iovcnt);
	record(kind, iocb->aio_lio_opcode, flags, iocb->aio_offset, iov, iovcnt);
	if (r && r->action == FAULTS_SHORT && r->value)
		shorten(iov, iovcnt, really((int)iocb->aio_fildes, r->value));
	plan(engine, iocb->aio_data, r);
}

static int hook_io_submit(void *ctx, long count, void **iocbs)
{
	const struct rule *r;
	int rc;

	pthread_mutex_lock(&lock);
	r = match(FAULTS_SUBMIT);
	if (r && r->action == FAULTS_FAIL) {
		pthread_mutex_unlock(&lock);
		return (int)r->value;
	}
	if (r && r->action == FAULTS_TAKE && count > r->value)
		count = r->value;
	for (long i = 0; i < count; i++)
		watch_iocb((uintptr_t)ctx, iocbs[i]);
	pthread_mutex_unlock(&lock);
	rc = count ? real.io_submit(ctx, count, iocbs) : 0;
	return r && r->action == FAULTS_LIE ? (int)r->value : rc;
}

static int deliver_events(uintptr_t engine, struct io_event *events, int count)
{
	int kept = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < count; i++) {
		struct fuaio_completion answer = { events[i].data, events[i].res };

		if (!deliver(engine, &answer))
			continue;
		events[kept].data = answer.slot;
		events[kept++].res = answer.result;
	}
	pthread_mutex_unlock(&lock);
	return kept;
}

static int hook_io_getevents(void *ctx, long least, long most, void *out, struct timespec *timeout)
{
	struct io_event *events = out;
	struct fuaio_completion answers[64];
	int kept = 0, count = 0;
	unsigned late;

	if (!has_ready((uintptr_t)ctx)) {
		count = real.io_getevents(ctx, least, most, events, timeout);
		kept = deliver_events((uintptr_t)ctx, events, count);
	}
	/* A kernel that has more does not answer 0. */
	while (count == most && !kept) {
		count = real.io_getevents(ctx, 0, most, events, timeout);
		kept = deliver_events((uintptr_t)ctx, events, count);
	}
	pthread_mutex_lock(&lock);
	late = take_ready((uintptr_t)ctx, answers, most < 64 ? (unsigned)(most - kept) : 64U - (unsigned)kept);
	for (unsigned i = 0; i < late; i++) {
		events[kept].data = answers[i].slot;
		events[kept++].res = answers[i].result;
	}
	pthread_mutex_unlock(&lock);
	return count < 0 && !kept ? count : kept;
}

/* ---- io_uring ---- */

static int hook_io_uring_setup(unsigned entries, void *params)
{
	const struct rule *r;
	int fd;

	pthread_mutex_lock(&lock);
	r = match(FAULTS_SETUP);
	fd = r ? (int)r->value : real.io_uring_setup(entries, params);
	if (fd >= 0)
		faults_ring_watch(fd, params);
	pthread_mutex_unlock(&lock);
	return fd;
}

static int kind_of(unsigned opcode)
{
	if (opcode == IORING_OP_READV || opcode == IORING_OP_READ_FIXED)
		return FAULTS_READ;
	return opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITE_FIXED ? FAULTS_WRITE : FAULTS_FLUSH;
}

static void watch_sqe(int fd, struct io_uring_sqe *sqe)
{
	bool fixed = sqe->opcode == IORING_OP_READ_FIXED || sqe->opcode == IORING_OP_WRITE_FIXED;
	struct iovec one = { (void *)(uintptr_t)sqe->addr, sqe->len };
	struct iovec *iov = fixed ? &one : (struct iovec *)(uintptr_t)sqe->addr;
	int kind = kind_of(sqe->opcode);
	unsigned iovcnt = kind == FAULTS_FLUSH ? 0 : fixed ? 1 : sqe->len;
	const struct rule *r = match_transfer(kind, iov, iovcnt);

	record(kind, sqe->opcode, kind == FAULTS_FLUSH ? (int)sqe->fsync_flags : (int)sqe->rw_flags,
	       (int64_t)sqe->off, iov, iovcnt);
	if (r && r->action == FAULTS_SHORT && r->value)
		shorten(iov, iovcnt, really(sqe->fd, r->value));
	if (fixed)
		sqe->len = (uint32_t)one.iov_len;
	plan((uintptr_t)fd, sqe->user_data, r);
}

static void watch_ring(int fd, unsigned count)
{
	const struct faults_ring *r = faults_ring_of(fd);

	if (!r) {
		fprintf(stderr, "faults: ring %d was set up before the faults were installed\n", fd);
		abort();
	}
	unsigned head = *(unsigned *)(r->sq + r->params.sq_off.head);
	unsigned tail = *(unsigned *)(r->sq + r->params.sq_off.tail);
	unsigned mask = *(unsigned *)(r->sq + r->params.sq_off.ring_mask);

	for (; count-- && head != tail;)
		watch_sqe(fd, &r->sqes[head++ & mask]);
}

static int hook_io_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, void *arg,
			       size_t arg_size)
{
	const struct rule *r = NULL;
	int rc;

	pthread_mutex_lock(&lock);
	if (to_submit)
		r = match(FAULTS_SUBMIT);
	if (r && r->action == FAULTS_FAIL) {
		pthread_mutex_unlock(&lock);
		return (int)r->value;
	}
	if (r && r->action == FAULTS_TAKE && to_submit > r->value)
		to_submit = (unsigned)r->value;
	watch_ring(fd, to_submit);
	/* Under the lock, or another thread would see the same entries and record them again. */
	rc = to_submit ? real.io_uring_enter(fd, to_submit, 0, 0, NULL, 0) : 0;
	pthread_mutex_unlock(&lock);
	if (r && r->action == FAULTS_LIE)
		return (int)r->value;
	/* Without min_complete it does not wait: it runs what a ring defers. */
	if (rc == (int)to_submit && (flags & IORING_ENTER_GETEVENTS) && !r &&
	    !(min_complete && has_ready((uintptr_t)fd)))
		real.io_uring_enter(fd, 0, min_complete, flags, arg, arg_size);
	return rc;
}

static int hook_io_uring_register(int fd, unsigned op, void *arg, unsigned count)
{
	const struct rule *r;

	pthread_mutex_lock(&lock);
	r = match(FAULTS_SETUP);
	pthread_mutex_unlock(&lock);
	return r ? (int)r->value : real.io_uring_register(fd, op, arg, count);
}

static unsigned hook_completions(int fd, void *ring, struct fuaio_completion *out, unsigned most)
{
	unsigned count, kept = 0;

	pthread_mutex_lock(&lock);
	do {
		count = real.io_uring_completions(fd, ring, out, most);
		for (unsigned i = 0; i < count; i++)
			if (deliver((uintptr_t)fd, &out[i]))
				out[kept++] = out[i];
	} while (count == most && !kept);
	kept += take_ready((uintptr_t)fd, out + kept, most - kept);
	pthread_mutex_unlock(&lock);
	return kept;
}

/* ---- plain calls ---- */

static int64_t plain_answer(const struct rule *r, int64_t result)
{
	unsigned then;

	if (!r)
		return result;
	if (r->action == FAULTS_SLOW)
		usleep((useconds_t)r->value * 1000);
	if (r->action == FAULTS_ANSWER || (r->action == FAULTS_SHORT && result > r->value))
		return r->value;
	if (r->action == FAULTS_HOLD) {
		pthread_mutex_lock(&lock);
		then = generation;
		held_count++;
			pthread_cond_broadcast(&changed);
		while (generation == then)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
	}
	return result;
}

static const struct rule *watch_plain(int kind, int opcode, int flags, int64_t offset, const struct iovec *iov,
				      unsigned iovcnt)
{
	const struct rule *r;

	pthread_mutex_lock(&lock);
	r = match_transfer(kind, iov, iovcnt);
	record(kind, opcode, flags, offset, iov, iovcnt);
	pthread_mutex_unlock(&lock);
	return r;
}

static int64_t hook_preadv(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset)
{
	const struct rule *r = watch_plain(FAULTS_READ, 0, 0, offset, iov, iovcnt);

	if (r && r->action == FAULTS_SHORT && r->value)
		shorten((struct iovec *)iov, iovcnt, really(fd, r->value));
	return plain_answer(r, real.preadv(fd, iov, iovcnt, offset));
}

static int64_t hook_pwritev2(int fd, const struct iovec *iov, unsigned iovcnt, int64_t offset, int flags)
{
	const struct rule *r = watch_plain(FAULTS_WRITE, 0, flags, offset, iov, iovcnt);

	if (r && r->action == FAULTS_SHORT && r->value)
		shorten((struct iovec *)iov, iovcnt, really(fd, r->value));
	return plain_answer(r, real.pwritev2(fd, iov, iovcnt, offset, flags));
}

static int hook_fdatasync(int fd)
{
	return (int)plain_answer(watch_plain(FAULTS_FLUSH, 0, 1, 0, NULL, 0), real.fdatasync(fd));
}

static int hook_fsync(int fd)
{
	return (int)plain_answer(watch_plain(FAULTS_FLUSH, 0, 0, 0, NULL, 0), real.fsync(fd));
}

/* ---- in and out ---- */

static void forget(void)
{
	rule_count = seen_count = held_count = ready_count = 0;
	memset(kind_count, 0, sizeof(kind_count));
	memset(plans, 0, sizeof(plans));
	faults_rings_forget();
}

void faults_install(void *syscalls)
{
	table = syscalls;
	real = *table;
	faults_clock_install(table);
	forget();
	*table = (struct fuaio_syscalls){
		.io_setup = real.io_setup ? hook_io_setup : NULL,
		.io_destroy = real.io_destroy,
		.io_submit = real.io_submit ? hook_io_submit : NULL,
		.io_getevents = real.io_getevents ? hook_io_getevents : NULL,
		.io_uring_setup = real.io_uring_setup ? hook_io_uring_setup : NULL,
		.io_uring_enter = real.io_uring_enter ? hook_io_uring_enter : NULL,
		.io_uring_register = real.io_uring_register ? hook_io_uring_register : NULL,
		.io_uring_completions = real.io_uring_completions ? hook_completions : NULL,
		.preadv = hook_preadv,
		.pwritev2 = hook_pwritev2,
		.fdatasync = hook_fdatasync,
		.fsync = hook_fsync,
		.monotonic_ns = real.monotonic_ns,
	};
}

void faults_remove(void)
{
	faults_release();
	pthread_mutex_lock(&lock);
	*table = real;
	forget();
	pthread_mutex_unlock(&lock);
}

unsigned faults_asked(int kind)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = kind_count[kind];
	pthread_mutex_unlock(&lock);
	return count;
}

unsigned faults_seen_count(int kind)
{
	unsigned count = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < seen_count; i++)
		count += kind < 0 || seen[i].kind == kind;
	pthread_mutex_unlock(&lock);
	return count;
}

int faults_seen_at(unsigned index, struct faults_seen *out)
{
	bool there;

	pthread_mutex_lock(&lock);
	there = index < seen_count;
	if (there)
		*out = seen[index];
	pthread_mutex_unlock(&lock);
	return there;
}

static bool is_so(int kind, unsigned count)
{
	unsigned found = 0;

	if (kind == -2)
		return held_count >= count;
	for (unsigned i = 0; i < seen_count; i++)
		found += seen[i].kind == kind;
	return found >= count;
}

static int wait_for(int kind, unsigned count, unsigned wait_ms)
{
	struct timespec end;
	bool so;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += wait_ms / 1000;
	pthread_mutex_lock(&lock);
	while (!(so = is_so(kind, count)) && !rc)
		rc = pthread_cond_timedwait(&changed, &lock, &end);
	pthread_mutex_unlock(&lock);
	return so;
}

int faults_wait_held(unsigned count, unsigned wait_ms)
{
	return wait_for(-2, count, wait_ms);
}

int faults_wait_seen(int kind, unsigned count, unsigned wait_ms)
{
	return wait_for(kind, count, wait_ms);
}
