/* What is asked of the kernel between a mapping's beginning and its end: rounding, errors, sizes. */
#define _GNU_SOURCE
#include "check.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int holds_content(struct emmap_pages *pages, size_t start, size_t stop, size_t offset)
{
    for (size_t i = start; i < stop; i++)
        if (peek(pages->base + i) != content(offset + i))
            return 0;
    return 1;
}

static int holds(struct emmap_pages *pages, size_t start, size_t stop, unsigned char value)
{
    for (size_t i = start; i < stop; i++)
        if (peek(pages->base + i) != value)
            return 0;
    return 1;
}

static int is_mapped(void *start, size_t span)
{
    unsigned char resident[64];
    CHECK(span / page_size() <= sizeof resident);
    return mincore(start, span, resident) == 0;
}

/* "r", "rw" ...: how the kernel protects the page at an address. */
static int is_protected(void *address, const char *expected)
{
    size_t from, to;
    char line[512], protection[5];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%zx-%zx %4s", &from, &to, protection) == 3 &&
            from <= (size_t)address && (size_t)address < to) {
            fclose(maps);
            return strncmp(protection, expected, strlen(expected)) == 0;
        }
    CHECK(!"mapped");
    return 0;
}

static off_t file_length(int fd)
{
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    return status.st_size;
}

