/* Damaged arenas: nothing outside of them is touched, everything ends, and no damage spreads. */
#define _GNU_SOURCE
#include "arena_oracle.h"

static struct emmap_arena used_arena(struct oracle *oracle, size_t length)
{
    struct emmap_arena arena = new_arena(length);
    *oracle = (struct oracle){.n = 0};
    while (oracle->n < MOST && allocate(&arena, oracle, 1 + below(60)) == 0)
        ;
    for (unsigned n = oracle->n / 2; n > 0; n--)
        free_one(&arena, oracle, (unsigned)below(oracle->n));
    CHECK(emmap_arena_set_root(&arena, oracle->blocks[0].offset) == 0);
    return arena;
}

static void use(struct emmap_arena *arena, const struct oracle *oracle)
{
    struct emmap_arena_statistics statistics;
    uint64_t offset, n;
    if (emmap_arena_open(arena) == -ENODATA)
        return;
    emmap_arena_statistics(arena, &statistics);
    emmap_arena_root(arena, &offset);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t block = oracle->blocks[below(oracle->n)].offset;
        if (emmap_arena_allocate(arena, some_size(), &offset, &n) == 0) {
            CHECK(n <= arena->length && offset <= arena->length - n);
            memset(arena->base + offset, 255, n);
        }
        if (emmap_arena_length_of(arena, block, &n) == 0)
            CHECK(n <= arena->length - block);
        emmap_arena_free(arena, block);
        emmap_arena_set_root(arena, block);
    }
    if (emmap_arena_check(arena) == -EILSEQ)
        CHECK(arena->at <= arena->length - 8);
    if (emmap_arena_repair(arena) == 0)
        CHECK(emmap_arena_check(arena) == 0);
}

/* Whatever the bytes say, nothing outside of them is touched, and all ends. */
static void survives_damage(void)
{
    struct oracle oracle;
    struct emmap_arena arena = used_arena(&oracle, 9000);
    for (unsigned round = 0; round < 50000; round++) {
        struct emmap_arena copy = copy_of(&arena);
        for (uint64_t n = 1 + below(6); n > 0; n--) {
            uint64_t place = below(4) ? below(copy.length) : below(sizeof(struct emmap_arena_head));
            uint64_t word = place / 8 * 8;
            uint64_t plausible[] = {below(copy.length) / 16 * 16, below(copy.length), below(64), 0,
                                    oracle.blocks[below(oracle.n)].offset, ~UINT64_C(0)};
            if (below(2))
                copy.base[place] ^= (unsigned char)(1 << below(8));
            else
                memcpy(copy.base + word, &plausible[below(6)], 8);
        }
        use(&copy, &oracle);
        free(copy.base);
    }
    free(arena.base);
}

/* `check` sees each word that is wrong, but for those which others may write. */
static void sees_each_flip(void)
{
    struct oracle oracle;
    struct emmap_arena arena = used_arena(&oracle, 6000);
    struct emmap_arena_head *head = (struct emmap_arena_head *)arena.base;
    unsigned char *inert = calloc(1, arena.length);
    CHECK(inert != NULL);
    for (unsigned i = 0; i < oracle.n; i++)
        memset(inert + oracle.blocks[i].offset, 1, oracle.blocks[i].n);
    for (uint64_t block = EMMAP_ARENA_FIRST; block < head->top;) {
        uint64_t extent = (arena.base[block - 8] | arena.base[block - 7] << 8) * 16u;
        if (arena.base[block - 3] & 1) /* free: all but the links and the last word */
            memset(inert + block + 16, 1, extent - 32);
        else /* the slack behind what was asked for */
            for (uint64_t i = block; i < block + extent - 8; i++)
                inert[i] = 1;
        block += extent;
    }
    memset(inert + head->top - 8, 1, arena.length - head->top + 8);
    memset(inert + sizeof *head, 1, EMMAP_ARENA_FIRST - 8 - sizeof *head);
    for (size_t i = 0; i < arena.length; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            /* `size` and `fresh` may have any value between bounds. */
            int may_vary = (i >= offsetof(struct emmap_arena_head, size) &&
                            i < offsetof(struct emmap_arena_head, top)) ||
                           (i >= offsetof(struct emmap_arena_head, fresh) &&
                            i < offsetof(struct emmap_arena_head, root));
            arena.base[i] ^= (unsigned char)(1 << bit);
            int rc = emmap_arena_open(&arena);
            if (rc == 0)
                rc = emmap_arena_check(&arena);
            if (!may_vary)
                CHECK((rc == 0) == inert[i]);
            arena.base[i] ^= (unsigned char)(1 << bit);
        }
    }
    CHECK(emmap_arena_check(&arena) == 0);
    free(inert);
    free(arena.base);
}

