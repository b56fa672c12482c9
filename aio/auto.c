/* How the choice is made.
 *
 * A pair is a sample of each way, one right after the other, so that whatever else goes on in
 * the machine meets both. At first one pair follows the other, until one way leads; then the
 * chosen way goes on, and a pair begins only where its trial of the other way, at the price of
 * the last one, keeps all trials within their share of the time. What the other way took before
 * anything was known counts as trials too. */
#include "auto.h"

#define LEAD 1.1          /* what the medians must differ by for a switch */
#define TRIALS_SHARE 0.02 /* of all time */
#define SAMPLE_S 0.005    /* a sample need not be longer, however few writes it has */

enum {
	STRETCH = 8,         /* writes at least between two looks at the clock, */
	SAMPLE_WRITES = 64,  /* and in a sample; */
	SAMPLE_GROUPS = 8,   /* of a sample also groups */
	LENGTH_FIRST = 8192, /* bytes: where the second class begins; */
	LENGTH_STEP = 8,     /* the next one as many times later */
};

/* ---- classes ---- */

static unsigned width_class(unsigned width)
{
	unsigned number = 0;

	while (width >>= 1)
		number++;
	return number < FUAIO_WIDTH_CLASSES ? number : FUAIO_WIDTH_CLASSES - 1;
}

static unsigned length_class(uint64_t length)
{
	unsigned number = 0;

	for (uint64_t end = LENGTH_FIRST; length >= end && number < FUAIO_LENGTH_CLASSES - 1; end *= LENGTH_STEP)
		number++;
	return number;
}

unsigned fuaio_auto_class(unsigned width, uint64_t length)
{
	return length_class(length) * FUAIO_WIDTH_CLASSES + width_class(width);
}

void fuaio_auto_widths(unsigned number, size_t *least, size_t *end)
{
	unsigned width = number % FUAIO_WIDTH_CLASSES;

	*least = (size_t)1 << width;
	*end = width == FUAIO_WIDTH_CLASSES - 1 ? SIZE_MAX : *least * 2;
}

void fuaio_auto_lengths(unsigned number, size_t *least, size_t *end)
{
	unsigned length = number / FUAIO_WIDTH_CLASSES;

	*least = 0;
	*end = LENGTH_FIRST;
	for (; length; length--) {
		*least = *end;
		*end *= LENGTH_STEP;
	}
	if (number / FUAIO_WIDTH_CLASSES == FUAIO_LENGTH_CLASSES - 1)
		*end = SIZE_MAX;
}

/* ---- samples ---- */

unsigned fuaio_auto_stretch(unsigned width)
{
	return width < STRETCH ? (STRETCH + width - 1) / width * width : width;
}

static bool sample_is_whole(const struct fuaio_choice *c, unsigned width)
{
	uint64_t writes = (uint64_t)width * SAMPLE_GROUPS;

	return c->sample_writes >= (writes > SAMPLE_WRITES ? writes : SAMPLE_WRITES) || c->sample_s >= SAMPLE_S;
}

static void sample_end(struct fuaio_choice *c)
{
	c->sample_writes = 0;
	c->sample_s = 0;
}

static void sample_record(struct fuaio_choice *c)
{
	struct fuaio_measured *m = &c->ways[c->now];

	m->samples[m->count++ % FUAIO_SAMPLES] = c->sample_s / (double)c->sample_writes;
	sample_end(c);
}

double fuaio_auto_median(const struct fuaio_choice *c, enum fuaio_way way)
{
	const struct fuaio_measured *m = &c->ways[way];
	unsigned count = m->count < FUAIO_SAMPLES ? (unsigned)m->count : FUAIO_SAMPLES;
	double sorted[FUAIO_SAMPLES];

	if (!count)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned at = i;

		for (; at && sorted[at - 1] > m->samples[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = m->samples[i];
	}
	return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double fuaio_auto_total_s(const struct fuaio_choice *c)
{
	return c->ways[FUAIO_BY_FUA].total_s + c->ways[FUAIO_BY_GROUP].total_s;
}

/* ---- the choice ---- */

static enum fuaio_way other(enum fuaio_way way)
{
	return way == FUAIO_BY_FUA ? FUAIO_BY_GROUP : FUAIO_BY_FUA;
}

static bool leads(const struct fuaio_choice *c, enum fuaio_way way)
{
	return fuaio_auto_median(c, way) * LEAD <= fuaio_auto_median(c, other(way));
}

static void choose_first(struct fuaio_choice *c)
{
	uint64_t pairs = c->ways[FUAIO_BY_FUA].count;
	bool group = fuaio_auto_median(c, FUAIO_BY_GROUP) < fuaio_auto_median(c, FUAIO_BY_FUA);

	c->chosen = group ? FUAIO_BY_GROUP : FUAIO_BY_FUA;
	/* Where they are close, what it costs to look again is small. */
	c->known = pairs >= FUAIO_SAMPLES || (pairs >= FUAIO_FIRST_SAMPLES && leads(c, c->chosen));
	if (c->known)
		c->trials_s = c->ways[other(c->chosen)].total_s;
	c->cost_s = c->trials_s / (double)pairs;
}

static void choose_again(struct fuaio_choice *c)
{
	c->cost_s = c->trials_s - c->began_s;
	if (!leads(c, other(c->chosen)))
		return;
	c->chosen = other(c->chosen);
	c->switches++;
}

static void pair_end(struct fuaio_choice *c)
{
	if (c->known)
		choose_again(c);
	else
		choose_first(c);
	c->measures = !c->known;
	if (c->known)
		c->now = c->chosen;
}

static void sample_add(struct fuaio_choice *c, unsigned width, uint64_t writes, double seconds)
{
	c->sample_writes += writes;
	c->sample_s += seconds;
	if (!sample_is_whole(c, width))
		return;
	sample_record(c);
	if (c->ways[FUAIO_BY_FUA].count == c->ways[FUAIO_BY_GROUP].count)
		pair_end(c);
	else
		c->now = other(c->now);
}

static void begin_trial(struct fuaio_choice *c)
{
	c->measures = true;
	c->began_s = c->trials_s;
	c->now = other(c->chosen);
}

/* Also what goes on in the chosen way until the last of it is done and a trial can begin. */
static void spend(struct fuaio_choice *c, enum fuaio_way way, double seconds)
{
	c->ways[way].total_s += seconds;
	if (c->known && (way != c->chosen || c->now != c->chosen))
		c->trials_s += seconds;
}

void fuaio_auto_learn(struct fuaio_choice *c, enum fuaio_way way, unsigned width, uint64_t writes, double seconds)
{
	spend(c, way, seconds);
	if (way != c->now || !writes)
		return; /* it began before the way changed, or there was nothing to write */
	if (!c->known || c->measures)
		sample_add(c, width, writes, seconds);
	else if (c->trials_s + c->cost_s <= fuaio_auto_total_s(c) * TRIALS_SHARE)
		begin_trial(c);
}

/* A trial is over, or failures would keep it going beyond its share. */
void fuaio_auto_waste(struct fuaio_choice *c, enum fuaio_way way, double seconds)
{
	spend(c, way, seconds);
	sample_end(c);
	if (c->known && c->now != c->chosen) {
		c->measures = false;
		c->now = c->chosen;
		c->cost_s = c->trials_s - c->began_s;
	}
}
