/* A walk over all entries of a trie in the order in which they lie in the file.
 *
 * The order of the hashes leads from page to page at random: each entry is a miss of the cache and of the TLB.
 * So the offsets of many entries are collected from the leaves and sorted, and then looked at one after the
 * other: the processor's own prefetching sees a stream. First few are collected, then ever more, so that
 * whoever needs but the first one does not wait for all. What is walked does not change meanwhile.
 */
#ifndef EMMAP_WALK_H
#define EMMAP_WALK_H

#include "trie.h"

struct emmap_walk {
    struct emmap_cursor cursor;
    uint64_t *at;               /* offsets of entries, ascending: `n` of them, and as much room again to sort */
    size_t i, n, capacity;
};

/* Begins; to be ended also where nothing was walked. */
void emmap_walk_begin(struct emmap_walk *walk, struct emmap_store *store, uint64_t root, uint64_t count);
void emmap_walk_end(struct emmap_walk *walk);

/* The entries that are yet to come, if the record is right. */
static inline uint64_t emmap_walk_left(const struct emmap_walk *walk)
{
    return walk->cursor.left + (walk->n - walk->i);
}

/* Collects and sorts the next ones. 0, -ENOMEM or what is wrong. */
int emmap_walk_collect(struct emmap_walk *walk);

/* The next entry, NULL at the end: 0 or -errno. */
static inline int emmap_walk_next(struct emmap_walk *walk, const struct emmap_entry **entry)
{
    struct emmap_store *store = walk->cursor.store;
    *entry = NULL;
    if (__builtin_expect(walk->i == walk->n, 0)) {
        int rc = walk->cursor.left == 0 ? 0 : emmap_walk_collect(walk);
        if (rc != 0 || walk->i == walk->n)
            return rc;
    }
    /* SAFETY: a prefetch does no harm wherever it leads to. */
    if (walk->i + 8 < walk->n)
        __builtin_prefetch((const void *)((uintptr_t)store->base + walk->at[walk->i + 8] + 64), 0, 2);
    return emmap_entry_at(store, walk->at[walk->i++], entry);
}

#endif
