/* The memory of queues and requests: made, checked and freed here. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "process.h"
#include "queue_state.h"

static int cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int rc = pthread_condattr_init(&attr);

	if (rc)
		return -rc;
	rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!rc)
		rc = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return -rc;
}

int fuaio_waiter_init(struct fuaio_waiter *waiter)
{
	return cond_init(&waiter->woken);
}

void fuaio_waiter_end(struct fuaio_waiter *waiter)
{
	pthread_cond_destroy(&waiter->woken);
}

/* ---- queues ---- */

static void slots_free(struct fuaio_queue *q)
{
	for (unsigned i = 0; q->slots && i <= q->options.depth; i++)
		free(q->slots[i].iov);
	free(q->slots);
	free(q->free_slots);
	free(q->order);
}

static bool slots_new(struct fuaio_queue *q)
{
	unsigned depth = q->options.depth;

	q->slots = calloc((size_t)depth + 1, sizeof(*q->slots));
	q->free_slots = calloc(depth, sizeof(*q->free_slots));
	q->order = calloc((size_t)depth + 1, sizeof(*q->order));
	if (!q->slots || !q->free_slots || !q->order)
		return false;
	for (unsigned i = 0; i <= depth; i++) {
		q->slots[i].index = i;
		q->slots[i].fd = q->options.fd;
	}
	while (q->free_count < depth) {
		q->free_slots[q->free_count] = depth - 1 - q->free_count;
		q->free_count++;
	}
	return true;
}

static int write_flags(const struct fuaio_queue_options *options)
{
	if (options->two_requests || !options->ops->has_fua())
		return 0;
	return fuaio_engine_takes_dsync(options->ops) ? FUAIO_RWF_DSYNC : 0;
}

static int locks_init(struct fuaio_queue *q)
{
	int rc = cond_init(&q->idle);

	if (rc < 0)
		return rc;
	rc = -pthread_mutex_init(&q->lock, NULL);
	if (rc < 0)
		pthread_cond_destroy(&q->idle);
	return rc;
}

static int pin_pool(struct fuaio_queue *q)
{
	const struct fuaio_engine_ops *ops = q->options.ops;
	int rc;

	if (!q->options.pool || !ops->keep_pinned)
		return 0;
	rc = ops->keep_pinned(q->engine, q->options.pool, q->options.pool_length);
	return rc < 0 ? rc : 1;
}

static int queue_init(struct fuaio_queue *q)
{
	int rc = slots_new(q) ? locks_init(q) : -ENOMEM;

	if (rc < 0)
		return rc;
	rc = q->options.ops->open(&q->engine, q->options.depth + 1, q->options.one_thread);
	if (rc >= 0 && q->options.has_event_fd) {
		rc = q->options.ops->notify(q->engine, q->options.event_fd);
		if (rc < 0)
			q->options.ops->close(q->engine, false);
	}
	if (rc < 0) {
		pthread_cond_destroy(&q->idle);
		pthread_mutex_destroy(&q->lock);
	}
	return rc;
}

static bool is_power_of_two(unsigned number)
{
	return number && !(number & (number - 1));
}

int fuaio_queue_open(struct fuaio_queue **queue, const struct fuaio_queue_options *options)
{
	struct fuaio_queue *q;
	int rc;

	if (!options->ops->built)
		return -ENOPKG;
	if (!options->depth || options->depth == ~0U || !is_power_of_two(options->offset_align) ||
	    !is_power_of_two(options->memory_align))
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->options = *options;
	if (options->has_event_fd && options->ops->run)
		q->options.ops = &fuaio_engine_pool;
	q->process = fuaio_process();
	fuaio_list_init(&q->queued);
	fuaio_list_init(&q->promised);
	fuaio_list_init(&q->done);
	rc = queue_init(q);
	if (rc < 0) {
		slots_free(q);
		free(q);
		return rc;
	}
	q->pool_pinned = pin_pool(q);
	q->write_flags = write_flags(options);
	*queue = q;
	return 0;
}

