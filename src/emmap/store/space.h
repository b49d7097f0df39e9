/* Space: blocks for a transaction, and what becomes of those that it replaces.
 *
 * A transaction takes blocks from what it has itself made and dropped, from the queue of its class where
 * nobody can see the oldest block any more, and from the frontier. What it replaces is appended to the
 * queues when it commits. All it changes is a space of its own (format.h) that counts when the live root
 * says so: so a writer who is killed has changed nothing.
 */
#ifndef EMMAP_SPACE_H
#define EMMAP_SPACE_H

#include "pins.h"

/* Under way in this process, by who holds the writer's lock. */
struct emmap_txn {
    struct emmap_store *store;
    uint64_t base;              /* the live root's transaction when it began */
    uint64_t txn;               /* births of its blocks, and in the end its own number */
    struct emmap_space *space;  /* which it fills */
    const struct emmap_space *before;

    size_t sweep, swept;        /* entries of `held` that are still to be looked at again; and were, by this one */
    size_t moved;               /* that it has moved there */
    int scanned;                /* it has looked at the pins itself */
    uint64_t root;              /* offset of the live root record */
    uint64_t directory, names;  /* as they are by now */

    /* Blocks that it replaces, in the order in which it does: offset << 9 | is it a chunk << 8 | class. */
    struct emmap_offsets {
        uint64_t *at;
        size_t n, capacity;
    } retired;

    /* Blocks that it has made and dropped: a list for each class, in memory of our own. A list through the
     * blocks would lead anywhere in a damaged file, where two of them may overlap. */
    struct emmap_dropped {
        struct emmap_dropped_block {
            uint64_t at;
            size_t next;        /* its number, counted from 1; 0: the last */
        } *blocks;
        size_t n, capacity;
        size_t unused;          /* those that were taken again: a list, too */
        size_t first[EMMAP_CLASSES];
        uint64_t any[4];        /* bit c: list c is not empty */
    } dropped;
};

/* Sees to it that so many bytes (and a few hundred replaced blocks) cannot fail to be had by what follows:
 * 0, -ENOSPC, -EFBIG where the mapping has no room for them, -ENOMEM. Nothing has changed then, but the
 * file may have grown. Each operation begins with it. */
int emmap_prepare(struct emmap_txn *txn, uint64_t bytes);

/* What any change of a tree takes at most, besides payloads and keys; and what removing something takes. Who asks for
 * no more than the latter gets it on a full disk, too, from what is spared for him. */
#define EMMAP_OPERATION ((uint64_t)32 << 10)
#define EMMAP_REMOVAL ((uint64_t)24 << 10)

/* A block of at least so many bytes, with its header: its bytes are anything. Its offset, or 0 with `rc`
 * set: only where more is asked for than was prepared. */
uint64_t emmap_allocate(struct emmap_txn *txn, unsigned kind, uint64_t bytes, int *rc);

/* Gives a block up that this transaction's root does not reach any more. */
int emmap_retire(struct emmap_txn *txn, uint64_t at);

/* The same for a chunk of a queue, which no root reaches. */
int emmap_retire_chunk(struct emmap_txn *txn, uint64_t at);

/* The same for a block that this transaction shall not use again, though it has made it. */
int emmap_retire_later(struct emmap_txn *txn, uint64_t at, unsigned class);

/* Of blocks that were dropped. Room for so many more; one more; */
int emmap_reserve_dropped(struct emmap_txn *txn, size_t n);
int emmap_drop(struct emmap_txn *txn, uint64_t at, unsigned class);

/* A block of the class that was dropped, which is so no longer; 0: there is none. */
uint64_t emmap_take_dropped(struct emmap_txn *txn, unsigned class);

/* The first class of which there are any; EMMAP_CLASSES: there are none. */
unsigned emmap_any_dropped(const struct emmap_txn *txn);

/* Forgets them. */
void emmap_forget_dropped(struct emmap_txn *txn);

/* Was the block born since the transaction began, and since the last savepoint? Then it may be changed. */
static inline int emmap_is_ours(const struct emmap_txn *txn, const void *block)
{
    return EMMAP_BIRTH(*(const uint64_t *)block) == txn->txn;
}

/* The block at `*at`, to be changed: itself where it is ours, else a copy of its first `n` bytes in a block of
 * at least `capacity` bytes, which takes its place in `*at`. */
void *emmap_own(struct emmap_txn *txn, uint64_t *at, unsigned kind, uint64_t n, uint64_t capacity, int *rc);

/* A block of any age as a pointer: it has been checked. */
static inline void *emmap_at(const struct emmap_store *store, uint64_t at)
{
    return store->base + at;
}

/* Used by commit.c: begins to fill the other space; appends what was replaced, so that the space is complete
 * but for its number; and prepares that. */
int emmap_space_begin(struct emmap_txn *txn);
int emmap_prepare_end(struct emmap_txn *txn);
int emmap_space_end(struct emmap_txn *txn);

#endif
