/* Lists with bytes that somebody has changed: data or -EUCLEAN, never a crash and never an endless walk. What
 * lies behind the file's end cannot be read. */
#define _GNU_SOURCE
#include "list_model.h"

#define ROOM ((size_t)8 << 20)

static uint64_t parts[2 * MOST];    /* blocks of the list */
static size_t n_parts;
static unsigned char *image;        /* the file as it was */
static size_t n_image;
static uint64_t sum;                /* of what was read: each byte is touched */
static long refused, worked;

static void find_parts(uint64_t at, unsigned height)
{
    const struct emmap_list_node *node = emmap_at(&store, at);
    const struct emmap_list_leaf *leaf = (const void *)node;
    parts[n_parts++] = at;
    for (unsigned i = 0; height > 0 && i < node->n; i++)
        find_parts(node->children[i].ref, height - 1);
    for (unsigned i = 0; height == 0 && i < leaf->n; i++)
        if (leaf->slots[i].n == 255)
            memcpy(&parts[n_parts++], leaf->slots[i].bytes + 6, 8);
}

static void make_image(void)
{
    make_store(ROOM);
    while (list.n < 2500) {
        begin();
        for (int i = 0; i < 100; i++)
            CHECK(insert(below(list.n + 1), below(1000000)) == 0);
        commit(list.root, list.count);
    }
    const struct emmap_list_node *root = emmap_at(&store, list.root);
    CHECK(root->height == 2);
    find_parts(list.root, root->height);
    n_image = atomic_load(&store.size);
    image = malloc(n_image);
    CHECK(image != NULL);
    memcpy(image, store.base, n_image);
}

static void restore(void)
{
    CHECK(ftruncate(store.fd, (off_t)n_image) == 0);
    memcpy(store.base, image, n_image);
    atomic_store(&store.size, n_image);
    memset(&found, 0, sizeof found);
}

static uint64_t some_word(void)
{
    switch (below(8)) {
    case 0: return 0;
    case 1: return UINT64_MAX - below(32);
    case 2: return n_image - 16 * below(64);
    case 3: return below(64);
    case 4: return UINT64_C(1) << below(64);
    case 5: return below(UINT64_C(1) << 31) << 33 | below(UINT64_C(1) << 31);
    default: return parts[below(n_parts)];
    }
}

/* Changes a byte, a field or a word of a block of the list; the higher ones more often. */
static void damage(void)
{
    uint64_t at = parts[below(4) ? below(n_parts) : below(40)];
    struct emmap_list_node *node = emmap_at(&store, at);
    unsigned class = EMMAP_CLASS(*(const uint64_t *)(image + at));
    uint64_t size = emmap_class_size(class), word = some_word();
    switch (below(10)) {
    case 0: node->header = word; break;
    case 1: node->n = (uint16_t)word; break;
    case 2: node->height = (uint16_t)word; break;
    case 3: node->capacity = (uint32_t)word; break;
    case 4: /* as if the next transactions had made it */
        node->header = EMMAP_HEADER(atomic_load(&emmap_live(&store)->epoch) + below(4), EMMAP_KIND(node->header), class);
        break;
    case 5: node->header ^= UINT64_C(1) << below(24); break;
    case 6: ((unsigned char *)node)[below(size)] = (unsigned char)word; break;
    default: memcpy((unsigned char *)node + 8 * below(size / 8), &word, 8);
    }
}

/* Says of a block in use that it is free. */
static void damage_queue(void)
{
    const struct emmap_space *space = txn.space;
    uint64_t at = parts[below(n_parts)];
    unsigned class = EMMAP_CLASS(*(const uint64_t *)(image + at));
    const struct emmap_fifo *fifo = &space->fifos[class];
    if (fifo->count == 0)
        return;
    struct emmap_chunk *chunk = emmap_at(&store, fifo->head);
    for (uint64_t n = 1 + below(3); n-- > 0;)
        chunk->entries[(fifo->head_i + n) % EMMAP_CHUNK_ENTRIES].block = at;
}

