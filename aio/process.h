#ifndef FUAIO_PROCESS_H
#define FUAIO_PROCESS_H

#include <stdint.h>

/* The number of this process: never 0, another one in a child made by fork than in those before it. */
uint64_t fuaio_process(void);

#endif
