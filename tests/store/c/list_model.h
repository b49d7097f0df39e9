/* A list beside a plain array that does the same, and what a list's tree has to look like: told from the
 * bytes alone. */
#ifndef LIST_MODEL_H
#define LIST_MODEL_H

#include "bare_store.h"
#include "list.h"

#define MOST 6000

struct list {
    uint64_t root, count;
    uint64_t values[MOST];      /* what each element is: see below */
    uint64_t n;
};

static struct list list;        /* of the transaction under way */

/* An element's tag, length and bytes come from one number. */
static inline uint8_t tag_of(uint64_t value)
{
    return (uint8_t)(value % 13 + 1);
}

static inline uint64_t length_of(uint64_t value)
{
    switch (value / 13 % 8) {
    case 0: return 14;
    case 1: return 15;
    case 2: return 16 + value / 104 % 600;
    default: return value / 104 % 15;
    }
}

static inline unsigned char byte_of(uint64_t value, uint64_t i)
{
    return (unsigned char)(value * 31 + i * 7 + 1);
}

static inline void fill(unsigned char *payload, uint64_t value)
{
    for (uint64_t i = 0; i < length_of(value); i++)
        payload[i] = byte_of(value, i);
}

static inline void compare(const struct emmap_slot *slot, uint64_t value)
{
    uint64_t n;
    const unsigned char *payload = emmap_slot_payload(&store, slot, &n);
    CHECK(payload != NULL && slot->tag == tag_of(value) && n == length_of(value));
    CHECK(slot->tag != 12 || ((uintptr_t)payload - (uintptr_t)store.base) % 16 == 0);
    for (uint64_t i = 0; i < n; i++)
        CHECK(payload[i] == byte_of(value, i));
}

/* Blocks that were handed out and not given up: one mark for each 16 bytes. Linked with --wrap. */
static unsigned char *marks;
static size_t n_marks;
static int64_t blocks;          /* marked, and of a list */

uint64_t __real_emmap_allocate(struct emmap_txn *, unsigned kind, uint64_t bytes, int *rc);
uint64_t __wrap_emmap_allocate(struct emmap_txn *, unsigned kind, uint64_t bytes, int *rc);
int __real_emmap_retire(struct emmap_txn *, uint64_t at);
int __wrap_emmap_retire(struct emmap_txn *, uint64_t at);

static inline int is_lists(uint64_t at)
{
    unsigned kind = EMMAP_KIND(*(const uint64_t *)emmap_at(&store, at));
    return kind == EMMAP_LIST_NODE || kind == EMMAP_LIST_LEAF || kind == EMMAP_VALUE;
}

uint64_t __wrap_emmap_allocate(struct emmap_txn *it, unsigned kind, uint64_t bytes, int *rc)
{
    uint64_t at = __real_emmap_allocate(it, kind, bytes, rc);
    if (marks != NULL && at != 0 && is_lists(at)) {
        memset(emmap_at(&store, at + 8), 0xA5, bytes - 8);
        CHECK(at / 16 < n_marks && !marks[at / 16]);
        marks[at / 16] = 1;
        blocks++;
    }
    return at;
}

int __wrap_emmap_retire(struct emmap_txn *it, uint64_t at)
{
    if (marks != NULL && is_lists(at)) {
        CHECK(marks[at / 16] == 1);
        marks[at / 16] = 0;
        blocks--;
    }
    return __real_emmap_retire(it, at);
}

/* Space is refused as often as told. */
static int refusals;

int __real_emmap_prepare(struct emmap_txn *, uint64_t bytes);
int __wrap_emmap_prepare(struct emmap_txn *, uint64_t bytes);

int __wrap_emmap_prepare(struct emmap_txn *it, uint64_t bytes)
{
    if (refusals > 0 && --refusals == 0)
        return -ENOSPC;
    return __real_emmap_prepare(it, bytes);
}

static inline void mark_blocks(void)
{
    n_marks = store.room / 16;
    marks = calloc(n_marks, 1);
    CHECK(marks != NULL);
}

/* What a walk through the tree finds. */
struct walk {
    const uint64_t *values;
    uint64_t n, expected;       /* elements so far, and in all */
    int64_t blocks;
    uint64_t leaves, slots;     /* leaves, and slots that they have bytes for */
};

static inline void walk_leaf(struct walk *walk, const struct emmap_list_leaf *leaf)
{
    walk->leaves++;
    walk->slots += leaf->capacity;
    for (unsigned i = 0; i < leaf->n; i++) {
        uint64_t at;
        CHECK(walk->n < walk->expected);
        compare(&leaf->slots[i], walk->values[walk->n++]);
        if (leaf->slots[i].n != 255)
            continue;
        memcpy(&at, leaf->slots[i].bytes + 6, 8);
        CHECK(marks == NULL || marks[at / 16] == 1);
        walk->blocks++;
    }
}

