/* durable="auto" from C: the choice by durations that are made up, and what a batch makes of it
 * by a clock that goes with what the kernel is asked. Nothing here takes time. */
#include "auto.h"
#include "fixture.h"

enum { WIDTH = 16, SAMPLE = 8 * WIDTH, STRETCH = WIDTH };

#define NEAR(a, b) ((a) > (b)*0.999 && (a) < (b)*1.001)

/* A device: seconds a write, each way. */
struct device {
	double s[FUAIO_WAYS];
};

static void stretch(struct fuaio_choice *c, const struct device *d)
{
	fuaio_auto_learn(c, c->now, WIDTH, STRETCH, STRETCH * d->s[c->now]);
}

static void go_on(struct fuaio_choice *c, const struct device *d, unsigned stretches)
{
	for (; stretches; stretches--)
		stretch(c, d);
}

/* A sample is over at the end of a stretch of 5 ms, or of more. */
static double sample_s(const struct device *d, enum fuaio_way way)
{
	double seconds = 0;

	for (unsigned writes = 0; writes < SAMPLE && seconds < 5e-3; writes += STRETCH)
		seconds += STRETCH * d->s[way];
	return seconds;
}

static unsigned stretches_until_known(struct fuaio_choice *c, const struct device *d)
{
	unsigned count = 0;

	while (!c->known) {
		stretch(c, d);
		CHECK(++count < 10000);
	}
	return count;
}

static void test_three_samples_of_each_are_needed_before_one_is_chosen(void)
{
	struct fuaio_choice c = { 0 };
	struct device d = { { 10e-6, 5e-6 } };

	CHECK(stretches_until_known(&c, &d) == 2 * FUAIO_FIRST_SAMPLES * SAMPLE / STRETCH);
	CHECK(c.ways[FUAIO_BY_FUA].count == 3 && c.ways[FUAIO_BY_GROUP].count == 3);
	CHECK(c.chosen == FUAIO_BY_GROUP && c.now == FUAIO_BY_GROUP && c.switches == 0);
	CHECK(NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 10e-6));
	CHECK(NEAR(fuaio_auto_median(&c, FUAIO_BY_GROUP), 5e-6));
}

static void test_ways_that_are_close_are_measured_seven_times_and_the_better_one_is_chosen(void)
{
	struct fuaio_choice c = { 0 }, e = { 0 };
	struct device group = { { 10.5e-6, 10e-6 } }, fua = { { 10e-6, 10.5e-6 } };

	stretches_until_known(&c, &group);
	CHECK(c.ways[FUAIO_BY_FUA].count == FUAIO_SAMPLES && c.chosen == FUAIO_BY_GROUP);
	stretches_until_known(&e, &fua);
	CHECK(e.ways[FUAIO_BY_FUA].count == FUAIO_SAMPLES && e.chosen == FUAIO_BY_FUA);
}

static void test_the_median_is_of_the_latest_seven_samples(void)
{
	struct fuaio_choice c = { 0 };

	CHECK(fuaio_auto_median(&c, FUAIO_BY_FUA) == 0);
	c.ways[FUAIO_BY_FUA] = (struct fuaio_measured){ .samples = { 4, 1 }, .count = 2 };
	CHECK(NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 2.5));
	c.ways[FUAIO_BY_FUA] = (struct fuaio_measured){ .samples = { 9, 1, 8, 2, 7, 3, 6 }, .count = 700 };
	CHECK(NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 6));
}

static void test_a_switch_needs_a_lead_of_ten_percent(void)
{
	for (int percent = 9; percent <= 11; percent++) {
		struct fuaio_choice c = { 0 };
		struct device d = { { 5e-6, 10e-6 } };

		stretches_until_known(&c, &d);
		CHECK(c.chosen == FUAIO_BY_FUA);
		d.s[FUAIO_BY_FUA] = d.s[FUAIO_BY_GROUP] * (1 + percent / 100.0);
		go_on(&c, &d, 200000);
		CHECK(c.ways[FUAIO_BY_GROUP].count > 2 * FUAIO_SAMPLES);
		CHECK(c.switches == (percent > 10 ? 1 : 0));
		CHECK(c.chosen == (percent > 10 ? FUAIO_BY_GROUP : FUAIO_BY_FUA));
	}
}

