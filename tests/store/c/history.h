/* Random transactions on a store, and a model that does the same: dicts and lists under several names. */
#ifndef HISTORY_H
#define HISTORY_H

#include "a_store.h"
#include "directory.h"
#include "list.h"

/* As CHECK, and tells what the store has said. */
#define OK(call)                                                                            \
    do {                                                                                    \
        int ok_rc = (call);                                                                 \
        if (ok_rc != 0)                                                                     \
            fprintf(stderr, "%d: at %#lx: %s\n", ok_rc, (unsigned long)in_use->store.wrong_at, \
                    (const char *)in_use->store.wrong);                                     \
        CHECK(ok_rc == 0);                                                                  \
    } while (0)

#define NAMES 6                 /* the last two are lists */
#define DICTS 4
#define KEYS 400
#define ELEMENTS 400

/* A value is a number that its length and bytes come from; 0: there is none. */
struct model {
    int is_there[NAMES];
    uint32_t dicts[DICTS][KEYS];
    uint32_t lists[NAMES - DICTS][ELEMENTS], n[NAMES - DICTS];
};

static uint32_t next_value;

static inline uint64_t length_of(uint32_t value)
{
    switch (value % 16) {
    case 0: return 0;
    case 1: return 14 + value / 16 % 3;
    case 2: return 990 + value / 16 % 70;
    case 3: return value / 16 % 9000;
    default: return value / 16 % 120;
    }
}

static inline void fill(unsigned char *payload, uint32_t value)
{
    for (uint64_t i = 0, n = length_of(value); i < n; i++)
        payload[i] = (unsigned char)(value * 31 + i * 7);
}

static inline void compare(const unsigned char *payload, uint64_t n, uint32_t value)
{
    CHECK(payload != NULL && n == length_of(value));
    for (uint64_t i = 0; i < n; i++)
        CHECK(payload[i] == (unsigned char)(value * 31 + i * 7));
}

static unsigned char key_bytes[32];

static inline struct emmap_key key_of(const struct emmap_store *store, const char *kind, unsigned i)
{
    int n = snprintf((char *)key_bytes, sizeof key_bytes, "%s %u", kind, i * 7919);
    struct emmap_key key = {.bytes = key_bytes, .n = (uint32_t)n, .kind = 1};
    emmap_key_hash(store, &key);
    return key;
}

/* Does all of the root have what the model says? */
static inline void compare_all(struct emmap_store *store, const struct emmap_root *root, const struct model *model)
{
    unsigned there = 0;
    for (unsigned name = 0; name < NAMES; name++) {
        const struct emmap_record *record;
        struct emmap_key key = key_of(store, "name", name);
        OK(emmap_record_find(store, root->directory, &key, &record));
        CHECK((record != NULL) == (model->is_there[name] != 0));
        if (record == NULL)
            continue;
        there++;
        uint64_t count = 0;
        for (unsigned i = 0; name < DICTS && i < KEYS; i++) {
            const struct emmap_entry *entry;
            key = key_of(store, "key", i);
            OK(emmap_trie_find(store, record->root, &key, &entry));
            CHECK((entry != NULL) == (model->dicts[name][i] != 0));
            if (entry == NULL)
                continue;
            count++;
            compare(emmap_entry_payload(store, entry), entry->value_n, model->dicts[name][i]);
        }
        for (unsigned i = 0; name >= DICTS && i < model->n[name - DICTS]; i++) {
            const struct emmap_slot *slot;
            uint64_t n;
            OK(emmap_list_get(store, record->root, record->count, i, &slot));
            const unsigned char *payload = emmap_slot_payload(store, slot, &n);
            compare(payload, n, model->lists[name - DICTS][i]);
            count++;
        }
        CHECK(count == record->count);
    }
    CHECK(root->names == there);
}

static inline const struct emmap_root *live_root(struct emmap_store *store)
{
    return emmap_block_at(store, atomic_load(&emmap_live(store)->root), EMMAP_ROOT, sizeof(struct emmap_root));
}

static inline void compare_live(struct box *box, const struct model *model)
{
    const struct emmap_root *root = live_root(&box->store);
    CHECK(root != NULL);
    compare_all(&box->store, root, model);
}

