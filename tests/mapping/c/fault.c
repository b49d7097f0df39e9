/* Lost pages: what the guard puts there, what it marks, and whose pages it leaves alone. */
#define _GNU_SOURCE
#include "check.h"
#include "single.h"

#include <sys/resource.h>

/* Truncation */

static void a_truncated_page_reads_zeros_and_is_marked(void)
{
    size_t page = page_size(), from, to;
    int fd = memory_file(4 * page);
    struct emmap_pages pages = map_shared(fd, 4 * page);
    CHECK(peek(pages.base + 3 * page + 7) == content(3 * page + 7));
    CHECK(ftruncate(fd, page + 1) == 0);
    CHECK(!emmap_lost_any(&pages.guard->lost)); /* nobody has looked yet */

    CHECK(peek(pages.base + 2 * page + 9) == 0);
    CHECK(emmap_lost_any(&pages.guard->lost));
    CHECK(emmap_lost_claim_report(&pages.guard->lost));
    CHECK(!emmap_lost_claim_report(&pages.guard->lost));
    CHECK(lost_run(&pages, 0, 4 * page, &from, &to) && from == 2 * page && to == 4 * page);

    CHECK(peek(pages.base) == content(0) && peek(pages.base + page) == content(page));
    CHECK(peek(pages.base + page + 1) == 0); /* the zeros behind a file's end are no loss */
    CHECK(!is_lost(&pages, 0) && !is_lost(&pages, 2 * page - 1));
    poke(pages.base + 3 * page, 5);
    CHECK(peek(pages.base + 3 * page) == 5);
    CHECK(emmap_pages_unmap(&pages) == 0);
}

static void a_store_to_a_truncated_page_is_caught_too(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_shared(fd, 2 * page);
    CHECK(ftruncate(fd, 0) == 0);
    errno = 1234;
    poke(pages.base + page, 7);
    CHECK(errno == 1234);
    CHECK(peek(pages.base + page) == 7 && is_lost(&pages, page) && !is_lost(&pages, 0));
}

static void the_whole_tail_is_one_patch(void)
{
    size_t page = page_size(), span = 3000 * page;
    int fd = memory_file(span);
    struct emmap_pages pages = map_shared(fd, span);
    CHECK(ftruncate(fd, page) == 0);
    for (size_t back = page; back < span; back += 7 * page) /* from behind: the tail grows */
        CHECK(peek(pages.base + span - back) == 0);
    CHECK(peek(pages.base + page) == 0 && peek(pages.base) == content(0));
    CHECK(kernel_mappings(pages.base, span) == 2);
    CHECK(atomic_load(&pages.guard->lost.granules) == NULL);
}

static void zeros_have_the_protection_of_the_mapping(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_pages(fd, 2 * page, PROT_READ, MAP_SHARED);
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(peek(pages.base) == 0 && kernel_mappings(pages.base, 2 * page) == 1);
    CHECK(emmap_pages_protect(&pages, 0, page, PROT_READ | PROT_WRITE) == 0);
    poke(pages.base, 1);
    CHECK(ftruncate(fd, 2 * page) == 0 && emmap_pages_repair(&pages, fd, 0, 2 * page) == 0);
    CHECK(emmap_pages_protect(&pages, 0, page, PROT_READ | PROT_WRITE) == 0);
    CHECK(ftruncate(fd, 0) == 0);
    poke(pages.base, 2); /* what was allowed once is allowed on the zeros */
    CHECK(peek(pages.base) == 2 && is_lost(&pages, 0));
}

/* Single pages, inside the file */

static void a_single_lost_page_is_lost_alone(void)
{
    size_t page = page_size(), span = 100 * page, from, to;
    struct emmap_pages pages = map_without_page(span, 40);
    CHECK(peek(pages.base + 41 * page) == 1 && !emmap_lost_any(&pages.guard->lost));
    CHECK(peek(pages.base + 40 * page + 5) == 0);
    CHECK(lost_run(&pages, 0, span, &from, &to) && from == 40 * page && to == 41 * page);
    for (size_t i = 0; i < 100; i++)
        CHECK(peek(pages.base + i * page) == (i != 40) && is_lost(&pages, i * page) == (i == 40));
    CHECK(atomic_load(&pages.guard->lost.tail) == UINTPTR_MAX);

    unsigned char resident;
    void *granules = atomic_load(&pages.guard->lost.granules);
    CHECK(mincore(granules, 1, &resident) == 0);
    CHECK(emmap_pages_unmap(&pages) == 0 && mincore(granules, 1, &resident) != 0);
}

