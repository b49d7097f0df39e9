#define _GNU_SOURCE
#include "rwlock.h"

#include <limits.h>
#include <stddef.h>

#define ALL INT_MAX

void emmap_rwlock_begin(struct emmap_rwlock *rwlock, const struct emmap_place *place, int repairs)
{
    /* SAFETY: all inside the first 64 bytes of the place, which are aligned to 16. */
    emmap_lock_begin(&rwlock->writer, place, (_Atomic(uint64_t) *)(void *)(place->at + 8));
    rwlock->writing = (_Atomic(uint64_t) *)(void *)(place->at + 16);
    rwlock->drained = (_Atomic(uint32_t) *)(void *)(place->at + 24);
    emmap_cells_begin(&rwlock->cells, place);
    atomic_init(&rwlock->looks.n, 0);
    rwlock->repairs = repairs;
}

/* Counts one reader out, and wakes the writer who waits for that. */
int emmap_rwlock_yield(struct emmap_rwlock *rwlock, struct emmap_cell *cell)
{
    uint64_t count = atomic_load(&cell->payload);
    do
        if (count == 0)
            return -EPERM;
    while (!atomic_compare_exchange_weak(&cell->payload, &count, count - 1));
    /* He looks at the counts when the word is his: he has seen ours gone, or we see him now. */
    if (count == 1 && atomic_load(rwlock->writer.word) & EMMAP_OWNER) {
        atomic_fetch_add(rwlock->drained, 1);
        emmap_wake(rwlock->drained, ALL);
    }
    return emmap_place_lost(&rwlock->cells.place);
}

int emmap_rwlock_release_read(struct emmap_rwlock *rwlock)
{
    if (emmap_place_lost(&rwlock->cells.place) != 0)
        return -EIO;
    struct emmap_cell *cell = emmap_cells_mine(&rwlock->cells);
    return cell == NULL ? -EPERM : emmap_rwlock_yield(rwlock, cell);
}

int emmap_rwlock_read_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_rwlock *rwlock = it;
    struct emmap_lock *writer = &rwlock->writer;
    struct emmap_cell *cell;
    int rc = emmap_cells_claim(&rwlock->cells, &cell);
    if (rc != 0)
        return rc;
    uint64_t word = atomic_load(writer->word);
    for (;;) {
        int dead = 0;
        if (word & EMMAP_OWNER) {
            int alive = how & EMMAP_ASK ? emmap_life_ask(writer->place.life, word) : EMMAP_ALIVE;
            if (alive < 0)
                return alive;
            dead = alive == EMMAP_DEAD;
            if (!dead) {
                uint64_t next = how & EMMAP_ANNOUNCE ? word | EMMAP_WAITERS : word;
                if (next != word && !atomic_compare_exchange_weak(writer->word, &word, next))
                    continue;
                if (how & EMMAP_ANNOUNCE) {
                    sleep->word = emmap_low_half(writer->word);
                    sleep->seen = (uint32_t)next;
                }
                return emmap_place_lost(&writer->place) != 0 ? -EIO : -EAGAIN;
            }
        }
        if (rwlock->repairs && (dead || word & EMMAP_DIED))
            return emmap_place_lost(&writer->place) != 0 ? -EIO : -EOWNERDEAD;
        atomic_fetch_add(&cell->payload, 1);
        uint64_t now = atomic_load(writer->word);
        /* Still the dead one's? We are counted: once he is off the word, we are in. So the death is off
         * the word and told in one step. */
        if (dead && now == word && atomic_compare_exchange_strong(writer->word, &now, EMMAP_DIED)) {
            if (word & EMMAP_WAITERS)
                emmap_wake(emmap_low_half(writer->word), ALL);
            return emmap_place_lost(&writer->place) != 0 ? -EIO : EMMAP_OWNER_DIED;
        }
        if (!(now & EMMAP_OWNER) && !(rwlock->repairs && now & EMMAP_DIED)) {
            if (emmap_place_lost(&writer->place) != 0)
                return -EIO;
            return now & EMMAP_DIED ? EMMAP_INCONSISTENT : 0;
        }
        rc = emmap_rwlock_yield(rwlock, cell);
        if (rc != 0)
            return rc == -EPERM ? -EIO : rc;
        word = now;
    }
}

int emmap_rwlock_read_undo(void *it, int rc, int how, struct emmap_sleep *sleep)
{
    struct emmap_rwlock *rwlock = it;
    (void)how, (void)sleep;
    /* The death is left to an owner who never lived, while we are still in. Where a writer has the word
     * already, or has repaired what the dead one left, that is not to be told any more. */
    uint64_t word = atomic_load(rwlock->writer.word);
    if (rc == EMMAP_OWNER_DIED)
        while (emmap_place_lost(&rwlock->writer.place) == 0 && !(word & EMMAP_OWNER) && word & EMMAP_DIED &&
               !atomic_compare_exchange_weak(rwlock->writer.word, &word, word | EMMAP_GHOST))
            ;
    if (rc >= 0)
        emmap_rwlock_release_read(rwlock);
    return 0;
}

