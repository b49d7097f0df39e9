/* Stores to be damaged, made by the core itself, and the damage: a list of patches that know what lies
 * where in them. */
#ifndef STORE_IMAGES_H
#define STORE_IMAGES_H

#include "leaf.h"
#include "store_use.h"

enum { EMPTY, SMALL, LARGE, DEEP, HELD, HALF_FLUSHED, FREED, IMAGES };

/* The blocks of an image, by kind; of each at most so many. */
#define KINDS 10                        /* from EMMAP_FREE_BLOCK on */
#define BLOCKS 512
static struct image {
    unsigned char *bytes;
    size_t size;
    uint64_t hash_key[2];
    unsigned n[KINDS];
    uint64_t blocks[KINDS][BLOCKS];
} images[IMAGES];

static uint64_t dead_owner = UINT64_C(0x123456789ABCDEF0);

/* Every byte before the frontier belongs to a block, and every block begins with its header. */
static void find_blocks(struct image *image)
{
    const struct emmap_live *live = (const void *)(image->bytes + EMMAP_LIVE_AT);
    const struct emmap_space *space = (const void *)(image->bytes + EMMAP_SPACE_AT(0));
    if (space->txn != live->epoch)
        space = (const void *)(image->bytes + EMMAP_SPACE_AT(1));
    MUST(space->txn == live->epoch && space->frontier <= image->size);
    for (uint64_t at = EMMAP_BLOCKS_AT; at < space->frontier;) {
        uint64_t header = *(const uint64_t *)(image->bytes + at);
        unsigned kind = EMMAP_KIND(header) - EMMAP_FREE_BLOCK;
        if (kind >= KINDS || EMMAP_CLASS(header) >= EMMAP_CLASSES) {
            at += 16;
            continue;
        }
        if (image->n[kind] < BLOCKS)
            image->blocks[kind][image->n[kind]++] = at;
        at += emmap_class_size(EMMAP_CLASS(header));
    }
}

static void keep_image(struct image *image, const struct emmap_store *store)
{
    image->size = memory_size;
    image->bytes = aligned_alloc(4096, pages_up(memory_size));
    MUST(image->bytes != NULL);
    memcpy(image->bytes, memory, memory_size);
    memcpy(image->hash_key, store->hash_key, sizeof image->hash_key);
    find_blocks(image);
}

static void add_record(struct emmap_txn *txn, const char *name, enum emmap_kind_of_record kind)
{
    struct emmap_key key = key_of(txn->store, name, strlen(name));
    struct emmap_record record = {.kind = (uint8_t)kind};
    unsigned char *payload;
    int rc = 0;
    MUST(emmap_prepare(txn, EMMAP_OPERATION + 4096) == 0);
    if (kind == EMMAP_AN_ARRAY) {
        record.root = emmap_value_new(txn, 300, &payload, &rc);
        record.tag = 7;
        memset(payload, 0x33, 300);
    } else if (kind == EMMAP_A_PLACE) {
        record.root = emmap_allocate(txn, EMMAP_NAMED_PLACE, EMMAP_NAMED_PLACE_AT + 64, &rc);
        record.tag = EMMAP_LOCK;
        record.count = 64;
        memset(txn->store->base + record.root + EMMAP_NAMED_PLACE_AT, 0, 64);
    }
    MUST(rc == 0 && emmap_record_put(txn, &key, &record) == 0);
}

static void fill(struct emmap_txn *txn, const char *name, unsigned elements)
{
    struct emmap_key key = key_of(txn->store, name, strlen(name));
    struct emmap_record *record;
    unsigned char *payload;
    char text[24];
    MUST(emmap_prepare(txn, EMMAP_OPERATION) == 0 && emmap_record_own(txn, &key, &record) == 0);
    struct emmap_record it = *record;
    for (unsigned i = 0; i < elements; i++) {
        uint64_t n = i % 8 == 0 ? length_of(i / 8) : i % 15;
        struct emmap_key element = number_key(txn->store, text, i);
        if (it.kind == EMMAP_A_DICT) {
            MUST(put(txn, &it.root, &it.count, &element, n) == 0);
        } else {
            MUST(emmap_prepare(txn, EMMAP_OPERATION + n) == 0);
            MUST(emmap_list_insert(txn, &it.root, &it.count, it.count / 2, 3, n, &payload) == 0);
            memset(payload, 0x44, n);
        }
    }
    MUST(emmap_prepare(txn, EMMAP_OPERATION) == 0 && emmap_record_own(txn, &key, &record) == 0);
    *record = it;
}

/* A leaf under as many nodes as there can be, and each refers to nothing but the next one: so there are more
 * ways to the few keys than could ever be gone. The check says that a block is reached twice. */
