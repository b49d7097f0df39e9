/* The check: whole stores pass, whatever has been done to them, and each damage is found and called by its
 * name. */
#define _GNU_SOURCE
#include "history.h"
#include "leaf.h"

#define ROUNDS (UNDER_TSAN || UNDER_ASAN ? 300 : 1500)

static struct box box;
static struct emmap_txn txn;
static struct model model;

static void histories_pass(void)
{
    create(&box);
    CHECK_STORE(&box);
    for (int i = 0; i < ROUNDS; i++) {
        transact(&box, &txn, &model, i % 50 == 0 ? 400 : 12);
        CHECK_STORE(&box);
        if (i % 37 == 0) {
            compare_live(&box, &model);
            CHECK(flush_store(&box) >= 0);
            CHECK_STORE(&box);
        }
    }
    compare_live(&box, &model);
    emmap_txn_end(&txn);
    detach(&box);
}

/* Snapshots that are kept for long: what they hold goes to a queue of its own. */
#define SNAPSHOTS 3

static void snapshots_hold(void)
{
    static struct model seen[SNAPSHOTS];
    static struct emmap_pin *pins[SNAPSHOTS];
    static const struct emmap_root *roots[SNAPSHOTS];
    uint64_t most = 0;
    create(&box);
    for (int i = 0; i < 6000; i++) {
        transact(&box, &txn, &model, 4);
        int k = i / 500 % SNAPSHOTS;
        if (i % 500 == 0) {
            if (pins[k] != NULL) {
                compare_all(&box.store, roots[k], &seen[k]);
                emmap_pin_give(pins[k]);
            }
            CHECK(emmap_pin_claim(&box.store, &pins[k]) == 0);
            roots[k] = emmap_pin_set(&box.store, pins[k]);
            seen[k] = model;
        }
        if (i % 97 == 0)
            CHECK_STORE(&box);
        for (int s = 0; s < 2; s++)
            if (emmap_space(&box.store, s)->held.count > most)
                most = emmap_space(&box.store, s)->held.count;
    }
    CHECK(most > 0);
    CHECK_STORE(&box);
    emmap_txn_end(&txn);
    for (int k = 0; k < SNAPSHOTS; k++)
        emmap_pin_give(pins[k]);
    detach(&box);
}

/* Damage */

static struct emmap_space *space;
static struct emmap_root *root;
static struct emmap_record *dict, *list, *array, *lock;
static struct emmap_node *node, *inner;     /* of the dict: its root, and one below it */
static struct emmap_leaf *leaf;             /* of several entries */
static unsigned wide_slot;                  /* of `inner`: a leaf that stands in the next one, too */
static struct emmap_entry *entry, *large;
static struct emmap_list_node *tree;
static struct emmap_list_leaf *slots;
static struct emmap_fifo *fifo;             /* of several chunks */
static struct emmap_chunk *chunk;           /* its first one */
static struct emmap_retired *first;         /* in it */
static struct emmap_fifo *other;            /* of another class, not empty */

static void *at(uint64_t offset)
{
    return box.store.base + offset;
}

static uint64_t offset_of(const void *block)
{
    return (uint64_t)((const unsigned char *)block - box.store.base);
}

static unsigned kind_of(uint64_t offset)
{
    return EMMAP_KIND(*(uint64_t *)at(offset));
}

static struct emmap_record *record_of(unsigned name)
{
    const struct emmap_record *found;
    struct emmap_key key = key_of(&box.store, "name", name);
    CHECK(emmap_record_find(&box.store, root->directory, &key, &found) == 0 && found != NULL);
    return (struct emmap_record *)found;
}