/* What walks the chain by its headers alone. */
static int is_walkable(struct emmap_arena *arena)
{
    struct bounds b;
    CHECK(look(arena, &b) == 0);
    uint64_t block = FIRST, header;
    while (block < b.top && (header = header_at(&b, block)))
        block += extent_in(header);
    return block == b.top;
}

/* One wrong word among lists, maps, links, last words and flags: all but the chain. */
static void damage_lists(struct emmap_arena *arena, const uint64_t *places, unsigned n)
{
    struct emmap_arena_head *head = (struct emmap_arena_head *)arena->base;
    uint64_t plausible[] = {places[below(n)], places[below(n)], below(arena->length) / 16 * 16,
                            below(arena->length), 0};
    uint64_t value = plausible[below(5)], place = places[below(n)];
    unsigned class = (unsigned)(below(2) ? below(60) : below(EMMAP_ARENA_CLASSES));
    struct bounds b;
    CHECK(look(arena, &b) == 0);
    uint64_t header = header_at(&b, place);
    switch (below(5)) {
    case 0:
        head->lists[class] = value;
        head->maps[class / 64] |= UINT64_C(1) << class % 64;
        break;
    case 1:
        head->maps[class / 64] ^= UINT64_C(1) << class % 64;
        break;
    case 2:
        if (header)
            *header_of(&b, place) ^= AFTER_FREE;
        break;
    default:
        if (header & IS_FREE)
            *word_at(&b, below(3) ? place + below(2) * 8
                                  : place + extent_in(header) - 16) = value;
    }
}

/* No operation makes damage worse: what it refuses it leaves as it is, and where the lists lie it changes
 * no block that is handed out, and breaks no chain. */
static void damage_does_not_spread(void)
{
    struct oracle whole;
    struct emmap_arena arena = used_arena(&whole, 9000);
    uint64_t places[1000], offset, dirty;
    unsigned n = 0;
    for (offset = EMMAP_ARENA_FIRST; offset < 9000; offset += 16) {
        /* Where blocks begin, or began: old headers lie inside of free blocks. */
        struct bounds b;
        CHECK(look(&arena, &b) == 0);
        if (header_at(&b, offset))
            places[n++] = offset;
    }
    for (unsigned round = 0; round < 30000; round++) {
        struct oracle oracle = whole;
        struct emmap_arena copy = copy_of(&arena), before;
        for (uint64_t wrong = 1 + below(4); wrong > 0; wrong--)
            damage_lists(&copy, places, n);
        for (unsigned i = 0; i < 10; i++) {
            before = copy_of(&copy);
            int rc;
            if (below(2)) {
                rc = oracle.n < MOST ? emmap_arena_allocate(&copy, some_size(), &offset, &dirty) : -1;
                if (rc == 0) {
                    uint64_t length;
                    struct bounds b;
                    CHECK(look(&copy, &b) == 0);
                    uint64_t header = header_at(&b, offset);
                    length = extent_in(header) - 8 - slack_in(header);
                    CHECK(header && !(header & IS_FREE) && dirty <= length);
                    memset(copy.base + offset, 254, length);
                    oracle.blocks[oracle.n++] = (struct block){offset, length, 254};
                }
            } else {
                unsigned victim = (unsigned)below(oracle.n);
                rc = emmap_arena_free(&copy, oracle.blocks[victim].offset);
                if (rc == 0)
                    oracle.blocks[victim] = oracle.blocks[--oracle.n];
            }
            if (rc)
                CHECK(memcmp(copy.base, before.base, copy.length) == 0);
            free(before.base);
            CHECK(is_walkable(&copy));
        }
        for (unsigned i = 0; i < oracle.n; i++)
            for (uint64_t at = 0; at < oracle.blocks[i].n; at++)
                CHECK(copy.base[oracle.blocks[i].offset + at] == oracle.blocks[i].value);
        CHECK(emmap_arena_repair(&copy) == 0 && emmap_arena_check(&copy) == 0);
        struct emmap_arena_statistics found;
        CHECK(emmap_arena_statistics(&copy, &found) == 0 && found.blocks == oracle.n);
        free(copy.base);
    }
    free(arena.base);
}

/* Somebody else writes at the same time, or pages are lost on the way: no result is right then, but nothing
 * outside is touched. */
static struct emmap_arena shared;

static void scribble(void)
{
    struct emmap_arena_head *head = (struct emmap_arena_head *)shared.base;
    uint64_t values[] = {0, below(shared.length), below(shared.length) / 16 * 16, ~UINT64_C(0) - 15};
    if (below(4) == 0)
        memcpy(shared.base + 16 + below(shared.length / 8 - 2) * 8, &values[below(4)], 8);
    if (below(40) == 0)
        memset(shared.base + below(shared.length / 2), 0, shared.length / 2);
    head->busy = 0;
}