static inline uint64_t walk_node(struct walk *walk, uint64_t at, unsigned height, int is_root,
                                 uint64_t newest)
{
    const struct emmap_list_node *node = emmap_at(&store, at);
    uint64_t before = walk->n;
    CHECK(at % 16 == 0 && EMMAP_KIND(node->header) == (height == 0 ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE));
    CHECK(EMMAP_BIRTH(node->header) <= newest && node->height == height);
    CHECK(node->capacity % 4 == 0 && node->capacity <= 32 && node->n <= node->capacity);
    CHECK(16 + 16 * node->capacity <= emmap_class_size(EMMAP_CLASS(node->header)));
    CHECK(node->n >= (!is_root ? 8 : height == 0 ? 1 : 2));
    CHECK(marks == NULL || marks[at / 16] == 1);
    walk->blocks++;
    if (height == 0)
        walk_leaf(walk, (const void *)node);
    for (unsigned i = 0; height > 0 && i < node->n; i++)
        CHECK(walk_node(walk, node->children[i].ref, height - 1, 0, EMMAP_BIRTH(node->header)) ==
              node->children[i].count);
    return walk->n - before;
}

/* Checks a tree against an array. */
static inline struct walk walk_list(const struct list *it)
{
    struct walk walk = {.values = it->values, .expected = it->n};
    CHECK(it->count == it->n && (it->root == 0) == (it->n == 0));
    if (it->root == 0)
        return walk;
    const struct emmap_list_node *root = emmap_at(&store, it->root);
    unsigned height = EMMAP_KIND(root->header) == EMMAP_LIST_LEAF ? 0 : root->height;
    CHECK(walk_node(&walk, it->root, height, 1, EMMAP_MOST_TXN) == it->n && walk.n == it->n);
    return walk;
}

/* Checks the list as its readers see it, from both ends. */
static inline void read_list(const struct list *it)
{
    struct emmap_list_cursor cursor;
    const struct emmap_slot *slot;
    for (int step = 1; step >= -1; step -= 2) {
        emmap_list_cursor_begin(&cursor, &store, it->root, it->count, step > 0 ? 0 : it->n - 1, step);
        for (uint64_t i = 0; i < it->n; i++) {
            CHECK(emmap_list_cursor_next(&cursor, &slot) == 0 && slot != NULL);
            compare(slot, it->values[step > 0 ? i : it->n - 1 - i]);
        }
        CHECK(emmap_list_cursor_next(&cursor, &slot) == 0 && slot == NULL);
    }
    for (uint64_t i = 0; i < it->n; i += 1 + i / 8) {
        CHECK(emmap_list_get(&store, it->root, it->count, i, &slot) == 0);
        compare(slot, it->values[i]);
    }
}

/* The operations, on both. Each tells what the list has said; the array has changed only when it has. */

static inline void replace(uint64_t from, uint64_t to, const uint64_t *values, uint64_t n)
{
    CHECK(list.n - (to - from) + n <= MOST);
    memmove(list.values + from + n, list.values + to, (list.n - to) * sizeof *list.values);
    memcpy(list.values + from, values, n * sizeof *values);
    list.n += n - (to - from);
}

static inline int set(uint64_t i, uint64_t value)
{
    unsigned char *payload;
    int rc = emmap_list_set(&txn, &list.root, list.count, i, tag_of(value), length_of(value), &payload);
    if (rc == 0) {
        fill(payload, value);
        list.values[i] = value;
    }
    return rc;
}

static inline int insert(uint64_t i, uint64_t value)
{
    unsigned char *payload;
    int rc = emmap_list_insert(&txn, &list.root, &list.count, i, tag_of(value), length_of(value), &payload);
    if (rc == 0) {
        fill(payload, value);
        replace(i, i, &value, 1);
    }
    return rc;
}

static inline int delete(uint64_t i)
{
    int rc = emmap_list_delete(&txn, &list.root, &list.count, i);
    if (rc == 0)
        replace(i, i + 1, &list.values[i], 0);
    return rc;
}

static inline int splice_in(uint64_t from, uint64_t to, const uint64_t *values, uint64_t n)
{
    uint64_t root = 0, count = 0;
    unsigned char *payload;
    int rc = 0;
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        rc = emmap_list_insert(&txn, &root, &count, i, tag_of(values[i]), length_of(values[i]), &payload);
        if (rc == 0)
            fill(payload, values[i]);
    }
    if (rc == 0)
        rc = emmap_list_splice(&txn, &list.root, &list.count, from, to, root, count);
    if (rc == 0)
        replace(from, to, values, n);
    else if (root != 0)
        emmap_list_drop(&txn, root, count);
    return rc;
}

static inline int rearrange(const uint64_t *order, uint64_t n)
{
    static uint64_t values[MOST];
    int rc = emmap_list_rearrange(&txn, &list.root, &list.count, order, n);
    for (uint64_t i = 0; rc == 0 && i < n; i++)
        values[i] = list.values[order[i]];
    if (rc == 0)
        replace(0, list.n, values, n);
    return rc;
}

static inline int drop(void)
{
    int rc = emmap_list_drop(&txn, list.root, list.count);
    list.root = list.count = list.n = 0;
    return rc;
}

#endif
