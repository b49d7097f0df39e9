/* The event: a flag that threads and processes wait for.
 *
 *     63                             2       1      0
 *     +------------------------------+---------+-----+
 *     | how often it has been set    | WAITERS | SET |
 *     +------------------------------+---------+-----+
 *
 * Who waits remembers how often it had been set, so that nobody misses an event that is cleared at once.
 */
#ifndef EMMAP_EVENT_H
#define EMMAP_EVENT_H

#include "place.h"
#include "wait.h"

struct emmap_event {
    struct emmap_place place;
    _Atomic(uint64_t) *word;
};

/* One who waits: an attempt of his own, which may be copied. There is nothing to be undone. */
struct emmap_event_wait {
    struct emmap_event event;
    uint64_t times;             /* how often it had been set when the wait began */
};

void emmap_event_begin(struct emmap_event *event, const struct emmap_place *place);

/* 1 or 0, or -EIO when pages are lost. */
int emmap_event_is_set(struct emmap_event *event);

/* Sets it, and wakes all who wait: 0 or -EIO. */
int emmap_event_set(struct emmap_event *event);

/* 0 or -EIO. */
int emmap_event_clear(struct emmap_event *event);

void emmap_event_wait_begin(struct emmap_event_wait *wait, const struct emmap_event *event);

/* An attempt for emmap_wait: 0 when it is set, or has been since the wait began; -EAGAIN; -EIO. */
int emmap_event_attempt(void *wait, int how, struct emmap_sleep *sleep);

#endif