static void survives_others(void)
{
    struct oracle oracle;
    struct emmap_arena arena = used_arena(&oracle, 9000);
    for (unsigned round = 0; round < 20000; round++) {
        shared = copy_of(&arena);
        after_store = scribble;
        use(&shared, &oracle);
        after_store = NULL;
        free(shared.base);
    }
    free(arena.base);
}

static void stray_offsets(void)
{
    struct oracle oracle;
    struct emmap_arena arena = used_arena(&oracle, 6000);
    struct emmap_arena before = copy_of(&arena);
    uint64_t n;
    for (uint64_t offset = 0; offset < arena.length + 100; offset++) {
        int is_block = 0;
        for (unsigned i = 0; i < oracle.n; i++)
            is_block |= oracle.blocks[i].offset == offset;
        if (is_block)
            continue;
        CHECK(emmap_arena_free(&arena, offset) == -EINVAL);
        CHECK(emmap_arena_length_of(&arena, offset, &n) == -EINVAL);
        CHECK(emmap_arena_set_root(&arena, offset) == (offset ? -EINVAL : 0));
        arena.base[offsetof(struct emmap_arena_head, root)] =
            before.base[offsetof(struct emmap_arena_head, root)];
        arena.base[offsetof(struct emmap_arena_head, root) + 1] =
            before.base[offsetof(struct emmap_arena_head, root) + 1];
    }
    CHECK(emmap_arena_free(&arena, UINT64_MAX - 15) == -EINVAL);
    CHECK(memcmp(arena.base, before.base, arena.length) == 0);
    free(arena.base);
    free(before.base);
}

/* Damage that looks sound from nearby */

static struct emmap_arena four_blocks(struct bounds *b, uint64_t *offsets)
{
    struct emmap_arena arena = new_arena(6000);
    uint64_t dirty;
    for (unsigned i = 0; i < 4; i++)
        CHECK(emmap_arena_allocate(&arena, 104, &offsets[i], &dirty) == 0);
    CHECK(look(&arena, b) == 0);
    return arena;
}

/* Makes a free block of it, without a look at its neighbours. */
static void make_free(struct bounds *b, uint64_t block, uint64_t extent, uint64_t flags)
{
    put(header_of(b, block), header_for(b, block, extent, 0, IS_FREE | flags));
    link_block(b, block, extent);
}

static void forget(struct bounds *b, unsigned n)
{
    b->head->blocks -= n;
    b->head->used -= n * 104;
    b->head->taken -= n * 112;
}

static void false_blocks(void)
{
    struct bounds b;
    uint64_t o[4];
    /* A header in the bytes of a block is none. */
    struct emmap_arena arena = four_blocks(&b, o);
    put(header_of(&b, o[1] + 32), header_for(&b, o[1] + 32, 48, 0, 0));
    CHECK(emmap_arena_free(&arena, o[1] + 32) == -EINVAL);
    /* A free block in the bytes of a block belongs to no list. */
    make_free(&b, o[1] + 32, 48, 0);
    CHECK(emmap_arena_check(&arena) == -EILSEQ);
    free(arena.base);
    /* Nor does one that is not aligned, however sound it looks. */
    arena = four_blocks(&b, o);
    uint64_t offset, dirty, odd = o[1] + 24;
    put(header_of(&b, odd), header_for(&b, odd, 48, 0, IS_FREE));
    put(header_of(&b, odd + 48), header_for(&b, odd + 48, 32, 0, AFTER_FREE));
    link_block(&b, odd, 48);
    CHECK(emmap_arena_allocate(&arena, 40, &offset, &dirty) == 0 && offset % 16 == 0);
    free(arena.base);
    /* Two free blocks that know each other only. */
    arena = four_blocks(&b, o);
    CHECK(emmap_arena_free(&arena, o[0]) == 0 && emmap_arena_free(&arena, o[2]) == 0);
    CHECK(emmap_arena_check(&arena) == 0);
    put(next_of(&b, o[0]), o[2]);
    put(previous_of(&b, o[2]), o[0]);
    put(previous_of(&b, o[0]), o[2]);
    put(next_of(&b, o[2]), o[0]);
    put(&b.head->lists[class_of(112)], 0);
    put(&b.head->maps[class_of(112) / 64], 0);
    CHECK(emmap_arena_check(&arena) == -EILSEQ);
    free(arena.base);
    /* Free neighbours that were not joined, and a free block at the top. */
    arena = four_blocks(&b, o);
    make_free(&b, o[0], 112, 0);
    make_free(&b, o[1], 112, AFTER_FREE);
    put(header_of(&b, o[2]), get(header_of(&b, o[2])) | AFTER_FREE);
    forget(&b, 2);
    CHECK(emmap_arena_check(&arena) == -EILSEQ && arena.at == o[1] - 8);
    free(arena.base);
    arena = four_blocks(&b, o);
    make_free(&b, o[3], 112, 0);
    forget(&b, 1);
    CHECK(emmap_arena_check(&arena) == -EILSEQ && arena.at == o[3] - 8);
    CHECK(emmap_arena_repair(&arena) == 0 && emmap_arena_check(&arena) == 0);
    CHECK(b.head->top == o[3]);
    free(arena.base);
}