static void fill_deep(struct emmap_txn *txn, const char *name)
{
    struct emmap_key key = key_of(txn->store, name, strlen(name));
    struct emmap_record *record;
    int rc = 0;
    fill(txn, name, 8);
    MUST(emmap_prepare(txn, EMMAP_OPERATION) == 0 && emmap_record_own(txn, &key, &record) == 0);
    ((struct emmap_leaf *)emmap_at(txn->store, record->root))->bits = EMMAP_WAY_BITS * EMMAP_DEEPEST;
    for (unsigned level = EMMAP_DEEPEST; level-- != 0;) {
        uint64_t at = emmap_allocate(txn, EMMAP_NODE, sizeof(struct emmap_node), &rc);
        MUST(rc == 0);
        struct emmap_node *node = emmap_at(txn->store, at);
        node->level = level;
        for (unsigned i = 0; i < EMMAP_WAYS; i++)
            node->refs[i] = record->root;
        record->root = at;
    }
}

static void build(unsigned which)
{
    struct emmap_store store;
    struct emmap_txn txn = {0};
    struct emmap_pin *pin = NULL;
    memory_resize(0);
    memory_resize(EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH);
    memory_store(&store);
    in_use = &store;
    MUST(emmap_store_create(&store) == 0 && emmap_store_recognise(&store) == 0);
    MUST(emmap_store_begin(&store) == 0 && lock_store(&store) == 0);
    if (which != EMPTY) {
        MUST(emmap_begin(&txn, &store) == 0);
        add_record(&txn, "a dict", EMMAP_A_DICT);
        add_record(&txn, "a list", EMMAP_A_LIST);
        add_record(&txn, "an array", EMMAP_AN_ARRAY);
        add_record(&txn, "a lock", EMMAP_A_PLACE);
        if (which == DEEP)
            fill_deep(&txn, "a dict");
        else
            fill(&txn, "a dict", which == SMALL ? 5 : 300);
        fill(&txn, "a list", which == SMALL ? 5 : which == DEEP ? 40 : 1500);
        MUST(emmap_commit(&txn) == 0);
    }
    if (which == HELD) {
        MUST(emmap_pin_claim(&store, &pin) == 0 && emmap_pin_set(&store, pin) != NULL);
    }
    if (which == FREED) {
        const char *names[] = {"a dict", "a list"};
        for (int i = 0; i < 2; i++) {
            struct emmap_key name = key_of(&store, names[i], strlen(names[i]));
            MUST(emmap_begin(&txn, &store) == 0 && emmap_prepare(&txn, EMMAP_OPERATION) == 0);
            MUST(emmap_record_remove(&txn, &name) == 0);
            add_record(&txn, names[i], i == 0 ? EMMAP_A_DICT : EMMAP_A_LIST);
            MUST(emmap_commit(&txn) == 0);
        }
    }
    if (which != EMPTY && which != DEEP) {
        change_store(&store, &txn, which == SMALL ? 1 : 9);
        MUST(emmap_live(&store)->epoch > 2);
    }
    unlock_store(&store);
    if (which == LARGE || which == HALF_FLUSHED) {
        struct emmap_waiting waiting;
        emmap_waiting_begin(&waiting, 1000000000);
        MUST(emmap_flush(&store, &waiting) >= 0);
        MUST(lock_store(&store) == 0);
        change_store(&store, &txn, 7);
        unlock_store(&store);
    }
    if (which == HALF_FLUSHED)
        emmap_live(&store)->flushing = emmap_live(&store)->epoch;
    emmap_store_end(&store);
    if (pin != NULL)
        pin->owner = dead_owner; /* he still pins what he did */
    keep_image(&images[which], &store);
    emmap_txn_end(&txn);
}

/* A patch, as it stands in the input. */
struct patch {
    uint8_t how, where;
    uint16_t which, word, spare;
    uint64_t value;
};

enum {
    SET_8, SET_16, SET_32, SET_64, ADD, FLIP, REFER, REFER_MANY, REPLACE, SWAP, COPY_BLOCK, FILE_SIZE,
    BIRTH, FREE_AGAIN, FREE_INSIDE, COUNTS, HOWS
};
enum { AT_HEADER, AT_META_0, AT_META_1, AT_LIVE, AT_SPACE_0, AT_SPACE_1, AT_PINS, AT_BLOCKS };
#define WHERES (AT_BLOCKS + KINDS)

static uint64_t block_of(const struct image *image, unsigned kind, unsigned which)
{
    kind %= KINDS;
    return image->n[kind] == 0 ? EMMAP_BLOCKS_AT : image->blocks[kind][which % image->n[kind]];
}