int64_t emmap_rwlock_readers(struct emmap_rwlock *rwlock)
{
    uint32_t used = emmap_cells_used(&rwlock->cells);
    int64_t readers = 0;
    for (uint32_t k = 0; k < used; k++) {
        struct emmap_cell *cell = emmap_cells_at(&rwlock->cells, k);
        uint64_t owner = atomic_load(&cell->owner), count = atomic_load(&cell->payload);
        if (owner == 0 || count == 0)
            continue;
        int alive = emmap_life_ask(rwlock->cells.place.life, owner);
        if (alive < 0)
            return alive;
        readers += alive == EMMAP_DEAD ? 0 : (int64_t)count;
    }
    return emmap_place_lost(&rwlock->cells.place) != 0 ? -EIO : readers;
}

int emmap_rwlock_is_read(struct emmap_rwlock *rwlock)
{
    struct emmap_cell *mine = emmap_cells_mine(&rwlock->cells);
    return mine != NULL && atomic_load(&mine->payload) != 0;
}

/* Are there no readers any more? 0, -EAGAIN, or another -errno. The lock word is ours. */
static int drain(struct emmap_rwlock *rwlock, int how, struct emmap_sleep *sleep)
{
    /* The word is ours before we look at the cells: readers count themselves, and then look at it. */
    atomic_thread_fence(memory_order_seq_cst);
    /* First what to sleep at, then the cells: who leaves after we have looked changes it. */
    uint32_t drained = atomic_load(rwlock->drained), used = emmap_cells_used(&rwlock->cells);
    for (uint32_t k = 0; k < used; k++) {
        struct emmap_cell *cell = emmap_cells_at(&rwlock->cells, k);
        uint64_t owner = atomic_load(&cell->owner);
        if (owner == 0 || atomic_load(&cell->payload) == 0)
            continue;
        int alive = how & EMMAP_ASK ? emmap_cells_lives(&rwlock->cells, cell, owner) : 1;
        if (alive < 0)
            return alive;
        if (alive) {
            if (how & EMMAP_ANNOUNCE) {
                sleep->word = rwlock->drained;
                sleep->seen = drained;
            }
            return emmap_place_lost(&rwlock->cells.place) != 0 ? -EIO : -EAGAIN;
        }
    }
    return 0;
}

int emmap_rwlock_write_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_rwlock_write *write = it;
    struct emmap_rwlock *rwlock = write->rwlock;
    /* Our id may have been given up while we waited for readers: then another has the word. */
    if (!write->draining || !emmap_lock_is_mine(&rwlock->writer)) {
        write->draining = 0;
        int rc = emmap_lock_attempt(&rwlock->writer, how, sleep);
        if (rc < 0)
            return rc;
        write->draining = 1;
        write->result = rc;
        if (rc == 0 && write->to_repair) {
            emmap_rwlock_write_give_up(write);
            return EMMAP_REPAIRED;
        }
    }
    int rc = drain(rwlock, how, sleep);
    if (rc != 0)
        return rc;
    atomic_store(rwlock->writing, atomic_load(rwlock->writer.word) & EMMAP_OWNER);
    write->draining = 0;
    return emmap_place_lost(&rwlock->cells.place) != 0 ? -EIO : write->result;
}

void emmap_rwlock_write_give_up(struct emmap_rwlock_write *write)
{
    if (write->draining)
        emmap_lock_release_to(&write->rwlock->writer,
                              write->result == EMMAP_OWNER_DIED ? EMMAP_GHOST : 0, ALL);
    write->draining = 0;
}

int emmap_rwlock_write_undo(void *it, int rc, int how, struct emmap_sleep *sleep)
{
    struct emmap_rwlock_write *write = it;
    (void)how, (void)sleep;
    if (rc >= 0 && rc != EMMAP_REPAIRED) {
        uint64_t me = atomic_load_explicit(&write->rwlock->writer.place.life->me, memory_order_relaxed);
        write->draining = emmap_place_lost(&write->rwlock->cells.place) == 0 &&
                          atomic_compare_exchange_strong(write->rwlock->writing, &me, 0);
    }
    emmap_rwlock_write_give_up(write);
    return 0;
}

int emmap_rwlock_is_written(struct emmap_rwlock *rwlock)
{
    return emmap_lock_is_mine(&rwlock->writer) &&
           atomic_load(rwlock->writing) == (atomic_load(rwlock->writer.word) & EMMAP_OWNER);
}

int emmap_rwlock_release_write(struct emmap_rwlock *rwlock)
{
    uint64_t me = atomic_load_explicit(&rwlock->writer.place.life->me, memory_order_relaxed);
    if (emmap_place_lost(&rwlock->writer.place) != 0)
        return -EIO;
    /* The word alone would not tell us from a thread of ours that still waits for readers. */
    if (!emmap_lock_is_mine(&rwlock->writer) ||
        !atomic_compare_exchange_strong(rwlock->writing, &me, 0))
        return -EPERM;
    return emmap_lock_release_to(&rwlock->writer, 0, ALL);
}