static void test_trials_take_no_more_than_a_fiftieth_of_the_time(void)
{
	const double losers[] = { 1.2, 2, 10, 100 };

	for (unsigned i = 0; i < 4; i++) {
		struct fuaio_choice c = { 0 };
		struct device d = { { 10e-6, 10e-6 * losers[i] } };
		double lost = 0;

		stretches_until_known(&c, &d);
		lost = c.trials_s;
		CHECK(NEAR(lost, FUAIO_FIRST_SAMPLES * sample_s(&d, FUAIO_BY_GROUP)));
		while (fuaio_auto_total_s(&c) < 100 * lost) {
			stretch(&c, &d);
			/* What was spent before anything was known is paid back too. */
			CHECK(c.trials_s <= lost * 1.0001 || c.trials_s <= fuaio_auto_total_s(&c) * 0.0201);
		}
		CHECK(c.ways[FUAIO_BY_GROUP].count > FUAIO_FIRST_SAMPLES);
		CHECK(c.trials_s > fuaio_auto_total_s(&c) * 0.01 && c.chosen == FUAIO_BY_FUA && c.switches == 0);
	}
}

static void test_a_device_whose_nature_changes_is_followed(void)
{
	struct fuaio_choice c = { 0 };
	struct device d = { { 5e-6, 20e-6 } };
	double before;

	stretches_until_known(&c, &d);
	go_on(&c, &d, 20000);
	CHECK(c.chosen == FUAIO_BY_FUA && c.switches == 0);
	before = fuaio_auto_total_s(&c);
	d = (struct device){ { 100e-6, 20e-6 } };
	while (c.chosen == FUAIO_BY_FUA)
		stretch(&c, &d);
	CHECK(c.switches == 1 && fuaio_auto_total_s(&c) < 2 * before);
	before = fuaio_auto_total_s(&c);
	d = (struct device){ { 5e-6, 20e-6 } };
	while (c.chosen == FUAIO_BY_GROUP)
		stretch(&c, &d);
	CHECK(c.switches == 2 && fuaio_auto_total_s(&c) < 2 * before);
}

static void test_one_slow_sample_of_three_or_three_of_seven_decide_nothing(void)
{
	struct fuaio_choice c = { 0 };
	struct device d = { { 5e-6, 10e-6 } }, busy = { { 5000e-6, 10e-6 } };

	while (c.ways[FUAIO_BY_FUA].count == 0)
		stretch(&c, &busy);
	stretches_until_known(&c, &d);
	CHECK(c.chosen == FUAIO_BY_FUA);
	while (c.ways[FUAIO_BY_FUA].count <= FUAIO_SAMPLES)
		stretch(&c, &d);
	for (int times = 0; times < 3; times++) {
		uint64_t count = c.ways[FUAIO_BY_FUA].count;

		while (c.ways[FUAIO_BY_FUA].count == count)
			stretch(&c, c.measures ? &busy : &d);
		CHECK(c.switches == 0);
	}
}

static void test_failures_teach_nothing(void)
{
	struct fuaio_choice c = { 0 };
	struct device d = { { 10e-6, 5e-6 } };

	for (int i = 0; i < 1000; i++) {
		fuaio_auto_learn(&c, c.now, WIDTH, STRETCH, STRETCH * 1e-9);
		fuaio_auto_waste(&c, c.now, STRETCH * 1e-9);
	}
	CHECK(!c.known && !c.ways[FUAIO_BY_FUA].count && !c.ways[FUAIO_BY_GROUP].count);
	stretches_until_known(&c, &d);
	CHECK(NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 10e-6));
}

static void test_a_trial_with_a_failure_in_it_is_over(void)
{
	struct fuaio_choice c = { 0 };
	struct device d = { { 5e-6, 10e-6 } };

	stretches_until_known(&c, &d);
	for (int times = 0; times < 20; times++) {
		while (c.now == FUAIO_BY_FUA)
			stretch(&c, &d);
		fuaio_auto_waste(&c, FUAIO_BY_GROUP, STRETCH * d.s[FUAIO_BY_GROUP]);
		CHECK(c.now == FUAIO_BY_FUA);
	}
	CHECK(c.ways[FUAIO_BY_GROUP].count == FUAIO_FIRST_SAMPLES && c.trials_s <= fuaio_auto_total_s(&c) / 49);
}

static void test_what_began_before_the_way_changed_is_no_sample_of_the_next(void)
{
	struct fuaio_choice c = { 0 };

	fuaio_auto_learn(&c, FUAIO_BY_FUA, WIDTH, SAMPLE, SAMPLE * 1e-6);
	CHECK(c.now == FUAIO_BY_GROUP);
	fuaio_auto_learn(&c, FUAIO_BY_FUA, WIDTH, SAMPLE, 1);
	CHECK(c.now == FUAIO_BY_GROUP && c.ways[FUAIO_BY_FUA].count == 1 && !c.ways[FUAIO_BY_GROUP].count);
	CHECK(c.ways[FUAIO_BY_FUA].total_s > 1);
}

