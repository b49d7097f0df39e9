/* Flushing: a root on the disk, and the meta that says so.
 *
 *     flushing = T       under the writer's lock: nothing that T reaches is used again from now on
 *     fdatasync          the blocks of T are on the disk
 *     write the meta     into the slot that the last completed flush is not in
 *     fdatasync          and so is the meta
 *     flushed = T        what only the flush before reached may be used again
 *     flushing = 0
 *
 * A power loss at any moment leaves one meta whose root is whole. Whoever is killed in the middle leaves
 * `flushing`; the next one sees to it that his meta is none before it lets go of his root.
 */
#include "flush.h"

/* Metas */

static uint64_t check_of(const struct emmap_store *store, const struct emmap_meta *meta)
{
    return emmap_hash(store->hash_key, meta, offsetof(struct emmap_meta, check), 0);
}

int emmap_meta_read(struct emmap_store *store, int slot, struct emmap_meta *meta)
{
    /* SAFETY: the metas lie before the blocks. Who writes one holds the flush's lock; one that is read
     * meanwhile has a wrong check. */
    memcpy(meta, store->base + EMMAP_META_AT(slot), sizeof *meta);
    return meta->magic == EMMAP_STORE_MAGIC && meta->check == check_of(store, meta) && meta->txn != 0 &&
           meta->txn < EMMAP_LAST_TXN && meta->frontier <= meta->size ? 0 : -ENOENT;
}

/* Somebody may have closed the descriptor, and its number may be another file's by now. */
static int is_our_file(struct emmap_store *store)
{
    uint64_t device, inode;
    int rc = store->kernel->identity(store->fd, &device, &inode);
    if (rc != 0)
        return rc;
    return device == store->life->device && inode == store->life->inode ? 0 : -EBADF;
}

int emmap_meta_write(struct emmap_store *store, int slot, struct emmap_meta *meta)
{
    static const struct emmap_meta none;
    if (meta != NULL) {
        meta->magic = EMMAP_STORE_MAGIC;
        meta->check = check_of(store, meta);
    }
    int rc = is_our_file(store);
    if (rc != 0)
        return rc;
    if (meta == NULL)
        meta = (struct emmap_meta *)&none;
    ssize_t n = store->kernel->pwrite(store->fd, meta, sizeof *meta, (off_t)EMMAP_META_AT(slot));
    return n < 0 ? (int)n : n < (ssize_t)sizeof *meta ? -EIO : 0;
}

int emmap_meta_make(struct emmap_store *store, struct emmap_meta *meta)
{
    struct emmap_live *live = emmap_live(store);
    uint64_t at = atomic_load_explicit(&live->root, memory_order_acquire);
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    if (root == NULL)
        return emmap_wrong_rc(store);
    int i = 0;
    while (i < 2 && atomic_load_explicit(&emmap_space(store, i)->txn, memory_order_acquire) != root->txn)
        i++;
    if (i == 2)
        return emmap_wrong(store, EMMAP_SPACE_AT(0), "neither list of what is free belongs to the live root");
    *meta = (struct emmap_meta){
        .txn = root->txn, .root = at, .frontier = emmap_space(store, i)->frontier,
        .size = atomic_load_explicit(&live->size, memory_order_relaxed),
    };
    memcpy(meta->boot, ((struct emmap_store_header *)(void *)store->base)->home.boot, sizeof meta->boot);
    return 0;
}

int emmap_file_flush(struct emmap_store *store)
{
    int rc = is_our_file(store);
    return rc != 0 ? rc : store->kernel->fdatasync(store->fd);
}

/* The slot of the last completed flush. Where neither is (which is damage) the newer one stays. */
static int completed_slot(struct emmap_store *store)
{
    uint64_t flushed = atomic_load_explicit(&emmap_live(store)->flushed, memory_order_relaxed);
    struct emmap_meta metas[2];
    int is_there[2];
    for (int i = 0; i < 2; i++) {
        is_there[i] = emmap_meta_read(store, i, &metas[i]) == 0;
        if (is_there[i] && metas[i].txn == flushed)
            return i;
    }
    return !is_there[0] || (is_there[1] && metas[1].txn > metas[0].txn);
}

