/* The durability rules, once, for every engine. Nothing here enters the kernel or waits.
 *
 * What a caller may be told:
 *   - A write asked for with fua goes with RWF_DSYNC if the engine has it, and is then
 *     durable at its completion. Otherwise it goes without, and is `promised`: it is
 *     reported only after a flush that was submitted after its completion was reaped.
 *   - `completed` counts reaped writes. A flush covers the count at its submission, and
 *     on success `durable` rises to that. A promised write waits for durable >= its count.
 *   - At most one flush is in flight. What completes meanwhile waits for the next one.
 *   - A failed flush fails everything promised, and latches the file.
 *   - On a file of the page cache an error is told once, to whoever asks first: so at most
 *     one request that is told of errors (a flagged write, a flush) is in flight. Where plain
 *     writes are told too (synchronous files), that is one write, or a flush, at a time. */
#include <errno.h>
#include <stdlib.h>

#include "queue_state.h"

enum { IOV_MOST = 1024 }; /* UIO_MAXIOV, linux/uio.h */

/* The most bytes that one request moves: MAX_RW_COUNT, linux/fs.h, with pages of 4 KiB. */
#define BYTES_MOST ((size_t)0x7ffff000)

/* ---- lists ---- */

void fuaio_list_init(struct fuaio_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_append(struct fuaio_list *list, struct fuaio_request *request)
{
	request->next = NULL;
	*list->end = request;
	list->end = &request->next;
}

struct fuaio_request *fuaio_list_take(struct fuaio_list *list)
{
	struct fuaio_request *first = list->first;

	if (first) {
		list->first = first->next;
		if (!list->first)
			list->end = &list->first;
	}
	return first;
}

static void list_put_first(struct fuaio_list *list, struct fuaio_request *request)
{
	request->next = list->first;
	if (!list->first)
		list->end = &request->next;
	list->first = request;
}

static void list_remove(struct fuaio_list *list, struct fuaio_request *request)
{
	struct fuaio_request **at = &list->first;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	if (list->end == &request->next)
		list->end = at;
}

/* ---- how a request ends ---- */

static void finish(struct fuaio_request *request, int64_t result)
{
	struct fuaio_waiter *waiter = request->waiter;

	if (request->batch && request->state == FUAIO_PROMISED)
		request->batch->promised--;
	request->state = FUAIO_DONE;
	request->result = result;
	if (request->batch)
		fuaio_batch_take_back(request->batch, request);
	else if (request->of_a_loop)
		list_append(&request->queue->done, request);
	if (waiter->asleep)
		pthread_cond_signal(&waiter->woken);
}

static void finish_lost(struct fuaio_request *request, int64_t error)
{
	request->lost_durability = true;
	finish(request, error);
}

/* Not an answer to the request. ECANCELED: when a thread ends, io_uring cancels what that
 * thread submitted and its workers have not begun, also on behalf of others (measured, 6.18). */
static bool says_again(int64_t result, unsigned *retries)
{
	if (result == -EINTR)
		return true;
	return (result == -EAGAIN || result == -ECANCELED) && (*retries)++ < FUAIO_MOST_RETRIES;
}

/* ---- promises, flushes, the latch ---- */

static void promise(struct fuaio_queue *q, struct fuaio_request *request, uint64_t goal)
{
	if (request->abandoned) {
		finish(request, -ECANCELED);
	} else if (q->latched) {
		finish_lost(request, q->latched);
	} else {
		request->state = FUAIO_PROMISED;
		request->goal = goal;
		list_append(&q->promised, request);
		if (request->batch)
			request->batch->promised++;
	}
}

/* A group is flushed once all its writes are completed; where writes go one at a time, each is one. */
static bool waits_for_its_group(const struct fuaio_queue *q, const struct fuaio_request *request)
{
	return request->grouped && request->batch->promised < request->batch->in_use && !q->options.writes_told;
}

/* Not while a write is in flight on a page-cache file that would be told of the error
 * which this flush must see. */
bool fuaio_rules_flush_due(const struct fuaio_queue *q)
{
	const struct fuaio_request *r = q->promised.first;

	if (q->flushing || (q->options.page_cache && q->told))
		return false;
	while (r && waits_for_its_group(q, r))
		r = r->next;
	return r;
}

enum fuaio_op fuaio_rules_flush_begin(struct fuaio_queue *q)
{
	enum fuaio_op op = FUAIO_FLUSH_DATA;

	for (struct fuaio_request *r = q->promised.first; r; r = r->next)
		if (r->op == FUAIO_FLUSH_ALL)
			op = FUAIO_FLUSH_ALL;
	q->flushing = true;
	q->flush_covers = q->completed;
	q->flush_number++;
	return op;
}

static bool is_kept(const struct fuaio_queue *q, const struct fuaio_request *promised)
{
	if (promised->op == FUAIO_WRITE)
		return q->durable >= promised->goal;
	return q->flushed >= promised->goal;
}

static void acknowledge(struct fuaio_queue *q)
{
	struct fuaio_request *r = q->promised.first, *next;

	for (; r; r = next) {
		next = r->next;
		if (!is_kept(q, r))
			continue;
		list_remove(&q->promised, r);
		finish(r, (int64_t)r->bytes);
	}
}

/* What completed after the failed flush was submitted fails too: the error is told once, so
 * a later flush that succeeds proves nothing (measured: fdatasync answers 0 after a failed write). */
static void latch(struct fuaio_queue *q, int64_t error)
{
	if (!q->latched)
		q->latched = (int)error;
	while (q->promised.first) {
		struct fuaio_request *r = q->promised.first;

		list_remove(&q->promised, r);
		finish_lost(r, q->latched);
	}
}

void fuaio_rules_flush_done(struct fuaio_queue *q, int64_t result)
{
	q->flushing = false;
	if (says_again(result, &q->flush_retries))
		return; /* still due, and the next one covers no less */
	q->flush_retries = 0;
	if ((result == -EINVAL || result == -EOPNOTSUPP) && !q->engine_cannot_flush) {
		q->engine_cannot_flush = true; /* nothing was flushed and nothing failed: fdatasync is next */
		return;
	}
	if (result < 0) {
		latch(q, result);
		return;
	}
	if (q->durable < q->flush_covers)
		q->durable = q->flush_covers;
	q->flushed = q->flush_number;
	acknowledge(q);
}

/* ---- a request begins ---- */

static bool is_refused_by_latch(const struct fuaio_queue *q, const struct fuaio_request *request)
{
	if (!q->latched || request->op == FUAIO_READ)
		return false;
	if (request->op != FUAIO_WRITE)
		return true;
	return request->fua && (q->options.page_cache || request->grouped || !q->write_flags);
}

void fuaio_rules_begin(struct fuaio_queue *q, struct fuaio_request *request)
{
	if (q->closing) {
		finish(request, -ESHUTDOWN);
	} else if (is_refused_by_latch(q, request)) {
		finish_lost(request, q->latched);
	} else if (request->op == FUAIO_FLUSH_DATA || request->op == FUAIO_FLUSH_ALL) {
		/* Never one that is in flight already, and never none because nothing seems dirty. */
		promise(q, request, q->flush_number + 1);
	} else if (!request->length) {
		finish(request, 0);
	} else {
		request->state = FUAIO_QUEUED;
		list_append(&q->queued, request);
	}
}

void fuaio_rules_abandon(struct fuaio_queue *q, struct fuaio_request *request)
{
	request->abandoned = true;
	if (request->state == FUAIO_QUEUED)
		list_remove(&q->queued, request);
	else if (request->state == FUAIO_PROMISED)
		list_remove(&q->promised, request);
	if (request->state != FUAIO_IN_FLIGHT && request->state != FUAIO_DONE)
		finish(request, -ECANCELED);
}

/* Nothing is in flight. What is left belongs to threads between two waits: they must not come
 * back to an engine that is closed, and to a descriptor that may be another file's by then. */
void fuaio_rules_shut(struct fuaio_queue *q)
{
	struct fuaio_list *lists[] = { &q->queued, &q->promised };

	for (unsigned i = 0; i < 2; i++) {
		while (lists[i]->first) {
			struct fuaio_request *r = lists[i]->first;

			list_remove(lists[i], r);
			finish(r, -ESHUTDOWN);
		}
	}
}

/* ---- into a slot ---- */

/* What the engine has to answer. A flush in a thread of ours is not among it. */
unsigned fuaio_rules_slots_taken(const struct fuaio_queue *q)
{
	return q->options.depth - q->free_count + (q->flushing && !q->engine_cannot_flush ? 1 : 0);
}

/* Where a piece of a request may end: a multiple of this many bytes. */
static size_t piece_align(const struct fuaio_queue *q)
{
	return q->options.offset_align > q->options.memory_align ? q->options.offset_align
								 : q->options.memory_align;
}

static int choose_flags(const struct fuaio_queue *q, const struct fuaio_request *request)
{
	if (request->op != FUAIO_WRITE || !request->fua || request->grouped)
		return 0;
	if (q->options.page_cache && (q->latched || q->told || q->flushing || q->promised.first))
		return 0;
	return q->write_flags;
}

static bool grow_iov(struct fuaio_slot *slot, unsigned count)
{
	struct iovec *iov;

	if (count <= slot->iov_room)
		return true;
	iov = realloc(slot->iov, count * sizeof(*iov));
	if (!iov)
		return false;
	slot->iov = iov;
	slot->iov_room = count;
	return true;
}

/* What is left of the request, as much as one submission takes. */
static bool fill_iov(struct fuaio_slot *slot, const struct fuaio_request *r, size_t align)
{
	unsigned count = r->iovcnt - r->iov_first;
	size_t room = BYTES_MOST / align * align, skip = r->iov_skip;

	if (count > IOV_MOST)
		count = IOV_MOST;
	if (!grow_iov(slot, count))
		return false;
	slot->length = 0;
	for (slot->iovcnt = 0; slot->iovcnt < count && room; slot->iovcnt++, skip = 0) {
		const struct iovec *from = &r->iov[r->iov_first + slot->iovcnt];
		size_t length = from->iov_len - skip < room ? from->iov_len - skip : room;

		slot->iov[slot->iovcnt] = (struct iovec){ (char *)from->iov_base + skip, length };
		slot->length += length;
		room -= length;
	}
	return true;
}

bool fuaio_rules_can_take(const struct fuaio_queue *q)
{
	if (q->options.writes_told && (q->told || q->flushing || q->promised.first))
		return false;
	return q->free_count;
}

/* A queued request gets a free slot, and its flags. NULL: no memory, and it is done. */
struct fuaio_slot *fuaio_rules_take(struct fuaio_queue *q, struct fuaio_request *request)
{
	struct fuaio_slot *slot = &q->slots[q->free_slots[q->free_count - 1]];

	list_remove(&q->queued, request);
	if (!fill_iov(slot, request, piece_align(q))) {
		finish(request, -ENOMEM);
		return NULL;
	}
	q->free_count--;
	request->state = FUAIO_IN_FLIGHT;
	slot->request = request;
	slot->op = request->op;
	slot->offset = request->offset + (int64_t)request->bytes;
	slot->flags = choose_flags(q, request);
	slot->told = slot->flags || (q->options.writes_told && request->op == FUAIO_WRITE);
	if (slot->told)
		q->told++;
	if (request->fua && !slot->flags)
		request->needs_flush = true;
	return slot;
}

static void give_back(struct fuaio_queue *q, struct fuaio_slot *slot)
{
	if (slot->told)
		q->told--;
	slot->request = NULL;
	q->free_slots[q->free_count++] = slot->index;
}

static void requeue(struct fuaio_queue *q, struct fuaio_request *request)
{
	if (request->abandoned) {
		finish(request, -ECANCELED);
		return;
	}
	request->state = FUAIO_QUEUED;
	list_put_first(&q->queued, request);
}

/* The kernel has not taken it: as if it had never had the slot. */
void fuaio_rules_put_back(struct fuaio_queue *q, struct fuaio_slot *slot)
{
	struct fuaio_request *request = slot->request;

	if (slot->index == q->options.depth) {
		q->flushing = false;
		return;
	}
	give_back(q, slot);
	requeue(q, request);
}

/* ---- completions ---- */

static void advance(struct fuaio_request *request, size_t count)
{
	request->bytes += count;
	request->iov_skip += count;
	while (request->iov_first < request->iovcnt &&
	       request->iov_skip >= request->iov[request->iov_first].iov_len)
		request->iov_skip -= request->iov[request->iov_first++].iov_len;
}

static void read_done(struct fuaio_queue *q, struct fuaio_request *request, int64_t result)
{
	if (result < 0) {
		finish(request, result);
		return;
	}
	advance(request, (size_t)result);
	/* Under O_DIRECT only the end of the file gives an unaligned count. */
	if (!result || result % q->options.offset_align || request->bytes == request->length)
		finish(request, (int64_t)request->bytes);
	else
		requeue(q, request);
}

static void write_progress(struct fuaio_queue *q, struct fuaio_request *request, size_t asked, size_t count)
{
	if (count < asked)
		count -= count % piece_align(q); /* the tail starts where O_DIRECT lets it */
	advance(request, count);
	if (count)
		request->retries = 0;
	else if (request->retries++ == FUAIO_MOST_RETRIES) {
		finish(request, -EIO);
		return;
	}
	if (request->bytes < request->length)
		requeue(q, request);
	else if (request->needs_flush)
		promise(q, request, q->completed);
	else
		finish(request, (int64_t)request->bytes);
}

/* Can this answer of a write have used up an error that the page cache tells once?
 * Not where the kernel refused the call before it wrote. */
static bool may_use_up_error(int64_t result)
{
	switch (result) {
	case -EINVAL:
	case -EBADF:
	case -EFAULT:
	case -EFBIG:
	case -EPERM:
	case -EAGAIN:
		return false;
	default:
		return true;
	}
}

static void write_failed(struct fuaio_queue *q, struct fuaio_request *request, const struct fuaio_slot *slot,
			 int64_t error)
{
	if (slot->flags && (error == -EOPNOTSUPP || error == -ENOSYS)) {
		q->write_flags = 0; /* this kernel does not know the flag: nothing was written; write, then flush */
		requeue(q, request);
		return;
	}
	finish(request, error);
	if (slot->told && q->options.page_cache && may_use_up_error(error))
		latch(q, error);
}

void fuaio_rules_complete(struct fuaio_queue *q, struct fuaio_slot *slot, int64_t result)
{
	struct fuaio_request *request = slot->request;

	if (slot->index == q->options.depth) {
		fuaio_rules_flush_done(q, result);
		return;
	}
	give_back(q, slot);
	if (says_again(result, &request->retries)) {
		requeue(q, request); /* prepared again from the request, so that no flag is lost */
	} else if (request->op == FUAIO_READ) {
		read_done(q, request, result);
	} else if (result > 0) {
		q->completed++;
		write_progress(q, request, slot->length, (size_t)result);
	} else {
		write_failed(q, request, slot, result ? result : -ENOSPC);
	}
}

/* The kernel did not take it and will not: this error is final, EAGAIN too. */
void fuaio_rules_give_up(struct fuaio_queue *q, struct fuaio_slot *slot, int error)
{
	if (slot->index == q->options.depth)
		q->flush_retries = FUAIO_MOST_RETRIES;
	else
		slot->request->retries = FUAIO_MOST_RETRIES;
	fuaio_rules_complete(q, slot, error);
}
