/* The submission rings of io_uring, mapped a second time so that entries can be seen and shortened. */
#include <linux/io_uring.h>
#include <stddef.h>

struct faults_ring {
	int fd;
	char *sq;
	struct io_uring_sqe *sqes;
	struct io_uring_params params;
	size_t sq_size, sqes_size;
};

/* The ring that is `fd` from now on. */
void faults_ring_watch(int fd, const struct io_uring_params *params);
/* NULL: it is not watched. */
struct faults_ring *faults_ring_of(int fd);
void faults_rings_forget(void);