/* A store with a block of each kind, queues of several chunks, and blocks that are held. */
static void build(void)
{
    unsigned char *payload;
    struct emmap_pin *pin;
    int rc;
    create(&box);
    for (unsigned name = 0; name < 2; name++)
        for (unsigned i = 0; i < 2000; i++) {
            CHECK(emmap_begin(&txn, &box.store) == 0);
            struct emmap_key key = key_of(&box.store, "name", name == 0 ? 0 : DICTS);
            struct emmap_record record = {.kind = name == 0 ? EMMAP_A_DICT : EMMAP_A_LIST}, *own;
            if (i == 0)
                CHECK(emmap_record_put(&txn, &key, &record) == 0);
            CHECK(emmap_record_own(&txn, &key, &own) == 0);
            uint64_t tree_at = own->root, count = own->count, n = i % 9 == 0 ? 2000 : 20;
            struct emmap_key element = key_of(&box.store, "key", i % 1000);
            if (name == 0)
                CHECK(emmap_trie_put(&txn, &tree_at, &count, &element, 1, n, &payload) == 0);
            else
                CHECK(emmap_list_insert(&txn, &tree_at, &count, i / 2, 1, n, &payload) == 0);
            key = key_of(&box.store, "name", name == 0 ? 0 : DICTS);
            CHECK(emmap_record_own(&txn, &key, &own) == 0);
            own->root = tree_at;
            own->count = count;
            CHECK(emmap_commit(&txn) == 0);
            if (i == 300 && name == 0) {
                CHECK(emmap_pin_claim(&box.store, &pin) == 0);
                CHECK(emmap_pin_set(&box.store, pin) != NULL);
            }
        }
    CHECK(emmap_begin(&txn, &box.store) == 0);
    struct emmap_record record = {.kind = EMMAP_AN_ARRAY, .tag = 1};
    record.root = emmap_value_new(&txn, 5000, &payload, &rc);
    struct emmap_key key = key_of(&box.store, "name", 2);
    CHECK(record.root != 0 && emmap_record_put(&txn, &key, &record) == 0);
    record = (struct emmap_record){.kind = EMMAP_A_PLACE, .tag = EMMAP_LOCK, .count = 16};
    record.root = emmap_allocate(&txn, EMMAP_NAMED_PLACE, EMMAP_NAMED_PLACE_AT + 16, &rc);
    key = key_of(&box.store, "name", 3);
    CHECK(record.root != 0 && emmap_record_put(&txn, &key, &record) == 0);
    CHECK(emmap_commit(&txn) == 0);
    /* Many at once. */
    CHECK(emmap_begin(&txn, &box.store) == 0);
    for (unsigned i = 0; i < 1000; i++)
        if ((1000 + i) % 9 != 0)
            put(&txn, 0, i, 16 * 30 + 5);
    CHECK(emmap_commit(&txn) == 0);
    emmap_txn_end(&txn);
}

/* Does this node have a leaf in several slots, and both kinds of entries? */
static int find_in(uint64_t node_at)
{
    int has_wide = 0;
    leaf = NULL;
    large = NULL;
    inner = at(node_at);
    for (unsigned slot = 0; slot < EMMAP_WAYS; slot++) {
        struct emmap_leaf *it = at(inner->refs[slot]);
        if (EMMAP_KIND(inner->header) != EMMAP_NODE || EMMAP_KIND(it->header) != EMMAP_LEAF)
            return 0;
        if (!has_wide && slot % emmap_leaf_width(it, 2) == 0 && it->bits < 10) {
            has_wide = 1;
            wide_slot = slot;
        }
        for (unsigned i = 0; it->n > 1 && i < it->n; i++) {
            struct emmap_entry *has = at(emmap_leaf_entries(it)[i]);
            if (has->flags & EMMAP_LARGE) {
                large = has;
            } else {
                leaf = it;
                entry = has;
            }
        }
    }
    return has_wide && leaf != NULL && large != NULL;
}

static void find_all(void)
{
    root = (struct emmap_root *)live_root(&box.store);
    space = emmap_space(&box.store, atomic_load(&emmap_space(&box.store, 0)->txn) == root->txn ? 0 : 1);
    dict = record_of(0);
    list = record_of(DICTS);
    array = record_of(2);
    lock = record_of(3);
    node = at(dict->root);
    for (unsigned slot = 0; slot < EMMAP_WAYS && !find_in(node->refs[slot]); slot++)
        ;
    tree = at(list->root);
    slots = at(tree->children[0].ref);
    while (kind_of(offset_of(slots)) == EMMAP_LIST_NODE)
        slots = at(((struct emmap_list_node *)slots)->children[0].ref);
    for (unsigned class = 0; class < EMMAP_CLASSES; class++) {
        struct emmap_fifo *it = &space->fifos[class];
        if (it->count > 1 && class < 24 && it->head != it->tail && it->head_i < EMMAP_CHUNK_ENTRIES)
            fifo = it;
        else if (it->count != 0 && it->head_i < EMMAP_CHUNK_ENTRIES)
            other = it;
    }
    CHECK(leaf != NULL && entry != NULL && large != NULL && fifo != NULL && other != NULL);
    chunk = at(fifo->head);
    first = &chunk->entries[fifo->head_i];
    CHECK(space->held.count != 0 && space->in_held != 0);
}