/* Where a patch goes to, as an offset, and how many bytes it may change from there. */
static uint64_t place_of(const struct image *image, const struct patch *patch, uint64_t *n)
{
    static const struct {
        uint64_t at, n;
    } areas[] = {
        [AT_HEADER] = {0, sizeof(struct emmap_store_header)},
        [AT_META_0] = {EMMAP_META_AT(0), sizeof(struct emmap_meta)},
        [AT_META_1] = {EMMAP_META_AT(1), sizeof(struct emmap_meta)},
        [AT_LIVE] = {EMMAP_LIVE_AT, sizeof(struct emmap_live)},
        [AT_SPACE_0] = {EMMAP_SPACE_AT(0), sizeof(struct emmap_space)},
        [AT_SPACE_1] = {EMMAP_SPACE_AT(1), sizeof(struct emmap_space)},
        [AT_PINS] = {EMMAP_PINS_AT, 8 * sizeof(struct emmap_pin)},
    };
    unsigned where = patch->where % WHERES;
    uint64_t at;
    if (where >= AT_BLOCKS) {
        at = block_of(image, where - AT_BLOCKS, patch->which);
        *n = emmap_class_size(EMMAP_CLASS(*(const uint64_t *)(image->bytes + at)));
        if (*n > image->size - at)
            *n = 64;
        return at;
    }
    at = areas[where].at;
    *n = areas[where].n;
    if ((where == AT_SPACE_0 || where == AT_SPACE_1) && patch->which % 2) {
        /* One of the queues that hold something. */
        const struct emmap_space *space = (const void *)(image->bytes + at);
        unsigned used[EMMAP_CLASSES], m = 0;
        for (unsigned c = 0; c < EMMAP_CLASSES; c++)
            if (space->fifos[c].head != 0)
                used[m++] = c;
        if (m != 0) {
            at += offsetof(struct emmap_space, fifos) + used[patch->which / 2 % m] * sizeof *space->fifos;
            *n = sizeof *space->fifos;
        }
    } else if (where == AT_SPACE_0 || where == AT_SPACE_1) {
        *n = offsetof(struct emmap_space, fifos);
    }
    return at;
}

/* What a hostile file would put in the place of a number. */
static uint64_t telling(const struct image *image, uint64_t value)
{
    const uint64_t numbers[] = {
        0, 1, 15, 16, 17, 255, 256, UINT16_MAX, UINT32_MAX, UINT64_MAX, INT64_MAX, UINT64_C(1) << 63,
        UINT64_C(1) << 47, EMMAP_MOST_TXN, EMMAP_MOST_TXN - 1, image->size, image->size - 16,
        image->size - 64, image->size + 16, EMMAP_BLOCKS_AT, EMMAP_BLOCKS_AT - 16, EMMAP_PINS_AT,
        EMMAP_LIVE_AT, ROOM, DISK, -image->size, UINT64_MAX - 15, UINT64_C(1) << 60, 2, 3, 4, 5, 32, 64,
    };
    return numbers[value % (sizeof numbers / sizeof numbers[0])];
}

/* An entry of a queue that is used soon; NULL where the file has no such queue. `class`: of which queue. */
static struct emmap_retired *entry_of(const struct image *image, unsigned class, unsigned which)
{
    const struct emmap_live *live = (const void *)(image->bytes + EMMAP_LIVE_AT);
    const struct emmap_space *space = (const void *)(image->bytes + EMMAP_SPACE_AT(0));
    if (space->txn != live->epoch)
        space = (const void *)(image->bytes + EMMAP_SPACE_AT(1));
    const struct emmap_fifo *fifo = &space->fifos[class];
    if (fifo->count == 0 || fifo->head + sizeof(struct emmap_chunk) > memory_size)
        return NULL;
    struct emmap_chunk *chunk = (void *)(memory + fifo->head);
    unsigned last = fifo->head == fifo->tail ? fifo->tail_i : EMMAP_CHUNK_ENTRIES;
    unsigned i = fifo->head_i + which % 4;
    return &chunk->entries[i < last ? i : fifo->head_i];
}

/* Each dict and list says that it has so many elements. */
static void say_counts(const struct image *image, uint64_t count)
{
    const unsigned entries = EMMAP_ENTRY - EMMAP_FREE_BLOCK;
    for (unsigned i = 0; i < image->n[entries]; i++) {
        struct emmap_entry *name = (void *)(memory + image->blocks[entries][i]);
        struct emmap_record *record = (void *)(name->bytes + EMMAP_BEHIND_KEY(name->key_n));
        if (name->tag == EMMAP_RECORD_TAG && name->key_n < 64)
            record->count = count;
    }
}

