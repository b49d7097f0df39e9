/* Walking a trie. */
#include "leaf.h"

void emmap_cursor_begin(struct emmap_cursor *cursor, struct emmap_store *store, uint64_t root, uint64_t count)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->store = store;
    cursor->left = count;
    cursor->leaf = root;
}

/* Asks for the leaf that comes after this one, if it hangs on the same node. */
static void prefetch_next(struct emmap_cursor *cursor)
{
    struct emmap_store *store = cursor->store;
    if (cursor->depth == 0 || cursor->path[cursor->depth - 1].slot >= EMMAP_WAYS)
        return;
    const struct emmap_node *node = emmap_at(store, cursor->path[cursor->depth - 1].node);
    uintptr_t at = (uintptr_t)store->base + node->refs[cursor->path[cursor->depth - 1].slot];
    /* SAFETY: a prefetch does no harm wherever it leads to. */
    for (unsigned i = 0; i < 4; i++)
        __builtin_prefetch((const void *)(at + 64 * i));
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
            prefetch_next(cursor);
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

int emmap_cursor_step(struct emmap_cursor *cursor, uint64_t *at)
{
    int rc = 0;
    if (cursor->n == 0 && cursor->depth == 0 && cursor->i == 0)
        rc = descend(cursor, cursor->leaf);
    while (rc == 0 && cursor->i == cursor->n)
        rc = next_leaf(cursor);
    if (rc != 0)
        return rc;
    /* SAFETY: emmap_leaf_at has found as many entries in the file. */
    *at = cursor->entries[cursor->i++];
    cursor->left--;
    return see(cursor, *at);
}

int emmap_cursor_next(struct emmap_cursor *cursor, const struct emmap_entry **entry)
{
    uint64_t at;
    *entry = NULL;
    if (cursor->left == 0)
        return 0;
    int rc = emmap_cursor_step(cursor, &at);
    return rc != 0 ? rc : emmap_entry_at(cursor->store, at, entry);
}
