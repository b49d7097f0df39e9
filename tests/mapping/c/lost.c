/* The marks of lost pages, against an oracle that keeps one byte for each page. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

#define START ((uintptr_t)1 << 40) /* only compared, never followed */

static uint64_t seed = 88172645463325252u;

static uint64_t below(uint64_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % bound;
}

static int is_mapped(void *address)
{
    unsigned char resident;
    return mincore(address, 1, &resident) == 0;
}

/* The oracle */

struct oracle {
    size_t pages, page;
    char *lost;  /* a byte for each page */
    char beyond; /* is lost what may be added behind? */
};

static struct oracle oracle_of(size_t pages, size_t page)
{
    struct oracle oracle = {pages, page, calloc(1, pages), 0};
    CHECK(oracle.lost != NULL);
    return oracle;
}

static void oracle_mark(struct oracle *oracle, uintptr_t from, uintptr_t to)
{
    for (size_t i = (from - START) / oracle->page; i < oracle->pages; i++)
        if (START + i * oracle->page < to)
            oracle->lost[i] = 1;
    if (to == UINTPTR_MAX)
        oracle->beyond = 1;
}

static int oracle_lost(const struct oracle *oracle, uintptr_t address)
{
    return oracle->lost[(address - START) / oracle->page];
}

static uintptr_t next_page(const struct oracle *oracle, uintptr_t at, uintptr_t to)
{
    uintptr_t next = at - at % oracle->page + oracle->page;
    return next < to ? next : to;
}

static void check_find(struct emmap_lost *lost, const struct oracle *oracle, uintptr_t from,
                       uintptr_t to)
{
    uintptr_t first = from, last, run_from, run_to;
    while (first < to && !oracle_lost(oracle, first))
        first = next_page(oracle, first, to);
    for (last = first; last < to && oracle_lost(oracle, last);)
        last = next_page(oracle, last, to);
    CHECK(emmap_lost_find(lost, from, to, &run_from, &run_to) == (first < to));
    CHECK(first == to || (run_from == first && run_to == last));
}

static void check_all(struct emmap_lost *lost, const struct oracle *oracle)
{
    uintptr_t end = START + oracle->pages * oracle->page;
    int any = memchr(oracle->lost, 1, oracle->pages) != NULL;
    CHECK(!any || emmap_lost_any(lost));
    check_find(lost, oracle, START, end);
    for (int i = 0; i < 8; i++) {
        uintptr_t from = START + below(end - START + 1);
        check_find(lost, oracle, from, from + below(end - from + 1));
    }
}

static void mark_somewhere(struct emmap_lost *lost, struct oracle *oracle)
{
    uintptr_t address = START + below(oracle->pages * oracle->page), from = 0, to = 0;
    if (below(20) == 0) {
        address -= address % oracle->page;
        emmap_lost_mark_tail(lost, address);
        oracle_mark(oracle, address, UINTPTR_MAX);
    } else {
        CHECK(emmap_lost_mark_granule(lost, address, &from, &to) == 0);
        CHECK(from <= address && address < to && from % oracle->page == 0);
        CHECK(to % oracle->page == 0 || to == UINTPTR_MAX);
        oracle_mark(oracle, from, to);
    }
    CHECK(emmap_lost_any(lost) && emmap_lost_claim_report(lost));
    CHECK(!emmap_lost_claim_report(lost));
}

static void grow(struct emmap_lost *lost, struct oracle *oracle)
{
    size_t pages = oracle->pages + 1 + below(oracle->pages);
    oracle->lost = realloc(oracle->lost, pages);
    CHECK(oracle->lost != NULL);
    memset(oracle->lost + oracle->pages, oracle->beyond, pages - oracle->pages);
    oracle->pages = pages;
    atomic_store(&lost->filled, pages * oracle->page);
}

/* Takes the marks, loses more in between, and puts the old ones back or forgets them. */
static void take(struct emmap_lost *lost, struct oracle *oracle)
{
    struct oracle now = oracle_of(oracle->pages, oracle->page);
    struct emmap_lost taken;
    emmap_lost_take(lost, &taken);
    CHECK(!emmap_lost_any(lost));
    check_find(&taken, oracle, START, START + oracle->pages * oracle->page);
    if (below(4) == 0)
        grow(lost, &now);
    for (uint64_t n = below(3); n > 0; n--)
        mark_somewhere(lost, &now);
    check_all(lost, &now);
    if (below(2)) {
        struct emmap_granules *a = atomic_load(&lost->granules), *b = atomic_load(&taken.granules);
        if (a != NULL && b != NULL && a->bytes != b->bytes) /* too much is marked, never too little */
            oracle_mark(&now, START, UINTPTR_MAX);
        for (size_t i = 0; i < now.pages; i++)
            now.lost[i] |= i < oracle->pages ? oracle->lost[i] : oracle->beyond;
        now.beyond |= oracle->beyond;
        emmap_lost_put_back(lost, &taken);
    }
    emmap_lost_end(&taken);
    free(oracle->lost);
    *oracle = now;
    check_all(lost, oracle);
}

static void agrees_with_the_oracle(void)
{
    static const size_t sizes[] = {1, 2, 63, 64, 65, 1000, EMMAP_GRANULES - 1, EMMAP_GRANULES,
                                   EMMAP_GRANULES + 1, 100000};
    if (UNDER_TSAN)
        SKIP("it has one thread");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t page = 4096; page <= 65536; page *= 16) {
            struct oracle oracle = oracle_of(sizes[i], page);
            struct emmap_lost lost;
            emmap_lost_begin(&lost, START, oracle.pages * page, page);
            check_all(&lost, &oracle);
            for (int step = 0; step < 60; step++) {
                mark_somewhere(&lost, &oracle);
                check_all(&lost, &oracle);
                if (below(15) == 0)
                    take(&lost, &oracle);
                if (below(20) == 0 && oracle.pages < 300000)
                    grow(&lost, &oracle);
            }
            emmap_lost_end(&lost);
            free(oracle.lost);
        }
}

