/* The list against a plain array: random operations, snapshots, savepoints, a full disk, concurrent readers. */
#define _GNU_SOURCE
#include "list_model.h"

#include <pthread.h>

#define ROOM ((size_t)64 << 20)
#define VALUES UINT64_C(1000000)

static uint64_t some[MOST], order[MOST];

static uint64_t pick(uint64_t n)
{
    uint64_t i = below(8);
    return n == 0 || i == 0 ? 0 : i == 1 ? n - 1 : below(n);
}

/* A part of the numbers below `n`, shuffled. */
static uint64_t shuffle(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = below(i), other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
    return n - (below(2) ? below(n / 4 + 1) : 0);
}

/* One operation; `bias` from 0 (shrinks) to 10 (grows). */
static void change(uint64_t bias)
{
    uint64_t what = below(100), from, to, n;
    if (what < 60) {
        if (list.n == 0 || (below(10) < bias && list.n < MOST - 1))
            CHECK(insert(below(4) ? pick(list.n + 1) : list.n, below(VALUES)) == 0);
        else
            CHECK(delete(pick(list.n)) == 0);
    } else if (what < 90) {
        if (list.n != 0)
            CHECK(set(pick(list.n), below(VALUES)) == 0);
    } else if (what < 98) {
        from = pick(list.n + 1);
        to = from + pick((below(4) ? (list.n - from) / 10 : list.n - from) + 1);
        n = below(10) < bias ? below(below(4) ? 100 : 1500) : below(4);
        if (list.n + n > MOST)
            n = 0;
        for (uint64_t i = 0; i < n; i++)
            some[i] = below(VALUES);
        CHECK(splice_in(from, to, some, n) == 0);
    } else if (what == 98 && bias > 3) {
        n = shuffle(list.n);
        CHECK(rearrange(order, n) == 0);
    } else if (bias < 3) {
        CHECK(drop() == 0);
    }
}

#define SNAPSHOTS 4
static struct list snapshots[SNAPSHOTS], saved;
static struct emmap_pin *pins[SNAPSHOTS];

/* After each operation the tree is what it has to be, and all blocks that were taken are in it. */
static void random_operations(void)
{
    make_store(ROOM);
    mark_blocks();
    for (int i = 0; i < SNAPSHOTS; i++)
        CHECK(emmap_pin_claim(&store, &pins[i]) == 0);
    int rounds = UNDER_ASAN || UNDER_TSAN ? 60 : 400;
    for (int round = 0; round < rounds; round++) {
        uint64_t bias = below(11);
        begin();
        for (uint64_t n = below(20); n-- > 0;) {
            change(bias);
            CHECK(walk_list(&list).blocks == blocks);
        }
        read_list(&list);
        commit(list.root, list.count);
        /* What a snapshot keeps stays as it was; what none keeps is used again. */
        unsigned i = (unsigned)below(SNAPSHOTS);
        unsigned char *kept = marks;
        marks = NULL;
        walk_list(&snapshots[i]);
        read_list(&snapshots[i]);
        marks = kept;
        if (below(3) == 0) {
            snapshots[i] = list;
            const struct emmap_root *root = emmap_pin_set(&store, pins[i]);
            CHECK(root != NULL && root->directory == list.root);
        }
    }
}

/* A savepoint is gone back to, whatever was changed since. */
static void savepoints(void)
{
    make_store(ROOM);
    mark_blocks();
    unsigned char *before = malloc(n_marks);
    CHECK(before != NULL);
    for (int round = 0; round < (UNDER_ASAN || UNDER_TSAN ? 20 : 60); round++) {
        begin();
        for (int i = 0; i < 10; i++)
            change(7);
        for (int depth = 0; depth < 3; depth++) {
            struct emmap_savepoint *savepoint;
            int64_t blocks_before = blocks;
            CHECK(emmap_savepoint(&txn, &savepoint) == 0);
            saved = list;
            memcpy(before, marks, n_marks);
            for (uint64_t n = below(10); n-- > 0;)
                change(below(11));
            if (below(2)) {
                emmap_rollback_to(&txn, savepoint);
                list = saved;
                memcpy(marks, before, n_marks);
                blocks = blocks_before;
            }
            free(savepoint);
            CHECK(walk_list(&list).blocks == blocks);
            read_list(&list);
        }
        commit(list.root, list.count);
    }
    free(before);
}

/* Whoever appends, or puts in before the first one, leaves full leaves behind: in one transaction or in one
 * for each. */
static void growing_at_an_end(void)
{
    for (int how = 0; how < 4; how++) {
        memset(&list, 0, sizeof list);
        if (how == 0)
            make_store(ROOM);
        begin();
        for (uint64_t i = 0; i < 5500; i++) {
            CHECK(insert(how & 1 ? 0 : list.n, i * 104) == 0);
            if (how & 2) {
                commit(list.root, list.count);
                begin();
            }
        }
        struct walk walk = walk_list(&list);
        commit(list.root, list.count);
        CHECK(walk.leaves <= 5500 / 32 + 2 && walk.slots <= 5500 + (how & 2 ? 8 : 64));
    }
    /* A few elements take few bytes. */
    memset(&list, 0, sizeof list);
    begin();
    CHECK(insert(0, 104) == 0 && insert(0, 104) == 0);
    CHECK(emmap_class_size(EMMAP_CLASS(*(uint64_t *)emmap_at(&store, list.root))) == 16 + 4 * 16);
}

