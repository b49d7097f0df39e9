/* Walking a trie. */
#include "leaf.h"

void emmap_cursor_begin(struct emmap_cursor *cursor, struct emmap_store *store, uint64_t root, uint64_t count)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->store = store;
    cursor->left = count;
    cursor->leaf = root;
}

/* Asks for what will be looked at. */
static inline void prefetch(struct emmap_store *store, uint64_t at, unsigned lines)
{
    if (at >= store->room - 256)
        return;
    for (unsigned i = 0; i < lines; i++)
        __builtin_prefetch(store->base + at + 64 * i, 0, 2);
}

/* The leaf that comes after this one, if it hangs on the same node: itself at first, and then its entries. Their
 * misses are waited for together, and while the entries of this one are looked at. */
static void prefetch_next(struct emmap_cursor *cursor, int its_entries)
{
    struct emmap_store *store = cursor->store;
    if (cursor->depth == 0 || cursor->path[cursor->depth - 1].slot >= EMMAP_WAYS)
        return;
    const struct emmap_node *node = emmap_at(store, cursor->path[cursor->depth - 1].node);
    uint64_t at = node->refs[cursor->path[cursor->depth - 1].slot];
    if (!its_entries) {
        prefetch(store, at, 4);
        return;
    }
    const struct emmap_leaf *leaf = emmap_bytes_at(store, at, sizeof *leaf);
    if (leaf == NULL || EMMAP_KIND(leaf->header) != EMMAP_LEAF || leaf->n > leaf->capacity ||
        leaf->capacity > EMMAP_LEAF_MOST || leaf->capacity % 4 != 0 || !emmap_has(store, at, emmap_leaf_bytes(leaf->capacity)))
        return;
    for (unsigned i = 0; i < leaf->n; i++)
        prefetch(store, emmap_leaf_entries(leaf)[i], 3);
}

/* A tree that is none would be walked for ever. */
static int see(struct emmap_cursor *cursor, uint64_t at)
{
    if (__builtin_expect(emmap_has(cursor->store, 0, 16 * ++cursor->seen), 1))
        return 0;
    return emmap_wrong(cursor->store, at, "a dict refers to the same part of it again and again");
}

/* From `at`, a node or a leaf, down to the first leaf below. */
static int descend(struct emmap_cursor *cursor, uint64_t at)
{
    struct emmap_store *store = cursor->store;
    for (;;) {
        const uint64_t *block = emmap_bytes_at(store, at, 16);
        unsigned level = (unsigned)cursor->depth;
        int rc = see(cursor, at);
        if (rc != 0)
            return rc;
        if (block != NULL && EMMAP_KIND(*block) == EMMAP_LEAF) {
            const struct emmap_leaf *leaf = emmap_leaf_at(store, at, level);
            if (leaf == NULL)
                return emmap_wrong_rc(store);
            if (level != 0) {
                unsigned slot = cursor->path[level - 1].slot;
                cursor->path[level - 1].slot = (slot | (emmap_leaf_width(leaf, level) - 1)) + 1;
            }
            cursor->leaf = at;
            cursor->i = 0;
            cursor->n = leaf->n;
            cursor->entries = emmap_leaf_entries(leaf);
            if (!cursor->is_warm)
                for (unsigned i = 0; i < cursor->n; i++)
                    prefetch(store, cursor->entries[i], 3);
            cursor->is_warm = 0;
            prefetch_next(cursor, 0);
            return 0;
        }
        const struct emmap_node *node = emmap_block_at(store, at, EMMAP_NODE, sizeof *node);
        if (node == NULL || level == EMMAP_DEEPEST)
            return emmap_wrong(store, at, "a dict refers to what is no part of it");
        cursor->path[level].node = at;
        cursor->path[level].slot = 0;
        cursor->depth++;
        at = node->refs[0];
    }
}

static int next_leaf(struct emmap_cursor *cursor)
{
    struct emmap_store *store = cursor->store;
    while (cursor->depth > 0) {
        unsigned slot = cursor->path[cursor->depth - 1].slot;
        if (slot >= EMMAP_WAYS) {
            /* A node fills one slot of the one above. */
            if (--cursor->depth > 0)
                cursor->path[cursor->depth - 1].slot++;
            continue;
        }
        const struct emmap_node *node =
            emmap_block_at(store, cursor->path[cursor->depth - 1].node, EMMAP_NODE, sizeof *node);
        if (node == NULL)
            return emmap_wrong_rc(store);
        return descend(cursor, node->refs[slot]);
    }
    return emmap_wrong(store, cursor->leaf, "a dict has fewer keys than it says");
}

int emmap_cursor_next(struct emmap_cursor *cursor, const struct emmap_entry **entry)
{
    struct emmap_store *store = cursor->store;
    int rc = 0;
    *entry = NULL;
    if (cursor->left == 0)
        return 0;
    if (cursor->n == 0 && cursor->depth == 0 && cursor->i == 0)
        rc = descend(cursor, cursor->leaf);
    while (rc == 0 && cursor->i == cursor->n)
        rc = next_leaf(cursor);
    if (rc != 0)
        return rc;
    /* SAFETY: emmap_leaf_at has found as many entries in the file. */
    uint64_t at = cursor->entries[cursor->i++];
    if (cursor->i == (cursor->n + 1) / 2) {
        prefetch_next(cursor, 1);
        cursor->is_warm = 1;
    }
    cursor->left--;
    rc = see(cursor, at);
    if (rc != 0)
        return rc;
    const struct emmap_entry *found = emmap_block_at(store, at, EMMAP_ENTRY, sizeof *found);
    if (found == NULL)
        return emmap_wrong_rc(store);
    if (!emmap_has(store, at, sizeof *found + (uint64_t)found->key_n))
        return emmap_wrong(store, at, "a key reaches beyond the end of the file");
    *entry = found;
    return 0;
}
