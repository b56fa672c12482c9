/* A clock that goes with what the kernel is asked, and not by itself: faults_clock of faults.h. */

struct fuaio_syscalls;

/* Whose clock faults_clock replaces. */
void faults_clock_install(struct fuaio_syscalls *table);
void faults_clock_add(int kind, int flags);