int fuaio_queue_pool_pinned(const struct fuaio_queue *q)
{
	return q->pool_pinned;
}

int fuaio_queue_write_flags(struct fuaio_queue *q)
{
	int flags, rc = fuaio_drive_enter(q);

	if (rc < 0)
		return rc;
	flags = q->write_flags;
	fuaio_drive_leave(q);
	return flags;
}

void fuaio_queue_free(struct fuaio_queue *q)
{
	struct fuaio_request *r;

	if (q->process != fuaio_process())
		return;
	q->options.fd = -1;
	if (fuaio_queue_close(q, 0) == -EINTR)
		return; /* the kernel still uses it */
	while ((r = fuaio_list_take(&q->done)))
		fuaio_request_free(r);
	slots_free(q);
	pthread_cond_destroy(&q->idle);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void fuaio_queue_close_in_child(struct fuaio_queue *q)
{
	if (q->closed)
		return; /* by its parent before the fork: the number may be another file's by now */
	q->options.ops->close(q->engine, true);
	close(q->options.fd);
}

/* ---- requests ---- */

bool fuaio_request_is_aligned(const struct fuaio_queue_options *options, int64_t offset, const struct iovec *iov)
{
	uintptr_t in_file = options->offset_align - 1, in_memory = options->memory_align - 1;

	if (offset < 0 || (uint64_t)offset & in_file)
		return false;
	return !iov->iov_len || !((uintptr_t)iov->iov_base & in_memory || iov->iov_len & in_file);
}

struct fuaio_request *fuaio_request_new(struct fuaio_queue *q, enum fuaio_op op, bool fua, int64_t offset,
					const struct iovec *iov, unsigned iovcnt, int *error)
{
	struct fuaio_request *request;

	*error = -EINVAL;
	for (unsigned i = 0; i < iovcnt; i++)
		if (!fuaio_request_is_aligned(&q->options, offset, &iov[i]))
			return NULL;
	*error = -ENOMEM;
	request = calloc(1, sizeof(*request) + iovcnt * sizeof(*iov));
	if (!request)
		return NULL;
	if (fuaio_waiter_init(&request->own) < 0) {
		free(request);
		return NULL;
	}
	request->queue = q;
	request->waiter = &request->own;
	request->op = op;
	request->fua = fua;
	request->offset = offset;
	for (unsigned i = 0; i < iovcnt; i++) {
		if (!iov[i].iov_len)
			continue; /* IOV_MOST of these would be answered 0: a full disk, or the end of the file */
		request->iov[request->iovcnt++] = iov[i];
		request->length += iov[i].iov_len;
	}
	return request;
}

/* One that is done, for another buffer. */
static void use_again(struct fuaio_request *request, enum fuaio_op op, bool fua, int64_t offset, struct iovec iov)
{
	request->state = FUAIO_FRESH;
	request->op = op;
	request->fua = fua;
	request->needs_flush = request->lost_durability = false;
	request->retries = request->iov_first = 0;
	request->iov_skip = request->bytes = 0;
	request->offset = offset;
	request->iov[0] = iov;
	request->iovcnt = 1;
	request->length = iov.iov_len;
}

int fuaio_request_renew(struct fuaio_request **kept, struct fuaio_queue *q, enum fuaio_op op, bool fua,
			int64_t offset, struct iovec iov)
{
	int error;

	if (*kept && fuaio_request_is_aligned(&q->options, offset, &iov)) {
		use_again(*kept, op, fua, offset, iov);
		return 0;
	}
	if (*kept)
		fuaio_request_free(*kept);
	*kept = fuaio_request_new(q, op, fua, offset, &iov, 1, &error);
	return *kept ? 0 : error;
}

size_t fuaio_request_bytes(const struct fuaio_request *request)
{
	return request->bytes;
}

bool fuaio_request_lost_durability(const struct fuaio_request *request)
{
	return request->lost_durability;
}

void fuaio_request_free(struct fuaio_request *request)
{
	fuaio_waiter_end(&request->own);
	free(request);
}
