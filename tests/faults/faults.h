/* Faults at the table of system calls, for tests: what reaches the kernel is recorded, and
 * rules change what it answers. Also the cdef by which the Python tests load it. */

enum faults_kind { FAULTS_READ, FAULTS_WRITE, FAULTS_FLUSH, FAULTS_SUBMIT, FAULTS_SETUP };

enum faults_action {
	FAULTS_ANSWER, /* the request is performed, the answer is `value` */
	FAULTS_SHORT,  /* at most `value` bytes are transferred (under O_DIRECT: up to the next block), and answered */
	FAULTS_HOLD,   /* performed; its completion is withheld until faults_release */
	FAULTS_FAIL,   /* submit, setup: not performed, the answer is `value` */
	FAULTS_TAKE,   /* submit: only the first `value` requests are handed over */
	FAULTS_LIE,    /* submit: performed, the answer is `value` */
	FAULTS_SLOW,   /* of the threads engine: performed, `value` milliseconds later */
};

/* One request as the kernel got it; flush: flags 1 for data only, 0 for all. */
struct faults_seen {
	int kind, flags, opcode;
	unsigned iovcnt;
	int64_t offset, length;
};

void faults_install(void *table);
void faults_remove(void); /* also releases, and forgets rules and records */
/* The nth (from 1) to nth + times - 1 that match since the last install or restart get this; times -1: all from there. */
void faults_rule(int kind, int nth, int times, int action, int64_t value);
void faults_forget_rules(void);
void faults_restart(void); /* as after an install, for files that are open and idle */
void faults_release(void);

/* As many of a kind were asked for, also where a rule refused them. */
unsigned faults_asked(int kind);
unsigned faults_seen_count(int kind); /* -1: of all kinds */
int faults_seen_at(unsigned index, struct faults_seen *seen);

/* From now on what is measured by the clock took so many nanoseconds for each write without the
 * flag, each with it, and each flush that the kernel got, and nothing else. */
void faults_clock(int64_t write_ns, int64_t fua_ns, int64_t flush_ns);

/* True once `count` completions are held, or `count` requests of a kind were seen; false after wait_ms. */
int faults_wait_held(unsigned count, unsigned wait_ms);
int faults_wait_seen(int kind, unsigned count, unsigned wait_ms);
