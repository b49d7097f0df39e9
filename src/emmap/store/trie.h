/* A trie of keys and values: 32-way nodes over leaves of at most 16 entries, by the bits of the hash.
 *
 * A cold key costs two cache misses that wait for each other, behind nodes that stay in the cache: the leaf,
 * which tells by 32 more bits of the hash which entry it is, and the entry, with its key and its value.
 */
#ifndef EMMAP_TRIE_H
#define EMMAP_TRIE_H

#include "space.h"

struct emmap_key {
    uint64_t hash;
    const unsigned char *bytes;
    uint32_t n;
    uint8_t kind;               /* as in codec/keys */
};

/* Fills the hash. */
void emmap_key_hash(const struct emmap_store *store, struct emmap_key *key);

/* The entry of a key, or NULL: 0 or -errno. `root` 0 is an empty trie. */
int emmap_trie_find(struct emmap_store *store, uint64_t root, const struct emmap_key *key,
                    const struct emmap_entry **entry);

/* The entry at an offset, with a key that lies in the file: 0 or -errno. */
static inline int emmap_entry_at(struct emmap_store *store, uint64_t at, const struct emmap_entry **entry)
{
    *entry = emmap_block_at(store, at, EMMAP_ENTRY, sizeof **entry);
    if (__builtin_expect(*entry == NULL, 0))
        return emmap_wrong_rc(store);
    if (__builtin_expect(!emmap_has(store, at, sizeof **entry + (uint64_t)(*entry)->key_n), 0))
        return emmap_wrong(store, at, "a key reaches beyond the end of the file");
    return 0;
}

/* The key and the payload of an entry. The payload is checked: NULL where it is damaged. */
static inline const unsigned char *emmap_entry_key(const struct emmap_entry *entry)
{
    return entry->bytes;
}
const unsigned char *emmap_entry_payload(struct emmap_store *store, const struct emmap_entry *entry);

/* Sets a key. The caller copies `value_n` bytes to `*payload`: nothing fails from then on. `*count` grows by one
 * where the key is new. -E2BIG: the key has 64 KiB or more. */
int emmap_trie_put(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key,
                   uint8_t tag, uint64_t value_n, unsigned char **payload);

/* Removes a key: 0, -ENOENT, or another -errno. */
int emmap_trie_remove(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key);

/* Retires all of it. What is walked cannot be prepared for: an error dooms the transaction. */
int emmap_trie_drop(struct emmap_txn *txn, uint64_t root);

/* Walks all entries, in the order of their hashes. The trie does not change meanwhile. */
struct emmap_cursor {
    struct emmap_store *store;
    uint64_t left;              /* entries yet to come: the recorded count bounds the walk, */
    uint64_t seen;              /* and so do the blocks seen, of which the file has room for so many only */
    int depth;                  /* nodes above the leaf; -1: at the end */
    struct {
        uint64_t node;
        unsigned slot;          /* the next */
    } path[13];
    uint64_t leaf;
    const uint64_t *entries;    /* of the leaf, `n` of them: it is looked at once */
    unsigned i, n;
};
void emmap_cursor_begin(struct emmap_cursor *cursor, struct emmap_store *store, uint64_t root, uint64_t count);

/* The offset of the next entry, where `left` is not 0; that, looked at, and NULL at the end: 0 or -errno. */
int emmap_cursor_step(struct emmap_cursor *cursor, uint64_t *at);
int emmap_cursor_next(struct emmap_cursor *cursor, const struct emmap_entry **entry);

#endif
