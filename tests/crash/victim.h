/* Victims: processes that run an operation step by step, until they are killed. Used by step.c only. */
#ifndef VICTIM_H
#define VICTIM_H

#include "step.h"

#include <limits.h>
#include <sched.h>

/* What an operation tells. */
struct step_told {
    volatile int returned;
    volatile int refused;   /* errno of ptrace */
};
extern struct step_told *step_told;

/* All that the tests may run on. */
extern cpu_set_t step_processors;

struct victim {
    const struct step_test *test;
    struct step_scene scene;
    char path[PATH_MAX];
    pid_t pid, beside;
    int fd;         /* of the file */
    int signal;     /* that it gets with the next step */
    uint64_t pc;    /* where the instruction lies that it ran last; 0: not known */
};

enum standing { STEPPED, ENDED, FAILED };

/* New notes, for the victims that this process makes from now on. */
void new_notes(void);

/* Stepping is fastest where both processes share a processor. */
void pin(int worker);

/* Makes the file, and a victim that stands where its operation begins. */
enum standing victim_begin(struct victim *victim, const struct step_test *test, const char *path);

/* Lets it run one instruction. */
enum standing victim_advance(struct victim *victim);

/* Kills it; who lives beside it must end well: 1, else 0. */
int victim_end(struct victim *victim);

/* Calls the test's `recover` in a new process: 1, or 0 when it failed. */
int recover(const struct step_test *test, struct step_scene scene);

void write_file(const char *path, const unsigned char *bytes, size_t size);
void print_moment(const struct victim *victim);

/* The instructions that an operation has run. To step to where it is to be killed takes long; another
 * victim gets near by a breakpoint, at an instruction that it runs seldom before. */
struct trail {
    struct trail_step {
        uint64_t pc;
        uint64_t before;    /* how often it has been here already */
    } *steps;
    uint64_t n, room;
};

/* Adds the victim's last step. */
void trail_add(struct trail *trail, const struct victim *victim);

/* Lets a victim run to where it has run `steps` instructions, as far as it goes the same way. */
enum standing victim_run(struct victim *victim, const struct trail *trail, uint64_t steps);

#endif
