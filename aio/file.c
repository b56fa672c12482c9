#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Linux uapi/linux/magic.h; not in the oldest headers. */
#define MAGIC_XFS 0x58465342
#define MAGIC_TMPFS 0x01021994
#define MAGIC_RAMFS 0x858458f6
#define MAGIC_EXT4 0xef53 /* ext2 and ext3 too */
#define MAGIC_BTRFS 0x9123683e

/* Linux fs/ext4/ext4.h: the file has extents, not the block map of ext2 and ext3. */
#define EXT4_EXTENTS 0x00080000

/* statx(2), since 6.1. The library's struct may end before these fields, so it is ours. */
#define ASK_DIOALIGN 0x00002000U

struct statx_answer {
	uint32_t mask, to_attributes[37];
	uint32_t memory_align, offset_align; /* bytes 152 and 156; both 0: no direct I/O */
	uint32_t rest[24];
};

_Static_assert(sizeof(struct statx_answer) == 256, "the kernel writes 256 bytes");

bool fuaio_file_ask_alignment(int fd, struct fuaio_file_facts *facts)
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

/* The attributes that lsattr shows; none where the file system has none. */
static int ask_attributes(int fd)
{
	int attributes = 0; /* the kernel writes an int, whatever the request's name says */

	return ioctl(fd, FS_IOC_GETFLAGS, &attributes) < 0 ? 0 : attributes;
}

/* XFS does; ext4 with extents, since into a hole of a file with a block map it writes through the
 * page cache (measured: of 16 at once none was told of the error). */
static bool direct_is_direct(int fd, unsigned long magic)
{
	return magic == MAGIC_XFS || (magic == MAGIC_EXT4 && (ask_attributes(fd) & EXT4_EXTENTS));
}

/* A plain write is told of an error of the page cache where it is synchronous: opened so, mounted
 * so, or chattr +S. On a file system that is not known, it may be. */
static bool is_told(int fd, int flags, const struct statfs *fs, bool block_device)
{
	if (flags & O_DSYNC) /* O_SYNC has this bit too */
		return true;
	if (block_device)
		return false;
	if ((fs->f_flags & ST_SYNCHRONOUS) || (ask_attributes(fd) & FS_SYNC_FL))
		return true;
	switch ((unsigned long)fs->f_type) {
	case MAGIC_EXT4:
	case MAGIC_XFS:
	case MAGIC_BTRFS:
	case MAGIC_TMPFS:
	case MAGIC_RAMFS:
		return false;
	default:
		return true;
	}
}

/* Of an asynchronous direct write with RWF_DSYNC, btrfs writes now and then the data alone, with
 * FUA on a disk that has it, and not the log by which they are found (lost in power cuts: Linux 6.1;
 * nodatacow files up to 7.2). What is not known to do otherwise may do so too, or be a layer over btrfs. */
static bool is_flag_in_doubt(unsigned long magic)
{
	return magic != MAGIC_EXT4 && magic != MAGIC_XFS && magic != MAGIC_TMPFS && magic != MAGIC_RAMFS;
}

/* O_DIRECT passes the page cache by only where it is known to: on a block device, and on ext4
 * and XFS where the kernel says that this file takes direct I/O (ext4 with data=journal does not). */
static void ask_direct(int fd, unsigned long magic, struct fuaio_file_facts *facts)
{
	bool known = fuaio_file_ask_alignment(fd, facts);
	bool usable = known && facts->memory_align && facts->offset_align;

	if (!usable)
		guess_direct_alignment(fd, facts);
	if (facts->block_device)
		facts->page_cache = false;
	else
		facts->page_cache = !(usable && direct_is_direct(fd, magic));
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
	if ((flags & O_DIRECT) && !facts->block_device)
		facts->flag_in_doubt = is_flag_in_doubt((unsigned long)fs.f_type);
	facts->writes_told = facts->page_cache && is_told(fd, flags, &fs, facts->block_device);
	return 0;
}
