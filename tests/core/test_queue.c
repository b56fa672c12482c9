/* The queue from C, on every engine that is there, with faults at the table of system calls.
 * Small and quick, so that it also runs under valgrind and the sanitizers; threads are real. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

enum { BLOCK = 512, THREADS = 8, ROUNDS = 25 };

static int64_t run(struct fuaio_queue *q, enum fuaio_op op, bool fua, int64_t offset, void *data, size_t length,
		   bool *lost)
{
	struct iovec iov = { data, length };
	int error;
	struct fuaio_request *r = fuaio_request_new(q, op, fua, offset, &iov, data ? 1 : 0, &error);
	int64_t rc;

	CHECK(r);
	while ((rc = fuaio_request_run(r)) == -EINTR)
		continue;
	CHECK(fuaio_request_is_done(r));
	if (lost)
		*lost = fuaio_request_lost_durability(r);
	fuaio_request_free(r);
	return rc;
}

static int64_t write_at(struct fuaio_queue *q, int64_t offset, const char *data, bool *lost)
{
	return run(q, FUAIO_WRITE, true, offset, (void *)data, strlen(data), lost);
}

static void test_a_short_write_goes_on_at_its_tail(void)
{
	struct fixture f = set_up(true, false, 4);

	for (int cut = 1; cut < 10; cut++) {
		faults_restart();
		faults_rule(FAULTS_WRITE, 1, 1, FAULTS_SHORT, cut);
		CHECK(write_at(f.queue, 100, "0123456789", NULL) == 10);
		check_bytes(f.fd, 100, "0123456789");
		CHECK(faults_seen_count(FAULTS_WRITE) == 2);
	}
	tear_down(f);
}

static void test_eintr_and_eagain_keep_the_flag(void)
{
	struct fixture f = set_up(true, false, 4);
	int flags = fuaio_queue_write_flags(f.queue);
	struct faults_seen seen;

	faults_restart();
	faults_rule(FAULTS_WRITE, 1, 1, FAULTS_ANSWER, -EINTR);
	faults_rule(FAULTS_WRITE, 2, 1, FAULTS_ANSWER, -EAGAIN);
	CHECK(write_at(f.queue, 0, "durable", NULL) == 7);
	for (unsigned i = 0; i < 3; i++)
		CHECK(faults_seen_at(i, &seen) && seen.kind == FAULTS_WRITE && seen.flags == flags);
	tear_down(f);
}

static void test_an_emulated_write_waits_for_its_flush(void)
{
	struct fixture f = set_up(true, true, 1);
	struct faults_seen seen;
	bool lost;

	CHECK(fuaio_queue_write_flags(f.queue) == 0);
	faults_restart();
	CHECK(write_at(f.queue, 0, "durable", &lost) == 7 && !lost);
	CHECK(faults_seen_at(0, &seen) && seen.kind == FAULTS_WRITE && seen.flags == 0);
	CHECK(faults_seen_at(1, &seen) && seen.kind == FAULTS_FLUSH);
	CHECK(faults_seen_count(-1) == 2);
	tear_down(f);
}

static void test_a_failed_flush_latches(void)
{
	struct fixture f = set_up(true, true, 4);
	bool lost;

	faults_restart();
	faults_rule(FAULTS_FLUSH, 1, 1, FAULTS_ANSWER, -EIO);
	CHECK(write_at(f.queue, 0, "lost", &lost) == -EIO && lost);
	CHECK(run(f.queue, FUAIO_FLUSH_DATA, false, 0, NULL, 0, &lost) == -EIO && lost);
	CHECK(faults_seen_count(FAULTS_FLUSH) == 1);
	CHECK(run(f.queue, FUAIO_WRITE, false, 0, "plain", 5, &lost) == 5 && !lost);
	tear_down(f);
}

static void test_nothing_begins_once_closing(void)
{
	struct fixture f = set_up(true, false, 4);
	struct iovec iov = { "late", 4 };
	int error;
	struct fuaio_request *r = fuaio_request_new(f.queue, FUAIO_WRITE, true, 0, &iov, 1, &error);

	CHECK(r && fuaio_queue_close(f.queue, 100) == 0);
	CHECK(fuaio_request_run(r) == -ESHUTDOWN);
	fuaio_request_free(r);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

static void test_an_abandoned_request_is_held_until_its_completion(void)
{
	struct fixture f = set_up(true, false, 4);
	struct iovec iov = { "abandoned", 9 };
	int error;
	struct fuaio_request *r = fuaio_request_new(f.queue, FUAIO_WRITE, true, 0, &iov, 1, &error);

	faults_restart();
	if (!ops->run) {
		faults_rule(FAULTS_WRITE, 1, 1, FAULTS_HOLD, 0);
		CHECK(r && fuaio_request_run(r) == -EINTR);
		CHECK(!fuaio_request_abandon(r) && !fuaio_request_is_done(r));
		CHECK(fuaio_queue_close(f.queue, 0) == -EINTR);
		faults_release();
	}
	while (fuaio_queue_close(f.queue, 100) == -EINTR)
		continue;
	CHECK(ops->run || fuaio_request_is_done(r));
	fuaio_request_free(r);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

/* A close reaps what a thread between two waits has written, and makes it durable. */
static void test_a_write_that_is_reaped_by_a_close_gets_its_flush(void)
{
	struct fixture f = set_up(true, true, 4);
	struct iovec iov = { "promised", 8 };
	int error;
	struct fuaio_request *r = fuaio_request_new(f.queue, FUAIO_WRITE, true, 0, &iov, 1, &error);

	faults_restart();
	if (!ops->run) {
		faults_rule(FAULTS_WRITE, 1, 1, FAULTS_HOLD, 0);
		CHECK(r && fuaio_request_run(r) == -EINTR);
		faults_release();
		while (fuaio_queue_close(f.queue, 100) == -EINTR)
			continue;
		CHECK(faults_seen_count(FAULTS_FLUSH) == 1);
		CHECK(fuaio_request_run(r) == 8);
	}
	fuaio_request_free(r);
	fuaio_queue_close(f.queue, 100);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

/* What the kernel did not take is exactly what is left, and it can be taken back. */
static void test_an_engine_hands_over_by_prefix(void)
{
	struct iovec iov = { "x", 1 };
	void *engine;
	struct fuaio_completion answers[5];
	struct fixture f;
	int count = 0;

	if (ops->run)
		return;
	f = set_up(true, false, 1);
	faults_restart();
	faults_rule(FAULTS_SUBMIT, 1, 1, FAULTS_TAKE, 3);
	CHECK(ops->open(&engine, 5, false) == 0);
	for (unsigned i = 0; i < 5; i++)
		ops->prepare(engine, &(struct fuaio_slot){ .fd = f.fd,
							   .op = FUAIO_WRITE,
							   .iov = &iov,
							   .iovcnt = 1,
							   .index = i,
							   .offset = i });
	CHECK(ops->submit(engine, 0, 0) == 3 && ops->unsubmitted(engine) == 2);
	ops->withdraw(engine);
	CHECK(ops->unsubmitted(engine) == 0 && ops->submit(engine, 0, 0) == 0);
	while (count < 3)
		count += ops->reap(engine, answers + count, 5, 100, 1);
	for (int i = 0; i < 3; i++)
		CHECK(answers[i].slot < 3 && answers[i].result == 1);
	CHECK(lseek(f.fd, 0, SEEK_END) == 3);
	ops->close(engine, false);
	tear_down(f);
}

struct writer {
	struct fixture f;
	unsigned number;
};

static void *write_rounds(void *argument)
{
	struct writer *w = argument;

	for (unsigned round = 0; round < ROUNDS; round++) {
		char data[32];
		int64_t offset = (int64_t)w->number * BLOCK + round % 3 * 50;
		int64_t rc;
		bool lost;

		snprintf(data, sizeof(data), "writer %u round %u", w->number, round);
		rc = write_at(w->f.queue, offset, data, &lost);
		if (rc != (int64_t)strlen(data) || lost)
			fprintf(stderr, "%s: %lld of %zu, lost %d\n", data, (long long)rc, strlen(data), lost);
		CHECK(rc == (int64_t)strlen(data) && !lost);
		check_bytes(w->f.fd, offset, data);
		if (round % 7 == 0)
			CHECK(run(w->f.queue, FUAIO_FLUSH_ALL, false, 0, NULL, 0, NULL) == 0);
	}
	return NULL;
}

static void test_many_threads(bool page_cache, bool emulated, unsigned depth)
{
	struct fixture f = set_up(page_cache, emulated, depth);
	struct writer writers[THREADS];
	pthread_t threads[THREADS];

	faults_restart();
	faults_rule(FAULTS_SUBMIT, 5, 20, FAULTS_TAKE, 1);
	faults_rule(FAULTS_SUBMIT, 30, 3, FAULTS_FAIL, -EAGAIN);
	faults_rule(FAULTS_WRITE, 10, 20, FAULTS_SHORT, 6);
	faults_rule(FAULTS_WRITE, 40, 5, FAULTS_ANSWER, -EAGAIN);
	faults_rule(FAULTS_FLUSH, 5, 2, FAULTS_ANSWER, -EINTR);
	for (unsigned i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ f, i };
		CHECK(!pthread_create(&threads[i], NULL, write_rounds, &writers[i]));
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	tear_down(f);
}

int main(int argc, char **argv)
{
	const char *preload = getenv("LD_PRELOAD");
	int rc = begin(argc, argv);
	bool single;

	if (rc)
		return rc;
	test_a_short_write_goes_on_at_its_tail();
	test_eintr_and_eagain_keep_the_flag();
	test_an_emulated_write_waits_for_its_flush();
	test_a_failed_flush_latches();
	test_nothing_begins_once_closing();
	test_an_abandoned_request_is_held_until_its_completion();
	test_a_write_that_is_reaped_by_a_close_gets_its_flush();
	test_an_engine_hands_over_by_prefix();
	/* valgrind, which preloads itself, lets no other thread run while one waits in
	 * io_uring_enter (3.19): many threads would take hours there. */
	single = ops->number == FUAIO_IO_URING && preload && strstr(preload, "vgpreload");
	for (unsigned depth = 1; depth <= 16 && !single; depth *= 4) {
		test_many_threads(true, false, depth);
		test_many_threads(true, true, depth);
		test_many_threads(false, false, depth);
	}
	faults_remove();
	printf("ok: %s\n", ops->name);
	return 0;
}
