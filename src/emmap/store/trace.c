/* The walk over all that a root reaches. Nothing is believed: kinds, sizes, hashes, counts and births are
 * checked, and a block that is reached twice is damage, so no walk is longer than the file.
 *
 * SAFETY: blocks come from emmap_block_at, and no more of one is looked at than emmap_trace_block was asked
 * for. The caller keeps what is walked from being changed: by a pin or the writer's lock.
 */
#include "trace.h"

#include "directory.h"
#include "leaf.h"
#include "list.h"

#include <stdlib.h>

#define TALLEST 16              /* list: 8 children each at least, so none is taller */

/* The bits */

int emmap_trace_begin(struct emmap_trace *trace, struct emmap_store *store, uint64_t end)
{
    memset(trace, 0, sizeof *trace);
    trace->store = store;
    trace->end = end;
    /* Memory of zeros that is not touched costs nothing. */
    trace->reached = calloc(end / 1024 + 1, sizeof *trace->reached);
    return trace->reached == NULL ? -ENOMEM : 0;
}

void emmap_trace_end(struct emmap_trace *trace)
{
    free(trace->reached);
    trace->reached = NULL;
}

int emmap_trace_mark(struct emmap_trace *trace, uint64_t at, uint64_t n)
{
    uint64_t *word = &trace->reached[at / 1024];
    for (uint64_t bit = at / 16 % 64, left = n / 16; left != 0; bit = 0, word++) {
        uint64_t here = left < 64 - bit ? left : 64 - bit;
        uint64_t mask = UINT64_MAX >> (64 - here) << bit;
        if (*word & mask)
            return 0;
        *word |= mask;
        left -= here;
    }
    return 1;
}

/* The first unit from `unit` on, and before `limit`, whose bit is as `wanted`. */
static uint64_t find_bit(const struct emmap_trace *trace, uint64_t unit, uint64_t limit, int wanted)
{
    while (unit < limit) {
        uint64_t word = trace->reached[unit / 64];
        word = (wanted ? word : ~word) >> unit % 64;
        if (word != 0) {
            unit += (uint64_t)__builtin_ctzll(word);
            break;
        }
        unit = (unit / 64 + 1) * 64;
    }
    return unit < limit ? unit : limit;
}

uint64_t emmap_trace_gap(const struct emmap_trace *trace, uint64_t *from, uint64_t limit)
{
    uint64_t start = find_bit(trace, *from / 16, limit / 16, 0);
    uint64_t end = find_bit(trace, start, limit / 16, 1);
    *from = start * 16;
    return (end - start) * 16;
}

/* Blocks */

const void *emmap_trace_block(struct emmap_trace *trace, uint64_t at, unsigned kind, uint64_t least,
                              uint64_t newest_allowed)
{
    const char *wrong;
    const uint64_t *block = emmap_block_at(trace->store, at, kind, least);
    if (block == NULL)
        return NULL;
    uint64_t header = *block, birth = EMMAP_BIRTH(header);
    unsigned class = EMMAP_CLASS(header);
    uint64_t size = class < EMMAP_CLASSES ? emmap_class_size(class) : 0;
    if (size < least)
        wrong = "a block is smaller than what it holds";
    else if (at % emmap_class_alignment(class) != 0)
        wrong = "a block of this size cannot lie here";
    else if (size > trace->end || at > trace->end - size)
        wrong = "a block reaches beyond the space that is in use";
    else if (birth == 0 || birth > newest_allowed)
        wrong = "a block is younger than what refers to it";
    else if (!emmap_trace_mark(trace, at, size))
        wrong = "a block is reached twice, or two blocks overlap";
    else {
        trace->blocks++;
        trace->bytes += size;
        if (birth > trace->newest)
            trace->newest = birth;
        return block;
    }
    emmap_wrong(trace->store, at, wrong);
    return NULL;
}

/* What kind of block lies here: emmap_trace_block then looks at it. 0: none. */
static unsigned kind_at(struct emmap_trace *trace, uint64_t at)
{
    const uint64_t *block = emmap_bytes_at(trace->store, at, 16);
    return block == NULL ? 0 : EMMAP_KIND(*block);
}

