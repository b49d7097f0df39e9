/* Plays: what is done to a store, and to a model that tells what is to be found afterwards.
 *
 * A play is played on the store, where `box` is set, and again on the model alone, by who recovers. So it
 * does the same each time. Each commit, rollback and flush is a call that returns.
 */
#ifndef STORE_PLAY_H
#define STORE_PLAY_H

#include "../step.h"

#include "../../store/c/a_store.h"
#include "directory.h"
#include "list.h"

#define CROWD 32                /* keys whose hashes begin with the same bits, so that nodes grow */
#define KEYS (CROWD + 8)
#define ELEMENTS 96

#define OK(rc)                                                                                    \
    do {                                                                                          \
        int ok_rc = (rc);                                                                         \
        if (ok_rc != 0) {                                                                         \
            fprintf(stderr, "%s:%d: %d: at %#lx: %s\n", __FILE__, __LINE__, ok_rc,                \
                    (unsigned long)in_use->store.wrong_at, (const char *)in_use->store.wrong);    \
            fflush(NULL);                                                                         \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)

/* A dict and a list. A value is a number and its length; 0: there is none. */
#define VALUE(number, length) ((uint32_t)((number) + 1) << 16 | (uint32_t)(length))
struct model {
    uint32_t dict[KEYS], list[ELEMENTS];
    unsigned n;
    int has_dict, has_list;
};

/* What who opens the store finds, and who opens it after a reboot. */
struct moment {
    struct model now, flushed;
};

struct play {
    struct box *box;            /* NULL: on the model alone */
    struct emmap_txn txn;
    struct emmap_savepoint *savepoint;
    struct emmap_pin *pin;
    struct model draft, saved, pinned;
    struct moment moment;
    /* On the model alone: what was there when `until` calls had returned, and after one more. */
    int returned, until;        /* since it is stepped */
    int is_stepped;
    struct moment last, next;
};

/* What who recovers has to know of the operation besides. */
struct notes {
    uint64_t inode;             /* of the operation's file */
    uint64_t pinned;            /* the root record that it has pinned, or 0 */
    unsigned char boot[16];     /* in which it is opened */
};

static inline struct notes *notes(void)
{
    return step_notes;
}

/* Opening */

/* Kills take nothing from the page cache. */
static inline int no_barrier(int fd)
{
    (void)fd;
    return 0;
}

static inline void attach_file(struct box *box, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    attach(box, fd);
    kernel.fdatasync = no_barrier;
}

static inline void reboot(void)
{
    memcpy(boot_id, "another boot", 12);
    memcpy(notes()->boot, boot_id, sizeof boot_id);
}

/* What may be stepped: all that is done from here on. */
static inline void stage(struct play *play)
{
    play->returned = 0;
    play->last = play->next = play->moment;
    play->is_stepped = 1;
    if (play->box != NULL)
        step_begin();
}

static inline void has_returned(struct play *play)
{
    if (!play->is_stepped)
        return;
    if (play->box != NULL)
        step_returned();
    play->returned++;
    if (play->returned <= play->until)
        play->last = play->moment;
    if (play->returned <= play->until + 1)
        play->next = play->moment;
}

static inline void open_box(struct play *play)
{
    if (play->box != NULL)
        OK(open_store(play->box));
}

/* Keys and values */

static char key_text[KEYS][16];
static struct emmap_key keys[KEYS], name_keys[2];

static inline struct emmap_key key_of(const struct emmap_store *store, const char *text)
{
    struct emmap_key key = {.bytes = (const unsigned char *)text, .kind = 1};
    key.n = (uint32_t)strlen(text);
    emmap_key_hash(store, &key);
    return key;
}

/* The file's hash is known by now: what was random in it is the same each time. */
static inline void choose_keys(const struct emmap_store *store)
{
    unsigned n = 0;
    for (unsigned i = 0; n < KEYS; i++) {
        CHECK(i < 100000);
        snprintf(key_text[n], sizeof key_text[n], "key %u", i);
        keys[n] = key_of(store, key_text[n]);
        if (n >= CROWD || keys[n].hash >> 59 == 7)
            n++;
    }
    name_keys[0] = key_of(store, "dict");
    name_keys[1] = key_of(store, "list");
}

static inline const struct emmap_key *name_of(enum emmap_kind_of_record kind)
{
    return &name_keys[kind == EMMAP_A_LIST];
}

static inline uint64_t pattern_of(uint32_t value)
{
    return (value + UINT64_C(1)) * UINT64_C(0x9E3779B97F4A7C15);
}

/* Of a long value the ends are enough: each byte takes steps. */
static inline void write_value(unsigned char *payload, uint32_t value)
{
    uint64_t pattern = pattern_of(value);
    size_t n = value & 0xFFFF, end = n < sizeof pattern ? n : sizeof pattern;
    memcpy(payload, &pattern, end);
    memcpy(payload + n - end, &pattern, end);
}

static inline int is_value(const unsigned char *payload, uint64_t n, uint32_t value)
{
    uint64_t pattern = pattern_of(value);
    size_t end = n < sizeof pattern ? n : sizeof pattern;
    if (payload == NULL || n != (value & 0xFFFF) || memcmp(payload + n - end, &pattern, end) != 0)
        return 0;
    return n < 2 * sizeof pattern || memcmp(payload, &pattern, end) == 0;
}

/* Transactions */

static inline void begin(struct play *play)
{
    play->draft = play->moment.now;
    if (play->box == NULL)
        return;
    OK(emmap_lock_take(&play->box->store.lock));
    OK(emmap_begin(&play->txn, &play->box->store));
}

static inline void commit(struct play *play)
{
    if (play->box != NULL) {
        OK(emmap_commit(&play->txn));
        OK(emmap_lock_release(&play->box->store.lock));
    }
    play->moment.now = play->draft;
    has_returned(play);
}

static inline void roll_back(struct play *play)
{
    if (play->box != NULL) {
        emmap_rollback(&play->txn);
        OK(emmap_lock_release(&play->box->store.lock));
    }
    has_returned(play);
}

static inline void save(struct play *play)
{
    play->saved = play->draft;
    if (play->box != NULL)
        OK(emmap_savepoint(&play->txn, &play->savepoint));
}

static inline void go_back(struct play *play)
{
    play->draft = play->saved;
    if (play->box != NULL)
        emmap_rollback_to(&play->txn, play->savepoint);
}

/* The record of a name, to be read, and to be replaced by what it has become. */
static inline struct emmap_record record_of(struct play *play, enum emmap_kind_of_record kind)
{
    struct emmap_record *record;
    OK(emmap_record_own(&play->txn, name_of(kind), &record));
    return *record;
}

static inline void change_record(struct play *play, enum emmap_kind_of_record kind, uint64_t root,
                                 uint64_t count)
{
    struct emmap_record *record;
    OK(emmap_record_own(&play->txn, name_of(kind), &record));
    record->root = root;
    record->count = count;
}

static inline void make(struct play *play, enum emmap_kind_of_record kind)
{
    struct emmap_record record = {.kind = (uint8_t)kind};
    *(kind == EMMAP_A_DICT ? &play->draft.has_dict : &play->draft.has_list) = 1;
    if (play->box == NULL)
        return;
    OK(emmap_record_put(&play->txn, name_of(kind), &record));
}

/* With all that it stands for. */
static inline void unmake(struct play *play, enum emmap_kind_of_record kind)
{
    struct model *model = &play->draft;
    if (kind == EMMAP_A_LIST) {
        model->has_list = 0;
        model->n = 0;
    } else {
        model->has_dict = 0;
        memset(model->dict, 0, sizeof model->dict);
    }
    if (play->box != NULL)
        OK(emmap_record_remove(&play->txn, name_of(kind)));
}

static inline void set(struct play *play, unsigned i, uint32_t value)
{
    unsigned char *payload;
    play->draft.dict[i] = value;
    if (play->box == NULL)
        return;
    struct emmap_record record = record_of(play, EMMAP_A_DICT);
    OK(emmap_trie_put(&play->txn, &record.root, &record.count, &keys[i], 1, value & 0xFFFF,
                      &payload));
    write_value(payload, value);
    change_record(play, EMMAP_A_DICT, record.root, record.count);
}

static inline void delete(struct play *play, unsigned i)
{
    play->draft.dict[i] = 0;
    if (play->box == NULL)
        return;
    struct emmap_record record = record_of(play, EMMAP_A_DICT);
    OK(emmap_trie_remove(&play->txn, &record.root, &record.count, &keys[i]));
    change_record(play, EMMAP_A_DICT, record.root, record.count);
}

static inline void insert(struct play *play, unsigned i, uint32_t value)
{
    struct model *model = &play->draft;
    unsigned char *payload;
    CHECK(model->n < ELEMENTS && i <= model->n);
    if (play->box != NULL) {
        struct emmap_record record = record_of(play, EMMAP_A_LIST);
        OK(emmap_list_insert(&play->txn, &record.root, &record.count, i, 1, value & 0xFFFF,
                             &payload));
        write_value(payload, value);
        change_record(play, EMMAP_A_LIST, record.root, record.count);
    }
    memmove(model->list + i + 1, model->list + i, (model->n - i) * sizeof model->list[0]);
    model->list[i] = value;
    model->n++;
}

static inline void replace(struct play *play, unsigned i, uint32_t value)
{
    unsigned char *payload;
    play->draft.list[i] = value;
    if (play->box == NULL)
        return;
    struct emmap_record record = record_of(play, EMMAP_A_LIST);
    OK(emmap_list_set(&play->txn, &record.root, record.count, i, 1, value & 0xFFFF, &payload));
    write_value(payload, value);
    change_record(play, EMMAP_A_LIST, record.root, record.count);
}

static inline void take_out(struct play *play, unsigned i)
{
    struct model *model = &play->draft;
    CHECK(i < model->n);
    if (play->box != NULL) {
        struct emmap_record record = record_of(play, EMMAP_A_LIST);
        OK(emmap_list_delete(&play->txn, &record.root, &record.count, i));
        change_record(play, EMMAP_A_LIST, record.root, record.count);
    }
    model->n--;
    memmove(model->list + i, model->list + i + 1, (model->n - i) * sizeof model->list[0]);
}

/* Makes `n` new elements of those from `from` to before `to`. */
static inline void replace_part(struct play *play, unsigned from, unsigned to,
                                const uint32_t *values, unsigned n)
{
    struct model *model = &play->draft;
    unsigned char *payload;
    if (play->box != NULL) {
        struct emmap_record record = record_of(play, EMMAP_A_LIST);
        uint64_t other = 0, count = 0;
        for (unsigned i = 0; i < n; i++) {
            OK(emmap_list_insert(&play->txn, &other, &count, i, 1, values[i] & 0xFFFF, &payload));
            write_value(payload, values[i]);
        }
        OK(emmap_list_splice(&play->txn, &record.root, &record.count, from, to, other, count));
        change_record(play, EMMAP_A_LIST, record.root, record.count);
    }
    memmove(model->list + from + n, model->list + to, (model->n - to) * sizeof model->list[0]);
    memcpy(model->list + from, values, n * sizeof model->list[0]);
    model->n = model->n - (to - from) + n;
}

/* What is left is every second one, in the other order. */
static inline void rearrange(struct play *play)
{
    struct model *model = &play->draft;
    uint32_t old[ELEMENTS];
    uint64_t order[ELEMENTS];
    unsigned n = model->n / 2;
    memcpy(old, model->list, sizeof old);
    for (unsigned i = 0; i < n; i++) {
        order[i] = 2 * (n - 1 - i);
        model->list[i] = old[order[i]];
    }
    model->n = n;
    if (play->box == NULL)
        return;
    struct emmap_record record = record_of(play, EMMAP_A_LIST);
    OK(emmap_list_rearrange(&play->txn, &record.root, &record.count, order, n));
    change_record(play, EMMAP_A_LIST, record.root, record.count);
}

/* One change, and one call. */
#define ALONE(play, change)                                                                       \
    do {                                                                                          \
        begin(play);                                                                              \
        change;                                                                                   \
        commit(play);                                                                             \
    } while (0)

/* Whoever looks finds the same after this as before. */
static inline void commit_again(struct play *play, unsigned i)
{
    CHECK(play->moment.now.dict[i] != 0);
    begin(play);
    set(play, i, play->draft.dict[i]);
    commit(play);
}

#define MUCH 4096

/* What all begin with: an empty dict, and an empty list. */
static inline void make_both(struct play *play)
{
    begin(play);
    make(play, EMMAP_A_DICT);
    make(play, EMMAP_A_LIST);
    commit(play);
}

static inline void flush(struct play *play)
{
    if (play->box != NULL)
        OK(flush_store(play->box));
    play->moment.flushed = play->moment.now;
    has_returned(play);
}

/* Pins of our own, besides the one of short reads. */
static inline void pin_root(struct play *play)
{
    play->pinned = play->moment.now;
    if (play->box == NULL)
        return;
    struct emmap_store *store = &play->box->store;
    if (play->pin == NULL)
        OK(emmap_pin_claim(store, &play->pin));
    const struct emmap_root *root = emmap_pin_set(store, play->pin);
    CHECK(root != NULL);
    notes()->pinned = (uint64_t)((const unsigned char *)root - store->base);
}

static inline void unpin_root(struct play *play)
{
    if (play->box == NULL)
        return;
    notes()->pinned = 0;
    emmap_pin_clear(play->pin);
}

#endif
