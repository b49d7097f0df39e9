/* Waiting for what another thread or process does: first by looking again and again, then asleep.
 *
 * To sleep in the kernel and be woken costs some 50 microseconds, a look 0.1: so a wait begins with looks.
 * It sleeps in slices, and asks after each whether those it waits for still live: so who is killed before
 * he wakes somebody costs a slice, never a hang.
 */
#ifndef EMMAP_WAIT_H
#define EMMAP_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

/* How an attempt is made. */
enum {
    EMMAP_LOOK = 0,         /* only if it can be had now */
    EMMAP_ASK = 1,          /* also if the one who has it is dead */
    EMMAP_ANNOUNCE = 2,     /* else say that we are going to sleep, and where */
    EMMAP_SLEPT = 4,        /* we were woken: others may be asleep that nobody knows of but us */
};

/* Where an attempt that failed wants to be woken: when *word is no longer `seen`. */
struct emmap_sleep {
    _Atomic(uint32_t) *word;
    uint32_t seen;
};

/* One attempt, which does not wait: >= 0 done, -EAGAIN not yet, or another -errno. */
typedef int emmap_attempt(void *it, int how, struct emmap_sleep *sleep);

/* Takes back what attempts have done of which the last one answered `rc`: nobody wants it any more. It is an
 * attempt itself: -EAGAIN when it is to be called again, otherwise it is over. */
typedef int emmap_undo(void *it, int rc, int how, struct emmap_sleep *sleep);

/* How a wait goes on after a signal. To be begun by emmap_waiting_begin. */
struct emmap_waiting {
    int64_t until;          /* nanoseconds of CLOCK_MONOTONIC; INT64_MAX: for ever */
    int64_t asked;          /* when it was last asked who is dead; 0: not yet */
    int slept;              /* has it been asleep? */
    int in_vain;            /* it slept a whole slice, so looking again is not worth while */
};

/* For how many nanoseconds to look before sleeping; 0: not known yet. It learns, and may be shared
 * by threads. */
struct emmap_looks {
    _Atomic(int) n;
};

/* Nanoseconds to sleep at once, and between two times that it is asked who is dead. */
#define EMMAP_SLICE INT64_C(50000000)

/* Nanoseconds of CLOCK_MONOTONIC, to within a few milliseconds. Cost: 5 ns. */
int64_t emmap_clock(void);

/* Begins a wait of so many nanoseconds; less than 0: for ever. */
void emmap_waiting_begin(struct emmap_waiting *waiting, int64_t nanoseconds);

/* Attempts until it is done, or time is up (-ETIMEDOUT), or a signal came or a slice has passed (-EINTR: look
 * after signals and call again). */
int emmap_wait(emmap_attempt *attempt, void *it, struct emmap_waiting *waiting, struct emmap_looks *looks);

/* Wakes at most `n` of those who sleep at a word. */
void emmap_wake(_Atomic(uint32_t) *word, int n);

/* The half of a 64-bit word that holds its low 32 bits: futexes have no more. */
static inline _Atomic(uint32_t) *emmap_low_half(_Atomic(uint64_t) *word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (_Atomic(uint32_t) *)(void *)word;
#else
    return (_Atomic(uint32_t) *)(void *)word + 1;
#endif
}

#endif