/* Was that an error that may be? */
static int ended(int rc)
{
    CHECK(rc == 0 || rc == -EUCLEAN || rc == -ENOSPC || rc == -EFBIG || rc == -EINVAL);
    *(rc == 0 ? &worked : &refused) += 1;
    return rc;
}

static void touch(const struct emmap_slot *slot)
{
    uint64_t n;
    const unsigned char *payload = emmap_slot_payload(&store, slot, &n);
    for (uint64_t i = 0; payload != NULL && i < n; i++)
        sum += payload[i];
}

static void read_all_of(uint64_t root, uint64_t count)
{
    struct emmap_list_cursor cursor;
    const struct emmap_slot *slot;
    int rc = 0;
    for (int step = 1; step >= -1; step -= 2) {
        uint64_t seen = 0;
        emmap_list_cursor_begin(&cursor, &store, root, count, step > 0 ? 0 : count - 1, step);
        while ((rc = ended(emmap_list_cursor_next(&cursor, &slot))) == 0 && slot != NULL) {
            touch(slot);
            seen++;
        }
        CHECK(seen <= count);
    }
    for (uint64_t i = 0; i < count; i += 1 + below(count / 100 + 1))
        if (ended(emmap_list_get(&store, root, count, i, &slot)) == 0)
            touch(slot);
}

/* One change of the damaged list. */
static int change(uint64_t *root, uint64_t *count)
{
    static uint64_t order[2 * MOST];
    unsigned char *payload = NULL;
    uint64_t i = below(*count), n = below(3) ? below(15) : below(300), to = i + below(*count - i + 1);
    int rc;
    switch (below(16)) {
    case 0:
        return emmap_list_splice(&txn, root, count, i, to, 0, 0);
    case 1:
        for (uint64_t j = 0; j < *count; j++)
            order[j] = *count - 1 - j;
        return emmap_list_rearrange(&txn, root, count, order, below(*count + 1));
    case 2:
        rc = emmap_list_drop(&txn, *root, *count);
        *root = *count = 0;
        return rc;
    case 3: case 4: case 5:
        return emmap_list_delete(&txn, root, count, i);
    case 6: case 7: case 8:
        rc = emmap_list_set(&txn, root, *count, i, 10, n, &payload);
        break;
    default:
        rc = emmap_list_insert(&txn, root, count, below(3) ? i : *count, 10, n, &payload);
    }
    if (rc == 0)
        memset(payload, 1, n);
    return rc;
}

static void damaged_lists(void)
{
    make_image();
    for (int round = 0, rounds = UNDER_TSAN ? 100 : UNDER_ASAN ? 400 : 2000; round < rounds; round++) {
        alarm(20);
        restore();
        for (uint64_t n = 1 + below(4); n-- > 0;)
            below(4) ? damage() : damage_queue();
        uint64_t root = list.root, count = below(20) ? list.count : below(5000) + 1;
        read_all_of(root, count);
        for (int commits = 0; commits < 3 && root != 0; commits++) {
            int rc = 0;
            begin();
            for (int n = 0; rc == 0 && n < 12 && count != 0; n++)
                rc = ended(change(&root, &count));
            txn.directory = root;
            txn.names = count;
            if (rc == 0)
                rc = ended(emmap_commit(&txn));
            else
                emmap_rollback(&txn);
            if (rc != 0)
                break;
            read_all_of(root, count);
        }
    }
    restore();
    begin();
    CHECK(emmap_list_drop(&txn, list.root, UINT64_MAX) == -EUCLEAN);
    CHECK(emmap_list_drop(&txn, list.root, n_image / 16 + 1) == -EUCLEAN);
    /* Both happen, or the test would be none. */
    CHECK(refused > 50 && worked > 1000);
}

