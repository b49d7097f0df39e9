/* Everything that can be done with a store: all of it read, and some of it changed. */
#ifndef STORE_USE_H
#define STORE_USE_H

#include "directory.h"
#include "store_memory.h"

/* What is known of the store in use: where the check found nothing wrong, nothing may be wrong later. */
static int is_sound;
static struct emmap_store *in_use;

/* An answer that a damaged store may give, but none that has passed the check. */
static int fine(int rc)
{
    /* -EROFS: a flush of it has failed. */
    if (is_sound && rc != 0 && rc != -ENOSPC && rc != -EFBIG && rc != -ENOMEM && rc != -EROFS) {
        const char *wrong = atomic_load(&in_use->wrong);
        fprintf(stderr, "a store that the check has passed answers %d: %s, at %#llx\n", rc,
                wrong != NULL ? wrong : "", (unsigned long long)atomic_load(&in_use->wrong_at));
        abort();
    }
    return rc == 0;
}

#define FINE(call) fine(call)

/* Looks at one byte of each page. */
static void touch(const unsigned char *bytes, uint64_t n)
{
    static volatile unsigned char sum;
    if (n == 0)
        return;
    for (uint64_t i = 0; i < n; i += 4096)
        sum = bytes[i];
    sum = bytes[n - 1];
    (void)sum;
}

static struct emmap_key key_of(const struct emmap_store *store, const void *bytes, size_t n)
{
    struct emmap_key key = {.bytes = bytes, .n = (uint32_t)n, .kind = 1};
    emmap_key_hash(store, &key);
    return key;
}

static struct emmap_key number_key(const struct emmap_store *store, char text[24], unsigned i)
{
    return key_of(store, text, (size_t)snprintf(text, 24, "key %u", i));
}

static struct emmap_key key_of_entry(const struct emmap_store *store, const struct emmap_entry *entry)
{
    struct emmap_key key = {.bytes = emmap_entry_key(entry), .n = entry->key_n, .kind = entry->key_kind};
    touch(key.bytes, key.n);
    emmap_key_hash(store, &key);
    return key;
}

/* A walk may go on for as long as the file has bytes for its elements. */
static void bound(const struct emmap_store *store, uint64_t seen)
{
    MUST(seen <= store->room / 16);
}

static void read_dict(struct emmap_store *store, uint64_t root, uint64_t count)
{
    struct emmap_cursor cursor;
    const struct emmap_entry *entry, *found;
    uint64_t seen = 0;
    emmap_cursor_begin(&cursor, store, root, count);
    while (FINE(emmap_cursor_next(&cursor, &entry)) && entry != NULL) {
        bound(store, ++seen);
        const unsigned char *payload = emmap_entry_payload(store, entry);
        MUST(payload != NULL || !is_sound);
        if (payload != NULL)
            touch(payload, entry->value_n);
        struct emmap_key key = key_of_entry(store, entry);
        if (FINE(emmap_trie_find(store, root, &key, &found)) && found != NULL) {
            MUST(found == entry || !is_sound);
            payload = emmap_entry_payload(store, found);
            if (payload != NULL)
                touch(payload, found->value_n);
        }
    }
    MUST(seen == count || !is_sound);
    for (unsigned i = 0; i < 8; i++) {
        char text[24];
        struct emmap_key key = number_key(store, text, i);
        FINE(emmap_trie_find(store, root, &key, &found));
    }
}

static int read_slot(struct emmap_store *store, const struct emmap_slot *slot)
{
    uint64_t n;
    const unsigned char *payload = emmap_slot_payload(store, slot, &n);
    MUST(payload != NULL || !is_sound);
    if (payload != NULL)
        touch(payload, n);
    return payload != NULL;
}

static void read_list(struct emmap_store *store, uint64_t root, uint64_t count)
{
    struct emmap_list_cursor cursor;
    const struct emmap_slot *slot;
    for (int step = -1; step <= 1; step += 2) {
        uint64_t seen = 0;
        emmap_list_cursor_begin(&cursor, store, root, count, step > 0 || count == 0 ? 0 : count - 1, step);
        while (FINE(emmap_list_cursor_next(&cursor, &slot)) && slot != NULL) {
            bound(store, ++seen);
            read_slot(store, slot);
        }
        MUST(seen == count || !is_sound);
    }
    for (unsigned i = 0; i < 16 && count != 0; i++) {
        uint64_t index = i < 4 && i < count ? i : count - 1 - i * (count / 16);
        if (FINE(emmap_list_get(store, root, count, index, &slot)) && slot != NULL)
            read_slot(store, slot);
    }
}

