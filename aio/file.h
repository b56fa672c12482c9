/* What the queue must know of an open file, and what only C can ask. */
#ifndef FUAIO_FILE_H
#define FUAIO_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct fuaio_file_facts {
	bool block_device;
	bool memory_only;      /* tmpfs, ramfs: nothing there outlives a power cut */
	bool page_cache;       /* writes may go through the page cache, also with O_DIRECT */
	bool writes_told;      /* there, a plain write may be told of its errors too */
	bool flag_in_doubt;    /* an asynchronous write with RWF_DSYNC may not be all that it says */
	uint32_t memory_align; /* bytes; 1 without O_DIRECT */
	uint32_t offset_align; /* bytes; 1 without O_DIRECT */
};

/* 0, or -errno; -EISDIR, -ESPIPE where the descriptor is neither a file nor a block device. */
int fuaio_file_ask(int fd, struct fuaio_file_facts *facts);

/* Only the alignments, as statx tells them, both 0 without direct I/O; false: it does not tell. */
bool fuaio_file_ask_alignment(int fd, struct fuaio_file_facts *facts);

#endif
