#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Linux uapi/linux/magic.h; not in the oldest headers. */
#define MAGIC_XFS 0x58465342
#define MAGIC_TMPFS 0x01021994
#define MAGIC_RAMFS 0x858458f6
#define MAGIC_EXT4 0xef53

/* statx(2), since 6.1. The library's struct may end before these fields, so it is ours. */
#define ASK_DIOALIGN 0x00002000U

struct statx_answer {
	uint32_t mask, to_attributes[37];
	uint32_t memory_align, offset_align; /* bytes 152 and 156; both 0: no direct I/O */
	uint32_t rest[24];
};

_Static_assert(sizeof(struct statx_answer) == 256, "the kernel writes 256 bytes");

/* Is the answer known, and what is it? */
static bool ask_direct_alignment(int fd, struct fuaio_file_facts *facts)
{
	struct statx_answer answer = { 0 };

	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, ASK_DIOALIGN, &answer) < 0)
		return false;
	if (!(answer.mask & ASK_DIOALIGN))
		return false;
	facts->memory_align = answer.memory_align;
	facts->offset_align = answer.offset_align;
	return true;
}

/* A kernel before 6.1: the logical block for a device; a page, which is enough for every
 * file system, for a file. */
static void guess_direct_alignment(int fd, struct fuaio_file_facts *facts)
{
	int block = 0;

	if (facts->block_device && ioctl(fd, BLKSSZGET, &block) == 0 && block > 0)
		facts->memory_align = facts->offset_align = (uint32_t)block;
	else
		facts->memory_align = facts->offset_align = (uint32_t)sysconf(_SC_PAGESIZE);
}

/* O_DIRECT passes the page cache by only where it is known to: on a block device, and on ext4
 * and XFS where the kernel says that this file takes direct I/O (ext4 with data=journal does not). */
static void ask_direct(int fd, unsigned long magic, struct fuaio_file_facts *facts)
{
	bool known = ask_direct_alignment(fd, facts);
	bool usable = known && facts->memory_align && facts->offset_align;

	if (!usable)
		guess_direct_alignment(fd, facts);
	if (facts->block_device)
		facts->page_cache = false;
	else
		facts->page_cache = !(usable && (magic == MAGIC_EXT4 || magic == MAGIC_XFS));
}

int fuaio_file_ask(int fd, struct fuaio_file_facts *facts)
{
	struct stat stat;
	struct statfs fs;
	int flags = fcntl(fd, F_GETFL);

	*facts = (struct fuaio_file_facts){ .page_cache = true, .memory_align = 1, .offset_align = 1 };
	if (flags < 0 || fstat(fd, &stat) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (S_ISDIR(stat.st_mode))
		return -EISDIR;
	if (!S_ISREG(stat.st_mode) && !S_ISBLK(stat.st_mode))
		return -ESPIPE;
	facts->block_device = S_ISBLK(stat.st_mode);
	if (!facts->block_device)
		facts->memory_only = fs.f_type == MAGIC_TMPFS || fs.f_type == MAGIC_RAMFS;
	if (flags & O_DIRECT)
		ask_direct(fd, (unsigned long)fs.f_type, facts);
	return 0;
}
