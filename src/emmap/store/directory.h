/* The directory: a trie from names to records of what they stand for. */
#ifndef EMMAP_DIRECTORY_H
#define EMMAP_DIRECTORY_H

#include "trie.h"

/* The record of a name under this root, or NULL: 0 or -errno. */
int emmap_record_find(struct emmap_store *store, uint64_t directory, const struct emmap_key *name,
                      const struct emmap_record **record);

/* The same for who asks again and again: what was found last, and in which transaction. -ENOENT. */
struct emmap_seen {
    uint64_t txn;
    struct emmap_record record;
};
static inline int emmap_record_see(struct emmap_store *store, const struct emmap_root *root,
                                   const struct emmap_key *name, struct emmap_seen *seen)
{
    const struct emmap_record *found;
    if (__builtin_expect(root->txn == seen->txn, 1))
        return 0;
    int rc = emmap_record_find(store, root->directory, name, &found);
    if (rc != 0 || found == NULL)
        return rc != 0 ? rc : -ENOENT;
    seen->record = *found;
    seen->txn = root->txn;
    return 0;
}

/* The same, to be changed in place by the transaction. -ENOENT. It stays where it is until the next change
 * of the directory, savepoint or end. */
int emmap_record_own(struct emmap_txn *txn, const struct emmap_key *name, struct emmap_record **record);

/* Adds or replaces a record (what the old one stood for is not touched); removes one, with all it stands
 * for. */
int emmap_record_put(struct emmap_txn *txn, const struct emmap_key *name, const struct emmap_record *record);
int emmap_record_remove(struct emmap_txn *txn, const struct emmap_key *name);

/* What an entry of the directory holds; NULL where it is damaged. */
const struct emmap_record *emmap_record_of(struct emmap_store *store, const struct emmap_entry *entry);

/* A block for the payload of a value: the caller copies to `*payload`. 0 with `rc` set. */
uint64_t emmap_value_new(struct emmap_txn *txn, uint64_t n, unsigned char **payload, int *rc);

/* The payload of the value at an offset and its length; NULL where it is damaged. */
const unsigned char *emmap_value_at(struct emmap_store *store, uint64_t at, uint64_t *n);

#endif
