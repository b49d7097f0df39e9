#define _GNU_SOURCE
#include "condition.h"

#define WAITING UINT64_C(1)
#define NOTIFIED UINT64_C(2)
#define TICKET_BITS 2
#define MEANING ((UINT64_C(1) << TICKET_BITS) - 1)

void emmap_condition_begin(struct emmap_condition *condition, const struct emmap_place *place)
{
    /* SAFETY: both words lie behind the tag, inside the place. */
    condition->tickets = (_Atomic(uint64_t) *)(void *)(place->at + 8);
    emmap_waiters_begin(&condition->row, place, (_Atomic(uint64_t) *)(void *)(place->at + 16));
}

/* The oldest of those who wait with a ticket below `before`. */
static int find_oldest(struct emmap_waiters *row, uint64_t before, struct emmap_waiter *oldest)
{
    struct emmap_waiter found;
    oldest->cell = NULL;
    for (size_t i = 0, used = emmap_waiters_used(row); i < used; i++)
        if (emmap_waiters_read(row, i, &found) && (found.state & MEANING) == WAITING &&
            found.state >> TICKET_BITS < before &&
            (oldest->cell == NULL || found.state < oldest->state))
            *oldest = found;
    return oldest->cell != NULL;
}

/* Notifies the oldest living one with a ticket below `before`: 1, or 0 when there is none. */
static int notify_one(struct emmap_condition *condition, uint64_t before)
{
    struct emmap_waiter oldest;
    while (find_oldest(&condition->row, before, &oldest)) {
        /* Who cannot be asked counts as alive. Who dies after this has died notified. */
        if (emmap_waiters_is_dead(&condition->row, &oldest) > 0) {
            emmap_waiters_reap(&oldest);
        } else if (atomic_compare_exchange_strong(&oldest.cell->state, &oldest.state,
                                                  before << TICKET_BITS | NOTIFIED)) {
            emmap_wake(emmap_low_half(&oldest.cell->state), 1);
            return 1;
        }
    }
    return 0;
}

int emmap_condition_notify(struct emmap_condition *condition, uint64_t n)
{
    struct emmap_place *place = &condition->row.place;
    uint64_t before = atomic_load(condition->tickets);
    if (emmap_place_lost(place) != 0)
        return -EIO;
    while (n > 0 && notify_one(condition, before))
        n--;
    return emmap_place_lost(place);
}

/* Reaps the dead whose state has one of these meanings, and passes on that they were notified: 0 or -errno. */
static int reap(struct emmap_condition *condition, uint64_t meanings)
{
    struct emmap_waiters *row = &condition->row;
    struct emmap_waiter found;
    for (size_t i = 0, used = emmap_waiters_used(row); i < used; i++)
        if (emmap_waiters_read(row, i, &found) && found.state & meanings) {
            int dead = emmap_waiters_is_dead(row, &found);
            if (dead < 0)
                return dead;
            /* In this order: who is killed in between leaves the cell to be found once more. Two who find
             * it at once notify two. */
            if (dead && (found.state & MEANING) == NOTIFIED)
                notify_one(condition, found.state >> TICKET_BITS);
            if (dead)
                emmap_waiters_reap(&found);
        }
    return 0;
}

int emmap_condition_enter(struct emmap_condition *condition, struct emmap_condition_wait *wait)
{
    uint64_t state = atomic_fetch_add(condition->tickets, 1) << TICKET_BITS | WAITING;
    wait->condition = *condition;
    int rc = emmap_waiters_enter(&condition->row, state, &wait->mine);
    if (rc == -ENOSPC) {
        rc = reap(condition, WAITING | NOTIFIED);
        if (rc == 0)
            rc = emmap_waiters_enter(&condition->row, state, &wait->mine);
    }
    return rc;
}

int emmap_condition_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_condition_wait *wait = it;
    struct emmap_waiter *mine = &wait->mine;
    for (;; how &= ~EMMAP_ASK) {
        uint64_t state = atomic_load(&mine->cell->state), owner = atomic_load(&mine->cell->owner);
        if (emmap_place_lost(&wait->condition.row.place) != 0)
            return -EIO;
        /* Notified; or reaped, since our id was given up: then it may have been, and somebody else is. Or
         * it is our parent's, who forked while he waited. */
        if (state != mine->state || owner != mine->owner ||
            atomic_load(&wait->condition.row.place.life->me) != owner)
            return 0;
        if (!(how & EMMAP_ASK))
            break;
        int rc = reap(&wait->condition, NOTIFIED);
        if (rc != 0)
            return rc;
    }
    if (how & EMMAP_ANNOUNCE) {
        sleep->word = emmap_low_half(&mine->cell->state);
        sleep->seen = (uint32_t)mine->state;
    }
    return -EAGAIN;
}

int emmap_condition_leave(struct emmap_condition_wait *wait)
{
    while (!emmap_waiters_leave(&wait->condition.row, &wait->mine))
        ;
    return (wait->mine.state & MEANING) != WAITING;
}

void emmap_condition_abandon(struct emmap_condition_wait *wait)
{
    /* Its state is as it was at first, or else that it was notified: that is passed on before it goes. */
    while (!emmap_waiters_leave(&wait->condition.row, &wait->mine))
        notify_one(&wait->condition, wait->mine.state >> TICKET_BITS);
}

size_t emmap_condition_count(struct emmap_condition *condition)
{
    struct emmap_waiter found;
    size_t n = 0;
    for (size_t i = 0, used = emmap_waiters_used(&condition->row); i < used; i++)
        n += emmap_waiters_read(&condition->row, i, &found) != 0;
    return n;
}
