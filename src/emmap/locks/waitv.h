/* One thread that sleeps at many words at once, for all that is awaited in the process.
 *
 * It is a wait.h's sleep for many: FUTEX_WAITV (Linux 5.16) wakes it when one of up to 127 words changes. On
 * older kernels, where a sandbox forbids it, and for the words beyond, it looks again every millisecond.
 */
#ifndef EMMAP_WAITV_H
#define EMMAP_WAITV_H

#include "wait.h"

#include <stdatomic.h>
#include <stdint.h>

#define EMMAP_WORDS 127         /* the kernel takes 128, one of which is `calls` */

/* The sleeper of a process. Static: at the end of the process it is still asleep. */
struct emmap_sleeper {
    _Atomic(uint32_t) calls;    /* how often it has been called: the futex of this process alone */
    uint32_t heard;             /* as of when it began */
    int n;
    int more;                   /* there were more words than fit */
    struct emmap_sleep words[EMMAP_WORDS];
};

/* Nanoseconds of CLOCK_MONOTONIC, exactly. */
int64_t emmap_sleeper_clock(void);

/* Forgets all words. Whoever calls from now on keeps it awake. */
void emmap_sleeper_begin(struct emmap_sleeper *sleeper);

/* One more word to be woken at. */
void emmap_sleeper_add(struct emmap_sleeper *sleeper, const struct emmap_sleep *word);

/* Sleeps until that time unless it is woken or called before. It reads no word itself: they may be gone. */
void emmap_sleeper_sleep(struct emmap_sleeper *sleeper, int64_t until);

/* Calls it, from another thread. */
void emmap_sleeper_call(struct emmap_sleeper *sleeper);

/* Wakes another one who sleeps at this word, in the place of one who does not want to be woken any more. */
void emmap_sleep_hand_on(const struct emmap_sleep *sleep);

#endif
