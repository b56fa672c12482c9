/* What a queue has counted and measured, as one answer. */
#include "queue_state.h"

static void tell_choice(struct fuaio_choice_told *told, const struct fuaio_choice *c, unsigned number)
{
	*told = (struct fuaio_choice_told){
		.known = c->known,
		.chosen = c->chosen,
		.total_s = fuaio_auto_total_s(c),
		.trials_s = c->trials_s,
		.switches = c->switches,
	};
	fuaio_auto_widths(number, &told->widths[0], &told->widths[1]);
	fuaio_auto_lengths(number, &told->lengths[0], &told->lengths[1]);
	for (enum fuaio_way way = 0; way < FUAIO_WAYS; way++)
		told->ways[way] = (struct fuaio_way_told){ c->ways[way].count, fuaio_auto_median(c, way) };
}

int fuaio_queue_statistics(struct fuaio_queue *q, struct fuaio_statistics *s)
{
	int rc = fuaio_drive_enter(q);

	if (rc < 0)
		return rc;
	s->writes = q->completed;
	s->flushes = q->flush_number;
	s->choices = 0;
	for (unsigned i = 0; i < FUAIO_CLASSES; i++)
		if (fuaio_auto_total_s(&q->choices[i]) > 0)
			tell_choice(&s->choice[s->choices++], &q->choices[i], i);
	fuaio_drive_leave(q);
	return 0;
}
