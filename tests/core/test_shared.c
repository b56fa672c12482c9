/* A batch in one thread, and another thread that fetches for both, or waits for its turn. */
#include <pthread.h>
#include <sched.h>

#include "fixture.h"
#include "queue_state.h"

/* As many that the batch does not end within one slice. */
enum { COUNT = 30000, HELD = 1, DEPTH = 3 };

static struct fuaio_queue *queue; /* NULL: nobody is to wait for the other thread */
static int (*submit_below)(void *ctx, long count, void **iocbs);
static int (*enter_below)(int ring_fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t size);

/* This thread comes back from handing over when the other one has fetched all of it. */
static void let_the_other_fetch(void)
{
	while (queue && fuaio_queue_in_flight(queue) > HELD)
		sched_yield();
}

static int late_submit(void *ctx, long count, void **iocbs)
{
	int rc = submit_below(ctx, count, iocbs);

	let_the_other_fetch();
	return rc;
}

static int late_enter(int ring_fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t size)
{
	int rc = enter_below(ring_fd, to_submit, least, flags, arg, size);

	if (to_submit && !least)
		let_the_other_fetch();
	return rc;
}

static void *run_request(void *request)
{
	while (fuaio_request_run(request) == -EINTR)
		continue;
	return NULL;
}

static void *run_batch(void *batch)
{
	while (fuaio_batch_run(batch) == -EINTR)
		continue;
	return NULL;
}

static void test_a_batch_whose_requests_another_thread_has_fetched_goes_on(enum fuaio_durable durable)
{
	static int64_t offsets[COUNT];
	static struct fuaio_outcome outcomes[COUNT];
	static char data[COUNT], found[COUNT];
	void *buffers[] = { data };
	struct fuaio_pieces pieces = { COUNT, offsets, buffers, NULL, 1, NULL };
	struct fixture f = set_up(false, false, DEPTH);
	struct fuaio_batch *b = NULL;
	struct fuaio_request *held;
	struct iovec iov = { found, 1 };
	uint64_t wrong;
	pthread_t other;
	int error;
	int64_t rc;

	for (int i = 0; i < COUNT; i++)
		offsets[i] = i;
	memset(data, 'x', sizeof(data));
	faults_restart();
	faults_rule(FAULTS_READ, 1, 1, FAULTS_HOLD, 0);
	held = fuaio_request_new(f.queue, FUAIO_READ, false, 0, &iov, 1, &error);
	CHECK(held && !pthread_create(&other, NULL, run_request, held));
	CHECK(faults_wait_held(HELD, 10000));
	queue = f.queue;
	CHECK(!fuaio_batch_new(&b, f.queue, FUAIO_WRITE, durable, &pieces, outcomes, &wrong));
	while ((rc = fuaio_batch_run(b)) == -EINTR)
		continue;
	CHECK(rc == 0);
	queue = NULL;
	faults_release();
	CHECK(!pthread_join(other, NULL));
	fuaio_batch_free(b);
	fuaio_request_free(held);
	CHECK(pread(f.fd, found, COUNT, 0) == COUNT);
	CHECK(!memcmp(found, data, COUNT));
	tear_down(f);
}

/* So many that the batch would write them all before another thread is awake. */
static void test_a_request_that_waits_has_its_turn_between_those_of_a_batch(void)
{
	enum { WRITES = 200 };
	static int64_t offsets[WRITES];
	static struct fuaio_outcome outcomes[WRITES];
	static char data[WRITES];
	void *buffers[] = { data };
	struct fuaio_pieces pieces = { WRITES, offsets, buffers, NULL, 1, NULL };
	struct fixture f = set_up(false, false, 1);
	struct fuaio_batch *b = NULL;
	struct fuaio_request *waits;
	char found;
	struct iovec iov = { &found, 1 };
	struct faults_seen second;
	pthread_t writer, reader;
	uint64_t wrong;
	int error;

	for (int i = 0; i < WRITES; i++)
		offsets[i] = i;
	faults_restart();
	faults_rule(FAULTS_WRITE, 1, 1, FAULTS_HOLD, 0);
	CHECK(!fuaio_batch_new(&b, f.queue, FUAIO_WRITE, FUAIO_PLAIN, &pieces, outcomes, &wrong));
	waits = fuaio_request_new(f.queue, FUAIO_READ, false, 0, &iov, 1, &error);
	CHECK(waits && !pthread_create(&writer, NULL, run_batch, b));
	CHECK(faults_wait_held(HELD, 10000));
	CHECK(!pthread_create(&reader, NULL, run_request, waits));
	pthread_mutex_lock(&f.queue->lock);
	while (!waits->waiter->asleep) {
		pthread_mutex_unlock(&f.queue->lock);
		sched_yield();
		pthread_mutex_lock(&f.queue->lock);
	}
	faults_release(); /* with the lock: it is still asleep when the batch goes on */
	pthread_mutex_unlock(&f.queue->lock);
	CHECK(!pthread_join(writer, NULL) && !pthread_join(reader, NULL));
	CHECK(faults_seen_count(-1) == WRITES + 1);
	CHECK(faults_seen_at(1, &second) && second.kind == FAULTS_READ);
	fuaio_batch_free(b);
	fuaio_request_free(waits);
	tear_down(f);
}

int main(int argc, char **argv)
{
	int rc = begin(argc, argv);

	if (rc)
		return rc;
	if (ops->run) { /* each thread does what is its own */
		test_a_request_that_waits_has_its_turn_between_those_of_a_batch();
	} else {
		submit_below = fuaio_syscalls.io_submit;
		enter_below = fuaio_syscalls.io_uring_enter;
		fuaio_syscalls.io_submit = late_submit;
		fuaio_syscalls.io_uring_enter = late_enter;
		test_a_batch_whose_requests_another_thread_has_fetched_goes_on(FUAIO_PLAIN);
		test_a_batch_whose_requests_another_thread_has_fetched_goes_on(FUAIO_GROUPED);
	}
	faults_remove();
	printf("ok: %s\n", ops->name);
	return 0;
}