static void read_record(struct emmap_store *store, const struct emmap_record *record)
{
    struct emmap_record it = *record;
    uint64_t n;
    if (it.kind == EMMAP_A_DICT) {
        read_dict(store, it.root, it.count);
    } else if (it.kind == EMMAP_A_LIST) {
        read_list(store, it.root, it.count);
    } else if (it.kind == EMMAP_AN_ARRAY) {
        const unsigned char *payload = emmap_value_at(store, it.root, &n);
        MUST(payload != NULL || !is_sound);
        if (payload != NULL)
            touch(payload, n);
    } else if (it.kind == EMMAP_A_PLACE) {
        const unsigned char *place = emmap_block_at(store, it.root, EMMAP_NAMED_PLACE,
                                                    EMMAP_NAMED_PLACE_AT + 64);
        MUST(place != NULL || !is_sound);
        if (place != NULL)
            touch(place, EMMAP_NAMED_PLACE_AT + 64);
    }
}

static void read_all(struct emmap_store *store)
{
    struct emmap_pin *pin;
    struct emmap_cursor cursor;
    const struct emmap_entry *entry;
    if (emmap_pin_claim(store, &pin) != 0)
        return;
    const struct emmap_root *root = emmap_pin_set(store, pin);
    MUST(root != NULL || !is_sound);
    if (root != NULL) {
        uint64_t seen = 0;
        emmap_cursor_begin(&cursor, store, root->directory, root->names);
        while (FINE(emmap_cursor_next(&cursor, &entry)) && entry != NULL) {
            bound(store, ++seen);
            const struct emmap_record *record = emmap_record_of(store, entry), *found;
            MUST(record != NULL || !is_sound);
            if (record != NULL)
                read_record(store, record);
            struct emmap_key name = key_of_entry(store, entry);
            FINE(emmap_record_find(store, root->directory, &name, &found));
        }
        MUST(seen == root->names || !is_sound);
    }
    emmap_pin_clear(pin);
    struct emmap_oldest oldest;
    emmap_oldest_pin(store, &oldest);
    emmap_pin_give(pin);
}

/* Changes: each ends the transaction with the first error, as those who call the core do. */

#define TRY(call)                                                                       \
    do {                                                                                \
        int tried = (call);                                                             \
        if (tried != 0)                                                                 \
            return tried;                                                               \
    } while (0)

static int put(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key,
               uint64_t n)
{
    unsigned char *payload;
    TRY(emmap_prepare(txn, EMMAP_OPERATION + key->n + n));
    TRY(emmap_trie_put(txn, root, count, key, 3, n, &payload));
    memset(payload, 0x5A, n);
    return 0;
}

static int remove_key(struct emmap_txn *txn, uint64_t *root, uint64_t *count, const struct emmap_key *key)
{
    TRY(emmap_prepare(txn, EMMAP_OPERATION));
    int rc = emmap_trie_remove(txn, root, count, key);
    return rc == -ENOENT ? 0 : rc;
}

/* Lengths on both sides of each limit; of the longer ones few. */
static uint64_t length_of(unsigned i)
{
    static const uint64_t lengths[] = {0, 14, 15, 100, 14, 447, 1, 1000, 8, 2000, 5, 20, 70000};
    unsigned most = sizeof lengths / sizeof lengths[0];
    return lengths[i % (most - (i % 11 != 0))];
}

static int change_dict(struct emmap_txn *txn, uint64_t *root, uint64_t *count, unsigned round)
{
    char text[24];
    for (unsigned i = 0; i < 12; i++) {
        struct emmap_key key = number_key(txn->store, text, round * 7 + i);
        if (i % 3 == 2)
            TRY(remove_key(txn, root, count, &key));
        else
            TRY(put(txn, root, count, &key, length_of(round + i)));
    }
    /* One that is there, with a key that the file says. */
    struct emmap_cursor cursor;
    const struct emmap_entry *entry;
    unsigned char copy[256];
    emmap_cursor_begin(&cursor, txn->store, *root, *count);
    TRY(emmap_cursor_next(&cursor, &entry));
    if (entry == NULL || entry->key_n > sizeof copy)
        return 0;
    memcpy(copy, emmap_entry_key(entry), entry->key_n);
    struct emmap_key key = {.bytes = copy, .n = entry->key_n, .kind = entry->key_kind};
    emmap_key_hash(txn->store, &key);
    return round % 2 ? remove_key(txn, root, count, &key) : put(txn, root, count, &key, 30);
}

