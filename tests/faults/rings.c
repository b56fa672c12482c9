#include "rings.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { RINGS = 64 };

static struct faults_ring rings[RINGS];

struct faults_ring *faults_ring_of(int fd)
{
	for (unsigned i = 0; i < RINGS; i++)
		if (rings[i].sq && rings[i].fd == fd)
			return &rings[i];
	return NULL;
}

static void ring_forget(struct faults_ring *r)
{
	munmap(r->sq, r->sq_size);
	munmap(r->sqes, r->sqes_size);
	memset(r, 0, sizeof(*r));
}

void faults_ring_watch(int fd, const struct io_uring_params *params)
{
	struct faults_ring *r = faults_ring_of(fd);

	if (r)
		ring_forget(r); /* the descriptor was closed and is in use again */
	for (r = rings; r->sq; r++)
		if (r == &rings[RINGS - 1])
			abort();
	r->fd = fd;
	r->params = *params;
	r->sq_size = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	r->sqes_size = params->sq_entries * sizeof(struct io_uring_sqe);
	r->sq = mmap(NULL, r->sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	if (r->sq == MAP_FAILED || (void *)r->sqes == MAP_FAILED)
		abort();
	madvise(r->sq, r->sq_size, MADV_DONTFORK);
	madvise(r->sqes, r->sqes_size, MADV_DONTFORK);
}

void faults_rings_forget(void)
{
	for (unsigned i = 0; i < RINGS; i++)
		if (rings[i].sq)
			ring_forget(&rings[i]);
}
