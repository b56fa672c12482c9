/* Batches from C, on every engine that is there. One thread, small and quick. */
#include <linux/io_uring.h>

#include "fixture.h"

enum { COUNT = 21, PIECE = 16, DEPTH = 4 };

static char written[COUNT * PIECE];
static int64_t offsets[COUNT];
static struct fuaio_outcome outcomes[COUNT];

/* One buffer in pieces, which go to the file in the order of the last one first. */
static struct fuaio_batch *batch_of(struct fuaio_queue *q, enum fuaio_op op, enum fuaio_durable durable,
				    void *data)
{
	static void *buffers[1]; /* lives as long as the batch, as offsets and outcomes do */
	struct fuaio_pieces pieces = { COUNT, offsets, buffers, NULL, PIECE, NULL };
	struct fuaio_batch *b = NULL;
	uint64_t wrong;

	buffers[0] = data;
	for (int i = 0; i < COUNT; i++)
		offsets[i] = (COUNT - 1 - i) * PIECE;
	memset(outcomes, 0, sizeof(outcomes));
	CHECK(fuaio_batch_new(&b, q, op, durable, &pieces, outcomes, &wrong) == 0 && b);
	return b;
}

static int64_t run(struct fuaio_queue *q, enum fuaio_op op, enum fuaio_durable durable, void *data)
{
	struct fuaio_batch *b = batch_of(q, op, durable, data);
	int64_t rc;

	while ((rc = fuaio_batch_run(b)) == -EINTR)
		continue;
	CHECK(fuaio_batch_is_done(b));
	fuaio_batch_free(b);
	return rc;
}

static void check_file(int fd)
{
	char found[PIECE];

	for (int i = 0; i < COUNT; i++) {
		CHECK(pread(fd, found, PIECE, offsets[i]) == PIECE);
		CHECK(!memcmp(found, written + i * PIECE, PIECE));
	}
}

static void test_every_piece_is_written_and_read(enum fuaio_durable durable, bool page_cache, bool emulated)
{
	struct fixture f = set_up(page_cache, emulated, DEPTH);
	char back[sizeof(written)] = "";

	faults_restart();
	faults_rule(FAULTS_SUBMIT, 2, 3, FAULTS_TAKE, 1);
	faults_rule(FAULTS_WRITE, 3, 4, FAULTS_SHORT, 5);
	faults_rule(FAULTS_WRITE, 9, 2, FAULTS_ANSWER, -EAGAIN);
	faults_rule(FAULTS_FLUSH, 1, 1, FAULTS_ANSWER, -EINTR);
	faults_rule(FAULTS_READ, 3, 4, FAULTS_SHORT, 5);
	CHECK(run(f.queue, FUAIO_WRITE, durable, written) == 0);
	check_file(f.fd);
	CHECK(run(f.queue, FUAIO_READ, FUAIO_PLAIN, back) == 0);
	CHECK(!memcmp(back, written, sizeof(back)));
	for (int i = 0; i < COUNT; i++)
		CHECK(!outcomes[i].error && outcomes[i].bytes == PIECE);
	tear_down(f);
}

static void test_a_group_has_one_flush_and_a_failed_one_fails_it(void)
{
	struct fixture f = set_up(true, false, DEPTH);

	faults_restart();
	faults_rule(FAULTS_FLUSH, 2, 1, FAULTS_ANSWER, -EIO);
	CHECK(run(f.queue, FUAIO_WRITE, FUAIO_GROUPED, written) == COUNT - DEPTH);
	CHECK(faults_seen_count(FAULTS_FLUSH) == 2 && faults_seen_count(FAULTS_WRITE) == 2 * DEPTH);
	for (int i = 0; i < COUNT; i++) {
		CHECK(outcomes[i].error == (i < DEPTH ? 0 : -EIO));
		CHECK(outcomes[i].lost_durability == (i >= DEPTH));
		CHECK(outcomes[i].bytes == (i >= DEPTH && i < 2 * DEPTH ? PIECE : 0));
	}
	tear_down(f);
}

static void test_a_failed_piece_is_that_piece_alone(void)
{
	struct fixture f = set_up(false, false, DEPTH);

	faults_restart();
	faults_rule(FAULTS_WRITE, 3, 1, FAULTS_ANSWER, -ENOSPC);
	CHECK(run(f.queue, FUAIO_WRITE, FUAIO_FUA, written) == 1);
	for (int i = 0; i < COUNT; i++)
		CHECK(outcomes[i].error == (i == 2 ? -ENOSPC : 0) && !outcomes[i].lost_durability);
	tear_down(f);
}