static uint64_t birth_of(const void *block)
{
    return EMMAP_BIRTH(*(const uint64_t *)block);
}

/* The block of a value: its length goes to `*n`. 0 or -errno. */
static int walk_value(struct emmap_trace *trace, uint64_t at, uint64_t newest, uint64_t *n)
{
    const struct emmap_value *value = emmap_block_at(trace->store, at, EMMAP_VALUE, sizeof *value);
    if (value == NULL)
        return emmap_wrong_rc(trace->store);
    *n = value->n;
    if (*n > trace->end)
        return emmap_wrong(trace->store, at, "a value is longer than the file");
    value = emmap_trace_block(trace, at, EMMAP_VALUE, EMMAP_PAYLOAD_AT(*n) + *n, newest);
    return value == NULL ? emmap_wrong_rc(trace->store) : 0;
}

/* Lists */

/* Walks a part of a list of this height (-1: any, it is the root) and adds its elements up. */
static int walk_list(struct emmap_trace *trace, uint64_t at, int height, uint64_t newest, uint64_t *count)
{
    struct emmap_store *store = trace->store;
    int is_leaf = kind_at(trace, at) == EMMAP_LIST_LEAF, is_root = height < 0;
    unsigned kind = is_leaf ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE;
    /* Leaves and nodes begin alike, and both have 16 bytes for each of `capacity`. */
    const struct emmap_list_node *node = emmap_block_at(store, at, kind, sizeof *node);
    if (node == NULL)
        return emmap_wrong_rc(store);
    if (is_root)
        height = node->height;
    if (node->height != height || height > TALLEST || (height == 0) != is_leaf)
        return emmap_wrong(store, at, "a part of a list stands at the wrong height");
    if (node->capacity % 4 != 0 || node->n > node->capacity || node->n > EMMAP_LIST_MOST || node->n == 0 ||
        (!is_root && node->n < EMMAP_LIST_MOST / 4))
        return emmap_wrong(store, at, "a part of a list has too few or too many elements");
    node = emmap_trace_block(trace, at, kind, sizeof *node + (uint64_t)node->capacity * 16, newest);
    if (node == NULL)
        return emmap_wrong_rc(store);
    newest = birth_of(node);
    if (!is_leaf) {
        for (unsigned i = 0; i < node->n; i++) {
            uint64_t below = 0;
            int rc = walk_list(trace, node->children[i].ref, height - 1, newest, &below);
            if (rc != 0)
                return rc;
            if (below != node->children[i].count)
                return emmap_wrong(store, at, "a part of a list has another number of elements than it says");
            *count += below;
        }
        return 0;
    }
    const struct emmap_list_leaf *leaf = (const void *)node;
    for (unsigned i = 0; i < leaf->n; i++) {
        const struct emmap_slot *slot = &leaf->slots[i];
        uint64_t value, n;
        if (slot->tag == 0)
            return emmap_wrong(store, at, "an element of a list is nothing");
        if (slot->n != 255) {
            if (emmap_slot_payload(store, slot, &n) == NULL)
                return emmap_wrong_rc(store);
            continue;
        }
        memcpy(&value, (const unsigned char *)slot + 8, 8);
        int rc = walk_value(trace, value, newest, &n);
        if (rc != 0)
            return rc;
    }
    *count += leaf->n;
    return 0;
}

/* Tries */

struct trie {
    int is_directory;
    uint64_t count;             /* entries seen */
};

static int walk_record(struct emmap_trace *trace, const struct emmap_record *record, uint64_t newest);

