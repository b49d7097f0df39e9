/* Pins: what readers look at, so that writers do not use it again. Readers wait for nobody.
 *
 * A reader says that he begins before he knows what he will see (TENTATIVE | epoch: nothing that is replaced
 * after that epoch is used again), loads the live root, and then says which it is: from now on he keeps just
 * what that root reaches. The exchange is the full fence that a pin would be overlooked without; the
 * writer's is between his root's store and his scan. tests/model/test_pins_model.py tries all orders.
 */
#ifndef EMMAP_PINS_H
#define EMMAP_PINS_H

#include "store.h"

/* Takes a pin for this process: 0, -EAGAIN when all are in use by the living, or another -errno. */
int emmap_pin_claim(struct emmap_store *store, struct emmap_pin **pin);

/* The same for another owner: a child that is about to be forked. */
int emmap_pin_claim_for(struct emmap_store *store, uint64_t owner, struct emmap_pin **pin);

/* Gives it back, cleared. Not after a fork: then it is the parent's. */
void emmap_pin_give(struct emmap_pin *pin);

/* Pins the live root, and tells the root record: NULL when the file is damaged, and nothing is pinned. */
static inline const struct emmap_root *emmap_pin_set(struct emmap_store *store, struct emmap_pin *pin)
{
    struct emmap_live *live = emmap_live(store);
    uint64_t epoch = atomic_load_explicit(&live->epoch, memory_order_acquire);
    atomic_exchange_explicit(&pin->word, EMMAP_TENTATIVE | epoch, memory_order_seq_cst);
    uint64_t at = atomic_load_explicit(&live->root, memory_order_seq_cst);
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    atomic_store_explicit(&pin->word, root == NULL ? 0 : root->txn, memory_order_release);
    return root;
}

static inline void emmap_pin_clear(struct emmap_pin *pin)
{
    atomic_store_explicit(&pin->word, 0, memory_order_release);
}

/* Says that what it pins is kept for long, from now on, and by this process. */
void emmap_pin_since(struct emmap_pin *pin);

/* Pins what another pin of ours keeps, which stays pinned until this has returned. A scan that has passed the
 * one, and comes by the other when that is cleared, sees that there was a copy, and scans again. */
static inline void emmap_pin_copy(struct emmap_store *store, struct emmap_pin *pin, uint64_t txn)
{
    atomic_exchange_explicit(&pin->word, txn, memory_order_seq_cst);
    atomic_fetch_add_explicit(&emmap_live(store)->copies, 1, memory_order_seq_cst);
}

/* What readers and flushes kept when this process looked last. It stays good: whoever begins to read later
 * sees a root that is no older than `scanned`. */
struct emmap_protected {
    uint64_t scanned;           /* the live root's transaction, from before the scan; 0: never */
    uint64_t tentative;         /* the least epoch of a TENTATIVE pin, or UINT64_MAX */
    size_t pins;                /* that were set, by whomever */
    uint64_t oldest;            /* the least of them */
    uint64_t newest;            /* of `txns` */
    uint64_t flushed;           /* the last completed flush's */
    size_t n;
    uint64_t txns[EMMAP_PINS + 2]; /* ascending: of pins, of the last flush, of the one under way */
};

/* Looks again. Where the oldest pin is still the one of the last scan, its owner may be dead: then the pins of
 * the dead are cleared, at half a microsecond for each process. The caller holds the writer's lock. */
int emmap_scan(struct emmap_store *store);

/* Does a root between the two transactions count as read? */
int emmap_is_between(const struct emmap_protected *protected, uint64_t birth, uint64_t retired);

/* May a block be used again that was born and replaced in these transactions? */
static inline int emmap_is_free(const struct emmap_protected *protected, uint64_t birth, uint64_t retired)
{
    return retired <= protected->scanned && retired <= protected->tentative &&
           (birth > protected->newest || !emmap_is_between(protected, birth, retired));
}

/* Who reads the oldest root: 0 and what is known, or -ENOENT when nobody reads. For statistics. */
struct emmap_oldest {
    uint64_t txn;
    uint64_t pid, since;        /* as in the pin */
    int is_us;
    size_t pins;                /* in use */
};
int emmap_oldest_pin(struct emmap_store *store, struct emmap_oldest *oldest);

#endif