/* Single facts */

static void nothing_is_lost_at_first(void)
{
    struct emmap_lost lost;
    uintptr_t from, to;
    emmap_lost_begin(&lost, START, 1 << 20, 4096);
    CHECK(!emmap_lost_any(&lost) && !emmap_lost_claim_report(&lost));
    CHECK(!emmap_lost_find(&lost, START, START + (1 << 20), &from, &to));
    CHECK(!emmap_lost_find(&lost, START + 5, START + 5, &from, &to));
    emmap_lost_end(&lost);
}

/* A granule is a page where there are bits enough, and else as few pages as will do. */
static void granules_are_as_small_as_they_may(void)
{
    struct emmap_lost lost;
    uintptr_t from, to, run_from, run_to;
    for (int i = 0; i < 3000; i++) {
        size_t page = (size_t)4096 << below(10);
        size_t pages = 1 + below((uint64_t)1 << below(35)), end = START + pages * page;
        emmap_lost_begin(&lost, START, pages * page, page);
        CHECK(emmap_lost_mark_granule(&lost, START + below(page), &from, &to) == 0);
        CHECK(from == START && (to - from) % page == 0);
        CHECK((to - from) / page <= pages / EMMAP_GRANULES + 1);
        CHECK(emmap_lost_mark_granule(&lost, end - 1, &from, &to) == 0 && from < end && end <= to);
        CHECK(end - from <= 2 * (pages / EMMAP_GRANULES + 1) * page);
        CHECK(emmap_lost_find(&lost, end - 1, end, &run_from, &run_to) && run_to == end);
        emmap_lost_end(&lost);
    }
}

static void the_lowest_tail_counts(void)
{
    struct emmap_lost lost;
    uintptr_t from, to, end = START + 100 * 4096;
    emmap_lost_begin(&lost, START, 100 * 4096, 4096);
    emmap_lost_mark_tail(&lost, START + 50 * 4096);
    emmap_lost_mark_tail(&lost, START + 70 * 4096);
    CHECK(emmap_lost_find(&lost, START, end, &from, &to));
    CHECK(from == START + 50 * 4096 && to == end);
    emmap_lost_mark_tail(&lost, START + 10 * 4096);
    CHECK(emmap_lost_find(&lost, START, end, &from, &to) && from == START + 10 * 4096);
    emmap_lost_end(&lost);
}

static void the_bits_are_given_back(void)
{
    struct emmap_lost lost, taken;
    uintptr_t from, to;
    emmap_lost_begin(&lost, START, 1 << 20, 4096);
    emmap_lost_end(&lost); /* with no bits at all */
    for (int merged = 0; merged < 2; merged++) {
        emmap_lost_begin(&lost, START, 1 << 20, 4096);
        CHECK(emmap_lost_mark_granule(&lost, START, &from, &to) == 0);
        void *bits = atomic_load(&lost.granules);
        emmap_lost_take(&lost, &taken);
        CHECK(atomic_load(&lost.granules) == NULL && atomic_load(&taken.granules) == bits);
        if (merged)
            CHECK(emmap_lost_mark_granule(&lost, START + 8192, &from, &to) == 0);
        emmap_lost_put_back(&lost, &taken);
        CHECK((atomic_load(&lost.granules) == bits) == !merged && is_mapped(bits));
        emmap_lost_end(&taken);
        CHECK(is_mapped(bits) == !merged);
        bits = atomic_load(&lost.granules);
        emmap_lost_end(&lost);
        CHECK(!is_mapped(bits));
    }
}

/* Threads that lose pages at once: no mark is dropped, not even when two map the bits together. */

#define THREADS 4
#define ROUNDS 500 /* the threads meet when the bits are not there yet, once a round */
#define EACH 20

static struct emmap_lost common;
static pthread_barrier_t together;

static void *mark_many(void *number)
{
    size_t own = (size_t)(uintptr_t)number;
    uintptr_t from, to, run_from, run_to;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&together);
        for (size_t i = 0; i < EACH; i++) {
            uintptr_t address = START + (i * THREADS + own) * 4096;
            CHECK(emmap_lost_mark_granule(&common, address, &from, &to) == 0);
            CHECK(emmap_lost_any(&common));
            CHECK(emmap_lost_find(&common, address, address + 1, &run_from, &run_to));
        }
        emmap_lost_mark_tail(&common, START + (size_t)(9999 - own) * 4096);
        pthread_barrier_wait(&together);
    }
    return NULL;
}

static void threads_mark_at_once(void)
{
    pthread_t threads[THREADS];
    uintptr_t from, to, end = START + 10000 * 4096;
    pthread_barrier_init(&together, NULL, THREADS + 1);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, mark_many, (void *)(uintptr_t)i) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        emmap_lost_begin(&common, START, end - START, 4096);
        pthread_barrier_wait(&together);
        pthread_barrier_wait(&together);
        CHECK(emmap_lost_find(&common, START, end, &from, &to));
        CHECK(from == START && to == START + THREADS * EACH * 4096);
        CHECK(emmap_lost_find(&common, to, end, &from, &to) && from == end - THREADS * 4096);
        emmap_lost_end(&common);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(nothing_is_lost_at_first),
        TEST(granules_are_as_small_as_they_may),
        TEST(the_lowest_tail_counts),
        TEST(the_bits_are_given_back),
        TEST(agrees_with_the_oracle),
        TEST(threads_mark_at_once),
    };
    return RUN_TESTS(tests);
}
