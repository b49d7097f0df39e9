/* Every instruction of an operation on a mapped file, and a death after each.
 *
 * An operation is run one instruction at a time (ptrace). Whenever the bytes of its file have changed, or
 * a call has returned, the moment is one in which the process could have been killed: a fresh process
 * recovers from a fresh file that holds these bytes. There all owners are dead, since the locks that tell
 * of the living belong to the operation's own file. Besides, the operation is really killed after a random
 * number of instructions, again and again, and another process recovers from the very file it leaves.
 *
 * To add one (toy.c is the smallest; lock_step.c has those of the locks):
 *
 *     static void operate(const struct step_scene *scene)      a process of its own
 *     {
 *         ... open what lies at scene->at, and all else that is not to be stepped
 *         step_begin();
 *         CHECK(first_call(...) == 0);
 *         step_returned();                                     now 1 call has returned
 *         CHECK(second_call(...) == 0);
 *         step_returned();
 *     }                                                        the end: it is killed here at the latest
 *
 *     static void recover(const struct step_scene *scene)      another one, when operate's is dead
 *     {
 *         ... open what lies at scene->at; CHECK that it is whole, that it works again, and that what
 *         scene->returned calls did is there
 *     }
 *
 *     static const struct step_test tests[] = {
 *         {.name = "what it does", .size = 4096, .operate = operate, .recover = recover, .kills = 200},
 *     };
 *
 *     int main(int argc, char **argv)
 *     {
 *         return STEP_MAIN(argc, argv, tests);
 *     }
 *
 * and in Python: `stepping.build` it, and `stepping.check` that it succeeds. For what lies in
 * src/emmap/locks there is more in placed.h, and for a store in store_recover.h.
 *
 * A CHECK that fails in any of these processes fails the test, and so does one that takes longer than 20
 * seconds. Then the moment is told, the bytes that were stored last, and the line of the store; the image
 * is kept in the folder. To repeat it: PROGRAM FOLDER SEED ["what it does"].
 *
 * What it cannot see: an operation has one thread and one processor, and system calls happen at once, also
 * those that would write the file piece by piece. An operation that waits is not woken by anybody but
 * `beside`. The order in which other processors see the stores is for tests/model.
 *
 * It costs 30,000 steps a second, a millisecond for each distinct image, and two for each kill: there the
 * operation is stepped for the last part of the way only, and up to there it runs to a breakpoint (on
 * x86-64; elsewhere it is stepped all the way). Random numbers may lead it another way each time: then it
 * is killed somewhat elsewhere.
 */
#ifndef STEP_H
#define STEP_H

#include "check.h"

#include <stddef.h>
#include <stdint.h>

/* What the processes of a test are given. */
struct step_scene {
    const char *path;
    int fd;
    unsigned char *at;      /* the file, mapped shared */
    size_t size;            /* bytes of it */
    /* And for `recover`, the moment of the death: */
    uint64_t step;          /* instructions that the operation has run since step_begin */
    int returned;           /* calls that have returned */
    int killed;             /* was it really killed, or is this an image? */
};

typedef void step_process(const struct step_scene *scene);

/* Each function runs in a process of its own, which ends without tidying up when the function returns. */
struct step_test {
    const char *name;
    size_t size;            /* bytes of the file at first, all zero */
    int kills;
    step_process *prepare;  /* what is there before, left by a process that is dead; or NULL */
    step_process *operate;
    step_process *recover;
    step_process *beside;   /* lives and must end beside `operate`, also when that is killed; or NULL */
};

/* Memory that the processes of a test share, zero at first: for what `recover` has to know of the
 * operation. What is written before step_returned is there whenever `returned` counts that call. `recover`
 * gets a copy. */
#define STEP_NOTES 4096
extern void *step_notes;

/* Called by `operate`. */
void step_begin(void);
void step_returned(void);

/* Runs the tests. argv: a folder for the files, and a seed and the name of one test if you like.
 * 0, 1 when one failed, or SKIPPED where no process may trace another. */
int step_main(int argc, char **argv, const struct step_test *tests, size_t n);

#define STEP_MAIN(argc, argv, tests) step_main(argc, argv, tests, sizeof(tests) / sizeof(tests)[0])

#endif
