/* A clock that goes with what the kernel is asked, and not by itself. */
#include <stdint.h>

/* Nanoseconds for each write without the flag, each with it, each flush; from 0 on. */
void faults_clock_set(int64_t write_ns, int64_t fua_ns, int64_t flush_ns);
void faults_clock_add(int kind, int flags);
int64_t faults_clock_now(void);
