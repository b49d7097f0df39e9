#define _GNU_SOURCE
#include "waitv.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Not in all headers that we are built with; the numbers are the same on all machines that we run on. */
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define WORD_OF_32_BITS 2
#define OF_THIS_PROCESS 128

struct entry {
    uint64_t seen;
    uint64_t word;
    uint32_t flags;
    uint32_t reserved;
};

/* Nanoseconds between two looks where the kernel does not wake us. */
#define SHORT INT64_C(1000000)

int64_t emmap_sleeper_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void emmap_sleeper_begin(struct emmap_sleeper *sleeper)
{
    sleeper->heard = atomic_load(&sleeper->calls);
    sleeper->n = sleeper->more = 0;
}

void emmap_sleeper_add(struct emmap_sleeper *sleeper, const struct emmap_sleep *word)
{
    /* Most of those who come one after another wait for the same. */
    for (int i = sleeper->n; i-- > 0;)
        if (sleeper->words[i].word == word->word && sleeper->words[i].seen == word->seen)
            return;
    if (sleeper->n < EMMAP_WORDS)
        sleeper->words[sleeper->n++] = *word;
    else
        sleeper->more = 1;
}

static struct timespec timespec_of(int64_t nanoseconds)
{
    return (struct timespec){.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
}

void emmap_sleeper_sleep(struct emmap_sleeper *sleeper, int64_t until)
{
    struct entry entries[EMMAP_WORDS + 1] = {
        {sleeper->heard, (uintptr_t)&sleeper->calls, WORD_OF_32_BITS | OF_THIS_PROCESS, 0}};
    int n = 1;
    for (int i = 0; i < sleeper->n; i++, n++)
        entries[n] = (struct entry){sleeper->words[i].seen, (uintptr_t)sleeper->words[i].word,
                                    WORD_OF_32_BITS, 0};
    int64_t soon = emmap_sleeper_clock() + SHORT;
    struct timespec time = timespec_of(sleeper->more && soon < until ? soon : until);
    if (syscall(SYS_futex_waitv, entries, n, 0, &time, CLOCK_MONOTONIC) >= 0 || errno == EAGAIN ||
        errno == ETIMEDOUT || errno == EINTR)
        return;
    /* There is no such call; or a word is gone (EFAULT), which the next attempt will find. */
    time = timespec_of(n > 1 && soon < until ? soon : until);
    syscall(SYS_futex, &sleeper->calls, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, sleeper->heard, &time, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

void emmap_sleeper_call(struct emmap_sleeper *sleeper)
{
    atomic_fetch_add(&sleeper->calls, 1);
    syscall(SYS_futex, &sleeper->calls, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void emmap_sleep_hand_on(const struct emmap_sleep *sleep)
{
    emmap_wake(sleep->word, 1);
}
