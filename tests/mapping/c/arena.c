/* The arena against an oracle, and killed after each of its stores. */
#define _GNU_SOURCE
#include "arena_oracle.h"

static void agrees_with_oracle(void)
{
    for (unsigned round = 0; round < 20; round++) {
        struct oracle oracle = {.n = 0};
        struct emmap_arena arena = new_arena(3000 + below(60000));
        struct emmap_arena_statistics before, after;
        CHECK(emmap_arena_statistics(&arena, &before) == 0);
        for (unsigned i = 0; i < 5000; i++) {
            uint64_t n = some_size();
            if (oracle.n < MOST && (oracle.n == 0 || below(20) < 11)) {
                struct emmap_arena_statistics now;
                CHECK(emmap_arena_statistics(&arena, &now) == 0);
                int rc = allocate(&arena, &oracle, n);
                CHECK(rc == (n <= now.largest ? 0 : -ENOMEM));
            } else {
                free_one(&arena, &oracle, (unsigned)below(oracle.n));
            }
            if (i % 100 == 0)
                verify(&arena, &oracle);
        }
        while (oracle.n)
            free_one(&arena, &oracle, (unsigned)below(oracle.n));
        CHECK(emmap_arena_statistics(&arena, &after) == 0);
        CHECK(memcmp(&before, &after, sizeof before) == 0);
        CHECK(allocate(&arena, &oracle, before.largest) == 0);
        verify(&arena, &oracle);
        free(arena.base);
    }
}

static void every_size_fits_exactly(void)
{
    for (uint64_t n = 0; n < 300; n++) {
        size_t length = EMMAP_ARENA_FIRST + (n + 8 < 32 ? 32 : (n + 8 + 15) / 16 * 16);
        struct oracle oracle = {.n = 0};
        struct emmap_arena arena = new_arena(length);
        CHECK(allocate(&arena, &oracle, n) == 0);
        CHECK(allocate(&arena, &oracle, 0) == -ENOMEM);
        verify(&arena, &oracle);
        free(arena.base);
    }
}

static void impossible_sizes(void)
{
    struct emmap_arena arena = new_arena(10000);
    uint64_t offset, dirty, needed;
    for (unsigned bits = 14; bits < 64; bits++)
        for (uint64_t i = 0; i < 60; i++) {
            CHECK(emmap_arena_allocate(&arena, (UINT64_C(1) << bits) - 30 + i, &offset, &dirty) ==
                  -ENOMEM);
            CHECK(emmap_arena_extend(&arena, (UINT64_C(1) << bits) - 30 + i, &needed) == 0);
            CHECK(needed > 10000);
        }
    CHECK(emmap_arena_allocate(&arena, UINT64_MAX, &offset, &dirty) == -ENOMEM);
    CHECK(emmap_arena_check(&arena) == 0);
    free(arena.base);
}

/* A member behind the head of its list is found too, when nothing else is left. */
static void last_fit(void)
{
    struct oracle oracle = {.n = 0};
    struct emmap_arena arena = new_arena(EMMAP_ARENA_FIRST + 1104 + 32 + 1072 + 32);
    CHECK(allocate(&arena, &oracle, 1096) == 0 && allocate(&arena, &oracle, 24) == 0);
    CHECK(allocate(&arena, &oracle, 1064) == 0 && allocate(&arena, &oracle, 24) == 0);
    CHECK(class_of(1104) == class_of(1072));
    uint64_t large = oracle.blocks[0].offset;
    free_one(&arena, &oracle, 0);
    CHECK(oracle.blocks[2].n == 1064);
    free_one(&arena, &oracle, 2); /* the smaller one is the head now */
    CHECK(allocate(&arena, &oracle, 1096) == 0 && oracle.blocks[2].offset == large);
    free(arena.base);
}

static void extends(void)
{
    struct emmap_arena arena = new_arena(4000);
    struct oracle oracle = {.n = 0};
    uint64_t needed;
    CHECK(allocate(&arena, &oracle, 1000) == 0);
    CHECK(allocate(&arena, &oracle, 5000) == -ENOMEM);
    CHECK(emmap_arena_extend(&arena, 5000, &needed) == 0);
    for (size_t length = needed - 1; length <= needed; length++) {
        arena.base = realloc(arena.base, length);
        CHECK(arena.base != NULL);
        memset(arena.base + arena.length, 0, length - arena.length);
        arena.length = length;
        CHECK(emmap_arena_extend(&arena, 5000, &needed) == 1);
        CHECK(allocate(&arena, &oracle, 5000) == (length < needed ? -ENOMEM : 0));
    }
    verify(&arena, &oracle);
    arena.length -= 16;
    CHECK(emmap_arena_check(&arena) == -EFBIG);
    free(arena.base);
}

