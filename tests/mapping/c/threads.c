/* The guard under threads: several fault at once, while others begin and end mappings of their own. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

#define READERS 4
#define OTHERS 2
#define ROUNDS 150
#define PAGES 16

static struct emmap_pages common;
static pthread_barrier_t together;
static _Atomic(int) stop;

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

/* The promise to all who read mapped bytes: zeros that the file does not hold are known as such. */
static void read_all(struct emmap_pages *pages, size_t first)
{
    size_t n = pages->span / pages->page;
    for (size_t i = 0; i < n; i++) {
        size_t at = (first + i) % n * pages->page;
        unsigned char byte = peek(pages->base + at);
        CHECK(byte == content(at) || (byte == 0 && emmap_lost_any(&pages->guard->lost)));
        CHECK(byte != 0 || is_lost(pages, at));
    }
}

/* Begins and ends guards all the time; some of the mappings lose a page. Their addresses and their
 * entries of the table are used again at once, by the other thread too. */
static void *map_and_unmap(void *number)
{
    size_t page = page_size(), own = (size_t)(uintptr_t)number;
    for (size_t i = own; !atomic_load(&stop); i++) {
        int fd = memory_file(2 * page);
        struct emmap_pages pages = map_shared(fd, 2 * page);
        if (i % 3)
            CHECK(ftruncate(fd, page) == 0);
        read_all(&pages, i % 2);
        CHECK(emmap_lost_any(&pages.guard->lost) == (i % 3 != 0));
        CHECK(emmap_pages_unmap(&pages) == 0);
        close(fd);
    }
    return NULL;
}

static void *read_truncated(void *number)
{
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&together);
        read_all(&common, 3 * (size_t)(uintptr_t)number);
        pthread_barrier_wait(&together);
    }
    return NULL;
}

static void write_content(int fd, size_t pages)
{
    for (size_t at = 0; at < pages * page_size(); at += page_size()) {
        unsigned char byte = content(at);
        CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
    }
}

static void readers_see_no_zero_without_a_mark(void)
{
    size_t page = page_size(), span = PAGES * page;
    pthread_t readers[READERS], others[OTHERS];
    int fd = memory_file(span);
    common = map_shared(fd, span);
    pthread_barrier_init(&together, NULL, READERS + 1);
    for (uintptr_t i = 0; i < READERS; i++)
        readers[i] = start(read_truncated, (void *)i);
    for (uintptr_t i = 0; i < OTHERS; i++)
        others[i] = start(map_and_unmap, (void *)i);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&together);
        CHECK(ftruncate(fd, (off_t)((size_t)round % PAGES * page)) == 0); /* while they read */
        pthread_barrier_wait(&together);
        CHECK(ftruncate(fd, (off_t)span) == 0);
        write_content(fd, PAGES);
        CHECK(emmap_pages_repair(&common, fd, 0, span) == 0);
        CHECK(!emmap_lost_any(&common.guard->lost));
        for (size_t at = 0; at < span; at += page)
            CHECK(peek(common.base + at) == content(at));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
    for (int i = 0; i < OTHERS; i++)
        CHECK(pthread_join(others[i], NULL) == 0);
}

/* Repair while others read: what is lost anew meanwhile keeps its mark. */
static void *read_until_stopped(void *number)
{
    for (size_t i = (size_t)(uintptr_t)number; !atomic_load(&stop); i++)
        peek(common.base + i % PAGES * common.page);
    return NULL;
}

static void repair_forgets_no_new_loss(void)
{
    size_t page = page_size(), span = PAGES * page;
    pthread_t readers[READERS];
    int fd = memory_file(span);
    common = map_shared(fd, span);
    for (uintptr_t i = 0; i < READERS; i++)
        readers[i] = start(read_until_stopped, (void *)i);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(ftruncate(fd, 0) == 0);
        if (round % 3 == 0) /* the file is still too short: every page is lost again */
            CHECK(emmap_pages_repair(&common, fd, 0, span) == 0);
        else
            sched_yield();
        for (size_t at = 0; at < span; at += page)
            CHECK(peek(common.base + at) == 0 ? is_lost(&common, at) : !is_lost(&common, at));
        CHECK(ftruncate(fd, (off_t)span) == 0);
        write_content(fd, PAGES);
        CHECK(emmap_pages_repair(&common, fd, 0, span) == 0);
        for (size_t at = 0; at < span; at += page)
            CHECK(peek(common.base + at) == content(at) || is_lost(&common, at));
        CHECK(emmap_pages_repair(&common, fd, 0, span) == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
}

/* The table grows, and its entries change hands, under several threads. */
static void *begin_and_end_many(void *range)
{
    enum { MANY = 100 };
    struct emmap_guard *guards[MANY];
    size_t page = page_size();
    unsigned char *own = range; /* never touched, never lost; another address for each thread */
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < MANY; i++)
            CHECK(emmap_guard_begin(&guards[i], own + i, page, page, PROT_READ) == 0);
        for (int i = 0; i < MANY; i++) {
            CHECK(atomic_load(&guards[i]->state) == EMMAP_LIVE);
            CHECK(atomic_load(&guards[i]->start) == (uintptr_t)(own + i));
        }
        for (int i = 0; i < MANY; i++)
            emmap_guard_end(guards[i]);
    }
    return NULL;
}

static void entries_are_given_to_one_thread_only(void)
{
    static unsigned char ranges[READERS][1 << 16];
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = start(begin_and_end_many, ranges[i]);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* A child made while other threads fault has a guard that works, and waits for none of them. */
static void child_uses_the_guard(void)
{
    for (size_t at = 0; at < common.span; at += common.page)
        peek(common.base + at);
    CHECK(emmap_pages_unmap(&common) == 0);
    int fd = memory_file(common.page);
    struct emmap_pages pages = map_shared(fd, common.page);
    CHECK(ftruncate(fd, 0) == 0 && peek(pages.base) == 0 && is_lost(&pages, 0));
    CHECK(emmap_pages_unmap(&pages) == 0);
}

static void children_come_while_threads_fault(void)
{
    pthread_t readers[READERS];
    size_t span = PAGES * page_size();
    int fd = memory_file(span);
    common = map_shared(fd, span);
    for (uintptr_t i = 0; i < READERS; i++)
        readers[i] = start(read_until_stopped, (void *)i);
    for (int round = 0; round < 20; round++) {
        CHECK(ftruncate(fd, 0) == 0);
        CHECK(succeeds(child_uses_the_guard));
        CHECK(ftruncate(fd, (off_t)span) == 0);
        CHECK(emmap_pages_repair(&common, fd, 0, span) == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], NULL) == 0);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(readers_see_no_zero_without_a_mark),
        TEST(repair_forgets_no_new_loss),
        TEST(entries_are_given_to_one_thread_only),
        TEST(children_come_while_threads_fault),
    };
    return RUN_TESTS(tests);
}