/* A part of it is replaced by another list. */
static int splice(struct emmap_txn *txn, uint64_t *root, uint64_t *count, unsigned round)
{
    uint64_t other = 0, other_count = 0, from = *count / 5, to = *count / 2;
    unsigned char *payload;
    for (unsigned i = 0; i < round % 64; i++) {
        TRY(emmap_prepare(txn, EMMAP_OPERATION + 20));
        TRY(emmap_list_insert(txn, &other, &other_count, other_count, 3, 20 - i % 20, &payload));
        memset(payload, 0x5E, 20 - i % 20);
    }
    return emmap_list_splice(txn, root, count, from, to, other, other_count);
}

/* Backwards, and without some. */
static int rearrange(struct emmap_txn *txn, uint64_t *root, uint64_t *count)
{
    uint64_t n = 0, most = *count < 3000 ? *count : 3000, *order = malloc(most * sizeof *order + 1);
    MUST(order != NULL);
    for (uint64_t i = most; i-- != 0;)
        if (i % 5 != 3)
            order[n++] = i;
    int rc = emmap_list_rearrange(txn, root, count, order, n);
    free(order);
    return rc;
}

static int change_list(struct emmap_txn *txn, uint64_t *root, uint64_t *count, unsigned round)
{
    unsigned char *payload;
    if (round % 4 == 1)
        TRY(splice(txn, root, count, round * 5));
    if (round % 7 == 2)
        TRY(rearrange(txn, root, count));
    for (unsigned i = 0; i < 9; i++) {
        uint64_t n = length_of(round + i), index = *count / 3 * (i % 4);
        if (index > *count)
            index = *count;
        TRY(emmap_prepare(txn, EMMAP_OPERATION + n));
        if (i % 3 == 0 && *count != 0 && *count != index) {
            TRY(emmap_list_delete(txn, root, count, index));
        } else if (i % 3 == 1 && *count != 0 && *count != index) {
            TRY(emmap_list_set(txn, root, *count, index, 3, n, &payload));
            memset(payload, 0x5B, n);
        } else {
            TRY(emmap_list_insert(txn, root, count, index, 3, n, &payload));
            memset(payload, 0x5C, n);
        }
    }
    return 0;
}

static int change_array(struct emmap_txn *txn, uint64_t *root, unsigned round)
{
    unsigned char *payload;
    uint64_t n;
    int rc = 0;
    if (emmap_value_at(txn->store, *root, &n) == NULL)
        return -EUCLEAN;
    n = length_of(round);
    TRY(emmap_prepare(txn, EMMAP_OPERATION + n));
    uint64_t at = emmap_value_new(txn, n, &payload, &rc);
    if (at == 0)
        return rc;
    memset(payload, 0x5D, n);
    TRY(emmap_retire(txn, *root));
    *root = at;
    return 0;
}

static int change_record(struct emmap_txn *txn, const struct emmap_key *name, unsigned round)
{
    struct emmap_record *record;
    TRY(emmap_prepare(txn, EMMAP_OPERATION));
    TRY(emmap_record_own(txn, name, &record));
    struct emmap_record it = *record;
    int rc = 0;
    if (it.kind == EMMAP_A_DICT)
        rc = change_dict(txn, &it.root, &it.count, round);
    else if (it.kind == EMMAP_A_LIST)
        rc = change_list(txn, &it.root, &it.count, round);
    else if (it.kind == EMMAP_AN_ARRAY)
        rc = change_array(txn, &it.root, round);
    TRY(rc);
    TRY(emmap_record_own(txn, name, &record));
    *record = it;
    return 0;
}

#define NAMES 8
struct names {
    unsigned n;
    struct emmap_key keys[NAMES];
    unsigned char bytes[NAMES][64];
};

/* The first names that the directory has: their bytes are copied, for blocks are about to change. */
static int find_names(struct emmap_store *store, uint64_t directory, uint64_t count, struct names *names)
{
    struct emmap_cursor cursor;
    const struct emmap_entry *entry;
    names->n = 0;
    emmap_cursor_begin(&cursor, store, directory, count);
    while (names->n < NAMES) {
        TRY(emmap_cursor_next(&cursor, &entry));
        if (entry == NULL)
            break;
        if (entry->key_n > sizeof names->bytes[0])
            continue;
        struct emmap_key *key = &names->keys[names->n];
        memcpy(names->bytes[names->n], emmap_entry_key(entry), entry->key_n);
        *key = (struct emmap_key){.bytes = names->bytes[names->n], .n = entry->key_n,
                                  .kind = entry->key_kind};
        emmap_key_hash(store, key);
        names->n++;
    }
    return 0;
}

