/* Writes one block durably: by one request where the header has the helper, else by two. */
#include "config.h"

#include <fcntl.h>
#include <libaio.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static long long run(io_context_t context, struct iocb *request)
{
	struct io_event event;

	if (io_submit(context, 1, &request) != 1 || io_getevents(context, 1, 1, &event, NULL) != 1)
		return -1;
	return (long long)event.res;
}

static int write_durably(io_context_t context, int fd, const struct iovec *iov)
{
	struct iocb request;

#if HAVE_IO_PREP_PWRITEV2
	io_prep_pwritev2(&request, fd, iov, 1, 0, RWF_DSYNC);
#else
	io_prep_pwritev(&request, fd, iov, 1, 0);
#endif
	if (run(context, &request) != (long long)iov->iov_len)
		return -1;
#if !HAVE_IO_PREP_PWRITEV2
	if (fdatasync(fd) != 0)
		return -1;
#endif
	return 0;
}

int main(int count, char **arguments)
{
	static char block[BLOCK_SIZE];
	struct iovec iov = {.iov_base = memset(block, 'x', sizeof(block)), .iov_len = sizeof(block)};
	io_context_t context = NULL;
	int fd = count == 2 ? open(arguments[1], O_WRONLY | O_CREAT, 0600) : -1;

	if (fd < 0 || io_setup(1, &context) != 0 || write_durably(context, fd, &iov) != 0)
		return 1;
	printf("%d request\n", HAVE_IO_PREP_PWRITEV2 ? 1 : 2);
	io_destroy(context);
	return close(fd) != 0;
}
