/* A list: a counted B-tree of slots, by position. Get, set, insert and delete anywhere in O(log n).
 *
 * Where a change fails with -ENOSPC, -EFBIG or -ENOMEM before anything has been touched, the list is as it
 * was; -EUCLEAN and -EIO doom the transaction.
 */
#ifndef EMMAP_LIST_H
#define EMMAP_LIST_H

#include "space.h"

/* An element. The payload lies in the slot or in a value's block: NULL where it is damaged. */
int emmap_list_get(struct emmap_store *store, uint64_t root, uint64_t count, uint64_t index,
                   const struct emmap_slot **slot);
const unsigned char *emmap_slot_payload(struct emmap_store *store, const struct emmap_slot *slot, uint64_t *n);

/* Sets, inserts (index <= *count), deletes. The caller copies `value_n` bytes to `*payload`; nothing fails
 * from then on. An index is within the list: the caller has looked. A list that is yet to be is
 * appended to with root and count 0. */
int emmap_list_set(struct emmap_txn *txn, uint64_t *root, uint64_t count, uint64_t index,
                   uint8_t tag, uint64_t value_n, unsigned char **payload);
int emmap_list_insert(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index,
                      uint8_t tag, uint64_t value_n, unsigned char **payload);
int emmap_list_delete(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t index);

/* Replaces the elements from `from` to before `to` by those of another list of this transaction, which is
 * no list of its own from then on (0 and 0: by none). O(log n), and what giving the old ones up takes. An
 * error after -ENOSPC, -EFBIG and -ENOMEM have been ruled out dooms the transaction. */
int emmap_list_splice(struct emmap_txn *txn, uint64_t *root, uint64_t *count, uint64_t from, uint64_t to,
                      uint64_t other, uint64_t other_count);

/* Makes it a list of the `n` elements that `order` names, in this order; gives the others up. -EINVAL
 * where an index is none of the list's, or named twice. It takes 16 bytes of memory for each element. */
int emmap_list_rearrange(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const uint64_t *order,
                         uint64_t n);

/* Retires all of it. What is walked cannot be prepared for: an error dooms the transaction. */
int emmap_list_drop(struct emmap_txn *txn, uint64_t root, uint64_t count);

/* Walks from `index` on, forwards (step 1) or backwards (-1); `left` is how many are to come. */
struct emmap_list_cursor {
    struct emmap_store *store;
    uint64_t root, count, index, left;
    int step;
    const struct emmap_slot *slots; /* of the leaf that holds elements `first` to before `end` */
    uint64_t first, end;            /* both 0: to be found */
};
void emmap_list_cursor_begin(struct emmap_list_cursor *cursor, struct emmap_store *store, uint64_t root,
                             uint64_t count, uint64_t index, int step);
/* The next slot, NULL at the end. */
int emmap_list_cursor_next(struct emmap_list_cursor *cursor, const struct emmap_slot **slot);

#endif