static void test_small_batches_make_a_sample_together(void)
{
	struct fuaio_choice c = { 0 };

	for (int i = 0; i < 63; i++)
		fuaio_auto_learn(&c, c.now, 1, 1, 1e-6);
	CHECK(!c.ways[FUAIO_BY_FUA].count);
	fuaio_auto_learn(&c, c.now, 1, 1, 1e-6);
	CHECK(c.ways[FUAIO_BY_FUA].count == 1 && NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 1e-6));
}

static void test_batches_of_nothing_are_no_sample(void)
{
	struct fuaio_choice c = { 0 };

	for (int i = 0; i < 10; i++)
		fuaio_auto_learn(&c, c.now, 1, 0, 5e-3);
	CHECK(!c.ways[FUAIO_BY_FUA].count && !c.ways[FUAIO_BY_GROUP].count);
}

static void test_a_sample_of_slow_writes_ends_early(void)
{
	struct fuaio_choice c = { 0 };

	fuaio_auto_learn(&c, c.now, 1, 8, 8 * 10e-3);
	CHECK(c.ways[FUAIO_BY_FUA].count == 1 && NEAR(fuaio_auto_median(&c, FUAIO_BY_FUA), 10e-3));
}

static void test_every_width_and_length_has_a_class(void)
{
	const unsigned widths[] = { 1, 2, 3, 4, 7, 8, 127, 128, 1023, 1024, 4096, ~0U };
	const uint64_t lengths[] = { 0, 1, 4096, 8191, 8192, 65535, 65536, 524287, 524288, 1ULL << 40 };

	for (unsigned i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
		for (unsigned j = 0; j < sizeof(lengths) / sizeof(*lengths); j++) {
			unsigned number = fuaio_auto_class(widths[i], lengths[j]);
			size_t w[2], l[2];

			CHECK(number < FUAIO_CLASSES);
			fuaio_auto_widths(number, &w[0], &w[1]);
			fuaio_auto_lengths(number, &l[0], &l[1]);
			CHECK(widths[i] >= w[0] && widths[i] < w[1]);
			CHECK(lengths[j] >= l[0] && lengths[j] < l[1]);
		}
		CHECK(fuaio_auto_stretch(widths[i]) % widths[i] == 0 && fuaio_auto_stretch(widths[i]) >= 8);
	}
}

/* ---- batches ---- */

enum { DEPTH = 4, MOST = 450 };

static char data[MOST];
static int64_t offsets[MOST];
static struct fuaio_outcome outcomes[MOST];

static struct fuaio_batch *batch_of(struct fuaio_queue *q, unsigned count)
{
	static void *buffers[] = { data };
	struct fuaio_pieces pieces = { count, offsets, buffers, NULL, 1, NULL };
	struct fuaio_batch *b;
	uint64_t wrong;

	memset(outcomes, 0, sizeof(outcomes));
	for (unsigned i = 0; i < count; i++)
		offsets[i] = i;
	CHECK(fuaio_batch_new(&b, q, FUAIO_WRITE, FUAIO_AUTO, &pieces, outcomes, &wrong) == 0);
	return b;
}

static int64_t run(struct fuaio_queue *q, unsigned count)
{
	struct fuaio_batch *b = batch_of(q, count);
	int64_t rc;

	while ((rc = fuaio_batch_run(b)) == -EINTR)
		continue;
	fuaio_batch_free(b);
	return rc;
}

static struct fuaio_choice_told choice_of(struct fuaio_queue *q)
{
	static struct fuaio_statistics s;

	CHECK(fuaio_queue_statistics(q, &s) == 0 && s.choices == 1);
	return s.choice[0];
}

static void test_a_batch_goes_the_way_that_the_clock_says_is_quicker(void)
{
	for (int group = 0; group < 2; group++) {
		struct fixture f = set_up(false, false, DEPTH);
		struct fuaio_choice_told c;

		if (!fuaio_queue_write_flags(f.queue)) {
			tear_down(f);
			return;
		}
		faults_restart();
		faults_clock(1000, group ? 9000 : 2000, 8000);
		CHECK(run(f.queue, MOST) == 0);
		c = choice_of(f.queue);
		CHECK(c.known && c.chosen == (group ? FUAIO_BY_GROUP : FUAIO_BY_FUA) && c.switches == 0);
		CHECK(NEAR(c.ways[FUAIO_BY_GROUP].median_s, 3e-6)); /* a flush for four */
		CHECK(c.ways[FUAIO_BY_GROUP].samples == FUAIO_FIRST_SAMPLES && c.widths[0] == DEPTH);
		CHECK(faults_seen_count(FAULTS_FLUSH) < MOST / 8 + (group ? MOST / 8 : 0));
		tear_down(f);
	}
}