/* A page that is not ours right behind a mapping, so that it cannot grow where it is. */
static void stand_in_the_way(struct emmap_pages *pages)
{
    void *behind = pages->base + pages->span;
    void *got = mmap(behind, pages->page, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(got == behind || errno == EEXIST);
}

/* A mapping with free addresses behind it, so that it can grow where it is. */
static struct emmap_pages map_with_room(int fd, size_t span, size_t room, int prot, int flags)
{
    struct emmap_pages pages = pages_of(span, prot, flags);
    char *free_range = mmap(NULL, span + room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(free_range != MAP_FAILED && munmap(free_range, span + room) == 0);
    CHECK(emmap_pages_map(&pages, free_range, 0, fd, 0) == 0);
    return pages;
}

/* Mapping and unmapping */

static void maps_a_part_of_a_file(void)
{
    size_t page = page_size();
    int fd = memory_file(5 * page);
    struct emmap_pages pages = pages_of(2 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
    CHECK(emmap_pages_map(&pages, NULL, 0, fd, (off_t)(3 * page)) == 0);
    CHECK(holds_content(&pages, 0, 2 * page, 3 * page));
    unsigned char byte = 77, *base = pages.base;
    poke(base + page + 3, byte);
    CHECK(pread(fd, &byte, 1, (off_t)(4 * page + 3)) == 1 && byte == 77);
    CHECK(emmap_pages_unmap(&pages) == 0 && pages.base == NULL && pages.span == 0);
    CHECK(!is_mapped(base, page));
}

static void what_cannot_be_mapped_leaves_nothing(void)
{
    size_t page = page_size();
    int fd = memory_file(page);
    struct emmap_pages pages = pages_of(page, PROT_READ, MAP_SHARED);
    CHECK(emmap_pages_map(&pages, NULL, 0, fd, 1) == -EINVAL);
    CHECK(emmap_pages_map(&pages, NULL, 0, 12345, 0) == -EBADF);
    pages.span = (size_t)1 << 60;
    CHECK(emmap_pages_map(&pages, NULL, 0, -1, 0) == -ENOMEM);
    CHECK(pages.base == NULL && pages.guard == NULL);
}

static void a_fixed_address_replaces_only_when_asked(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages reserved = map_pages(-1, 4 * page, PROT_NONE, MAP_PRIVATE);
    struct emmap_pages placed = pages_of(2 * page, PROT_READ, MAP_SHARED);
    CHECK(emmap_pages_map(&placed, reserved.base + page, 0, fd, 0) == -EEXIST);
    CHECK(is_protected(reserved.base + page, "---"));
    CHECK(emmap_pages_map(&placed, reserved.base + page, 1, fd, 0) == 0);
    CHECK(placed.base == reserved.base + page && holds_content(&placed, 0, 2 * page, 0));
    CHECK(emmap_pages_return(&placed) == 0 && placed.base == NULL && placed.guard == NULL);
    for (size_t at = 0; at < 4 * page; at += page)
        CHECK(is_protected(reserved.base + at, "---p"));
    CHECK(emmap_pages_unmap(&reserved) == 0);
}

static void buried_addresses_read_zeros_and_stay_taken(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page);
    unsigned char *base = pages.base;
    CHECK(ftruncate(fd, 0) == 0);
    emmap_pages_end_guard(&pages);
    emmap_pages_end_guard(&pages); /* twice is once */
    CHECK(emmap_bury(base, 2 * page, 0) == -EEXIST);
    CHECK(emmap_bury(base, 2 * page, 1) == 0 && holds(&pages, 0, 2 * page, 0));
    poke(base + page, 9);
    CHECK(munmap(base, page) == 0 && emmap_bury(base, page, 0) == 0);
    CHECK(peek(base) == 0 && peek(base + page) == 9);
}

/* Size */

static void grows_in_place(void)
{
    size_t page = page_size();
    int fd = memory_file(4 * page);
    struct emmap_pages pages = map_with_room(fd, page, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
    unsigned char *base = pages.base;
    CHECK(emmap_pages_resize(&pages, 4 * page, 0, fd, 0, 4 * page) == 0);
    CHECK(pages.base == base && pages.span == 4 * page && holds_content(&pages, 0, 4 * page, 0));
    CHECK(emmap_pages_resize(&pages, 4 * page, 0, fd, 0, 4 * page) == 0); /* the same: nothing */
    CHECK(ftruncate(fd, (off_t)(3 * page)) == 0);
    CHECK(peek(base + 3 * page) == 0 && is_lost(&pages, 3 * page));
}

static void stays_or_moves_when_something_is_in_the_way(void)
{
    size_t page = page_size();
    int fd = memory_file(4 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page);
    unsigned char *base = pages.base;
    stand_in_the_way(&pages);
    CHECK(emmap_pages_resize(&pages, 4 * page, 0, fd, 0, 4 * page) == -EEXIST);
    CHECK(pages.base == base && pages.span == 2 * page && holds_content(&pages, 0, 2 * page, 0));
    CHECK(emmap_pages_resize(&pages, 4 * page, 1, fd, 0, 4 * page) == 0);
    CHECK(pages.base != base && pages.span == 4 * page && holds_content(&pages, 0, 4 * page, 0));
    CHECK(!is_mapped(base, page));
    CHECK(ftruncate(fd, (off_t)page) == 0);
    CHECK(peek(pages.base + page) == 0 && is_lost(&pages, page) && !is_lost(&pages, 0));
    CHECK(emmap_pages_unmap(&pages) == 0);
}

static void moves_with_mixed_protections(void)
{
    size_t page = page_size();
    for (int private = 0; private < 2; private++) {
        int fd = memory_file(6 * page);
        struct emmap_pages pages = map_pages(fd, 3 * page, PROT_READ | PROT_WRITE,
                                             private ? MAP_PRIVATE : MAP_SHARED);
        unsigned char *base = pages.base;
        poke(pages.base + 5, 200);
        CHECK(emmap_pages_protect(&pages, page, page + 1, PROT_READ) == 0);
        CHECK(emmap_pages_protect(&pages, 2 * page, 3 * page, PROT_NONE) == 0);
        stand_in_the_way(&pages);
        CHECK(emmap_pages_resize(&pages, 5 * page, 1, fd, 0, 6 * page) == 0);
        CHECK(pages.base != base && !is_mapped(base, page));
        CHECK(emmap_pages_protect(&pages, 0, 5 * page, PROT_READ) == 0);
        CHECK(peek(pages.base + 5) == 200);
        CHECK(holds_content(&pages, 6, 5 * page, 0));
        CHECK(emmap_pages_unmap(&pages) == 0);
        close(fd);
    }
}

static void private_pages_grow_past_the_file(void)
{
    size_t page = page_size();
    for (int moving = 0; moving < 2; moving++) {
        int fd = memory_file(page + 10);
        struct emmap_pages pages =
            map_with_room(fd, page, moving ? page : 6 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        poke(pages.base, 201);
        if (moving)
            stand_in_the_way(&pages);
        for (size_t n = 3; n <= 5; n += 2) { /* then again, with two kinds of pages */
            CHECK(emmap_pages_resize(&pages, n * page, 1, fd, 0, 2 * page) == 0);
            CHECK(peek(pages.base) == 201 && holds_content(&pages, 1, page + 10, 0));
            CHECK(holds(&pages, page + 10, (n - 1) * page, 0));
            CHECK(holds(&pages, (n - 1) * page, n * page, 0));
            poke(pages.base + 2 * page, (unsigned char)n);
            poke(pages.base + 2 * page, 0);
            if (moving)
                stand_in_the_way(&pages);
        }
        CHECK(file_length(fd) == (off_t)page + 10);
        CHECK(emmap_pages_unmap(&pages) == 0);
        close(fd);
    }
}

static void anonymous_pages_grow_and_keep_their_bytes(void)
{
    size_t page = page_size();
    struct emmap_pages pages = map_pages(-1, page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (size_t n = 2; n < 40; n *= 2) {
        poke(pages.base + pages.span - 1, (unsigned char)n);
        stand_in_the_way(&pages);
        CHECK(emmap_pages_resize(&pages, n * page, 1, -1, 0, 0) == 0);
        for (size_t k = 2; k <= n; k *= 2)
            CHECK(peek(pages.base + k / 2 * page - 1) == k);
        CHECK(holds(&pages, n / 2 * page, n * page, 0));
    }
}

static void shrinks_and_gives_the_addresses_back(void)
{
    size_t page = page_size();
    int fd = memory_file(4 * page);
    struct emmap_pages pages = map_shared(fd, 4 * page);
    CHECK(emmap_pages_resize(&pages, page, 0, fd, 0, 4 * page) == 0);
    CHECK(pages.span == page && holds_content(&pages, 0, page, 0));
    CHECK(!is_mapped(pages.base + page, page));
    CHECK(atomic_load(&pages.guard->end) == (uintptr_t)pages.base + page);
}

static void growth_that_fails_changes_nothing(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page), before = pages;
    stand_in_the_way(&pages);
    CHECK(emmap_pages_resize(&pages, (size_t)1 << 60, 1, fd, 0, (size_t)1 << 60) == -ENOMEM);
    CHECK(memcmp(&pages, &before, sizeof pages) == 0 && holds_content(&pages, 0, 2 * page, 0));
    CHECK(ftruncate(fd, 0) == 0 && peek(pages.base) == 0 && is_lost(&pages, 0));
}

/* Repair */

static void repair_brings_the_file_back(void)
{
    size_t page = page_size(), from, to;
    int fd = memory_file(4 * page);
    struct emmap_pages pages = map_shared(fd, 4 * page);
    CHECK(ftruncate(fd, (off_t)page) == 0 && peek(pages.base + 2 * page) == 0);
    CHECK(emmap_pages_repair(&pages, fd, 0, 2 * page) == -ENXIO); /* not all is there again */
    CHECK(lost_run(&pages, 0, 4 * page, &from, &to) && from == 2 * page && to == 4 * page);
    poke(pages.base + 2 * page, 3);
    CHECK(ftruncate(fd, (off_t)(4 * page)) == 0 && pwrite(fd, "abc", 3, (off_t)(3 * page)) == 3);
    CHECK(emmap_pages_repair(&pages, fd, 0, 4 * page) == 0);
    CHECK(!emmap_lost_any(&pages.guard->lost) && !emmap_lost_claim_report(&pages.guard->lost));
    CHECK(peek(pages.base + 2 * page) == 0 && memcmp(pages.base + 3 * page, "abc", 3) == 0);
    poke(pages.base + 3 * page, 'x');
    char byte;
    CHECK(pread(fd, &byte, 1, (off_t)(3 * page)) == 1 && byte == 'x');
    CHECK(kernel_mappings(pages.base, 4 * page) == 1);
    CHECK(emmap_pages_repair(&pages, fd, 0, 4 * page) == 0); /* nothing is lost: nothing to do */
}

static void repair_that_fails_keeps_the_marks(void)
{
    size_t page = page_size(), from, to;
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page);
    CHECK(ftruncate(fd, 0) == 0 && peek(pages.base + page) == 0);
    CHECK(emmap_pages_repair(&pages, 12345, 0, 2 * page) == -EBADF);
    CHECK(emmap_lost_any(&pages.guard->lost) && emmap_lost_claim_report(&pages.guard->lost));
    CHECK(lost_run(&pages, 0, 2 * page, &from, &to) && from == page && to == 2 * page);
    CHECK(peek(pages.base + page) == 0);
}

/* Ranges */

static void protects_each_page_that_is_touched(void)
{
    size_t page = page_size();
    struct emmap_pages pages = map_pages(-1, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    CHECK(emmap_pages_protect(&pages, 2 * page - 1, 2 * page + 1, PROT_READ) == 0);
    CHECK(is_protected(pages.base, "rw") && is_protected(pages.base + page, "r-"));
    CHECK(is_protected(pages.base + 2 * page, "r-") && is_protected(pages.base + 3 * page, "rw"));
    CHECK(emmap_pages_protect(&pages, 0, 4 * page, PROT_NONE) == 0);
    CHECK(is_protected(pages.base + 3 * page, "--"));
    CHECK(emmap_pages_protect(&pages, page, page, PROT_READ) == 0);
    CHECK(is_protected(pages.base + page, "--"));
}

static void refuses_a_right_that_the_file_does_not_give(void)
{
    size_t page = page_size();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory_file(page));
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    struct emmap_pages pages = map_pages(fd, page, PROT_READ, MAP_SHARED);
    CHECK(emmap_pages_protect(&pages, 0, page, PROT_READ | PROT_WRITE) == -EACCES);
    CHECK(pages.guard->prot == PROT_READ && is_protected(pages.base, "r-"));
}

static void flushes_any_range(void)
{
    static const int flags[] = {MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE, MS_INVALIDATE, 0};
    size_t page = page_size();
    int fd = memory_file(3 * page);
    struct emmap_pages pages = map_shared(fd, 3 * page);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        CHECK(emmap_pages_flush(&pages, page - 1, 2 * page + 1, flags[i], fd, 0) == 0);
        CHECK(emmap_pages_flush(&pages, 3 * page - 1, 3 * page, flags[i], -1, 0) == 0);
    }
    CHECK(emmap_pages_flush(&pages, 0, page, MS_SYNC | MS_ASYNC, fd, 0) == -EINVAL);
}

static void advice_that_destroys_spares_half_touched_pages(void)
{
    static const int advice[] = {MADV_DONTNEED, MADV_REMOVE};
    size_t page = page_size();
    for (int i = 0; i < 2; i++) {
        int remove = advice[i] == MADV_REMOVE, fd = memory_file(4 * page);
        struct emmap_pages pages = remove ? map_shared(fd, 4 * page)
                                          : map_pages(-1, 4 * page, PROT_READ | PROT_WRITE,
                                                      MAP_PRIVATE);
        memset(pages.base, 7, 4 * page);
        CHECK(emmap_pages_advise(&pages, 1, 2 * page - 1, advice[i]) == 0);
        CHECK(emmap_pages_advise(&pages, page + 1, page + 2, advice[i]) == 0);
        CHECK(holds(&pages, 0, 4 * page, 7)); /* no page was covered whole */
        CHECK(emmap_pages_advise(&pages, page - 1, 3 * page - 1, advice[i]) == 0);
        CHECK(holds(&pages, 0, page, 7) && holds(&pages, page, 2 * page, 0));
        CHECK(holds(&pages, 2 * page, 4 * page, 7));
        CHECK(emmap_pages_unmap(&pages) == 0);
        close(fd);
    }
}

static void other_advice_takes_each_page_that_is_touched(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page);
    CHECK(emmap_pages_advise(&pages, 0, 2 * page, MADV_DONTNEED) == 0); /* the file has the bytes */
    CHECK(holds_content(&pages, 0, 2 * page, 0));
    CHECK(emmap_pages_advise(&pages, page - 1, page + 1, MADV_RANDOM) == 0);
    CHECK(kernel_mappings(pages.base, 2 * page) == 1);
    CHECK(emmap_pages_advise(&pages, page, page + 1, MADV_NORMAL) == 0);
    CHECK(kernel_mappings(pages.base, 2 * page) == 2);
    CHECK(emmap_pages_advise(&pages, 0, page, 12345) == -EINVAL);
    CHECK(emmap_pages_advise(&pages, 0, page, MADV_FREE) == -EINVAL); /* shared pages */
}

static void populates(void)
{
    size_t page = page_size();
    unsigned char resident[3];
    struct emmap_pages pages = map_pages(-1, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    CHECK(emmap_pages_populate(&pages, 2 * page - 1, 2 * page + 1, 1) == 0);
    CHECK(mincore(pages.base, 3 * page, resident) == 0);
    CHECK(!(resident[0] & 1) && (resident[1] & 1) && (resident[2] & 1));
    CHECK(emmap_pages_populate(&pages, 0, 3 * page, 0) == 0 && holds(&pages, 0, 3 * page, 0));
}

static void populate_marks_a_lost_page(void)
{
    size_t page = page_size();
    for (int write = 0; write < 2 - UNDER_TSAN; write++) { /* its atomics hold locks in a fault */
        int fd = memory_file(3 * page);
        struct emmap_pages pages = map_shared(fd, 3 * page);
        CHECK(ftruncate(fd, (off_t)page) == 0);
        CHECK(emmap_pages_populate(&pages, 0, page, write) == 0);
        CHECK(!emmap_lost_any(&pages.guard->lost));
        int rc = emmap_pages_populate(&pages, 1, 3 * page, write);
        CHECK((rc == 0 || rc == -EFAULT) && is_lost(&pages, page) && !is_lost(&pages, 0));
        CHECK(holds_content(&pages, 0, page, 0) && file_length(fd) == (off_t)page);
        CHECK(emmap_pages_unmap(&pages) == 0);
        close(fd);
    }
}

static void pins_and_unpins(void)
{
    size_t page = page_size();
    struct rlimit none = {0, 0};
    if (UNDER_ASAN || UNDER_TSAN)
        SKIP("sanitizers do nothing for mlock");
    struct emmap_pages pages = map_pages(-1, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    unsigned char resident[2];
    if (emmap_pages_pin(&pages, page - 1, page + 1, 1) != 0)
        SKIP("this user may not pin memory");
    CHECK(mincore(pages.base, 2 * page, resident) == 0 && (resident[0] & resident[1] & 1));
    CHECK(emmap_pages_pin(&pages, 0, 2 * page, 0) == 0);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    int rc = emmap_pages_pin(&pages, 0, page, 1);
    CHECK(rc == -EPERM || rc == -ENOMEM || geteuid() == 0);
}

static void evicts_and_keeps_the_bytes(void)
{
    size_t page = page_size();
    FILE *file = tmpfile();
    CHECK(file != NULL);
    int fd = fileno(file);
    CHECK(ftruncate(fd, (off_t)(2 * page)) == 0);
    for (int known = 0; known < 2; known++) {
        struct emmap_pages pages = map_shared(fd, 2 * page);
        memset(pages.base, 5 + known, 2 * page);
        CHECK(emmap_pages_evict(&pages, 1, page + 1, known ? fd : -1, 0) == 0);
        CHECK(holds(&pages, 0, 2 * page, (unsigned char)(5 + known)));
        CHECK(emmap_pages_unmap(&pages) == 0);
    }
    struct emmap_pages pages = map_pages(fd, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    poke(pages.base, 8);
    int rc = emmap_pages_evict(&pages, 0, 2 * page, fd, 0);
    CHECK(rc == 0 || rc == -EINVAL); /* before Linux 5.4 */
    CHECK(peek(pages.base) == 8 && holds(&pages, 1, 2 * page, 6));
}

/* Files */

static void tells_the_filesystem(void)
{
    size_t page = 0;
    unsigned type = 0;
    int fd = memfd_create("memory", MFD_CLOEXEC), pipes[2];
    CHECK(emmap_file_system(fd, &page, &type) == 0);
    CHECK(type == TMPFS_MAGIC && page == (size_t)sysconf(_SC_PAGESIZE));
    CHECK(pipe(pipes) == 0 && emmap_file_system(pipes[0], &page, &type) == 0 &&
          type == PIPEFS_MAGIC);
    close(fd);
    CHECK(emmap_file_system(fd, &page, &type) == -EBADF);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(maps_a_part_of_a_file),
        TEST(what_cannot_be_mapped_leaves_nothing),
        TEST(a_fixed_address_replaces_only_when_asked),
        TEST(buried_addresses_read_zeros_and_stay_taken),
        TEST(grows_in_place),
        TEST(stays_or_moves_when_something_is_in_the_way),
        TEST(moves_with_mixed_protections),
        TEST(private_pages_grow_past_the_file),
        TEST(anonymous_pages_grow_and_keep_their_bytes),
        TEST(shrinks_and_gives_the_addresses_back),
        TEST(growth_that_fails_changes_nothing),
        TEST(repair_brings_the_file_back),
        TEST(repair_that_fails_keeps_the_marks),
        TEST(protects_each_page_that_is_touched),
        TEST(refuses_a_right_that_the_file_does_not_give),
        TEST(flushes_any_range),
        TEST(advice_that_destroys_spares_half_touched_pages),
        TEST(other_advice_takes_each_page_that_is_touched),
        TEST(populates),
        TEST(populate_marks_a_lost_page),
        TEST(pins_and_unpins),
        TEST(evicts_and_keeps_the_bytes),
        TEST(tells_the_filesystem),
    };
    return RUN_TESTS(tests);
}
