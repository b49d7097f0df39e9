/* Creating, opening, recovering. */
#include "home.h"

#include <stdlib.h>

static struct emmap_store_header *header_of(const struct emmap_store *store)
{
    return (struct emmap_store_header *)(void *)store->base;
}

static uint64_t check_of(const struct emmap_store_header *header)
{
    static const uint64_t zeros[2];
    return emmap_hash(zeros, header, offsetof(struct emmap_store_header, check), 0);
}

/* Where we are. */
static int find_home(struct emmap_store *store, struct emmap_home *home)
{
    int rc = store->kernel->boot(home->boot);
    return rc != 0 ? rc : store->kernel->identity(store->fd, &home->device, &home->inode);
}

/* Creating */

int emmap_store_create(struct emmap_store *store)
{
    struct emmap_store_header header = {
        .magic = EMMAP_STORE_MAGIC, .version = EMMAP_STORE_VERSION, .byte_order = EMMAP_BYTE_ORDER,
    };
    struct emmap_live *live = emmap_live(store);
    struct emmap_space *space = emmap_space(store, 0);
    struct emmap_meta meta;
    int rc = emmap_store_look(store);
    if (rc == 0)
        rc = store->kernel->random(header.hash_key, sizeof header.hash_key);
    if (rc == 0)
        rc = find_home(store, &header.home);
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    if (rc == 0 && size < EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH)
        rc = -EINVAL;
    if (rc != 0)
        return rc;
    header.check = check_of(&header);
    memcpy(store->hash_key, header.hash_key, sizeof store->hash_key);

    /* SAFETY: the file has all these bytes, and nobody else knows of it. */
    unsigned class = emmap_class_of(sizeof(struct emmap_root));
    *(struct emmap_root *)emmap_at(store, EMMAP_BLOCKS_AT) =
        (struct emmap_root){.header = EMMAP_HEADER(1, EMMAP_ROOT, class), .txn = 1};
    space->frontier = EMMAP_BLOCKS_AT + emmap_class_size(class);
    atomic_store_explicit(&space->txn, 1, memory_order_relaxed);
    atomic_store_explicit(&live->root, EMMAP_BLOCKS_AT, memory_order_relaxed);
    atomic_store_explicit(&live->epoch, 1, memory_order_relaxed);
    atomic_store_explicit(&live->size, size, memory_order_relaxed);
    atomic_store_explicit(&live->flushed, 1, memory_order_relaxed);
    memcpy(header_of(store), &header, sizeof header);
    /* The locks are zeros: whoever opens the file first makes them. */
    rc = emmap_meta_make(store, &meta);
    if (rc == 0)
        rc = emmap_meta_write(store, 0, &meta);
    return rc == 0 && emmap_lost_any(store->lost) ? -EIO : rc;
}

/* Opening */

int emmap_store_recognise(struct emmap_store *store)
{
    struct emmap_store_header header;
    int rc = emmap_store_look(store);
    if (rc != 0)
        return rc;
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    if (size < sizeof header)
        return -EINVAL;
    memcpy(&header, store->base, sizeof header);
    if (emmap_lost_any(store->lost))
        return -EIO;
    if (header.magic == __builtin_bswap64(EMMAP_STORE_MAGIC))
        return -ENOTSUP;
    if (header.magic != EMMAP_STORE_MAGIC)
        return -EINVAL;
    if (header.byte_order != EMMAP_BYTE_ORDER)
        return -ENOTSUP;
    if (header.version != EMMAP_STORE_VERSION)
        return -EPROTO;
    if (header.check != check_of(&header))
        return emmap_wrong(store, 0, "the header is damaged");
    if (size < EMMAP_BLOCKS_AT)
        return emmap_wrong(store, size, "the file is shorter than any store");
    memcpy(store->hash_key, header.hash_key, sizeof store->hash_key);
    return 0;
}

static int begin_lock(struct emmap_store *store, struct emmap_lock *lock, unsigned char *at)
{
    struct emmap_place place = {.at = at, .life = store->life, .lost = store->lost};
    int rc = emmap_place_claim(&place, EMMAP_LOCK, 16);
    if (rc == EMMAP_OTHER_DEVICE)
        return -EXDEV;
    if (rc == EMMAP_SOMETHING_ELSE)
        return emmap_wrong(store, (uint64_t)(at - store->base), "no lock lies here, but the writer's belongs here");
    /* SAFETY: the word lies behind the tag, inside the place. */
    if (rc == 0)
        emmap_lock_begin(lock, &place, (_Atomic(uint64_t) *)(void *)(at + 8));
    return rc;
}

static int is_elsewhere(const struct emmap_home *home, const struct emmap_home *here)
{
    return memcmp(home->boot, here->boot, sizeof home->boot) != 0 || home->inode != here->inode;
}

