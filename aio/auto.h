/* Which way of making writes durable is the quicker one here, learnt by doing both in turns.
 * Nothing here reads a clock, waits or knows of requests: it is told what took how long. */
#ifndef FUAIO_AUTO_H
#define FUAIO_AUTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fuaio_way { FUAIO_BY_FUA, FUAIO_BY_GROUP, FUAIO_WAYS };

enum {
	FUAIO_SAMPLES = 7,        /* as many of each way are compared, by their medians */
	FUAIO_FIRST_SAMPLES = 3,  /* as many at least before one is chosen */
	FUAIO_WIDTH_CLASSES = 11, /* 1, 2 to 3, 4 to 7, ... writes in flight; the last: from 1024 on */
	FUAIO_LENGTH_CLASSES = 4, /* below 8 KiB, 64 KiB, 512 KiB; the last: from there on */
	FUAIO_CLASSES = FUAIO_WIDTH_CLASSES * FUAIO_LENGTH_CLASSES,
};

/* One way. */
struct fuaio_measured {
	double samples[FUAIO_SAMPLES]; /* the latest, in a ring: seconds a write */
	uint64_t count;
	double total_s; /* also of what was no sample */
};

/* What is known about writes of about one length, about so many at once. All zero: nothing. */
struct fuaio_choice {
	struct fuaio_measured ways[FUAIO_WAYS];
	enum fuaio_way chosen, now; /* the better one once it is known; what to do now */
	bool known, measures;       /* one of each is being measured */
	uint64_t sample_writes;     /* of the sample that is under way */
	double sample_s;
	double trials_s;        /* what of all time went to the other way than the chosen one, */
	double began_s, cost_s; /* when the last trial began; and what that one cost */
	uint64_t switches;
};

unsigned fuaio_auto_class(unsigned width, uint64_t length);
/* The first of class `number` and the one after its last; SIZE_MAX: there is none. */
void fuaio_auto_widths(unsigned number, size_t *least, size_t *end);
void fuaio_auto_lengths(unsigned number, size_t *least, size_t *end);

/* Writes that it takes to tell anything: whole groups. */
unsigned fuaio_auto_stretch(unsigned width);

/* So many writes, at most `width` at once, took so long one way. Sets `now`. */
void fuaio_auto_learn(struct fuaio_choice *c, enum fuaio_way way, unsigned width, uint64_t writes, double seconds);
/* The same of a stretch with a failure in it, which tells nothing about either way. */
void fuaio_auto_waste(struct fuaio_choice *c, enum fuaio_way way, double seconds);

/* Seconds that were spent both ways. */
double fuaio_auto_total_s(const struct fuaio_choice *c);

/* Seconds a write; 0: there is no sample. */
double fuaio_auto_median(const struct fuaio_choice *c, enum fuaio_way way);

#endif