static void test_no_way_but_one_is_in_use_at_a_time(void)
{
	struct fixture f = set_up(false, false, DEPTH);
	int flags = fuaio_queue_write_flags(f.queue);
	struct faults_seen seen;
	unsigned group = 0, changes = 0;
	bool flagged = flags;

	faults_restart();
	faults_clock(1000, 2000, 8000);
	CHECK(run(f.queue, MOST) == 0);
	/* No flagged write between those of a group and their flush. */
	for (unsigned i = 0; flags && faults_seen_at(i, &seen); i++) {
		if (seen.kind == FAULTS_FLUSH) {
			CHECK(group && group <= DEPTH);
			group = 0;
			continue;
		}
		CHECK(!(seen.flags && group));
		group += seen.flags ? 0 : 1;
		changes += flagged != !!seen.flags;
		flagged = seen.flags;
	}
	CHECK(!flags || (changes == 4 && !group));
	tear_down(f);
}

static void test_no_group_begins_while_a_flagged_write_is_in_flight(void)
{
	struct fixture f = set_up(false, false, DEPTH);
	struct fuaio_batch *b = batch_of(f.queue, MOST);
	struct faults_seen seen;
	unsigned count = 0;

	faults_restart();
	faults_clock(1, 1, 1);
	if (!ops->run && fuaio_queue_write_flags(f.queue)) {
		faults_rule(FAULTS_WRITE, 60, 1, FAULTS_HOLD, 0);
		/* Until all that goes on is the one that is held; a run ends after a tenth of a second. */
		while (faults_seen_count(FAULTS_WRITE) <= 64 || fuaio_queue_in_flight(f.queue) > 1)
			CHECK(fuaio_batch_run(b) == -EINTR);
		for (; faults_seen_at(count, &seen); count++)
			CHECK(seen.kind == FAULTS_WRITE && seen.flags);
		CHECK(count > 64 && count < 64 + 2 * DEPTH);
		faults_release();
	}
	while (fuaio_batch_run(b) == -EINTR)
		continue;
	CHECK(faults_seen_count(FAULTS_WRITE) == MOST && faults_seen_count(FAULTS_FLUSH));
	fuaio_batch_free(b);
	tear_down(f);
}

static void test_no_group_is_tried_on_a_file_whose_flush_failed(void)
{
	struct fixture f = set_up(false, false, DEPTH);
	int flags = fuaio_queue_write_flags(f.queue);

	faults_restart();
	faults_clock(1, 1000, 1);
	CHECK(run(f.queue, MOST) == 0);
	faults_restart();
	faults_rule(FAULTS_FLUSH, 1, 1, FAULTS_ANSWER, -EIO);
	CHECK(run(f.queue, MOST) == (flags ? DEPTH : MOST));
	CHECK(faults_seen_count(FAULTS_FLUSH) == 1);
	CHECK(run(f.queue, MOST) == (flags ? 0 : MOST));
	CHECK(faults_seen_count(FAULTS_FLUSH) == 1);
	tear_down(f);
}

int main(int argc, char **argv)
{
	int rc = begin(argc, argv);

	if (rc)
		return rc;
	test_three_samples_of_each_are_needed_before_one_is_chosen();
	test_ways_that_are_close_are_measured_seven_times_and_the_better_one_is_chosen();
	test_the_median_is_of_the_latest_seven_samples();
	test_a_switch_needs_a_lead_of_ten_percent();
	test_trials_take_no_more_than_a_fiftieth_of_the_time();
	test_a_device_whose_nature_changes_is_followed();
	test_one_slow_sample_of_three_or_three_of_seven_decide_nothing();
	test_failures_teach_nothing();
	test_a_trial_with_a_failure_in_it_is_over();
	test_what_began_before_the_way_changed_is_no_sample_of_the_next();
	test_small_batches_make_a_sample_together();
	test_batches_of_nothing_are_no_sample();
	test_a_sample_of_slow_writes_ends_early();
	test_every_width_and_length_has_a_class();
	test_a_batch_goes_the_way_that_the_clock_says_is_quicker();
	test_no_way_but_one_is_in_use_at_a_time();
	test_no_group_begins_while_a_flagged_write_is_in_flight();
	test_no_group_is_tried_on_a_file_whose_flush_failed();
	faults_remove();
	printf("ok: %s\n", ops->name);
	return 0;
}