/* Acquires, whoever died: what a lock of ours guards is whole at any moment. */
static int acquire(struct emmap_lock *lock, struct emmap_waiting *waiting)
{
    /* Of this one it has not been asked yet whether its owner is dead. */
    waiting->asked = 0;
    int rc = emmap_lock_acquire(lock, waiting);
    return rc <= 0 ? rc : emmap_lock_mark_consistent(lock);
}

/* Flushing */

/* A write that failed leaves pages that look clean and are not on the disk: no later flush would mend that. */
static int poison(struct emmap_store *store, int rc)
{
    atomic_store_explicit(&emmap_live(store)->poisoned, 1, memory_order_release);
    return rc;
}

/* What a killed flusher has left: his meta may be on the disk or not, and must not become the newest while
 * its root is used again. */
static int clean_up(struct emmap_store *store, uint64_t flushing)
{
    struct emmap_live *live = emmap_live(store);
    if (flushing != atomic_load_explicit(&live->flushed, memory_order_relaxed)) {
        int rc = emmap_meta_write(store, 1 - completed_slot(store), NULL);
        if (rc == 0)
            rc = emmap_file_flush(store);
        if (rc != 0)
            return rc == -EBADF ? rc : poison(store, rc);
    }
    atomic_store_explicit(&live->flushing, 0, memory_order_release);
    return 0;
}

/* Decides what is flushed, and protects it: 0, 1 when there is nothing to do, or -errno. */
static int take_root(struct emmap_store *store, struct emmap_waiting *waiting, struct emmap_meta *meta)
{
    struct emmap_live *live = emmap_live(store);
    int rc = acquire(&store->lock, waiting);
    if (rc != 0)
        return rc;
    rc = emmap_meta_make(store, meta);
    if (rc == 0 && meta->txn == atomic_load_explicit(&live->flushed, memory_order_relaxed))
        rc = 1;
    if (rc == 0)
        atomic_store_explicit(&live->flushing, meta->txn, memory_order_release);
    int released = emmap_lock_release(&store->lock);
    return rc < 0 || released == 0 ? rc : released;
}

/* The two barriers. */
static int write_out(struct emmap_store *store, struct emmap_meta *meta)
{
    int rc = emmap_file_flush(store);
    /* What was written to a page that is lost has reached nobody. */
    if (rc == 0 && emmap_lost_any(store->lost))
        return -EIO;
    if (rc == 0)
        rc = emmap_meta_write(store, 1 - completed_slot(store), meta);
    if (rc == 0)
        rc = emmap_file_flush(store);
    return rc == 0 || rc == -EBADF ? rc : poison(store, rc);
}

static int flush(struct emmap_store *store, struct emmap_waiting *waiting)
{
    struct emmap_live *live = emmap_live(store);
    struct emmap_meta meta;
    if (atomic_load_explicit(&live->poisoned, memory_order_acquire) != 0)
        return -EROFS;
    uint64_t flushing = atomic_load_explicit(&live->flushing, memory_order_acquire);
    int rc = flushing == 0 ? 0 : clean_up(store, flushing);
    if (rc == 0)
        rc = take_root(store, waiting, &meta);
    if (rc == 0)
        rc = write_out(store, &meta);
    if (rc == 0 && emmap_lost_any(store->lost))
        rc = -EIO;
    if (rc != 0)
        return rc;
    atomic_store_explicit(&live->flushed, meta.txn, memory_order_release);
    atomic_fetch_add_explicit(&live->flushes, 1, memory_order_relaxed);
    atomic_store_explicit(&live->flushing, 0, memory_order_release);
    return 0;
}

int emmap_flush(struct emmap_store *store, struct emmap_waiting *waiting)
{
    int rc = acquire(&store->flush_lock, waiting);
    if (rc != 0)
        return rc;
    rc = flush(store, waiting);
    int released = emmap_lock_release(&store->flush_lock);
    return rc < 0 || released == 0 ? rc : released;
}