static void a_lost_first_or_last_page_spares_the_others(void)
{
    size_t page = page_size(), span = 5 * page;
    struct emmap_pages first = map_without_page(span, 0), last = map_without_page(span, 4);
    CHECK(peek(first.base) == 0 && peek(last.base + 4 * page) == 0);
    for (size_t i = 0; i < 5; i++) {
        CHECK(is_lost(&first, i * page) == (i == 0) && peek(first.base + i * page) == (i != 0));
        CHECK(is_lost(&last, i * page) == (i == 4) && peek(last.base + i * page) == (i != 4));
    }
}

/* In a mapping with more pages than bits, neighbours are lost together. */
static void a_large_mapping_loses_a_granule(void)
{
    size_t page = page_size(), span = ((size_t)3 * EMMAP_GRANULES - 1) * page, at = 7 * page;
    struct emmap_pages pages = map_without_page(span, 7);
    CHECK(peek(pages.base + at) == 0);
    for (size_t i = 5; i < 10; i++) {
        int gone = i >= 6 && i < 9;
        CHECK(is_lost(&pages, i * page) == gone && peek(pages.base + i * page) == !gone);
    }
}

/* Where the kernel has no room for one more mapping, the whole is lost rather than the process. */
static void a_full_table_of_kernel_mappings_loses_all(void)
{
    size_t page = page_size(), from, to;
    unsigned long limit = 0;
    if (UNDER_TSAN)
        SKIP("ThreadSanitizer itself needs further kernel mappings");
    FILE *setting = fopen("/proc/sys/vm/max_map_count", "r");
    if (setting == NULL || fscanf(setting, "%lu", &limit) != 1 || limit > 200000)
        SKIP("vm.max_map_count is unknown, or too many to reach");
    fclose(setting);
    int fd = memory_file(page);
    unsigned char *range = mmap(NULL, 4 * page, PROT_READ, MAP_SHARED, fd, 0);
    struct emmap_pages pages = {.base = range, .page = page};
    CHECK(range != MAP_FAILED);
    /* A patch in the middle of the kernel's mapping needs two more; one from its start needs one. */
    CHECK(emmap_guard_begin(&pages.guard, range, 3 * page, page, PROT_READ) == 0);
    char *filler = mmap(NULL, 2 * limit * page, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(filler != MAP_FAILED);
    for (size_t i = 1; mprotect(filler + i * page, page, PROT_READ) == 0; i += 2)
        CHECK(i < 2 * limit);
    CHECK(peek(range + 2 * page) == 0);
    CHECK(lost_run(&pages, 0, 3 * page, &from, &to) && from == 0 && to == 3 * page);
    CHECK(peek(range) == 0);
}

/* Where much memory is refused, zeros for the page that is touched will do. */
static void a_limit_on_memory_leaves_room_for_a_page(void)
{
    size_t page = page_size(), span = 4096 * page;
    struct rlimit limit = {64 * page, 64 * page};
    int fd = memory_file(page);
    CHECK(ftruncate(fd, (off_t)span) == 0);
    struct emmap_pages pages = map_shared(fd, span);
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        SKIP("root is not limited, and cannot become somebody else here");
    CHECK(ftruncate(fd, 0) == 0 && setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (mlockall(MCL_FUTURE) != 0)
        SKIP("this user may not pin memory");
    CHECK(peek(pages.base + 5 * page) == 0 && is_lost(&pages, 5 * page));
    CHECK(peek(pages.base + span - 1) == 0 && is_lost(&pages, span - 1));
}

/* A page that may not be read looks lost to a probe, and must not be taken for that. */
static void pages_that_may_not_be_read_are_spared(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    struct emmap_pages pages = map_pages(fd, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    CHECK(emmap_pages_resize(&pages, 4 * page, 1, fd, 0, 2 * page) == 0);
    poke(pages.base + 3 * page, 99); /* no file can take this away */
    CHECK(emmap_pages_protect(&pages, 2 * page, 4 * page, PROT_NONE) == 0);
    CHECK(ftruncate(fd, 0) == 0 && peek(pages.base) == 0);
    CHECK(emmap_pages_protect(&pages, 2 * page, 4 * page, PROT_READ) == 0);
    CHECK(peek(pages.base + 3 * page) == 99 && !is_lost(&pages, 3 * page));
}

/* Whose pages they are */

static unsigned char *unguarded;

static void touch_unguarded(void)
{
    peek(unguarded);
}

static void pages_of_others_still_kill(void)
{
    size_t page = page_size();
    int fd = memory_file(3 * page);
    unsigned char *range = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(range != MAP_FAILED && ftruncate(fd, 0) == 0);
    struct emmap_guard *guard;
    CHECK(emmap_guard_begin(&guard, range + page, page, page, PROT_READ) == 0);
    unguarded = range + page - 1;
    CHECK(dies_of_sigbus(touch_unguarded));
    unguarded = range + 2 * page;
    CHECK(dies_of_sigbus(touch_unguarded));
    unguarded = range + 2 * page - 1;
    CHECK(succeeds(touch_unguarded));
    emmap_guard_end(guard);
    CHECK(dies_of_sigbus(touch_unguarded));
}

static void an_area_can_shrink_and_move(void)
{
    size_t page = page_size();
    int fd = memory_file(4 * page);
    unsigned char *range = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(range != MAP_FAILED && ftruncate(fd, 0) == 0);
    struct emmap_guard *guard;
    CHECK(emmap_guard_begin(&guard, range, 2 * page, page, PROT_READ) == 0);
    unguarded = range + page;
    CHECK(succeeds(touch_unguarded));
    emmap_guard_resize(guard, page);
    CHECK(dies_of_sigbus(touch_unguarded));
    emmap_guard_resize(guard, 3 * page);
    CHECK(succeeds(touch_unguarded));
    emmap_guard_move(guard, range + 2 * page, 2 * page);
    CHECK(dies_of_sigbus(touch_unguarded));
    unguarded = range + 3 * page;
    CHECK(succeeds(touch_unguarded));
}

static void many_mappings_are_guarded_at_once(void)
{
    enum { MANY = 300 };
    static struct emmap_pages pages[MANY];
    size_t page = page_size();
    for (int again = 0; again < 3; again++) {
        int fd = memory_file(2 * page);
        for (int i = 0; i < MANY; i++)
            pages[i] = map_shared(fd, 2 * page);
        CHECK(ftruncate(fd, page) == 0);
        for (int i = again; i < MANY; i += 2) {
            CHECK(peek(pages[i].base + page) == 0 && peek(pages[i].base) == content(0));
            CHECK(is_lost(&pages[i], page) && !is_lost(&pages[i], 0));
        }
        for (int i = 0; i < MANY; i++) {
            CHECK(emmap_lost_any(&pages[i].guard->lost) == (i >= again && (i - again) % 2 == 0));
            CHECK(emmap_pages_unmap(&pages[i]) == 0 && pages[i].guard == NULL);
        }
        close(fd);
    }
}

static void the_probe_tells_and_changes_nothing(void)
{
    size_t page = page_size();
    sigset_t before, after;
    int fd = memory_file(page);
    unsigned char *range = mmap(NULL, 3 * page, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(range != MAP_FAILED && munmap(range + 2 * page, page) == 0);
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &before) == 0);
    errno = 1234;
    CHECK(emmap_probe(range) == 0 && emmap_probe(range + page) == -EFAULT);
    CHECK(emmap_probe(range + 2 * page) == -EFAULT && errno == 1234);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &after) == 0);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

/* Fork */

static struct emmap_pages inherited;

static void child_reads_lost_pages(void)
{
    size_t page = inherited.page;
    CHECK(!emmap_lost_any(&inherited.guard->lost));
    CHECK(peek(inherited.base + page) == 0 && is_lost(&inherited, page) && !is_lost(&inherited, 0));
    CHECK(peek(inherited.base) == content(0));
    CHECK(emmap_pages_unmap(&inherited) == 0);
}

static void a_child_has_its_own_losses(void)
{
    size_t page = page_size();
    int fd = memory_file(2 * page);
    inherited = map_shared(fd, 2 * page);
    CHECK(ftruncate(fd, page) == 0);
    CHECK(succeeds(child_reads_lost_pages));
    CHECK(!emmap_lost_any(&inherited.guard->lost));
}

static void child_reads_zeros(void)
{
    CHECK(is_lost(&inherited, 0) && emmap_lost_claim_report(&inherited.guard->lost));
    for (size_t at = 0; at < inherited.span; at += inherited.page)
        CHECK(is_lost(&inherited, at) && peek(inherited.base + at) == 0);
    CHECK(emmap_pages_unmap(&inherited) == 0);
}

static void child_reads_the_file(void)
{
    CHECK(!emmap_lost_any(&inherited.guard->lost) && peek(inherited.base) == content(0));
}

static void pages_kept_from_a_child_are_lost_there(void)
{
    size_t page = page_size();
    int fd = memory_file(3 * page);
    inherited = map_shared(fd, 3 * page);
    CHECK(emmap_pages_advise(&inherited, 0, 3 * page, MADV_DONTFORK) == 0);
    CHECK(succeeds(child_reads_zeros));
    CHECK(!emmap_lost_any(&inherited.guard->lost) && peek(inherited.base) == content(0));
    CHECK(emmap_pages_advise(&inherited, 0, 3 * page, MADV_DOFORK) == 0);
    CHECK(succeeds(child_reads_the_file));
    CHECK(emmap_pages_advise(&inherited, page, page + 1, MADV_DONTFORK) == 0);
    CHECK(succeeds(child_reads_zeros)); /* a part counts as all */
    CHECK(emmap_pages_advise(&inherited, 0, page, MADV_DOFORK) == 0);
    CHECK(succeeds(child_reads_zeros));
    CHECK(emmap_pages_unmap(&inherited) == 0);

    inherited = map_shared(fd, 3 * page); /* the same entry of the table starts afresh */
    CHECK(succeeds(child_reads_the_file));
}

/* A child made while a handler was at work must not wait for a thread that it does not have. */
static void child_ends_the_guard(void)
{
    CHECK(atomic_load(&inherited.guard->users) == 0);
    CHECK(emmap_pages_unmap(&inherited) == 0);
}

static void a_child_waits_for_no_handler_of_its_parent(void)
{
    size_t page = page_size();
    int fd = memory_file(page);
    inherited = map_shared(fd, page);
    atomic_store(&inherited.guard->users, 2); /* as if two threads were in the handler */
    CHECK(succeeds(child_ends_the_guard));
    CHECK(atomic_load(&inherited.guard->users) == 2);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(a_truncated_page_reads_zeros_and_is_marked),
        TEST(a_store_to_a_truncated_page_is_caught_too),
        TEST(the_whole_tail_is_one_patch),
        TEST(zeros_have_the_protection_of_the_mapping),
        TEST(a_single_lost_page_is_lost_alone),
        TEST(a_lost_first_or_last_page_spares_the_others),
        TEST(a_large_mapping_loses_a_granule),
        TEST(a_full_table_of_kernel_mappings_loses_all),
        TEST(a_limit_on_memory_leaves_room_for_a_page),
        TEST(pages_that_may_not_be_read_are_spared),
        TEST(pages_of_others_still_kill),
        TEST(an_area_can_shrink_and_move),
        TEST(many_mappings_are_guarded_at_once),
        TEST(the_probe_tells_and_changes_nothing),
        TEST(a_child_has_its_own_losses),
        TEST(pages_kept_from_a_child_are_lost_there),
        TEST(a_child_waits_for_no_handler_of_its_parent),
    };
    return RUN_TESTS(tests);
}
