/* Blocks that a transaction has made and dropped: the first that it takes again. */
#include "space.h"

#include <stdlib.h>

int emmap_reserve_dropped(struct emmap_txn *txn, size_t n)
{
    struct emmap_dropped *dropped = &txn->dropped;
    if (dropped->capacity - dropped->n >= n)
        return 0;
    size_t capacity = dropped->capacity * 2 > dropped->n + n ? dropped->capacity * 2 : dropped->n + n;
    struct emmap_dropped_block *blocks = realloc(dropped->blocks, capacity * sizeof *blocks);
    if (blocks == NULL)
        return -ENOMEM;
    dropped->blocks = blocks;
    dropped->capacity = capacity;
    return 0;
}

int emmap_drop(struct emmap_txn *txn, uint64_t at, unsigned class)
{
    struct emmap_dropped *dropped = &txn->dropped;
    size_t i = dropped->unused;
    if (i != 0) {
        dropped->unused = dropped->blocks[i - 1].next;
    } else {
        int rc = emmap_reserve_dropped(txn, 1);
        if (rc != 0)
            return rc;
        i = ++dropped->n;
    }
    dropped->blocks[i - 1] = (struct emmap_dropped_block){.at = at, .next = dropped->first[class]};
    dropped->first[class] = i;
    dropped->any[class >> 6] |= UINT64_C(1) << (class & 63);
    return 0;
}

uint64_t emmap_take_dropped(struct emmap_txn *txn, unsigned class)
{
    struct emmap_dropped *dropped = &txn->dropped;
    size_t i = dropped->first[class];
    if (i == 0)
        return 0;
    struct emmap_dropped_block *block = &dropped->blocks[i - 1];
    dropped->first[class] = block->next;
    if (block->next == 0)
        dropped->any[class >> 6] &= ~(UINT64_C(1) << (class & 63));
    block->next = dropped->unused;
    dropped->unused = i;
    return block->at;
}

unsigned emmap_any_dropped(const struct emmap_txn *txn)
{
    for (unsigned word = 0; word < 4; word++)
        if (txn->dropped.any[word] != 0)
            return word * 64 + (unsigned)__builtin_ctzll(txn->dropped.any[word]);
    return EMMAP_CLASSES;
}

void emmap_forget_dropped(struct emmap_txn *txn)
{
    struct emmap_dropped *dropped = &txn->dropped;
    for (unsigned class; (class = emmap_any_dropped(txn)) != EMMAP_CLASSES;) {
        dropped->first[class] = 0;
        dropped->any[class >> 6] &= ~(UINT64_C(1) << (class & 63));
    }
    dropped->n = dropped->unused = 0;
}