static int walk_entry(struct emmap_trace *trace, struct trie *trie, uint64_t at, uint32_t tag, uint64_t prefix,
                      unsigned bits, uint64_t newest)
{
    struct emmap_store *store = trace->store;
    const struct emmap_entry *entry = emmap_block_at(store, at, EMMAP_ENTRY, sizeof *entry);
    if (entry == NULL)
        return emmap_wrong_rc(store);
    int is_large = entry->flags & EMMAP_LARGE;
    uint64_t to = EMMAP_BEHIND_KEY(entry->key_n), value;
    uint64_t least = sizeof *entry + to + (is_large ? 8 : entry->value_n);
    if (entry->value_n > trace->end)
        return emmap_wrong(store, at, "a value is longer than the file");
    entry = emmap_trace_block(trace, at, EMMAP_ENTRY, least, newest);
    if (entry == NULL)
        return emmap_wrong_rc(store);
    newest = birth_of(entry);

    struct emmap_key key = {.bytes = entry->bytes, .n = entry->key_n, .kind = entry->key_kind};
    emmap_key_hash(store, &key);
    if (emmap_tag(key.hash) != tag || (bits != 0 && (key.hash ^ prefix) >> (64 - bits) != 0))
        return emmap_wrong(store, at, "a key stands where its hash does not lead");
    trie->count++;
    if (is_large) {
        uint64_t n;
        memcpy(&value, entry->bytes + to, 8);
        int rc = walk_value(trace, value, newest, &n);
        if (rc == 0 && n != entry->value_n)
            rc = emmap_wrong(store, value, "a value has another length than its key says");
        if (rc != 0)
            return rc;
    }
    if (!trie->is_directory)
        return 0;
    const struct emmap_record *record = emmap_record_of(store, entry);
    struct emmap_record copy;
    if (record == NULL)
        return emmap_wrong_rc(store);
    memcpy(&copy, record, sizeof copy);
    return walk_record(trace, &copy, newest);
}

/* Is a key there twice? Where hashes are all the same there may be many keys, and nobody looks. */
static int has_twins(struct emmap_trace *trace, const struct emmap_leaf *leaf)
{
    const uint64_t *entries = emmap_leaf_entries(leaf);
    for (unsigned i = 1; i < leaf->n && leaf->n <= EMMAP_LEAF_MOST; i++)
        for (unsigned j = 0; j < i; j++) {
            if (leaf->tags[i] != leaf->tags[j])
                continue;
            const struct emmap_entry *a = emmap_at(trace->store, entries[i]);
            const struct emmap_entry *b = emmap_at(trace->store, entries[j]);
            if (a->key_n == b->key_n && a->key_kind == b->key_kind && memcmp(a->bytes, b->bytes, a->key_n) == 0)
                return 1;
        }
    return 0;
}

/* The leaf under so many nodes, noted. */
static const struct emmap_leaf *leaf_at(struct emmap_trace *trace, uint64_t at, unsigned level,
                                        uint64_t newest)
{
    const struct emmap_leaf *leaf = emmap_leaf_at(trace->store, at, level);
    if (leaf == NULL)
        return NULL;
    if (leaf->n > EMMAP_LEAF_MOST && leaf->bits < 64) {
        emmap_wrong(trace->store, at, "a leaf of a dict has more entries than it may");
        return NULL;
    }
    return emmap_trace_block(trace, at, EMMAP_LEAF, emmap_leaf_bytes(leaf->capacity), newest);
}

static int walk_leaf(struct emmap_trace *trace, struct trie *trie, const struct emmap_leaf *leaf, uint64_t prefix)
{
    struct emmap_store *store = trace->store;
    const uint64_t *entries = emmap_leaf_entries(leaf);
    /* They lie anywhere, and are not waited for one by one. */
    for (unsigned i = 0; i < leaf->n; i++)
        if (entries[i] < trace->end)
            __builtin_prefetch(emmap_at(store, entries[i]));
    for (unsigned i = 0; i < leaf->n; i++) {
        int rc = walk_entry(trace, trie, entries[i], leaf->tags[i], prefix, leaf->bits, birth_of(leaf));
        if (rc != 0)
            return rc;
    }
    uint64_t at = (uint64_t)((const unsigned char *)leaf - store->base);
    return has_twins(trace, leaf) ? emmap_wrong(store, at, "a key stands in a dict twice") : 0;
}