static void apply(const struct image *image, struct patch patch)
{
    uint64_t n, at = place_of(image, &patch, &n), value = patch.value;
    uint64_t word = (uint64_t)patch.word * 8 % n, end = at + n;
    at += word;
    if (end > memory_size || at + 8 > end)
        return;
    if (patch.spare % 4 == 1)
        value = telling(image, value);
    switch (patch.how % HOWS) {
    case SET_8:
        memory[at + (patch.spare >> 2) % 8] = (unsigned char)value;
        break;
    case SET_16:
        memcpy(memory + at + (patch.spare >> 2) % 4 * 2, &value, 2);
        break;
    case SET_32:
        memcpy(memory + at + (patch.spare >> 2) % 2 * 4, &value, 4);
        break;
    case SET_64:
        memcpy(memory + at, &value, 8);
        break;
    case ADD:
        *(uint64_t *)(memory + at) += (uint64_t)(int64_t)(int8_t)value << (patch.spare >> 2) % 8 * 8;
        break;
    case FLIP:
        *(uint64_t *)(memory + at) ^= UINT64_C(1) << value % 64;
        break;
    case REFER:
        *(uint64_t *)(memory + at) = block_of(image, (unsigned)value, (unsigned)(value >> 8));
        break;
    case REFER_MANY:
        for (uint64_t step = value >> 32 & 1 ? 16 : 8; at + 8 <= end; at += step)
            *(uint64_t *)(memory + at) = block_of(image, (unsigned)value, (unsigned)(value >> 8 & 0xFFFF));
        break;
    case REPLACE: {
        /* Whoever refers to this block refers to another one from now on. */
        uint64_t old = at - word, now = block_of(image, (unsigned)value, (unsigned)(value >> 8));
        for (uint64_t i = EMMAP_LIVE_AT; i + 8 <= image->size && i + 8 <= memory_size; i += 8)
            if (*(uint64_t *)(memory + i) == old)
                *(uint64_t *)(memory + i) = now;
        break;
    }
    case SWAP: {
        uint64_t *a = (uint64_t *)(memory + at), *b = (uint64_t *)(memory + end - n + value % (n / 8) * 8);
        uint64_t was = *a;
        *a = *b;
        *b = was;
        break;
    }
    case COPY_BLOCK: {
        uint64_t from = block_of(image, patch.where % WHERES - AT_BLOCKS + KINDS, (unsigned)value);
        uint64_t m = end - at;
        if (from + m <= memory_size && from < at - word)
            memmove(memory + at - word, memory + from, m);
        break;
    }
    case COUNTS:
        /* Any, or as many as can just be believed of a file of this size. */
        if (memory_size == image->size)
            say_counts(image, patch.spare % 4 == 0 ? 4 * image->size : value);
        break;
    case BIRTH: {
        /* As if the transactions to come had made it. */
        const struct emmap_live *live = (const void *)(image->bytes + EMMAP_LIVE_AT);
        uint64_t *header = (uint64_t *)(memory + at - word);
        *header = (*header & 0xFFFF) | (live->epoch + value % 4) << 16;
        break;
    }
    case FREE_AGAIN:
    case FREE_INSIDE: {
        /* A block that is in use, or the midst of one, is to be used again. */
        uint64_t *header = (uint64_t *)(memory + at - word);
        unsigned class = EMMAP_CLASS(*header);
        if (patch.how % HOWS == FREE_INSIDE) {
            if (n < 32)
                break;
            header += 2 + value / 4 % (n / 16 - 1) * 2;
            class = (unsigned)(value >> 16 & 63);
            *header = EMMAP_HEADER(1, EMMAP_FREE_BLOCK, class);
        }
        struct emmap_retired *entry = class < EMMAP_CLASSES ? entry_of(image, class, (unsigned)value) : NULL;
        if (entry != NULL)
            *entry = (struct emmap_retired){.block = (uint64_t)((unsigned char *)header - memory),
                                            .when = EMMAP_RETIRED(class, 2)};
        break;
    }
    case FILE_SIZE:
        /* A telling size, any size, or a little less or more than it has. */
        if (patch.spare % 4 == 2)
            value %= DISK;
        else if (patch.spare % 4 != 1)
            value = memory_size + 32768 - value % 65536;
        if (value <= DISK)
            memory_resize(value);
        break;
    default:
        break;
    }
}

/* Gets the damage past the sums that stand over it. */
static void stamp(void)
{
    static const uint64_t zeros[2];
    if (memory_size < EMMAP_META_AT(2))
        return;
    struct emmap_store_header *header = (void *)memory;
    header->check = emmap_hash(zeros, header, offsetof(struct emmap_store_header, check), 0);
    for (int i = 0; i < 2; i++) {
        struct emmap_meta *meta = (void *)(memory + EMMAP_META_AT(i));
        meta->check = emmap_hash(header->hash_key, meta, offsetof(struct emmap_meta, check), 0);
    }
}

#endif