/* A value that two elements refer to, made as it seems by the transaction that gives it up twice. */
static void shared_value(void)
{
    struct emmap_slot *slots[2];
    unsigned n = 0;
    uint64_t value, index[2];
    make_image();
    for (uint64_t i = 0; n < 2; i++) {
        const struct emmap_slot *slot;
        CHECK(emmap_list_get(&store, list.root, list.count, i, &slot) == 0);
        if (slot->n == 255) {
            slots[n] = (struct emmap_slot *)slot;
            index[n++] = i;
        }
    }
    memcpy(&value, slots[0]->bytes + 6, 8);
    memcpy(slots[1]->bytes + 6, &value, 8);
    uint64_t *header = emmap_at(&store, value);
    *header = EMMAP_HEADER(atomic_load(&emmap_live(&store)->epoch) + 1, EMMAP_VALUE, EMMAP_CLASS(*header));
    begin();
    int rc = emmap_list_delete(&txn, &list.root, &list.count, index[1]);
    CHECK(rc == 0);
    rc = ended(emmap_list_delete(&txn, &list.root, &list.count, index[0]));
    txn.directory = list.root;
    if (rc == 0)
        ended(emmap_commit(&txn));
}

/* What the caller would read as a view of aligned numbers lies in a value's block, or nowhere. */
static void slots_that_lie(void)
{
    struct emmap_slot slot = {.tag = 12, .n = 8};
    uint64_t n;
    make_store(ROOM);
    CHECK(emmap_slot_payload(&store, &slot, &n) == NULL);
    slot.tag = 10;
    CHECK(emmap_slot_payload(&store, &slot, &n) == slot.bytes && n == 8);
    slot.n = 15;
    CHECK(emmap_slot_payload(&store, &slot, &n) == NULL);
    slot.n = 255;
    CHECK(emmap_slot_payload(&store, &slot, &n) == NULL);
}

/* Each part of a node's form, changed by itself. */
static void forms(void)
{
    const struct emmap_slot *slot;
    make_image();
    struct emmap_list_node *root = emmap_at(&store, list.root);
    struct emmap_list_node *middle = emmap_at(&store, root->children[0].ref);
    struct emmap_list_leaf *leaf = emmap_at(&store, middle->children[0].ref);
    unsigned class = EMMAP_CLASS(leaf->header), larger = emmap_class_of(16 + 36 * 16);
    for (int what = 0; what < 11; what++) {
        restore();
        CHECK(emmap_list_get(&store, list.root, list.count, 0, &slot) == 0);
        switch (what) {
        case 0: leaf->height = 1; break;
        case 1: middle->height = 0; break;
        case 2: root->height = 17; break;
        case 3: leaf->n = 7; middle->children[0].count = 7; break;
        case 4: leaf->n++; break;
        case 5: leaf->n = 33; leaf->capacity = 32; middle->children[0].count = 33; break;
        case 6: leaf->capacity = 36; leaf->header += larger - class; break;
        case 7: leaf->capacity = 32; leaf->header -= class; break;
        case 8: middle->children[0].ref += 8; break;
        case 9: middle->children[0].ref = n_image - 32; break;
        default: leaf->header ^= 0x100;
        }
        if (what == 9) {
            struct emmap_list_leaf *last = emmap_at(&store, n_image - 32);
            memcpy(last, leaf, 32);
        }
        CHECK(emmap_list_get(&store, list.root, list.count, 0, &slot) == -EUCLEAN);
    }
}

/* Few blocks that say to be many elements, because each refers to the next one 32 times: nobody walks
 * through them all. */
static void many_in_few(void)
{
    uint64_t at = 0, count = 32, below_it;
    int rc;
    make_store(ROOM);
    begin();
    for (unsigned height = 0; height < 10; height++, count *= 32) {
        below_it = at;
        at = emmap_allocate(&txn, height == 0 ? EMMAP_LIST_LEAF : EMMAP_LIST_NODE, 16 + 32 * 16, &rc);
        struct emmap_list_node *node = emmap_at(&store, at);
        node->n = 32;
        node->height = (uint16_t)height;
        node->capacity = 32;
        for (unsigned i = 0; height > 0 && i < 32; i++)
            node->children[i] = (struct emmap_list_child){.ref = below_it, .count = count / 32};
    }
    CHECK(emmap_list_drop(&txn, at, count / 32) == -EUCLEAN);
    CHECK(emmap_list_drop(&txn, at, 1000) == -EUCLEAN);
}

int main(void)
{
    static const struct test tests[] = {TEST(damaged_lists), TEST(shared_value), TEST(slots_that_lie), TEST(forms),
                                        TEST(many_in_few)};
    return RUN_TESTS(tests);
}