static uint64_t value_of(const struct emmap_entry *it)
{
    uint64_t value;
    memcpy(&value, it->bytes + EMMAP_BEHIND_KEY(it->key_n), 8);
    return value;
}

static void add_birth(uint64_t *block, uint64_t n)
{
    *block += n << 16;
}

static void twins(void)
{
    /* Another entry of the leaf says the same: both blocks are there, and hashes lead to both. */
    for (unsigned i = 0; i < leaf->n; i++) {
        struct emmap_entry *it = at(emmap_leaf_entries(leaf)[i]);
        if (it == entry || EMMAP_CLASS(it->header) < EMMAP_CLASS(entry->header))
            continue;
        memcpy((unsigned char *)it + 8, (unsigned char *)entry + 8, emmap_class_size(EMMAP_CLASS(entry->header)) - 8);
        leaf->tags[i] = (uint32_t)(emmap_hash(box.store.hash_key, entry->bytes, entry->key_n, entry->key_kind) >> 24);
        return;
    }
    CHECK(0);
}

static void lose_entry(void)
{
    struct emmap_chunk *tail = at(other->tail);
    uint64_t size = emmap_class_size(EMMAP_RETIRED_CLASS(tail->entries[other->tail_i - 1].when));
    other->tail_i--;
    other->count--;
    space->retired -= size;
    if (other->count == 0)
        space->filled[(other - space->fifos) / 64] &= ~(UINT64_C(1) << (other - space->fifos) % 64);
}

