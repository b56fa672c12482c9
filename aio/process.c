/* Which process is this? Asked by every request, so it is read from a page that the kernel
 * empties in a child (MADV_WIPEONFORK, since 4.14): getpid would enter the kernel each time,
 * and a child in another PID namespace may have its parent's. */
#include "process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic uint64_t *number; /* 0 where the process is new; NULL: there is no such page */
static _Atomic uint64_t forks;   /* as many before this process as a child is told */

static void number_init(void)
{
	void *page = mmap(NULL, sizeof(*number), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, sizeof(*number), MADV_WIPEONFORK) < 0)
		munmap(page, sizeof(*number));
	else
		number = page;
}

uint64_t fuaio_process(void)
{
	uint64_t fresh = 0;

	pthread_once(&once, number_init);
	if (!number)
		return (uint64_t)getpid();
	if (!atomic_load(number))
		atomic_compare_exchange_strong(number, &fresh, atomic_fetch_add(&forks, 1) + 1);
	return atomic_load(number);
}
