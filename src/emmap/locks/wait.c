#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Between two looks the processor rests longer and longer, up to so many pauses (a microsecond or so): who
 * looks too often takes the cache line away from the one who is to release. */
#define LONGEST_REST 64

/* Nanoseconds to look for, besides: no longer than a sleep and a wake would take. */
#define LEAST_PATIENCE 500
#define FIRST_PATIENCE 20000
#define MOST_PATIENCE 50000

static int64_t read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t emmap_clock(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

static void rest(int pauses)
{
    for (int i = 0; i < pauses; i++)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb");
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Where there is one processor, nobody else gets on while we look. */
static int can_look(void)
{
    static _Atomic(int) processors;
    int n = atomic_load_explicit(&processors, memory_order_relaxed);
    if (n == 0) {
        cpu_set_t set;
        n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
        atomic_store_explicit(&processors, n, memory_order_relaxed);
    }
    return n > 1;
}

void emmap_waiting_begin(struct emmap_waiting *waiting, int64_t nanoseconds)
{
    int64_t since = nanoseconds < 0 ? 0 : now();
    waiting->until =
        nanoseconds < 0 || nanoseconds > INT64_MAX - since ? INT64_MAX : since + nanoseconds;
    waiting->asked = 0;
    waiting->slept = waiting->in_vain = 0;
}

static int sleep_until_changed(const struct emmap_sleep *sleep, int64_t nanoseconds)
{
    struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    if (syscall(SYS_futex, sleep->word, FUTEX_WAIT, sleep->seen, &time, NULL, 0) == 0)
        return 0;
    return errno == EAGAIN ? 0 : -errno;
}

void emmap_wake(_Atomic(uint32_t) *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

/* Looks until it is done; -EAGAIN when it is time to sleep. To have looked in vain halves the patience. */
static int look(emmap_attempt *attempt, void *it, int how, struct emmap_looks *looks)
{
    struct emmap_sleep unused;
    int patience = atomic_load_explicit(&looks->n, memory_order_relaxed), rc;
    int64_t since = 0;
    if (patience == 0)
        patience = FIRST_PATIENCE;
    for (int pauses = 1;; pauses *= 2) {
        rest(pauses);
        rc = attempt(it, how, &unused);
        if (rc != -EAGAIN) {
            patience = patience < MOST_PATIENCE / 2 ? patience * 2 : MOST_PATIENCE;
            break;
        }
        if (pauses >= LONGEST_REST) {
            pauses = LONGEST_REST / 2;
            int64_t time = now();
            if (since == 0)
                since = time;
            if (time - since >= patience) {
                patience = patience > 2 * LEAST_PATIENCE ? patience / 2 : LEAST_PATIENCE;
                break;
            }
        }
    }
    atomic_store_explicit(&looks->n, patience, memory_order_relaxed);
    return rc;
}

int emmap_wait(emmap_attempt *attempt, void *it, struct emmap_waiting *waiting,
               struct emmap_looks *looks)
{
    for (;;) {
        struct emmap_sleep sleep;
        int how = waiting->slept ? EMMAP_SLEPT : 0;
        int rc = can_look() && !waiting->in_vain ? look(attempt, it, how, looks) : -EAGAIN;
        if (rc != -EAGAIN)
            return rc;
        /* Before the first sleep, and once in each slice: others may wake us more often than that. */
        int64_t time = now();
        if (waiting->asked == 0 || time - waiting->asked >= EMMAP_SLICE || time >= waiting->until) {
            waiting->asked = time;
            how |= EMMAP_ASK;
        }
        rc = attempt(it, how | EMMAP_ANNOUNCE, &sleep);
        if (rc != -EAGAIN)
            return rc;
        int64_t left = waiting->until == INT64_MAX ? INT64_MAX : waiting->until - now();
        if (left <= 0)
            return -ETIMEDOUT;
        rc = sleep_until_changed(&sleep, left < EMMAP_SLICE ? left : EMMAP_SLICE);
        waiting->slept = 1;
        waiting->in_vain = rc == -ETIMEDOUT;
        if (rc == -ETIMEDOUT)
            return -EINTR;
        if (rc != 0 && rc != -EFAULT) /* the page is lost: the next attempt meets the guard */
            return rc;
    }
}
