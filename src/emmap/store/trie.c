/* Finding, setting and removing a key. */
#include "directory.h"
#include "leaf.h"

/* Arrays lie aligned, so that they can be looked at where they are: codec/format.pxd. */
#define TAG_ARRAY 12

#define LONGEST_KEY 65535

/* Leaves that stand side by side become one when they have no more entries together. */
#define MERGE_AT 8

void emmap_key_hash(const struct emmap_store *store, struct emmap_key *key)
{
    key->hash = emmap_hash(store->hash_key, key->bytes, key->n, key->kind);
}

/* Where the offset of a leaf stands: in a slot of a node, or in what refers to the trie. */
struct spot {
    uint64_t *at;
    struct emmap_node *node;    /* NULL: the trie is one leaf */
    unsigned slot;
};

/* Finding */

static inline const struct emmap_entry *entry_at(struct emmap_store *store, uint64_t at)
{
    const struct emmap_entry *entry;
    return emmap_entry_at(store, at, &entry) == 0 ? entry : NULL;
}

/* The index of the key's entry, or -1; -2 with the store told where it is damaged. */
static inline int find_in(struct emmap_store *store, const struct emmap_leaf *leaf, const struct emmap_key *key,
                          const struct emmap_entry **found)
{
    uint32_t tag = emmap_tag(key->hash);
    const uint64_t *entries = emmap_leaf_entries(leaf);
    for (unsigned i = 0; i < leaf->n; i += 4)
        for (unsigned bits = emmap_match_tags(leaf->tags + i, tag); bits != 0; bits &= bits - 1) {
            unsigned at = i + (unsigned)__builtin_ctz(bits);
            if (at >= leaf->n)
                break;
            __builtin_prefetch(store->base + (entries[at] < store->room ? entries[at] : 0) + 64);
            const struct emmap_entry *entry = entry_at(store, entries[at]);
            if (entry == NULL)
                return -2;
            if (entry->key_n == key->n && entry->key_kind == key->kind &&
                memcmp(entry->bytes, key->bytes, key->n) == 0) {
                *found = entry;
                return (int)at;
            }
        }
    return -1;
}

int emmap_trie_find(struct emmap_store *store, uint64_t root, const struct emmap_key *key,
                    const struct emmap_entry **entry)
{
    *entry = NULL;
    if (root == 0)
        return 0;
    for (unsigned level = 0; level <= EMMAP_DEEPEST; level++) {
        const uint64_t *block = emmap_bytes_at(store, root, 16);
        if (block == NULL)
            break;
        /* The leaf's tags and entries come along with its beginning. */
        __builtin_prefetch((const unsigned char *)block + 64);
        __builtin_prefetch((const unsigned char *)block + 128);
        if (EMMAP_KIND(*block) == EMMAP_LEAF) {
            const struct emmap_leaf *leaf = emmap_leaf_at(store, root, level);
            if (leaf == NULL || find_in(store, leaf, key, entry) == -2)
                return emmap_wrong_rc(store);
            return 0;
        }
        const struct emmap_node *node = emmap_block_at(store, root, EMMAP_NODE, sizeof *node);
        if (node == NULL)
            return emmap_wrong_rc(store);
        if (level == EMMAP_DEEPEST)
            break;
        root = node->refs[emmap_slot_of(key->hash, level)];
    }
    return emmap_wrong(store, root, "a dict refers to what is no part of it");
}

const unsigned char *emmap_entry_payload(struct emmap_store *store, const struct emmap_entry *entry)
{
    uint64_t at = (uint64_t)((const unsigned char *)entry - store->base), to = EMMAP_BEHIND_KEY(entry->key_n);
    int is_large = entry->flags & EMMAP_LARGE;
    uint64_t value, n = is_large ? sizeof value : entry->value_n;
    if (n > EMMAP_INLINE || !emmap_has(store, at, sizeof *entry + to + n)) {
        emmap_wrong(store, at, "a value reaches beyond the end of the file");
        return NULL;
    }
    if (!is_large)
        return entry->bytes + to;
    memcpy(&value, entry->bytes + to, sizeof value);
    const unsigned char *payload = emmap_value_at(store, value, &n);
    if (payload != NULL && n != entry->value_n) {
        emmap_wrong(store, value, "a value has another length than its key says");
        return NULL;
    }
    return payload;
}

