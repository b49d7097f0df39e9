/* The length of a file: space on the disk, all or nothing, by one process at a time. */
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

static off_t length_of(int fd)
{
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    return status.st_size;
}

static off_t space_of(int fd)
{
    struct stat status;
    CHECK(fstat(fd, &status) == 0);
    return (off_t)status.st_blocks * 512;
}

static int grow(int fd, off_t to)
{
    off_t step = 1 << 30, before;
    int lock = emmap_length_open(fd), rc;
    if (lock < 0)
        return lock;
    rc = emmap_length_grow(lock, to, 1, &step, &before);
    close(lock);
    return rc;
}

static void a_file_grows_with_space_on_the_disk(void)
{
    int fd = memory_file(10);
    CHECK(grow(fd, 3 << 20) == 0 && length_of(fd) == 3 << 20 && space_of(fd) >= 3 << 20);
    struct emmap_pages pages = map_shared(fd, page_size());
    CHECK(peek(pages.base + 9) == content(9) && peek(pages.base + 10) == 0);
    CHECK(grow(fd, 5) == 0 && length_of(fd) == 3 << 20); /* never shorter */
}

static void space_alone_moves_no_end(void)
{
    off_t step = 1 << 30, before = 0;
    int fd = memory_file(10);
    CHECK(emmap_length_grow(fd, 3 << 20, 0, &step, &before) == 0 && before == 10);
    CHECK(length_of(fd) == 10 && space_of(fd) >= 3 << 20);
    CHECK(emmap_length_shrink(fd, 10, 10) == 0 && space_of(fd) < 1 << 20); /* and it is given back */
}

static void a_file_that_cannot_grow_is_as_it_was(void)
{
    struct rlimit limit = {8192, 8192};
    int fd = memory_file(5000), directory = open("/", O_RDONLY), null = open("/dev/null", O_RDWR);
    off_t space = space_of(fd);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(grow(fd, 1 << 20) == -EFBIG && length_of(fd) == 5000 && space_of(fd) == space);
    CHECK(grow(fd, 8192) == 0 && length_of(fd) == 8192);
    CHECK(grow(12345, 10) == -EBADF);
    CHECK(directory >= 0 && grow(directory, 10) == -EINVAL);
    CHECK(null >= 0 && grow(null, 10) == -EINVAL && emmap_length_shrink(null, 0, 10) == -EINVAL);
}

static void a_sealed_file_does_not_grow(void)
{
    int fd = memfd_create("emmap test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && ftruncate(fd, 100) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    CHECK(grow(fd, 200) == -EPERM && length_of(fd) == 100);
}

static void a_file_shrinks_unless_it_is_longer_by_now(void)
{
    int fd = memory_file(5000);
    CHECK(emmap_length_shrink(fd, 100, 4999) == 0 && length_of(fd) == 5000);
    CHECK(emmap_length_shrink(fd, 100, 5000) == 0 && length_of(fd) == 100);
    CHECK(emmap_length_shrink(fd, 200, INT64_MAX) == 0 && length_of(fd) == 100);
}

/* One at a time */

static int growth_is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = EMMAP_GROWTH_BYTE,
                         .l_len = 1};
    int other = emmap_file_open_again(fd, O_RDWR);
    CHECK(other >= 0 && fcntl(other, F_OFD_GETLK, &lock) == 0 && close(other) == 0);
    return lock.l_type != F_UNLCK;
}

static int lock_growth(int fd)
{
    int lock = emmap_length_open(fd);
    CHECK(lock >= 0 && emmap_length_lock(lock) == 0 && growth_is_locked(fd));
    return lock;
}

static void growth_excludes_others(void)
{
    int fd = memory_file(10), lock = lock_growth(fd), pipes[2];
    char told = 0;
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(grow(fd, 100) == 0 && write(pipes[1], "x", 1) == 1);
        _exit(0);
    }
    struct pollfd waits = {.fd = pipes[0], .events = POLLIN};
    CHECK(poll(&waits, 1, 50) == 0); /* what fails here fails sometimes, what is right never does */
    emmap_length_unlock(lock);
    CHECK(read(pipes[0], &told, 1) == 1 && waitpid(child, NULL, 0) == child);
    CHECK(!growth_is_locked(fd) && length_of(fd) == 100);
}

static void a_child_does_not_keep_growth_locked(void)
{
    int fd = memory_file(10), lock = lock_growth(fd);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    emmap_length_unlock(lock);
    CHECK(!growth_is_locked(fd));
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void a_strangers_lock_does_not_stop_growth(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = memory_file(10);
    CHECK(fcntl(fd, F_SETLK, &all) == 0);
    CHECK(grow(fd, 100) == 0 && length_of(fd) == 100);
}

static void ignore(int signal_number)
{
    (void)signal_number;
}

static void waiting_for_growth_ends_at_a_signal(void)
{
    struct sigaction action = {.sa_handler = ignore};
    struct itimerval soon = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}};
    int fd = memory_file(10), lock = lock_growth(fd);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(grow(fd, 100) == -EINTR && length_of(fd) == 10);
    CHECK(growth_is_locked(fd));
    emmap_length_unlock(lock);
}

static void signals_that_never_stop_do_not_stop_growth(void)
{
    struct sigaction action = {.sa_handler = ignore};
    struct itimerval often = {.it_value = {.tv_usec = 500}, .it_interval = {.tv_usec = 500}};
    off_t step = 1 << 30, before;
    int fd = memory_file(10), rc = -EINTR;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (rc == -EINTR)
        rc = emmap_length_grow(fd, 64 << 20, 1, &step, &before);
    CHECK(rc == 0 && length_of(fd) == 64 << 20 && before == 10);
}

int main(void)
{
    static const struct test tests[] = {
        TEST(a_file_grows_with_space_on_the_disk),
        TEST(space_alone_moves_no_end),
        TEST(a_file_that_cannot_grow_is_as_it_was),
        TEST(a_sealed_file_does_not_grow),
        TEST(a_file_shrinks_unless_it_is_longer_by_now),
        TEST(growth_excludes_others),
        TEST(a_child_does_not_keep_growth_locked),
        TEST(a_strangers_lock_does_not_stop_growth),
        TEST(waiting_for_growth_ends_at_a_signal),
        TEST(signals_that_never_stop_do_not_stop_growth),
    };
    return RUN_TESTS(tests);
}
