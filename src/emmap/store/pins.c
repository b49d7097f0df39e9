/* Pins: taken, given back, scanned, and cleared for the dead. */
#define _POSIX_C_SOURCE 200809L
#include "pins.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static size_t pins_in_use(struct emmap_store *store)
{
    uint64_t n = atomic_load_explicit(&emmap_live(store)->pins, memory_order_seq_cst);
    return n < EMMAP_PINS ? n : EMMAP_PINS;
}

/* Is the owner dead? Each is asked after once in a row: the pins of one process lie side by side. */
struct asked {
    uint64_t owner;
    int dead;
};

static int is_dead(struct emmap_store *store, uint64_t owner, struct asked *last)
{
    if (owner == atomic_load_explicit(&store->life->me, memory_order_relaxed))
        return 0;
    if (owner != last->owner) {
        last->owner = owner;
        last->dead = emmap_life_ask(store->life, owner) == EMMAP_DEAD;
    }
    return last->dead;
}

/* The pins of the dead become nobody's: one compare-and-swap each. What they say counts no more then, and
 * whoever takes one clears it. */
static void reap(struct emmap_store *store)
{
    struct emmap_pin *pins = emmap_pins(store);
    struct asked last = {0, 0};
    for (size_t i = 0, n = pins_in_use(store); i < n; i++) {
        uint64_t owner = atomic_load_explicit(&pins[i].owner, memory_order_acquire);
        if (owner != 0 && is_dead(store, owner, &last))
            atomic_compare_exchange_strong(&pins[i].owner, &owner, 0);
    }
}

static struct emmap_pin *take_free(struct emmap_store *store, uint64_t me)
{
    struct emmap_pin *pins = emmap_pins(store);
    for (size_t i = 0; i < EMMAP_PINS; i++) {
        uint64_t nobody = 0;
        if (atomic_load_explicit(&pins[i].owner, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&pins[i].owner, &nobody, me)) {
            /* Counted before it is used, or a scan would not come by. */
            uint64_t n = atomic_load(&emmap_live(store)->pins);
            while (n <= i && !atomic_compare_exchange_weak(&emmap_live(store)->pins, &n, i + 1))
                ;
            return &pins[i];
        }
    }
    return NULL;
}

int emmap_pin_claim_for(struct emmap_store *store, uint64_t owner, struct emmap_pin **pin)
{
    struct emmap_pin *found = take_free(store, owner);
    if (found == NULL) {
        reap(store);
        found = take_free(store, owner);
    }
    if (found == NULL)
        return emmap_lost_any(store->lost) ? -EIO : -EAGAIN;
    atomic_store(&found->word, 0);
    atomic_store_explicit(&found->since, 0, memory_order_relaxed);
    atomic_store_explicit(&found->pid, (uint64_t)getpid(), memory_order_relaxed);
    *pin = found;
    return emmap_lost_any(store->lost) ? -EIO : 0;
}

int emmap_pin_claim(struct emmap_store *store, struct emmap_pin **pin)
{
    int rc = emmap_life_enter(store->life);
    return rc != 0 ? rc : emmap_pin_claim_for(store, atomic_load(&store->life->me), pin);
}

void emmap_pin_since(struct emmap_pin *pin)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    atomic_store_explicit(&pin->pid, (uint64_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&pin->since, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
                          memory_order_relaxed);
}

void emmap_pin_give(struct emmap_pin *pin)
{
    atomic_store_explicit(&pin->since, 0, memory_order_relaxed);
    atomic_store_explicit(&pin->word, 0, memory_order_release);
    atomic_store_explicit(&pin->owner, 0, memory_order_release);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int scan(struct emmap_store *store)
{
    struct emmap_live *live = emmap_live(store);
    struct emmap_protected *found = store->protected;
    struct emmap_pin *pins = emmap_pins(store);
    uint64_t at = atomic_load_explicit(&live->root, memory_order_acquire);
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    if (root == NULL)
        return emmap_wrong_rc(store);

    /* Between the root's store (ours, or one that the writer's lock has handed over) and the first pin. */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t tentative, copies, oldest;
    size_t n, set;
    do {
        copies = atomic_load_explicit(&live->copies, memory_order_seq_cst);
        tentative = oldest = UINT64_MAX;
        n = set = 0;
        for (size_t i = 0, end = pins_in_use(store); i < end; i++) {
            uint64_t owner = atomic_load_explicit(&pins[i].owner, memory_order_seq_cst);
            uint64_t word = atomic_load_explicit(&pins[i].word, memory_order_seq_cst);
            if (owner == 0 || word == 0)
                continue;
            set++;
            if ((word & ~EMMAP_TENTATIVE) < oldest)
                oldest = word & ~EMMAP_TENTATIVE;
            if (!(word & EMMAP_TENTATIVE))
                found->txns[n++] = word;
            else if ((word & ~EMMAP_TENTATIVE) < tentative)
                tentative = word & ~EMMAP_TENTATIVE;
        }
    } while (copies != atomic_load_explicit(&live->copies, memory_order_seq_cst));
    /* In this order: a flush that ends meanwhile is `flushed` before it is no more `flushing`. */
    uint64_t flushing = atomic_load_explicit(&live->flushing, memory_order_acquire);
    uint64_t flushed = atomic_load_explicit(&live->flushed, memory_order_acquire);
    if (flushed != 0)
        found->txns[n++] = flushed;
    if (flushing != 0)
        found->txns[n++] = flushing;
    if (n > 1)
        qsort(found->txns, n, sizeof found->txns[0], ascending);
    found->scanned = root->txn;
    found->tentative = tentative;
    found->pins = set;
    found->oldest = oldest;
    found->n = n;
    found->flushed = flushed;
    found->newest = n ? found->txns[n - 1] : 0;
    return 0;
}

int emmap_scan(struct emmap_store *store)
{
    struct emmap_protected *found = store->protected;
    uint64_t before = found->scanned != 0 && found->pins != 0 ? found->oldest : 0;
    int rc = scan(store);
    if (rc != 0 || found->pins == 0 || found->oldest != before)
        return rc;
    reap(store);
    return scan(store);
}

int emmap_is_between(const struct emmap_protected *found, uint64_t birth, uint64_t retired)
{
    size_t low = 0, high = found->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (found->txns[middle] < birth)
            low = middle + 1;
        else
            high = middle;
    }
    return low < found->n && found->txns[low] < retired;
}

int emmap_oldest_pin(struct emmap_store *store, struct emmap_oldest *oldest)
{
    struct emmap_pin *pins = emmap_pins(store);
    uint64_t me = atomic_load_explicit(&store->life->me, memory_order_relaxed);
    memset(oldest, 0, sizeof *oldest);
    reap(store);
    for (size_t i = 0, end = pins_in_use(store); i < end; i++) {
        uint64_t owner = atomic_load(&pins[i].owner), word = atomic_load(&pins[i].word);
        if (owner == 0 || word == 0)
            continue;
        word &= ~EMMAP_TENTATIVE;
        if (oldest->pins++ != 0 && word >= oldest->txn)
            continue;
        oldest->txn = word;
        oldest->pid = atomic_load_explicit(&pins[i].pid, memory_order_relaxed);
        oldest->since = atomic_load_explicit(&pins[i].since, memory_order_relaxed);
        oldest->is_us = owner == me;
    }
    return oldest->pins != 0 ? 0 : -ENOENT;
}