/* What changes. A leaf is read into memory of our own, changed there and written as a whole: in a damaged
 * file the blocks that are allocated meanwhile may lie across it. */

#define MOST_ENTRIES 256

struct entries {
    unsigned n, bits;
    uint32_t tags[MOST_ENTRIES];
    uint64_t at[MOST_ENTRIES];
};

static int read_leaf(struct emmap_store *store, uint64_t at, unsigned level, struct entries *entries)
{
    const struct emmap_leaf *leaf = emmap_leaf_at(store, at, level);
    if (leaf == NULL)
        return emmap_wrong_rc(store);
    entries->n = leaf->n;
    entries->bits = leaf->bits;
    memcpy(entries->tags, leaf->tags, entries->n * sizeof *entries->tags);
    memcpy(entries->at, emmap_leaf_entries(leaf), entries->n * sizeof *entries->at);
    return 0;
}

static void append(struct entries *entries, uint32_t tag, uint64_t at)
{
    entries->tags[entries->n] = tag;
    entries->at[entries->n++] = at;
}

/* SAFETY: the block at `at` is ours, and has room for so many entries, a multiple of 4. */
static void write_leaf(struct emmap_txn *txn, uint64_t at, unsigned capacity, const struct entries *entries)
{
    struct emmap_leaf *leaf = emmap_at(txn->store, at);
    leaf->n = (uint16_t)entries->n;
    leaf->capacity = (uint16_t)capacity;
    leaf->bits = (uint16_t)entries->bits;
    leaf->zero = 0;
    memcpy(leaf->tags, entries->tags, entries->n * sizeof *entries->tags);
    memcpy(leaf->tags + capacity, entries->at, entries->n * sizeof *entries->at);
}

static uint64_t new_leaf(struct emmap_txn *txn, const struct entries *entries, int *rc)
{
    unsigned capacity = (entries->n + 3) & ~3U;
    uint64_t at = emmap_allocate(txn, EMMAP_LEAF, emmap_leaf_bytes(capacity), rc);
    if (at != 0)
        write_leaf(txn, at, capacity, entries);
    return at;
}

/* All slots of the node that so many bits stand for. */
static void refer(const struct spot *spot, unsigned bits, unsigned level, uint64_t at)
{
    if (spot->node == NULL) {
        *spot->at = at;
        return;
    }
    unsigned width = 1U << (EMMAP_WAY_BITS * level - bits), from = spot->slot & ~(width - 1);
    for (unsigned i = 0; i < width; i++)
        spot->node->refs[from + i] = at;
}

/* Writes the leaf of the spot: where it is, if that is ours and has the room. */
static int put_leaf(struct emmap_txn *txn, const struct spot *spot, unsigned level, const struct entries *entries)
{
    int rc = 0;
    uint64_t old_at = *spot->at, at = old_at;
    const struct emmap_leaf *old = emmap_block_at(txn->store, old_at, EMMAP_LEAF, sizeof *old);
    if (old == NULL)
        return emmap_wrong_rc(txn->store);
    unsigned capacity = old->capacity;
    if (emmap_is_ours(txn, old) && capacity >= entries->n && capacity % 4 == 0 &&
        emmap_has(txn->store, old_at, emmap_leaf_bytes(capacity))) {
        write_leaf(txn, at, capacity, entries);
    } else {
        at = new_leaf(txn, entries, &rc);
        if (at == 0)
            return rc;
        rc = emmap_retire(txn, old_at);
    }
    refer(spot, entries->bits, level, at);
    return rc;
}

/* Follows the hash to its leaf, and makes all nodes on the way ours: the number of nodes above the leaf, or
 * -errno. `path` gets them. */