static int new_record(struct emmap_txn *txn, unsigned round)
{
    char text[24];
    struct emmap_key name = key_of(txn->store, text, (size_t)snprintf(text, 24, "new %u", round));
    const struct emmap_record *there;
    TRY(emmap_record_find(txn->store, txn->directory, &name, &there));
    if (there != NULL)
        return emmap_record_remove(txn, &name);
    struct emmap_record record = {.kind = round % 2 ? EMMAP_A_LIST : EMMAP_A_DICT};
    TRY(emmap_prepare(txn, EMMAP_OPERATION + name.n));
    TRY(emmap_record_put(txn, &name, &record));
    return change_record(txn, &name, round);
}

/* What was found a moment ago may have been removed since. */
static int unless_gone(int rc)
{
    return rc == -ENOENT ? 0 : rc;
}

/* One transaction: 0 when all of it went well. */
static int change_all(struct emmap_txn *txn, unsigned round)
{
    struct names names;
    struct emmap_savepoint *savepoint = NULL;
    TRY(find_names(txn->store, txn->directory, txn->names, &names));
    for (unsigned i = 0; i < names.n; i++)
        TRY(change_record(txn, &names.keys[i], round + i));
    TRY(emmap_savepoint(txn, &savepoint));
    int rc = new_record(txn, round);
    if (rc == 0 && round % 4 == 3 && names.n != 0)
        rc = unless_gone(emmap_record_remove(txn, &names.keys[0]));
    if (round % 3 == 1)
        emmap_rollback_to(txn, savepoint);
    free(savepoint);
    TRY(rc);
    if (round % 5 == 2)
        TRY(emmap_freeze(txn));
    for (unsigned i = 0; i < names.n; i += 2)
        TRY(unless_gone(change_record(txn, &names.keys[i], round + 3 + i)));
    return 0;
}

static void check_all(struct emmap_store *store)
{
    struct emmap_trace found = {0};
    int rc = emmap_check(store, &found);
    emmap_trace_end(&found);
    FINE(rc);
    if (rc == 0)
        is_sound = 1;
}

/* A walk through what is pinned, while blocks that a damaged file calls free are written. */
struct walk {
    struct emmap_pin *pin;
    struct emmap_cursor names, keys;
    struct emmap_list_cursor elements;
};

static void walk_on(struct emmap_store *store, struct walk *walk, unsigned steps)
{
    const struct emmap_entry *entry;
    const struct emmap_slot *slot;
    while (steps-- != 0) {
        if (FINE(emmap_cursor_next(&walk->keys, &entry)) && entry != NULL) {
            touch(emmap_entry_key(entry), entry->key_n);
            const unsigned char *payload = emmap_entry_payload(store, entry);
            if (payload != NULL)
                touch(payload, entry->value_n);
        }
        if (FINE(emmap_list_cursor_next(&walk->elements, &slot)) && slot != NULL)
            read_slot(store, slot);
    }
}

static void walk_begin(struct emmap_store *store, struct walk *walk)
{
    const struct emmap_entry *entry;
    memset(walk, 0, sizeof *walk);
    if (emmap_pin_claim(store, &walk->pin) != 0)
        return;
    const struct emmap_root *root = emmap_pin_set(store, walk->pin);
    if (root == NULL)
        return;
    emmap_cursor_begin(&walk->names, store, root->directory, root->names);
    while (emmap_cursor_next(&walk->names, &entry) == 0 && entry != NULL) {
        const struct emmap_record *record = emmap_record_of(store, entry);
        if (record != NULL && record->kind == EMMAP_A_DICT)
            emmap_cursor_begin(&walk->keys, store, record->root, record->count);
        else if (record != NULL && record->kind == EMMAP_A_LIST)
            emmap_list_cursor_begin(&walk->elements, store, record->root, record->count, 0, 1);
    }
    walk_on(store, walk, 3);
}

static void walk_end(struct walk *walk)
{
    if (walk->pin != NULL)
        emmap_pin_give(walk->pin);
}

/* The caller holds the writer's lock, which a transaction needs. */
static void change_store(struct emmap_store *store, struct emmap_txn *txn, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        int rc = emmap_begin(txn, store);
        if (!FINE(rc))
            return;
        rc = change_all(txn, round);
        FINE(rc);
        if (rc != 0 || round % 4 == 1)
            emmap_rollback(txn); /* also what a kill leaves */
        else
            FINE(emmap_commit(txn));
        if (is_sound)
            check_all(store);
    }
}

#endif