static void refuses_others(void)
{
    struct emmap_arena arena = new_arena(10000);
    struct emmap_arena_head *head = (struct emmap_arena_head *)arena.base;
    head->version = 7;
    CHECK(emmap_arena_open(&arena) == -EOPNOTSUPP && arena.at == 7);
    head->magic = __builtin_bswap64(MAGIC);
    CHECK(emmap_arena_open(&arena) == -ENOEXEC);
    head->magic = ~MAGIC; /* a format that was cut short begins again */
    CHECK(emmap_arena_open(&arena) == -ENODATA);
    head->magic = 0;
    CHECK(emmap_arena_open(&arena) == -EILSEQ && arena.at == 0);
    memset(arena.base, 0, arena.length);
    for (arena.length = 0; arena.length < EMMAP_ARENA_FEWEST; arena.length++) {
        CHECK(emmap_arena_open(&arena) == -ENODATA);
        CHECK(emmap_arena_format(&arena, 1) == -EFBIG);
    }
    arena.base[3] = 1;
    for (arena.length = 4; arena.length < EMMAP_ARENA_FEWEST; arena.length++)
        CHECK(emmap_arena_open(&arena) == -EILSEQ);
    free(arena.base);
}

/* Death: what another process finds after each store */

static struct emmap_arena dying;
static struct oracle survivors; /* the blocks that the change under way leaves alone */
static uint64_t images;

static void find_after_death(void)
{
    struct emmap_arena image = copy_of(&dying);
    void (*watcher)(void) = after_store;
    after_store = NULL;
    int rc = emmap_arena_open(&image);
    if (rc == -ENODATA) {
        CHECK(survivors.n == 0);
        CHECK(emmap_arena_format(&image, 1) == 0);
    } else {
        CHECK(rc == 0);
        rc = emmap_arena_check(&image);
        CHECK(rc == 0 || rc == -EOWNERDEAD);
    }
    CHECK(emmap_arena_repair(&image) == 0);
    CHECK(emmap_arena_check(&image) == 0);
    for (unsigned i = 0; i < survivors.n; i++)
        verify_block(&image, &survivors.blocks[i]);
    uint64_t root;
    CHECK(emmap_arena_root(&image, &root) == 0);
    struct emmap_arena_statistics found;
    CHECK(emmap_arena_statistics(&image, &found) == 0);
    /* Nothing is lost but the one block that was being handed out or taken back. */
    CHECK(found.blocks - survivors.n <= 1);
    after_store = watcher;
    images++;
    free(image.base);
}

static void killed_after_each_store(void)
{
    size_t length = 5000;
    struct oracle oracle = {.n = 0};
    dying = (struct emmap_arena){calloc(1, length), length, 0};
    CHECK(dying.base != NULL);
    survivors.n = 0;
    after_store = find_after_death;
    CHECK(emmap_arena_format(&dying, 99) == 0);
    for (unsigned i = 0; i < 600; i++) {
        if (oracle.n == 0 || below(20) < 11) {
            survivors = oracle;
            allocate(&dying, &oracle, below(6) ? below(60) : below(500));
        } else {
            unsigned victim = (unsigned)below(oracle.n);
            survivors = oracle;
            survivors.blocks[victim] = survivors.blocks[--survivors.n];
            CHECK(emmap_arena_set_root(&dying, oracle.blocks[victim].offset) == 0);
            free_one(&dying, &oracle, victim);
        }
        survivors = oracle;
        if (i % 50 == 0) {
            CHECK(emmap_arena_repair(&dying) == 0);
            verify(&dying, &oracle);
        }
    }
    CHECK(images > 5000);
    free(dying.base);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(agrees_with_oracle),
        TEST(every_size_fits_exactly),
        TEST(impossible_sizes),
        TEST(last_fit),
        TEST(extends),
        TEST(refuses_others),
        TEST(killed_after_each_store),
    };
    return RUN_TESTS(tests);
}