static int own_path(struct emmap_txn *txn, uint64_t *root, uint64_t hash, struct spot *path)
{
    int rc = 0;
    path[0] = (struct spot){.at = root};
    for (int level = 0; level <= EMMAP_DEEPEST; level++) {
        const uint64_t *block = emmap_bytes_at(txn->store, *path[level].at, 16);
        if (block != NULL && EMMAP_KIND(*block) == EMMAP_LEAF)
            return level;
        if (level == EMMAP_DEEPEST)
            break;
        struct emmap_node *node = emmap_own(txn, path[level].at, EMMAP_NODE, sizeof *node, sizeof *node, &rc);
        if (node == NULL)
            return rc;
        unsigned slot = emmap_slot_of(hash, (unsigned)level);
        path[level + 1] = (struct spot){.at = &node->refs[slot], .node = node, .slot = slot};
    }
    return emmap_wrong(txn->store, *path[EMMAP_DEEPEST].at, "a dict is deeper than its hashes are long");
}

/* Bit `b` from the top of the hash of an entry. */
static int bit_of(struct emmap_store *store, uint32_t tag, uint64_t at, unsigned b, int *rc)
{
    unsigned shift = 63 - b;
    if (shift >= 24 && shift < 56)
        return tag >> (shift - 24) & 1;
    const struct emmap_entry *entry = entry_at(store, at);
    if (entry == NULL) {
        *rc = emmap_wrong_rc(store);
        return 0;
    }
    return emmap_hash(store->hash_key, entry->bytes, entry->key_n, entry->key_kind) >> shift & 1;
}

/* Makes two leaves of one that is full, by the next bit of the hash; under a new node if need be. The spot is
 * then that of the half that the hash belongs to, which is yet to be put there; the other one is. */
static int split(struct emmap_txn *txn, struct spot *spot, unsigned *level, uint64_t hash, struct entries *entries)
{
    int rc = 0;
    struct entries halves[2];
    unsigned bits = entries->bits;
    if (bits == EMMAP_WAY_BITS * *level) {
        if (*level == EMMAP_DEEPEST)
            return -EOVERFLOW;
        uint64_t old_at = *spot->at, node_at = emmap_allocate(txn, EMMAP_NODE, sizeof(struct emmap_node), &rc);
        if (node_at == 0)
            return rc;
        struct emmap_node *node = emmap_at(txn->store, node_at);
        node->level = *level;
        for (unsigned i = 0; i < EMMAP_WAYS; i++)
            node->refs[i] = old_at;
        *spot->at = node_at;
        unsigned slot = emmap_slot_of(hash, (*level)++);
        *spot = (struct spot){.at = &node->refs[slot], .node = node, .slot = slot};
    }
    for (unsigned half = 0; half < 2; half++) {
        halves[half].n = 0;
        halves[half].bits = bits + 1;
    }
    for (unsigned i = 0; i < entries->n; i++)
        append(&halves[bit_of(txn->store, entries->tags[i], entries->at[i], bits, &rc)], entries->tags[i],
               entries->at[i]);
    if (rc != 0)
        return rc;
    unsigned ours = hash >> (63 - bits) & 1;
    uint64_t at = new_leaf(txn, &halves[!ours], &rc);
    if (at == 0)
        return rc;
    struct spot side = *spot;
    side.slot ^= 1U << (EMMAP_WAY_BITS * *level - bits - 1);
    refer(&side, bits + 1, *level, at);
    *entries = halves[ours];
    return 0;
}

/* Puts an entry into the trie; `*old` is the one that it replaces, or 0. */
static int insert(struct emmap_txn *txn, uint64_t *root, const struct emmap_key *key, uint64_t entry, uint64_t *old)
{
    struct spot path[EMMAP_DEEPEST + 1];
    struct entries entries;
    const struct emmap_entry *found;
    int rc = 0;
    *old = 0;
    if (*root == 0) {
        entries.n = entries.bits = 0;
        append(&entries, emmap_tag(key->hash), entry);
        *root = new_leaf(txn, &entries, &rc);
        return rc;
    }
    int depth = own_path(txn, root, key->hash, path);
    if (depth < 0)
        return depth;
    struct spot spot = path[depth];
    unsigned level = (unsigned)depth;
    const struct emmap_leaf *leaf = emmap_leaf_at(txn->store, *spot.at, level);
    int i = leaf == NULL ? -2 : find_in(txn->store, leaf, key, &found);
    if (i == -2)
        return emmap_wrong_rc(txn->store);
    rc = read_leaf(txn->store, *spot.at, level, &entries);
    if (rc != 0)
        return rc;
    if (i >= 0) {
        *old = entries.at[i];
        entries.at[i] = entry;
        return put_leaf(txn, &spot, level, &entries);
    }
    while (rc == 0 && entries.n >= EMMAP_LEAF_MOST && entries.bits < EMMAP_DEEPEST_BITS)
        rc = split(txn, &spot, &level, key->hash, &entries);
    if (rc == 0 && entries.n >= EMMAP_LEAF_END)
        rc = -EOVERFLOW;
    if (rc != 0)
        return rc;
    append(&entries, emmap_tag(key->hash), entry);
    return put_leaf(txn, &spot, level, &entries);
}