#define DAMAGES(X)                                                                                          \
    X("another number of names", root->names++)                                                             \
    X("another number of keys", dict->count++)                                                              \
    X("another number of keys", dict->count--)                                                              \
    X("another number of keys", dict->root = 0)                                                             \
    X("list has another number", list->count--)                                                             \
    X("list has another number", list->root = 0)                                                            \
    X("nothing that is known", list->kind = 9)                                                              \
    X("no part of a list", list->kind = EMMAP_A_LIST, list->root = dict->root)                              \
    X("no part of a dict", list->kind = EMMAP_A_DICT)                                                       \
    X("no value lies here", array->root = dict->root)                                                       \
    X("no value lies here", array->root = 0)                                                                \
    X("no value lies here", array->root += 8)                                                               \
    X("longer than the file", ((struct emmap_value *)at(array->root))->n = UINT64_MAX)                      \
    X("smaller than what", ((struct emmap_value *)at(array->root))->n = 20000)                              \
    X("counts more than", lock->count = UINT64_MAX)                                                         \
    X("smaller than what", lock->count = 5000)                                                              \
    X("no lock lies here", lock->root = array->root)                                                        \
    X("no root record", root->header ^= 1 << 8)                                                             \
    X("no root record", atomic_store(&emmap_live(&box.store)->root, UINT64_MAX - 15))                       \
    X("another transaction than", add_birth(&root->header, -UINT64_C(1)))                                   \
    X("younger", add_birth(&root->header, 1))                                                               \
    X("younger", add_birth(&inner->header, root->txn))                                                      \
    X("younger", add_birth(&entry->header, root->txn))                                                      \
    X("younger", add_birth(at(array->root), root->txn))                                                     \
    X("younger", add_birth(&slots->header, root->txn))                                                      \
    X("younger", add_birth((uint64_t *)chunk, root->txn))                                                   \
    X("younger", entry->header &= 0xFFFF)                                                                   \
    X("wrong level", node->level++)                                                                         \
    X("wrong level", inner->level--)                                                                        \
    X("no part of a dict", inner->refs[wide_slot] = 0)                                                              \
    X("no part of a dict", inner->refs[wide_slot] = offset_of(entry))                                               \
    X("reached twice", node->refs[15] = node->refs[0])                                                      \
    X("reached twice", inner->refs[0] = offset_of(node))                                                    \
    X("reached twice", dict->root = root->directory)                                                        \
    X("no part of a dict", node->refs[2] = UINT64_C(1) << 60)                                               \
    X("leaf of a dict is damaged", leaf->n = leaf->capacity + 1)                                            \
    X("leaf of a dict is damaged", leaf->capacity++)                                                        \
    X("leaf of a dict is damaged", leaf->bits = 11)                                                         \
    X("leaf of a dict is damaged", leaf->bits = 5)                                                          \
    X("other slots", inner->refs[wide_slot + 1] = inner->refs[wide_slot ^ EMMAP_WAYS / 2])                               \
    X("other slots", inner->refs[wide_slot] = inner->refs[wide_slot ^ EMMAP_WAYS / 2])                                   \
    X("more entries than it may", leaf->n = leaf->capacity = 20)                                            \
    X("smaller than what", leaf->capacity = 16, leaf->header = (leaf->header & ~UINT64_C(255)) | 3)         \
    X("another number of keys", leaf->n--)                                                                  \
    X("hash does not lead", leaf->tags[0] ^= 1)                                                             \
    X("hash does not lead", entry->bytes[1] ^= 1)                                                           \
    X("hash does not lead", entry->key_kind ^= 1)                                                           \
    X("key stands in a dict twice", twins())                                                                \
    X("reached twice", emmap_leaf_entries(leaf)[1] = emmap_leaf_entries(leaf)[0], leaf->tags[1] = leaf->tags[0]) \
    X("smaller than what", entry->value_n = 1000)                                                           \
    X("longer than the file", entry->value_n = UINT64_MAX)                                                  \
    X("smaller than what", entry->key_n = 1000)                                                             \
    X("no key and value", entry->key_n = UINT32_MAX)                                                        \
    X("another length than", large->value_n--)                                                              \
    X("reached twice", array->root = value_of(large))                                                       \
    X("cannot lie here", ((uint64_t *)at(value_of(large)))[0] |= 127)                                       \
    X("wrong height", tree->height++)                                                                       \
    X("wrong height", slots->height++)                                                                      \
    X("wrong height", tree->height = 0)                                                                     \
    X("too few or too many", tree->n = 0)                                                                   \
    X("too few or too many", slots->n = 3)                                                                  \
    X("too few or too many", slots->capacity++)                                                             \
    X("too few or too many", slots->n = 40, slots->capacity = 40)                                           \
    X("smaller than what", slots->capacity = 4096)                                                          \
    X("number of elements than it says", tree->children[0].count++)                                         \
    X("number of elements than it says", slots->n--)                                                        \
    X("another length", slots->slots[1].n = 100)                                                            \
    X("reached twice", tree->children[1].ref = tree->children[0].ref,                                       \
      tree->children[1].count = tree->children[0].count)                                                    \
    X("belongs to the live root", atomic_store(&space->txn, 0))                                             \
    X("belongs to the live root", atomic_store(&emmap_space(&box.store, 0)->txn, root->txn),                \
      atomic_store(&emmap_space(&box.store, 1)->txn, root->txn))                                            \
    X("transaction is none", atomic_store(&emmap_live(&box.store)->epoch, root->txn + 1))                   \
    X("outside of the file", space->frontier += 8)                                                          \
    X("outside of the file", space->frontier = 0)                                                           \
    X("outside of the file", space->frontier = UINT64_MAX - 15)                                             \
    X("neither in use nor free", space->frontier += 16)                                                     \
    X("beyond the space", space->frontier = offset_of(root))                                                \
    X("another length than it says", fifo->count++)                                                         \
    X("another length than it says", fifo->count--)                                                         \
    X("ends before it begins", fifo->tail_i = 64)                                                           \
    X("ends before it begins", fifo->head_i = 64)                                                           \
    X("no queue of free blocks lies", fifo->head = 0)                                                       \
    X("", fifo->tail = 0)                                                                                   \
    X("no queue of free blocks lies", chunk->next = offset_of(node))                                        \
    X("reached twice", chunk->next = fifo->head)                                                            \
    X("which queues are empty", space->filled[(other - space->fifos) / 64] ^=                               \
      UINT64_C(1) << (other - space->fifos) % 64)                                                           \
    X("number of bytes is free", space->retired += 16)                                                      \
    X("number of bytes is free", space->in_held -= 16)                                                      \
    X("neither in use nor free", lose_entry())                                                              \
    X("one of another size", first->when += UINT64_C(1) << 48)                                               \
    X("one of another size", first->when |= UINT64_C(255) << 48)                                             \
    X("never been", first->when = EMMAP_RETIRED(EMMAP_RETIRED_CLASS(first->when), root->txn + 1))             \
    X("free block cannot lie", first->block = 0)                                                            \
    X("free block cannot lie", first->block += 8)                                                           \
    X("free block cannot lie", first->block = space->frontier)                                              \
    X("free block cannot lie", first->block = UINT64_MAX - 15)                                              \
    X("in use, or free twice", first->block = offset_of(node))                                              \
    X("in use, or free twice", chunk->entries[fifo->head_i + 1].block = first->block)                       \
    X("in use, or free twice", chunk->entries[fifo->head_i + 1].block = fifo->head)

