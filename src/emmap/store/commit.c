/* Transactions: begun, nested, published by one store of eight bytes, or dropped. */
#include "commit.h"

#include <stdlib.h>

int emmap_begin(struct emmap_txn *txn, struct emmap_store *store)
{
    struct emmap_live *live = emmap_live(store);
    if (emmap_lost_any(store->lost))
        return -EIO;
    if (atomic_load_explicit(&live->poisoned, memory_order_relaxed) != 0)
        return -EROFS;
    uint64_t at = atomic_load_explicit(&live->root, memory_order_acquire);
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    if (root == NULL)
        return emmap_wrong_rc(store);
    if (root->txn == 0 || root->txn > EMMAP_LAST_TXN)
        return emmap_wrong(store, at, "the number of the transaction is none");
    txn->store = store;
    txn->base = root->txn;
    txn->txn = root->txn + 1;
    txn->root = at;
    txn->directory = root->directory;
    txn->names = root->names;
    /* Whoever published the root may have been killed before he said so. */
    if (atomic_load_explicit(&live->epoch, memory_order_relaxed) != txn->base)
        atomic_store_explicit(&live->epoch, txn->base, memory_order_release);
    return emmap_space_begin(txn);
}

int emmap_is_changed(const struct emmap_txn *txn)
{
    /* A change anywhere is a change of the directory, which is in another block then. */
    const struct emmap_root *root = emmap_at(txn->store, txn->root);
    return txn->directory != root->directory;
}

void emmap_rollback(struct emmap_txn *txn)
{
    txn->retired.n = 0;
    txn->swept = 0;             /* what was looked at again is as it was */
}

/* All but the publishing. */
static int complete(struct emmap_txn *txn, uint64_t *at)
{
    int rc = emmap_prepare_end(txn);
    if (rc != 0)
        return rc;
    *at = emmap_allocate(txn, EMMAP_ROOT, sizeof(struct emmap_root), &rc);
    if (*at == 0)
        return rc;
    struct emmap_root *root = emmap_at(txn->store, *at);
    root->txn = txn->txn;
    root->directory = txn->directory;
    root->names = txn->names;
    rc = emmap_retire(txn, txn->root);
    return rc != 0 ? rc : emmap_space_end(txn);
}

int emmap_commit(struct emmap_txn *txn)
{
    struct emmap_live *live = emmap_live(txn->store);
    uint64_t at;
    if (!emmap_is_changed(txn)) {
        emmap_rollback(txn);
        return 0;
    }
    int rc = complete(txn, &at);
    if (rc == 0 && emmap_lost_any(txn->store->lost))
        rc = -EIO;
    if (rc != 0) {
        emmap_rollback(txn);
        return rc;
    }
    atomic_store_explicit(&txn->space->txn, txn->txn, memory_order_release);
    atomic_store_explicit(&live->root, at, memory_order_release);
    atomic_store_explicit(&live->epoch, txn->txn, memory_order_release);
    txn->sweep -= txn->swept < txn->sweep ? txn->swept : txn->sweep;
    txn->swept = 0;
    txn->retired.n = 0;
    return emmap_lost_any(txn->store->lost) ? -EIO : 0;
}

/* What was dropped so far waits for the end: a savepoint may come to need it again. */
static int keep_dropped(struct emmap_txn *txn)
{
    for (unsigned class; (class = emmap_any_dropped(txn)) != EMMAP_CLASSES;) {
        uint64_t at = emmap_take_dropped(txn, class);
        int rc = emmap_retire_later(txn, at, class);
        if (rc != 0) {
            emmap_drop(txn, at, class); /* where it was: there is room for it */
            return rc;
        }
    }
    emmap_forget_dropped(txn);
    return 0;
}

int emmap_freeze(struct emmap_txn *txn)
{
    int rc = keep_dropped(txn);
    if (rc == 0)
        txn->txn++;
    return rc;
}

int emmap_savepoint(struct emmap_txn *txn, struct emmap_savepoint **savepoint)
{
    struct emmap_savepoint *made = malloc(sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    int rc = emmap_freeze(txn);
    if (rc != 0) {
        free(made);
        return rc;
    }
    memcpy(&made->space, txn->space, sizeof made->space);
    made->directory = txn->directory;
    made->names = txn->names;
    made->retired = txn->retired.n;
    *savepoint = made;
    return 0;
}

void emmap_rollback_to(struct emmap_txn *txn, const struct emmap_savepoint *savepoint)
{
    memcpy(txn->space, &savepoint->space, sizeof savepoint->space);
    txn->directory = savepoint->directory;
    txn->names = savepoint->names;
    txn->retired.n = savepoint->retired;
    /* What was dropped since is behind the heads and the frontier of the savepoint again. */
    emmap_forget_dropped(txn);
    /* What it left in its blocks is nobody's, whatever their births say. */
    txn->txn++;
}

void emmap_txn_end(struct emmap_txn *txn)
{
    free(txn->retired.at);
    free(txn->dropped.blocks);
    memset(txn, 0, sizeof *txn);
}

/* The space that counts is not written before the live root says another transaction: so what was read is whole
 * if the root is still the same. */
int emmap_figures_of(struct emmap_store *store, struct emmap_figures *figures)
{
    struct emmap_live *live = emmap_live(store);
    for (int tries = 0; tries < 1000; tries++) {
        uint64_t at = atomic_load_explicit(&live->root, memory_order_acquire);
        const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
        if (root == NULL && atomic_load_explicit(&live->root, memory_order_acquire) == at)
            return emmap_wrong_rc(store);
        if (root == NULL)
            continue;
        uint64_t txn = root->txn, names = root->names;
        for (int i = 0; i < 2; i++) {
            const struct emmap_space *space = emmap_space(store, i);
            if (atomic_load_explicit(&space->txn, memory_order_acquire) != txn)
                continue;
            uint64_t frontier = space->frontier, retired = space->retired, held = space->in_held;
            atomic_thread_fence(memory_order_acquire);
            if (atomic_load_explicit(&live->root, memory_order_acquire) != at ||
                atomic_load_explicit(&space->txn, memory_order_acquire) != txn)
                continue;
            *figures = (struct emmap_figures){txn, names, frontier - EMMAP_BLOCKS_AT - retired, retired - held, held};
            return 0;
        }
    }
    return -EAGAIN;
}