/* Gives up an entry, with its value. */
static int retire_entry(struct emmap_txn *txn, uint64_t at)
{
    const struct emmap_entry *entry = entry_at(txn->store, at);
    uint64_t value;
    if (entry == NULL)
        return emmap_wrong_rc(txn->store);
    if (entry->flags & EMMAP_LARGE) {
        if (emmap_entry_payload(txn->store, entry) == NULL)
            return emmap_wrong_rc(txn->store);
        memcpy(&value, entry->bytes + EMMAP_BEHIND_KEY(entry->key_n), sizeof value);
        int rc = emmap_retire(txn, value);
        if (rc != 0)
            return rc;
    }
    return emmap_retire(txn, at);
}

int emmap_trie_put(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key,
                   uint8_t tag, uint64_t value_n, unsigned char **payload)
{
    uint64_t to = EMMAP_BEHIND_KEY(key->n), bytes = sizeof(struct emmap_entry) + to, value = 0, old;
    int rc, is_large = tag == TAG_ARRAY || value_n > EMMAP_INLINE || bytes + value_n > EMMAP_INLINE;
    if (key->n > LONGEST_KEY)
        return -E2BIG;
    if (is_large) {
        value = emmap_value_new(txn, value_n, payload, &rc);
        if (value == 0)
            return rc;
    }
    bytes += is_large ? sizeof value : value_n;
    /* A record is taken by who removes something, too. */
    rc = emmap_prepare(txn, tag == EMMAP_RECORD_TAG ? EMMAP_REMOVAL : EMMAP_OPERATION + 2 * bytes);
    uint64_t at = rc == 0 ? emmap_allocate(txn, EMMAP_ENTRY, bytes, &rc) : 0;
    if (at == 0) {
        if (value != 0)
            emmap_retire(txn, value);
        return rc;
    }
    struct emmap_entry *entry = emmap_at(txn->store, at);
    entry->key_n = key->n;
    entry->key_kind = key->kind;
    entry->tag = tag;
    entry->flags = is_large ? EMMAP_LARGE : 0;
    entry->zero = 0;
    entry->value_n = value_n;
    memcpy(entry->bytes, key->bytes, key->n);
    if (is_large)
        memcpy(entry->bytes + to, &value, sizeof value);
    else
        *payload = entry->bytes + to;
    rc = insert(txn, root, key, at, &old);
    if (rc != 0)
        return rc;
    if (old != 0)
        return retire_entry(txn, old);
    ++*count;
    return 0;
}

/* Takes an entry out of its leaf, and makes one of leaves that have become small. */
static int take_out(struct emmap_txn *txn, uint64_t *root, struct spot *path, unsigned level, unsigned i,
                    struct entries *entries)
{
    struct entries beside;
    int rc;
    entries->n--;
    entries->tags[i] = entries->tags[entries->n];
    entries->at[i] = entries->at[entries->n];
    while (level > 0) {
        struct spot *spot = &path[level];
        if (entries->bits == EMMAP_WAY_BITS * (level - 1)) {
            /* It is all that is left of its node, and takes its place. */
            uint64_t node_at = (uint64_t)((unsigned char *)spot->node - txn->store->base);
            *path[level - 1].at = *spot->at;
            rc = emmap_retire(txn, node_at);
            if (rc != 0)
                return rc;
            level--;
            continue;
        }
        uint64_t beside_at = spot->node->refs[spot->slot ^ 1U << (EMMAP_WAY_BITS * level - entries->bits)];
        const uint64_t *block = emmap_bytes_at(txn->store, beside_at, 16);
        if (entries->n > MERGE_AT / 2 || block == NULL || EMMAP_KIND(*block) != EMMAP_LEAF)
            return put_leaf(txn, spot, level, entries);
        rc = read_leaf(txn->store, beside_at, level, &beside);
        if (rc != 0)
            return rc;
        if (beside_at == *spot->at || beside.bits != entries->bits || beside.n + entries->n > MERGE_AT)
            return put_leaf(txn, spot, level, entries);
        for (unsigned k = 0; k < beside.n; k++)
            append(entries, beside.tags[k], beside.at[k]);
        /* It may stand for all of its node for a moment: until the next turn. */
        entries->bits--;
        refer(spot, entries->bits, level, *spot->at);
        rc = emmap_retire(txn, beside_at);
        if (rc != 0)
            return rc;
    }
    if (entries->n != 0)
        return put_leaf(txn, &path[0], 0, entries);
    rc = emmap_retire(txn, *root);
    *root = 0;
    return rc;
}

