/* Room to grow: pages past the end of the file. */
#define _GNU_SOURCE
#include "check.h"

#include <sys/resource.h>

#define ROOM ((size_t)1 << 36) /* more would not fit beside the thread sanitizer */

static int holds(struct emmap_pages *pages, size_t start, size_t stop, unsigned char value)
{
    for (size_t i = start; i < stop; i++)
        if (peek(pages->base + i) != value)
            return 0;
    return 1;
}

/* Room to grow */

static struct emmap_pages reserve(int fd, size_t wish, size_t least)
{
    struct emmap_pages pages = {.span = wish, .page = page_size(), .prot = PROT_READ | PROT_WRITE,
                                .flags = (fd < 0 ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE};
    CHECK(emmap_pages_reserve(&pages, least, fd, 0) == 0);
    return pages;
}

static void bytes_past_the_end_are_there_once_the_file_has_them(void)
{
    size_t page = page_size();
    int fd = memory_file(page);
    struct emmap_pages pages = reserve(fd, ROOM, page);
    CHECK(pages.span == ROOM && peek(pages.base + page - 1) == content(page - 1));
    CHECK(ftruncate(fd, (off_t)(3 * page)) == 0);
    CHECK(pwrite(fd, "new", 3, (off_t)(2 * page)) == 3);
    CHECK(peek(pages.base + 2 * page) == 'n' && !emmap_lost_any(&pages.guard->lost));
}

static void scarce_addresses_halve_the_room(void)
{
    const size_t gib = (size_t)1 << 30;
    struct rlimit limit = {5 * gib, 5 * gib};
    if (UNDER_ASAN || UNDER_TSAN)
        SKIP("the sanitizer has more address space than the limit");
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    struct emmap_pages room = reserve(-1, 1024 * gib, page_size());
    CHECK(room.span == 4 * gib);
    CHECK(emmap_pages_unmap(&room) == 0);
    room = reserve(-1, 1024 * gib, 4 * gib + page_size()); /* never less than is needed now */
    CHECK(room.span == 4 * gib + page_size());
    struct emmap_pages small = reserve(-1, 1024 * gib, page_size());
    CHECK(small.span == page_size()); /* not even 1 GiB is left */
    CHECK(emmap_pages_unmap(&room) == 0);
    limit.rlim_cur = 0;
    room.span = 1024 * gib;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(emmap_pages_reserve(&room, page_size(), -1, 0) == -ENOMEM);
}

static void a_tail_is_lost_up_to_what_was_known(void)
{
    size_t page = page_size();
    int fd = memory_file(16 * page);
    uintptr_t from, to;
    struct emmap_pages pages = reserve(fd, ROOM, 16 * page);
    emmap_guard_fill(pages.guard, 16 * page);
    CHECK(ftruncate(fd, (off_t)page) == 0 && peek(pages.base + 8 * page) == 0);
    CHECK(emmap_lost_find(&pages.guard->lost, (uintptr_t)pages.base,
                          (uintptr_t)pages.base + pages.span, &from, &to));
    CHECK(from == (uintptr_t)pages.base + 8 * page && to == (uintptr_t)pages.base + pages.span);
    CHECK(ftruncate(fd, (off_t)(16 * page)) == 0 && pwrite(fd, "x", 1, (off_t)(8 * page)) == 1);
    CHECK(emmap_pages_repair(&pages, fd, 0, pages.span) == 0 && peek(pages.base + 8 * page) == 'x');
}

static void shortening_clears(void)
{
    size_t page = page_size();
    struct emmap_pages pages = reserve(-1, 64 * page, page);
    memset(pages.base, 7, 3 * page);
    CHECK(emmap_pages_shorten(&pages, page + 10) == 0);
    CHECK(holds(&pages, 0, page + 10, 7) && holds(&pages, page + 10, 3 * page, 0));
    memset(pages.base, 7, pages.span);
    CHECK(emmap_pages_shorten(&pages, pages.span - 1) == 0 && peek(pages.base + pages.span - 1) == 0);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(bytes_past_the_end_are_there_once_the_file_has_them),
        TEST(scarce_addresses_halve_the_room),
        TEST(a_tail_is_lost_up_to_what_was_known),
        TEST(shortening_clears),
    };
    return RUN_TESTS(tests);
}