static inline void put(struct emmap_txn *txn, unsigned name, unsigned i, uint32_t value)
{
    unsigned char *payload;
    struct emmap_record *record;
    struct emmap_key key = key_of(txn->store, "key", i);
    /* The record is looked for afterwards: its root is changed by itself. */
    uint64_t root, count;
    struct emmap_key name_key;
    unsigned char bytes[32];
    memcpy(bytes, key.bytes, key.n);
    key.bytes = bytes;
    name_key = key_of(txn->store, "name", name);
    OK(emmap_record_own(txn, &name_key, &record));
    root = record->root;
    count = record->count;
    if (value != 0) {
        OK(emmap_trie_put(txn, &root, &count, &key, (uint8_t)(1 + value % 10), length_of(value), &payload));
        fill(payload, value);
    } else {
        OK(emmap_trie_remove(txn, &root, &count, &key));
    }
    OK(emmap_record_own(txn, &name_key, &record));
    record->root = root;
    record->count = count;
}

static inline void change_dict(struct emmap_txn *txn, struct model *model, unsigned name)
{
    unsigned i = (unsigned)below(KEYS);
    uint32_t value = below(3) ? ++next_value : 0;
    if (value == 0 && model->dicts[name][i] == 0)
        return;
    put(txn, name, i, value);
    model->dicts[name][i] = value;
}

static inline void change_list(struct emmap_txn *txn, struct model *model, unsigned name)
{
    uint32_t *values = model->lists[name - DICTS], *n = &model->n[name - DICTS], value = ++next_value;
    struct emmap_key key = key_of(txn->store, "name", name);
    struct emmap_record *record;
    unsigned char *payload;
    OK(emmap_record_own(txn, &key, &record));
    uint64_t root = record->root, count = record->count;
    unsigned what = (unsigned)below(4), i = (unsigned)below(*n + 1);
    if (what == 0 && i < *n) {
        OK(emmap_list_delete(txn, &root, &count, i));
        memmove(values + i, values + i + 1, (--*n - i) * sizeof *values);
    } else if (what == 1 && i < *n) {
        OK(emmap_list_set(txn, &root, count, i, (uint8_t)(1 + value % 10), length_of(value), &payload));
        fill(payload, value);
        values[i] = value;
    } else if (*n < ELEMENTS) {
        OK(emmap_list_insert(txn, &root, &count, i, (uint8_t)(1 + value % 10), length_of(value), &payload));
        fill(payload, value);
        memmove(values + i + 1, values + i, ((*n)++ - i) * sizeof *values);
        values[i] = value;
    }
    OK(emmap_record_own(txn, &key, &record));
    record->root = root;
    record->count = count;
}

static inline void change(struct emmap_txn *txn, struct model *model)
{
    unsigned name = (unsigned)below(NAMES);
    struct emmap_key key = key_of(txn->store, "name", name);
    if (!model->is_there[name]) {
        struct emmap_record record = {.kind = name < DICTS ? EMMAP_A_DICT : EMMAP_A_LIST};
        OK(emmap_record_put(txn, &key, &record));
        model->is_there[name] = 1;
    } else if (below(300) == 0) {
        OK(emmap_record_remove(txn, &key));
        model->is_there[name] = 0;
        if (name < DICTS)
            memset(model->dicts[name], 0, sizeof model->dicts[name]);
        else
            model->n[name - DICTS] = 0;
    } else if (name < DICTS) {
        change_dict(txn, model, name);
    } else {
        change_list(txn, model, name);
    }
}

/* One transaction: `model` becomes what is committed. `most` bounds its changes. */
static inline void transact(struct box *box, struct emmap_txn *txn, struct model *model, unsigned most)
{
    static struct model now, then;
    now = *model;
    OK(emmap_lock_take(&box->store.lock));
    OK(emmap_begin(txn, &box->store));
    for (unsigned i = 0, n = (unsigned)below(most) + 1; i < n; i++) {
        if (below(20) == 0) {
            /* Nested, and dropped half of the time. */
            struct emmap_savepoint *savepoint;
            then = now;
            OK(emmap_savepoint(txn, &savepoint));
            for (unsigned k = (unsigned)below(6); k > 0; k--)
                change(txn, &now);
            if (below(2)) {
                emmap_rollback_to(txn, savepoint);
                now = then;
            }
            free(savepoint);
        } else if (below(30) == 0) {
            OK(emmap_freeze(txn));
        }
        change(txn, &now);
    }
    if (below(8) == 0) {
        emmap_rollback(txn);
    } else {
        OK(emmap_commit(txn));
        *model = now;
    }
    OK(emmap_lock_release(&box->store.lock));
}

#endif