int emmap_trie_remove(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key)
{
    struct spot path[EMMAP_DEEPEST + 1];
    struct entries entries;
    const struct emmap_entry *entry;
    int rc = emmap_trie_find(txn->store, *root, key, &entry);
    if (rc != 0 || entry == NULL)
        return rc != 0 ? rc : -ENOENT;
    rc = emmap_prepare(txn, EMMAP_REMOVAL);
    if (rc != 0)
        return rc;
    int depth = own_path(txn, root, key->hash, path);
    if (depth < 0)
        return depth;
    const struct emmap_leaf *leaf = emmap_leaf_at(txn->store, *path[depth].at, (unsigned)depth);
    int i = leaf == NULL ? -2 : find_in(txn->store, leaf, key, &entry);
    if (i < 0)
        return i == -2 ? emmap_wrong_rc(txn->store) : -ENOENT;
    rc = read_leaf(txn->store, *path[depth].at, (unsigned)depth, &entries);
    if (rc != 0)
        return rc;
    uint64_t at = entries.at[i];
    rc = take_out(txn, root, path, (unsigned)depth, (unsigned)i, &entries);
    if (rc != 0)
        return rc;
    --*count;
    return retire_entry(txn, at);
}

/* All of it. A tree that is none would be walked for ever: `left` is how many blocks the file can have. */

static int count_block(struct emmap_txn *txn, uint64_t at, uint64_t *left)
{
    if (*left == 0)
        return emmap_wrong(txn->store, at, "a dict refers to the same part of it again and again");
    --*left;
    return 0;
}

static int drop_below(struct emmap_txn *txn, uint64_t at, unsigned level, uint64_t *left)
{
    const uint64_t *block = emmap_bytes_at(txn->store, at, 16);
    int rc = count_block(txn, at, left);
    if (rc != 0)
        return rc;
    if (block != NULL && EMMAP_KIND(*block) == EMMAP_LEAF) {
        const struct emmap_leaf *leaf = emmap_leaf_at(txn->store, at, level);
        if (leaf == NULL)
            return emmap_wrong_rc(txn->store);
        for (unsigned i = 0; rc == 0 && i < leaf->n; i++) {
            rc = count_block(txn, at, left);
            if (rc == 0)
                rc = retire_entry(txn, emmap_leaf_entries(leaf)[i]);
        }
        return rc != 0 ? rc : emmap_retire(txn, at);
    }
    const struct emmap_node *node = emmap_block_at(txn->store, at, EMMAP_NODE, sizeof *node);
    if (node == NULL || level == EMMAP_DEEPEST)
        return emmap_wrong(txn->store, at, "a dict refers to what is no part of it");
    for (unsigned slot = 0; slot < EMMAP_WAYS; slot++) {
        if (slot != 0 && node->refs[slot] == node->refs[slot - 1])
            continue;
        rc = drop_below(txn, node->refs[slot], level + 1, left);
        if (rc != 0)
            return rc;
    }
    return emmap_retire(txn, at);
}

int emmap_trie_drop(struct emmap_txn *txn, uint64_t root)
{
    uint64_t left = txn->space->frontier / 16;
    return root == 0 ? 0 : drop_below(txn, root, 0, &left);
}