/* Was the file last opened here? 0, EMMAP_NEEDS_RECOVERY or -EXDEV. */
static int look_home(struct emmap_store *store, const struct emmap_home *here)
{
    struct emmap_home home;
    memcpy(&home, &header_of(store)->home, sizeof home);
    if (is_elsewhere(&home, here))
        return EMMAP_NEEDS_RECOVERY;
    if (home.device != here->device)
        return -EXDEV;
    return atomic_load(&emmap_live(store)->poisoned) != 0 ? EMMAP_NEEDS_RECOVERY : 0;
}

/* Is the live root of use? Writers may be publishing meanwhile. */
static int is_live(struct emmap_store *store)
{
    struct emmap_live *live = emmap_live(store);
    const struct emmap_root *root;
    int is_true = 0;
    do {
        root = emmap_pin_set(store, store->pin);
        for (int i = 0; root != NULL && i < 2; i++)
            is_true |= atomic_load(&emmap_space(store, i)->txn) == root->txn;
        /* Its space is only taken away when it is not the live root any more. */
    } while (root != NULL && !is_true && (const void *)root != emmap_at(store, atomic_load(&live->root)));
    emmap_pin_clear(store->pin);
    return is_true;
}

/* Claims the pin, and looks whether that was right: 0, EMMAP_NEEDS_RECOVERY or -errno. */
static int enter(struct emmap_store *store)
{
    int rc = emmap_pin_claim(store, &store->pin);
    if (rc != 0)
        return rc;
    if (is_live(store))
        return 0;
    emmap_pin_give(store->pin);
    store->pin = NULL;
    return emmap_lost_any(store->lost) ? -EIO : EMMAP_NEEDS_RECOVERY;
}

