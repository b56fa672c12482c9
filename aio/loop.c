/* For an event loop, whose one thread must never wait: begin, come back when the eventfd says
 * so, and fetch what is done. */
#include <errno.h>
#include <unistd.h>

#include "process.h"
#include "queue_state.h"

int64_t fuaio_loop_begin(struct fuaio_queue *q, enum fuaio_op op, bool fua, int64_t offset, void *memory,
			 size_t length, uint64_t tag, bool now)
{
	struct iovec iov = { memory, length };
	struct fuaio_request *r;
	int64_t result = -EINPROGRESS;
	bool more = false;
	int error;

	if (q->process != fuaio_process())
		return -ECHILD;
	r = fuaio_request_new(q, op, fua, offset, &iov, memory ? 1 : 0, &error);
	if (!r)
		return error;
	r->of_a_loop = true;
	r->tag = tag;
	fuaio_drive_enter(q);
	fuaio_rules_begin(q, r);
	if (now)
		more = fuaio_drive_turn(q);
	/* One that failed is told with the others, since there is more to tell. */
	if (r->state == FUAIO_DONE && r->result >= 0 && q->done.first == r) {
		fuaio_list_take(&q->done);
		result = r->result;
		fuaio_request_free(r);
	} else if (more || q->done.first) {
		result = -EALREADY;
	}
	fuaio_drive_leave(q);
	return result;
}

int fuaio_loop_begin_batch(struct fuaio_batch *b, uint64_t tag)
{
	struct fuaio_queue *q = b->queue;
	int rc = fuaio_drive_enter(q);

	if (rc < 0)
		return rc;
	b->tag = tag;
	b->next_of_a_loop = q->batches;
	q->batches = b;
	fuaio_drive_leave(q);
	return 0;
}

/* The next batch all of whose requests are done leaves the list. */
static struct fuaio_batch *take_batch(struct fuaio_queue *q)
{
	for (struct fuaio_batch **at = &q->batches; *at; at = &(*at)->next_of_a_loop) {
		struct fuaio_batch *b = *at;

		if (!b->in_use && b->next == b->count) {
			*at = b->next_of_a_loop;
			return b;
		}
	}
	return NULL;
}

static void tell(struct fuaio_told *told, uint64_t tag, int64_t result, const struct fuaio_request *r)
{
	unsigned number = told->count++;

	told->tags[number] = tag;
	told->results[number] = result;
	told->bytes[number] = r ? r->bytes : 0;
	told->lost_durability[number] = r && r->lost_durability;
}

static void empty(int event_fd)
{
	uint64_t added;

	if (read(event_fd, &added, sizeof(added)) < 0)
		added = 0; /* there was nothing in it */
}

int fuaio_loop_turn(struct fuaio_queue *q, struct fuaio_told *told, bool readable)
{
	struct fuaio_request *r;
	struct fuaio_batch *b;
	int rc = fuaio_drive_enter(q);

	told->next = told->count = 0;
	told->more = false;
	if (rc < 0)
		return rc;
	/* Before anything is reaped: what completes after this adds to it again. */
	if (readable)
		empty(q->options.event_fd);
	told->more = fuaio_drive_turn(q);
	/* Nothing will complete: what was added would only bring the loop here again. */
	if (!readable && !fuaio_rules_slots_taken(q))
		empty(q->options.event_fd);
	while (told->count < FUAIO_TOLD_MOST && (r = fuaio_list_take(&q->done))) {
		tell(told, r->tag, r->result, r);
		fuaio_request_free(r);
	}
	while (told->count < FUAIO_TOLD_MOST && (b = take_batch(q)))
		tell(told, b->tag, (int64_t)b->failed, NULL);
	told->more = told->more || told->count == FUAIO_TOLD_MOST;
	fuaio_drive_leave(q);
	return 0;
}
