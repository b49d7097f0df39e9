/* The system calls of a store: files that grow, also where they cannot be asked to. Linked with
 * --wrap=fallocate. */
#define _GNU_SOURCE
#include "check.h"
#include "kernel.h"

int __real_fallocate(int fd, int mode, off_t offset, off_t n);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t n);
static int fails_with, fails_after, asked;

int __wrap_fallocate(int fd, int mode, off_t offset, off_t n)
{
    if (fails_with != 0 && asked++ >= fails_after) {
        /* A disk that becomes full has given some. */
        if (fails_with == ENOSPC)
            __real_fallocate(fd, mode, offset, n / 2);
        errno = fails_with;
        fails_with = fails_with == EINTR && asked > 30 ? 0 : fails_with;
        return -1;
    }
    return __real_fallocate(fd, mode, offset, n);
}

static void files_grow(void)
{
    uint64_t size;
    char seen[3];
    for (int way = 0; way < 3; way++) {
        /* A file that ends in the middle of what is asked for keeps its bytes. */
        int fd = memfd_create("grow", MFD_CLOEXEC);
        CHECK(pwrite(fd, "abc", 3, 70000) == 3);
        fails_with = way == 1 ? EOPNOTSUPP : way == 2 ? EINTR : 0;
        fails_after = asked = 0;
        CHECK(emmap_linux.fallocate(fd, 65536, 10 << 20) == 0);
        CHECK(emmap_linux.size(fd, &size) == 0 && size == 65536 + (10 << 20));
        CHECK(pread(fd, seen, 3, 70000) == 3 && memcmp(seen, "abc", 3) == 0);
        CHECK(pread(fd, seen, 3, 70003) == 3 && seen[0] == 0);
        CHECK(emmap_linux.fallocate(fd, 0, 65536) == 0);
        CHECK(emmap_linux.size(fd, &size) == 0 && size == 65536 + (10 << 20));
        close(fd);
    }
    /* On a full disk it is as it was. */
    int fd = memfd_create("full", MFD_CLOEXEC);
    CHECK(ftruncate(fd, 5000) == 0 && __real_fallocate(fd, 0, 0, 9000) == 0);
    fails_with = ENOSPC;
    fails_after = asked = 0;
    CHECK(emmap_linux.fallocate(fd, 4096, 1 << 20) == -ENOSPC);
    fails_with = 0;
    CHECK(emmap_linux.size(fd, &size) == 0 && size == 9000);
}

static void the_kernel_answers(void)
{
    unsigned char one[16], two[16];
    uint64_t size;
    CHECK(emmap_linux.boot(one) == 0 && emmap_linux.boot(two) == 0 && memcmp(one, two, 16) == 0);
    CHECK(emmap_linux.random(one, 16) == 0 && emmap_linux.random(two, 16) == 0 && memcmp(one, two, 16) != 0);
    CHECK(emmap_linux.fdatasync(-1) == -EBADF && emmap_linux.pwrite(-1, one, 1, 0) == -EBADF);
    CHECK(emmap_linux.fallocate(-1, 0, 1) == -EBADF && emmap_linux.size(-1, &size) == -EBADF);
}

static const struct test tests[] = {
    TEST(files_grow),
    TEST(the_kernel_answers),
};

int main(void)
{
    return RUN_TESTS(tests);
}