static void all_damage_is_found(void)
{
    static struct image whole;
    struct emmap_trace found;
    build();
    CHECK_STORE(&box);
    find_all();
    take_image(&whole, &box);
#define X(words, ...)                                                                                       \
    {                                                                                                       \
        __VA_ARGS__;                                                                                        \
        int rc = emmap_check(&box.store, &found);                                                           \
        const char *told = atomic_load(&box.store.wrong);                                                   \
        if (rc != -EUCLEAN || strstr(told, words) == NULL) {                                                \
            fprintf(stderr, "%s: %d, \"%s\" at %#lx\n", #__VA_ARGS__, rc, rc ? told : "nothing found",      \
                    (unsigned long)box.store.wrong_at);                                                     \
            failed++;                                                                                       \
        }                                                                                                   \
        memcpy(box.store.base, whole.bytes, whole.n);                                                       \
    }
    int failed = 0;
    DAMAGES(X)
#undef X
    CHECK(failed == 0);
    CHECK_STORE(&box);
    free(whole.bytes);
}

/* Any byte that the check reads may be anything: it ends, well or not. */
static void noise_does_no_harm(void)
{
    static struct image whole;
    int found = 0;
    build();
    take_image(&whole, &box);
    root = (struct emmap_root *)live_root(&box.store);
    uint64_t frontier = emmap_space(&box.store, atomic_load(&emmap_space(&box.store, 0)->txn) != root->txn)->frontier;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t where = below(4) ? EMMAP_BLOCKS_AT + below(frontier - EMMAP_BLOCKS_AT)
                                  : EMMAP_LIVE_AT + below(EMMAP_PINS_AT - EMMAP_LIVE_AT);
        box.store.base[where] ^= 1 << below(8);
        int rc = check_store(&box);
        CHECK(rc == 0 || rc == -EUCLEAN);
        found += rc != 0;
        memcpy(box.store.base, whole.bytes, whole.n);
    }
    printf("%d of %d single bits; ", found, ROUNDS);
    CHECK(found > ROUNDS / 20);
    free(whole.bytes);
}

/* Zeros in place of lost pages are not taken for a store. */
static void lost_pages_are_told(void)
{
    create(&box);
    CHECK_STORE(&box);
    emmap_lost_mark_tail(&box.lost, (uintptr_t)box.store.base + EMMAP_BLOCKS_AT);
    CHECK(check_store(&box) == -EIO);
}

static const struct test tests[] = {
    TEST(histories_pass),
    TEST(snapshots_hold),
    TEST(all_damage_is_found),
    TEST(noise_does_no_harm),
    TEST(lost_pages_are_told),
};

int main(void)
{
    return RUN_TESTS(tests);
}
