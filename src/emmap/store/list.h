/* A list: a counted B-tree of slots, by position. Get, set, insert and delete anywhere in O(log n). */
#ifndef EMMAP_LIST_H
#define EMMAP_LIST_H

#include "space.h"

/* An element. The payload lies in the slot or in a value's block: NULL where it is damaged. */
int emmap_list_get(struct emmap_store *store, uint64_t root, uint64_t count, uint64_t index,
                   const struct emmap_slot **slot);
const unsigned char *emmap_slot_payload(struct emmap_store *store, const struct emmap_slot *slot, uint64_t *n);

/* Sets, inserts (index <= *count), deletes. The caller copies `value_n` bytes to `*payload`; nothing fails
 * from then on. An index is within the list: the caller has looked. */
int emmap_list_set(struct emmap_txn *txn, uint64_t *root, uint64_t count, uint64_t index,
                   uint8_t tag, uint64_t value_n, unsigned char **payload);
int emmap_list_insert(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index,
                      uint8_t tag, uint64_t value_n, unsigned char **payload);
int emmap_list_delete(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index);

/* Retires all of it. */
int emmap_list_drop(struct emmap_txn *txn, uint64_t root, uint64_t count);

/* Walks from `index` on, forwards (step 1) or backwards (-1); `left` is how many are to come. */
struct emmap_list_cursor {
    struct emmap_store *store;
    uint64_t root, count, index, left;
    int step;
    const struct emmap_list_leaf *leaf; /* that holds the element, or NULL */
    uint64_t first;             /* index of its first slot */
};
void emmap_list_cursor_begin(struct emmap_list_cursor *cursor, struct emmap_store *store, uint64_t root,
                             uint64_t count, uint64_t index, int step);
/* The next slot, NULL at the end. */
int emmap_list_cursor_next(struct emmap_list_cursor *cursor, const struct emmap_slot **slot);

#endif