int emmap_store_begin(struct emmap_store *store)
{
    struct emmap_live *live = emmap_live(store);
    struct emmap_home here;
    store->pin = NULL;
    int rc = emmap_store_recognise(store);
    if (rc == 0)
        rc = begin_lock(store, &store->lock, live->lock);
    if (rc == 0)
        rc = begin_lock(store, &store->flush_lock, live->flush_lock);
    if (rc == 0 && store->protected == NULL) {
        store->protected = malloc(sizeof *store->protected);
        rc = store->protected == NULL ? -ENOMEM : 0;
    }
    if (rc != 0)
        return rc;
    memset(store->protected, 0, offsetof(struct emmap_protected, txns));
    rc = find_home(store, &here);
    if (rc == 0)
        rc = look_home(store, &here);
    if (rc == 0)
        rc = enter(store);
    if (rc != 0)
        return rc;
    /* Who recovers stores `recovering` before he looks for pins, and we look for it behind our pin: one of the
     * two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    rc = atomic_load(&live->recovering) != 0 ? EMMAP_NEEDS_RECOVERY : look_home(store, &here);
    if (rc != 0) {
        emmap_pin_give(store->pin);
        store->pin = NULL;
    }
    return rc;
}

void emmap_store_end(struct emmap_store *store)
{
    if (store->pin != NULL && atomic_load(&store->pin->owner) == atomic_load(&store->life->me))
        emmap_pin_give(store->pin);
    store->pin = NULL;
    free(store->protected);
    store->protected = NULL;
}

/* Recovering */

/* Does anybody who lives use the live root? 1, 0 or -errno. What the dead have left is cleared. */
static int is_in_use(struct emmap_store *store)
{
    struct emmap_pin *pins = emmap_pins(store);
    for (size_t i = 0; i < EMMAP_PINS; i++) {
        uint64_t owner = atomic_load(&pins[i].owner);
        if (owner == 0)
            continue;
        int alive = emmap_life_ask(store->life, owner);
        if (alive != EMMAP_DEAD)
            return alive == EMMAP_ALIVE ? 1 : alive == EMMAP_HIDDEN ? -EBUSY : alive;
        atomic_compare_exchange_strong(&pins[i].owner, &owner, 0);
    }
    return 0;
}

/* Finds the newest meta that is no newer than `most`: its slot, or -errno. Only a meta that is torn itself gives way
 * to the one before: what a whole one needs was on the disk before it, so where that is not there now the file
 * was damaged, or cut, and not by a power loss. */
static int find_meta(struct emmap_store *store, uint64_t most, struct emmap_meta *meta, struct emmap_trace *trace)
{
    struct emmap_meta metas[2];
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    int slot = -1;
    for (int i = 0; i < 2; i++)
        if (emmap_meta_read(store, i, &metas[i]) == 0 && metas[i].txn <= most &&
            (slot < 0 || metas[i].txn > metas[slot].txn))
            slot = i;
    if (slot < 0)
        return emmap_wrong(store, EMMAP_META_AT(0), "no flush of this file has ever been completed");
    *meta = metas[slot];
    if (meta->size > size)
        return emmap_wrong(store, size, "the file is shorter than it was when it was flushed");
    int rc = emmap_trace_begin(trace, store, meta->frontier);
    if (rc == 0)
        rc = emmap_trace_root(trace, meta->root, meta->txn);
    if (rc == 0 && ((const struct emmap_root *)emmap_at(store, meta->root))->txn != meta->txn)
        rc = emmap_wrong(store, meta->root, "the root that was flushed is of another transaction");
    if (rc == 0)
        return slot;
    emmap_trace_end(trace);
    return rc;
}

/* Makes the flush that is recovered the only one that a later recovery may find, and sees it on the disk: what
 * is not reached by it is used again from now on. */
static int settle(struct emmap_store *store, int slot, uint64_t txn)
{
    struct emmap_meta other;
    int rc = 0;
    if (emmap_meta_read(store, 1 - slot, &other) == 0 && other.txn >= txn)
        rc = emmap_meta_write(store, 1 - slot, NULL);
    return rc != 0 ? rc : emmap_file_flush(store);
}

static int recover(struct emmap_store *store, const struct emmap_home *here)
{
    struct emmap_live *live = emmap_live(store);
    struct emmap_home *home = &header_of(store)->home;
    struct emmap_trace trace;
    struct emmap_meta meta = {0};
    /* After a failed flush the pages look clean, and a meta that is newer than the last completed flush may
     * never have reached the disk. */
    uint64_t most = !is_elsewhere(home, here) && atomic_load(&live->poisoned) != 0 ? atomic_load(&live->flushed)
                                                                                   : UINT64_MAX;
    int slot = find_meta(store, most, &meta, &trace);
    if (slot < 0)
        return slot;
    int rc = settle(store, slot, meta.txn);
    /* A copy may have holes, which could not be filled on a disk that is full by then. */
    if (rc == 0)
        rc = store->kernel->fallocate(store->fd, 0, (off_t)atomic_load(&store->size));
    if (rc != 0) {
        emmap_trace_end(&trace);
        return rc;
    }
    /* From here on nobody takes the live root for one, until all is done. */
    memset(home, 0, sizeof *home);
    atomic_thread_fence(memory_order_seq_cst);
    rc = emmap_rebuild(store, &trace, meta.root, (trace.newest > meta.txn ? trace.newest : meta.txn) + 1);
    emmap_trace_end(&trace);
    if (rc != 0)
        return rc;
    atomic_store(&live->size, atomic_load(&store->size));
    atomic_store(&live->flushed, meta.txn);
    atomic_store(&live->flushing, 0);
    if (atomic_load(&live->flushes) > meta.txn)
        atomic_store(&live->flushes, meta.txn);
    if (atomic_load(&live->pins) > EMMAP_PINS)
        atomic_store(&live->pins, EMMAP_PINS);
    atomic_store(&live->poisoned, 0);
    atomic_thread_fence(memory_order_seq_cst);
    *home = *here;
    return emmap_lost_any(store->lost) ? -EIO : 0;
}

/* Decides, and does it. `recovering` is stored. */
static int recover_unless_used(struct emmap_store *store)
{
    static const struct emmap_home nowhere;
    struct emmap_home here;
    int rc = find_home(store, &here);
    if (rc == 0)
        rc = look_home(store, &here);
    if (rc < 0)
        return rc;
    int is_cut_short = memcmp(&header_of(store)->home, &nowhere, sizeof nowhere) == 0;
    if (rc == 0 && enter(store) == 0)
        return 0;
    if (!is_cut_short) {
        int in_use = is_in_use(store);
        if (in_use < 0)
            return in_use;
        if (in_use) {
            if (atomic_load(&emmap_live(store)->poisoned) != 0)
                return -EROFS;
            rc = enter(store);
            return rc == EMMAP_NEEDS_RECOVERY
                       ? emmap_wrong(store, EMMAP_LIVE_AT, "the live root is damaged, and others have it open")
                       : rc;
        }
    }
    rc = recover(store, &here);
    return rc == 0 ? enter(store) : rc;
}

int emmap_recover(struct emmap_store *store)
{
    struct emmap_live *live = emmap_live(store);
    atomic_store(&live->recovering, 1);
    atomic_thread_fence(memory_order_seq_cst);
    int rc = recover_unless_used(store);
    atomic_store(&live->recovering, 0);
    if (rc == EMMAP_NEEDS_RECOVERY)
        rc = emmap_wrong(store, EMMAP_LIVE_AT, "the live root is damaged as soon as it is made");
    if (rc == 0) {
        atomic_store_explicit(&store->wrong_at, 0, memory_order_relaxed);
        atomic_store_explicit(&store->wrong, NULL, memory_order_relaxed);
    }
    return rc;
}
