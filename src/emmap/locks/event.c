#define _GNU_SOURCE
#include "event.h"

#include <limits.h>

#define SET UINT64_C(1)
#define WAITERS UINT64_C(2)
#define ONCE UINT64_C(4)        /* it has been set once more */

void emmap_event_begin(struct emmap_event *event, const struct emmap_place *place)
{
    event->place = *place;
    /* SAFETY: the word lies behind the tag, inside the place. */
    event->word = (_Atomic(uint64_t) *)(void *)(place->at + 8);
}

int emmap_event_is_set(struct emmap_event *event)
{
    uint64_t word = atomic_load_explicit(event->word, memory_order_acquire);
    return emmap_place_lost(&event->place) != 0 ? -EIO : (word & SET) != 0;
}

int emmap_event_set(struct emmap_event *event)
{
    uint64_t word = atomic_load_explicit(event->word, memory_order_relaxed);
    do {
        if (emmap_place_lost(&event->place) != 0)
            return -EIO;
        /* From `word` to itself when it is set: what was written before is seen by all who find it set. */
    } while (!atomic_compare_exchange_weak_explicit(
        event->word, &word, word & SET ? word : ((word + ONCE) & ~WAITERS) | SET, memory_order_acq_rel,
        memory_order_relaxed));
    if (word & WAITERS)
        emmap_wake(emmap_low_half(event->word), INT_MAX);
    return emmap_place_lost(&event->place);
}

int emmap_event_clear(struct emmap_event *event)
{
    if (emmap_place_lost(&event->place) != 0)
        return -EIO;
    atomic_fetch_and_explicit(event->word, ~SET, memory_order_acq_rel);
    return emmap_place_lost(&event->place);
}

void emmap_event_wait_begin(struct emmap_event_wait *wait, const struct emmap_event *event)
{
    wait->event = *event;
    wait->times = atomic_load_explicit(event->word, memory_order_acquire) / ONCE;
}

int emmap_event_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_event_wait *wait = it;
    struct emmap_event *event = &wait->event;
    uint64_t word = atomic_load_explicit(event->word, memory_order_acquire);
    for (;;) {
        if (emmap_place_lost(&event->place) != 0)
            return -EIO;
        if (word & SET || word / ONCE != wait->times)
            return 0;
        if (!(how & EMMAP_ANNOUNCE))
            return -EAGAIN;
        if (word & WAITERS)
            break;
        if (atomic_compare_exchange_weak_explicit(event->word, &word, word | WAITERS,
                                                  memory_order_acq_rel, memory_order_acquire))
            word |= WAITERS;
    }
    sleep->word = emmap_low_half(event->word);
    sleep->seen = (uint32_t)word;
    return -EAGAIN;
}
