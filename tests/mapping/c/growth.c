/* Room to grow, and files that grow by one process at a time. */
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>

#define ROOM ((size_t)1 << 36) /* more would not fit beside the thread sanitizer */

static int holds(struct emmap_pages *pages, size_t start, size_t stop, unsigned char value)
{
    for (size_t i = start; i < stop; i++)
        if (peek(pages->base + i) != value)
            return 0;
    return 1;
}

static int growth_is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = EMMAP_GROWTH_BYTE,
                         .l_len = 1};
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int other = open(name, O_RDWR);
    CHECK(other >= 0 && fcntl(other, F_OFD_GETLK, &lock) == 0 && close(other) == 0);
    return lock.l_type != F_UNLCK;
}

static void growth_excludes_others(void)
{
    int fd = memory_file(10), lock = emmap_growth_begin(fd), pipes[2];
    char told = 0;
    CHECK(lock >= 0 && growth_is_locked(fd) && pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        int theirs = emmap_growth_begin(fd);
        CHECK(theirs >= 0 && write(pipes[1], "x", 1) == 1);
        _exit(0);
    }
    struct pollfd waits = {.fd = pipes[0], .events = POLLIN};
    CHECK(poll(&waits, 1, 50) == 0); /* what fails here fails sometimes, what is right never does */
    emmap_growth_end(lock);
    CHECK(read(pipes[0], &told, 1) == 1 && waitpid(child, NULL, 0) == child);
    CHECK(!growth_is_locked(fd)); /* a process that ends lets go */
}

static void a_child_does_not_keep_growth_locked(void)
{
    int fd = memory_file(10), lock = emmap_growth_begin(fd);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    emmap_growth_end(lock);
    CHECK(!growth_is_locked(fd));
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void a_strangers_lock_does_not_stop_growth(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = memory_file(10);
    CHECK(fcntl(fd, F_SETLK, &all) == 0);
    int lock = emmap_growth_begin(fd);
    CHECK(lock >= 0);
    emmap_growth_end(lock);
}

static void ignore(int signal_number)
{
    (void)signal_number;
}

static void waiting_for_growth_ends_at_a_signal(void)
{
    struct sigaction action = {.sa_handler = ignore};
    struct itimerval soon = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}};
    int fd = memory_file(10), lock = emmap_growth_begin(fd);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(emmap_growth_begin(fd) == -EINTR);
    emmap_growth_end(lock);
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
    CHECK(emmap_file_extend(fd, (off_t)page, (off_t)(3 * page)) == 0);
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

static void pages_are_replaced_in_place(void)
{
    int fd = memory_file(page_size()), other = memory_file(page_size());
    CHECK(pwrite(other, "!", 1, 0) == 1);
    struct emmap_pages pages = map_shared(fd, page_size());
    CHECK(emmap_pages_replace(&pages, other, 0) == 0 && peek(pages.base) == '!');
    CHECK(emmap_pages_replace(&pages, -1, 0) == -EBADF && peek(pages.base) == '!');
}

int main(void)
{
    static const struct test tests[] = {
        TEST(growth_excludes_others),
        TEST(a_child_does_not_keep_growth_locked),
        TEST(a_strangers_lock_does_not_stop_growth),
        TEST(waiting_for_growth_ends_at_a_signal),
        TEST(bytes_past_the_end_are_there_once_the_file_has_them),
        TEST(scarce_addresses_halve_the_room),
        TEST(a_tail_is_lost_up_to_what_was_known),
        TEST(shortening_clears),
        TEST(pages_are_replaced_in_place),
    };
    return RUN_TESTS(tests);
}