static void test_a_piece_that_cannot_be_is_told_and_nothing_begins(void)
{
	struct fixture f = set_up(true, false, DEPTH);
	void *buffers[] = { written };
	int64_t places[] = { 0, -1 };
	struct fuaio_pieces pieces = { 2, places, buffers, NULL, PIECE, NULL };
	struct fuaio_batch *b = NULL;
	uint64_t wrong;

	faults_restart();
	CHECK(fuaio_batch_new(&b, f.queue, FUAIO_WRITE, FUAIO_FUA, &pieces, outcomes, &wrong) == -ERANGE);
	CHECK(!b && wrong == 1 && faults_seen_count(-1) == 0);
	tear_down(f);
}

static void test_an_abandoned_batch_is_held_until_its_completions(void)
{
	struct fixture f = set_up(true, false, DEPTH);
	struct fuaio_batch *b = batch_of(f.queue, FUAIO_WRITE, FUAIO_GROUPED, written);

	faults_restart();
	if (!ops->run) {
		faults_rule(FAULTS_WRITE, 1, DEPTH, FAULTS_HOLD, 0);
		CHECK(fuaio_batch_run(b) == -EINTR);
		CHECK(!fuaio_batch_abandon(b) && !fuaio_batch_is_done(b));
		CHECK(fuaio_queue_close(f.queue, 0) == -EINTR);
		faults_release();
	}
	while (fuaio_queue_close(f.queue, 100) == -EINTR)
		continue;
	CHECK(fuaio_batch_abandon(b) && fuaio_batch_is_done(b));
	CHECK(faults_seen_count(FAULTS_WRITE) == (ops->run ? 0 : DEPTH));
	fuaio_batch_free(b);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

static void test_a_batch_ends_after_close(void)
{
	struct fixture f = set_up(true, false, DEPTH);
	struct fuaio_batch *b = batch_of(f.queue, FUAIO_WRITE, FUAIO_FUA, written);

	CHECK(fuaio_queue_close(f.queue, 100) == 0);
	CHECK(fuaio_batch_run(b) == COUNT);
	for (int i = 0; i < COUNT; i++)
		CHECK(outcomes[i].error == -ESHUTDOWN);
	fuaio_batch_free(b);
	fuaio_queue_free(f.queue);
	close(f.fd);
}

/* ---- how many answers a thread waits for ---- */

static struct fuaio_syscalls below;
static unsigned most_waited;

static int old_setup(unsigned entries, void *params)
{
	int fd = below.io_uring_setup(entries, params);

	((struct io_uring_params *)params)->features &= ~(1U << 8); /* IORING_FEAT_EXT_ARG */
	return fd;
}

static int watched_enter(int fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t size)
{
	most_waited = least > most_waited ? least : most_waited;
	return below.io_uring_enter(fd, to_submit, least, flags, arg, size);
}

static int watched_getevents(void *ctx, long least, long most, void *events, struct timespec *timeout)
{
	most_waited = least > (long)most_waited ? (unsigned)least : most_waited;
	return below.io_getevents(ctx, least, most, events, timeout);
}

static unsigned waited_for(bool kernel_is_old, enum fuaio_durable durable)
{
	struct fixture f;

	below = fuaio_syscalls;
	if (kernel_is_old)
		fuaio_syscalls.io_uring_setup = old_setup;
	fuaio_syscalls.io_uring_enter = watched_enter;
	fuaio_syscalls.io_getevents = watched_getevents;
	most_waited = 0;
	faults_restart();
	f = set_up(false, false, DEPTH);
	CHECK(run(f.queue, FUAIO_WRITE, durable, written) == 0);
	tear_down(f);
	fuaio_syscalls = below;
	return most_waited;
}

static void test_a_thread_waits_for_several_only_where_the_kernel_ends_the_wait(void)
{
	if (ops->run)
		return;
	CHECK(waited_for(false, FUAIO_GROUPED) == DEPTH);
	CHECK(waited_for(false, FUAIO_PLAIN) == DEPTH / 2);
	CHECK(ops->number != FUAIO_IO_URING || waited_for(true, FUAIO_GROUPED) == 1);
}

int main(int argc, char **argv)
{
	int rc = begin(argc, argv);

	if (rc)
		return rc;
	for (unsigned i = 0; i < sizeof(written); i++)
		written[i] = (char)(i * 7 + i / 251);
	for (int durable = FUAIO_PLAIN; durable <= FUAIO_AUTO; durable++)
		for (int how = 0; how < 4; how++)
			test_every_piece_is_written_and_read((enum fuaio_durable)durable, how & 1, how & 2);
	test_a_group_has_one_flush_and_a_failed_one_fails_it();
	test_a_failed_piece_is_that_piece_alone();
	test_a_piece_that_cannot_be_is_told_and_nothing_begins();
	test_an_abandoned_batch_is_held_until_its_completions();
	test_a_batch_ends_after_close();
	test_a_thread_waits_for_several_only_where_the_kernel_ends_the_wait();
	faults_remove();
	printf("ok: %s\n", ops->name);
	return 0;
}