/* Three free blocks in a list, of which one word is wrong. */
static void broken_links(void)
{
    enum { HEAD_NEXT, MIDDLE_PREVIOUS, LAST_NEXT, FLAG_BEHIND_HEAD, FLAG_BEHIND_MIDDLE, ALL };
    for (int wrong = 0; wrong < ALL; wrong++) {
        struct emmap_arena arena = new_arena(EMMAP_ARENA_FIRST + 7 * 112);
        struct emmap_arena_statistics statistics;
        struct bounds b;
        uint64_t o[7], offset, dirty;
        for (unsigned i = 0; i < 7; i++)
            CHECK(emmap_arena_allocate(&arena, 104, &o[i], &dirty) == 0);
        for (unsigned i = 0; i < 6; i += 2)
            CHECK(emmap_arena_free(&arena, o[i]) == 0);
        CHECK(look(&arena, &b) == 0 && get(&b.head->lists[class_of(112)]) == o[4]);
        switch (wrong) {
        case HEAD_NEXT:
            put(next_of(&b, o[4]), o[0]);
            break;
        case MIDDLE_PREVIOUS:
            put(previous_of(&b, o[2]), 0);
            break;
        case LAST_NEXT: /* a circle */
            put(next_of(&b, o[0]), o[4]);
            CHECK(emmap_arena_statistics(&arena, &statistics) == -EILSEQ);
            break;
        case FLAG_BEHIND_HEAD:
            put(header_of(&b, o[5]), get(header_of(&b, o[5])) ^ AFTER_FREE);
            break;
        case FLAG_BEHIND_MIDDLE:
            put(header_of(&b, o[3]), get(header_of(&b, o[3])) ^ AFTER_FREE);
        }
        struct emmap_arena before = copy_of(&arena);
        if (wrong != FLAG_BEHIND_HEAD) /* it would join the last one and the one in the middle */
            CHECK(emmap_arena_free(&arena, o[1]) == -EILSEQ);
        if (wrong == HEAD_NEXT || wrong == FLAG_BEHIND_HEAD)
            CHECK(emmap_arena_allocate(&arena, 104, &offset, &dirty) == -EILSEQ);
        CHECK(emmap_arena_check(&arena) == -EILSEQ);
        CHECK(memcmp(arena.base, before.base, arena.length) == 0);
        CHECK(emmap_arena_repair(&arena) == 0 && emmap_arena_check(&arena) == 0);
        free(before.base);
        free(arena.base);
    }
}

static void wrong_bounds(void)
{
    struct bounds b;
    uint64_t o[4], offset, dirty;
    struct emmap_arena arena = four_blocks(&b, o);
    struct emmap_arena_head *h = b.head;
    static const uint64_t odd[] = {1, 8, 15};
    for (unsigned i = 0; i < 3; i++) {
        _Atomic(uint64_t) *bounds[] = {&h->top, &h->size};
        for (unsigned k = 0; k < 2; k++) {
            *bounds[k] -= odd[i];
            CHECK(emmap_arena_allocate(&arena, 8, &offset, &dirty) == -EILSEQ);
            CHECK(arena.base + arena.at == (unsigned char *)bounds[k]);
            *bounds[k] += odd[i];
        }
    }
    uint64_t fresh[] = {0, b.top - 16, b.size + 16, ~UINT64_C(0)};
    for (unsigned i = 0; i < 4; i++) {
        h->fresh = fresh[i];
        CHECK(emmap_arena_allocate(&arena, 8, &offset, &dirty) == -EILSEQ);
        CHECK(arena.at == offsetof(struct emmap_arena_head, fresh));
        CHECK(emmap_arena_repair(&arena) == 0);
        CHECK(emmap_arena_allocate(&arena, 8, &offset, &dirty) == 0);
        CHECK(dirty == 8 && emmap_arena_free(&arena, offset) == 0);
    }
    h->maps[2] = 1; /* a list that is said to have members */
    CHECK(emmap_arena_allocate(&arena, 8, &offset, &dirty) == -EILSEQ);
    CHECK(arena.at == offsetof(struct emmap_arena_head, maps));
    h->maps[2] = 0;
    h->size = 0;
    CHECK(emmap_arena_check(&arena) == -EILSEQ);
    free(arena.base);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(survives_damage), TEST(sees_each_flip), TEST(damage_does_not_spread),
        TEST(survives_others), TEST(stray_offsets),  TEST(false_blocks),
        TEST(broken_links),    TEST(wrong_bounds),
    };
    return RUN_TESTS(tests);
}