/* Emptied one by one, from either end and anywhere. */
static void draining(void)
{
    make_store(ROOM);
    mark_blocks();
    for (int how = 0; how < 4; how++) {
        begin();
        while (list.n < 5000)
            CHECK(insert(how < 2 ? list.n : below(list.n + 1), below(VALUES)) == 0);
        commit(list.root, list.count);
        begin();
        while (list.n != 0) {
            CHECK(delete(how == 0 ? 0 : how == 1 ? list.n - 1 : below(list.n)) == 0);
            if (list.n % (UNDER_ASAN || UNDER_TSAN ? 500 : 50) == 0 || list.n < 70)
                CHECK(walk_list(&list).blocks == blocks);
        }
        commit(list.root, list.count);
    }
}

/* Whichever preparation is refused, nothing has been changed, and nothing is lost. */
static void refused_space(void)
{
    static uint64_t numbers[3000];
    make_store(ROOM);
    mark_blocks();
    begin();
    while (list.n < 3000)
        CHECK(insert(list.n, below(VALUES)) == 0);
    for (uint64_t i = 0; i < 3000; i++)
        numbers[i] = 2999 - i;
    const uint64_t large = 16 * 104 + 26;   /* lies in a block of its own */
    CHECK(length_of(large) > 14);
    for (int what = 0; what < 6; what++) {
        int rc = 0;
        refusals = what == 5 ? 1000 : 1;
        switch (what) {
        case 0: rc = set(7, large); break;
        case 1: rc = insert(7, large); break;
        case 2: rc = insert(list.n, 5); break;
        case 3: rc = delete(7); break;
        case 4: rc = emmap_list_splice(&txn, &list.root, &list.count, 7, 900, 0, 0); break;
        default: rc = rearrange(numbers, 3000);
        }
        CHECK(rc == -ENOSPC && refusals == 0 && walk_list(&list).blocks == blocks);
    }
}

/* Where the disk is full nothing has been changed, and nothing is lost. */
static void full_disk(void)
{
    make_store(ROOM);
    mark_blocks();
    int refused = 0;
    begin();
    while (list.n < 3000)
        CHECK(insert(pick(list.n + 1), below(VALUES)) == 0);
    commit(list.root, list.count);
    full = 1;
    for (int round = 0; round < 3000; round++) {
        int rc;
        begin();
        uint64_t n = shuffle(list.n);
        switch (below(5)) {
        case 0: rc = set(pick(list.n), below(VALUES)); break;
        case 1: rc = insert(pick(list.n + 1), below(VALUES)); break;
        case 2: rc = delete(pick(list.n)); break;
        case 3: rc = splice_in(list.n / 2, list.n / 2 + 9, order, 7); break;
        default: rc = round % 20 ? 0 : rearrange(order, n);
        }
        CHECK(rc == 0 || rc == -ENOSPC);
        refused += rc != 0;
        if (round % 16 == 0 || rc != 0)
            CHECK(walk_list(&list).blocks == blocks);
        txn.directory = list.root;
        txn.names = list.count;
        rc = emmap_commit(&txn);
        if (rc != 0)
            break;
        if (refused > 20)
            return;
    }
    CHECK(refused != 0);
}

static void wrong_orders(void)
{
    make_store(ROOM);
    mark_blocks();
    begin();
    while (list.n < 100)
        CHECK(insert(list.n, below(VALUES)) == 0);
    shuffle(100);
    uint64_t right = order[90];
    order[90] = order[3];
    CHECK(rearrange(order, 100) == -EINVAL && walk_list(&list).blocks == blocks);
    order[90] = 100;
    CHECK(rearrange(order, 100) == -EINVAL && walk_list(&list).blocks == blocks);
    order[90] = right;
    CHECK(rearrange(order, 100) == 0 && walk_list(&list).blocks == blocks);
    CHECK(rearrange(order, 0) == 0 && list.root == 0 && blocks == 0);
}

/* Readers walk the live list, which always holds the numbers from some one on, while the writer moves them
 * through it. */
static _Atomic(int) is_over;

static void *walk_live(void *unused)
{
    struct emmap_pin *pin;
    (void)unused;
    CHECK(emmap_pin_claim(&store, &pin) == 0);
    for (long walks = 0; walks < 100 || !atomic_load(&is_over); walks++) {
        struct emmap_list_cursor cursor;
        const struct emmap_slot *slot;
        const struct emmap_root *root = emmap_pin_set(&store, pin);
        CHECK(root != NULL);
        uint64_t value = 0, n;
        emmap_list_cursor_begin(&cursor, &store, root->directory, root->names, 0, 1);
        for (uint64_t i = 0; i < root->names; i++) {
            CHECK(emmap_list_cursor_next(&cursor, &slot) == 0 && slot != NULL);
            const unsigned char *payload = emmap_slot_payload(&store, slot, &n);
            uint64_t now;
            CHECK(payload != NULL && (n == 8 || n == 24));
            memcpy(&now, payload, 8);
            CHECK(i == 0 || now == value + 1);
            value = now;
        }
        emmap_pin_clear(pin);
    }
    return NULL;
}

static void readers(void)
{
    pthread_t threads[2];
    uint64_t root = 0, count = 0;
    make_store(ROOM);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, walk_live, NULL) == 0);
    for (uint64_t value = 0; value < 3000; value++) {
        unsigned char *payload;
        begin();
        CHECK(emmap_list_insert(&txn, &root, &count, count, 4, value % 8 ? 8 : 24, &payload) == 0);
        memcpy(payload, &value, 8);
        if (count > 500)
            CHECK(emmap_list_delete(&txn, &root, &count, 0) == 0);
        commit(root, count);
    }
    atomic_store(&is_over, 1);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(random_operations), TEST(savepoints),   TEST(growing_at_an_end),
        TEST(draining),          TEST(refused_space),
        TEST(full_disk),         TEST(wrong_orders), TEST(readers),
    };
    return RUN_TESTS(tests);
}