/* Walks what has `level` nodes above it: all hashes below begin with the bits of `prefix`. */
static int walk_trie(struct emmap_trace *trace, struct trie *trie, uint64_t at, unsigned level, uint64_t prefix,
                     uint64_t newest)
{
    struct emmap_store *store = trace->store;
    if (level == 0 && kind_at(trace, at) == EMMAP_LEAF) {
        const struct emmap_leaf *leaf = leaf_at(trace, at, 0, newest);
        return leaf == NULL ? emmap_wrong_rc(store) : walk_leaf(trace, trie, leaf, 0);
    }
    const struct emmap_node *node = emmap_trace_block(trace, at, EMMAP_NODE, sizeof *node, newest);
    if (node == NULL)
        return emmap_wrong_rc(store);
    if (node->level != level || level >= EMMAP_DEEPEST)
        return emmap_wrong(store, at, "a node of a dict stands at the wrong level");
    newest = birth_of(node);
    for (unsigned slot = 0, width; slot < EMMAP_WAYS; slot += width) {
        uint64_t ref = node->refs[slot], below = prefix | (uint64_t)slot << (64 - EMMAP_WAY_BITS * (level + 1));
        int rc;
        width = 1;
        if (kind_at(trace, ref) != EMMAP_LEAF) {
            rc = walk_trie(trace, trie, ref, level + 1, below, newest);
        } else {
            const struct emmap_leaf *leaf = leaf_at(trace, ref, level + 1, newest);
            if (leaf == NULL)
                return emmap_wrong_rc(store);
            width = emmap_leaf_width(leaf, level + 1);
            for (unsigned i = 1; i < width; i++)
                if (slot % width != 0 || node->refs[slot + i] != ref)
                    return emmap_wrong(store, at, "a leaf of a dict stands in other slots than its hashes lead to");
            rc = walk_leaf(trace, trie, leaf, below);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* A whole trie, which has so many keys. */
static int walk_keys(struct emmap_trace *trace, uint64_t root, int is_directory, uint64_t count, uint64_t newest)
{
    struct trie trie = {.is_directory = is_directory};
    int rc = root == 0 ? 0 : walk_trie(trace, &trie, root, 0, 0, newest);
    if (rc == 0 && trie.count != count)
        rc = emmap_wrong(trace->store, root, is_directory ? "the store has another number of names than it says"
                                                          : "a dict has another number of keys than it says");
    return rc;
}

static int walk_record(struct emmap_trace *trace, const struct emmap_record *record, uint64_t newest)
{
    uint64_t n = 0;
    int rc = 0;
    switch (record->kind) {
    case EMMAP_A_DICT:
        return walk_keys(trace, record->root, 0, record->count, newest);
    case EMMAP_A_LIST:
        if (record->root != 0)
            rc = walk_list(trace, record->root, -1, newest, &n);
        if (rc == 0 && n != record->count)
            rc = emmap_wrong(trace->store, record->root, "a list has another number of elements than it says");
        return rc;
    case EMMAP_AN_ARRAY:
        return walk_value(trace, record->root, newest, &n);
    case EMMAP_A_PLACE:
        return emmap_trace_block(trace, record->root, EMMAP_NAMED_PLACE, EMMAP_NAMED_PLACE_AT + record->count,
                                 newest) == NULL ? emmap_wrong_rc(trace->store) : 0;
    default:
        return emmap_wrong(trace->store, record->root, "a name stands for nothing that is known");
    }
}

int emmap_trace_root(struct emmap_trace *trace, uint64_t at, uint64_t newest_allowed)
{
    const struct emmap_root *root = emmap_trace_block(trace, at, EMMAP_ROOT, sizeof *root, newest_allowed);
    int rc = root == NULL ? emmap_wrong_rc(trace->store) : 0;
    if (rc == 0 && root->txn != birth_of(root))
        rc = emmap_wrong(trace->store, at, "a root record was born in another transaction than it says");
    if (rc == 0)
        rc = walk_keys(trace, root->directory, 1, root->names, root->txn);
    /* Zeros in place of lost pages may have looked like anything. */
    return rc == 0 && emmap_lost_any(trace->store->lost) ? -EIO : rc;
}
