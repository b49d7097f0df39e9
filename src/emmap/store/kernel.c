/* The system calls of a store, as Linux has them. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int size_of(int fd, uint64_t *bytes)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    *bytes = (uint64_t)now.st_size;
    return 0;
}

static int identity_of(int fd, uint64_t *device, uint64_t *inode)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    *device = now.st_dev;
    *inode = now.st_ino;
    return 0;
}

static ssize_t write_at(int fd, const void *bytes, size_t n, off_t offset)
{
    ssize_t rc;
    do
        rc = pwrite(fd, bytes, n, offset);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : rc;
}

/* Where the filesystem cannot be asked for space: what lies before the file's end has it, or never will. */
static int write_zeros(int fd, off_t from, off_t to)
{
    static const char zeros[1 << 16];
    while (from < to) {
        size_t n = to - from < (off_t)sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        ssize_t written = write_at(fd, zeros, n, from);
        if (written < 0)
            return (int)written;
        from += written;
    }
    return 0;
}

/* Signals that come all the time must not keep it from ever being done: it asks for less at once then. */
#define LEAST_STEP ((off_t)1 << 20)

static int grow(int fd, off_t offset, off_t n)
{
    uint64_t before;
    int rc = size_of(fd, &before);
    off_t at = offset, to = offset + n, step = n;
    while (rc == 0 && at < to) {
        off_t now = to - at < step ? to - at : step;
        if (fallocate(fd, 0, at, now) == 0)
            at += now;
        else if (errno == EINTR)
            step = step / 2 > LEAST_STEP ? step / 2 : LEAST_STEP;
        else if (errno == EOPNOTSUPP)
            return write_zeros(fd, at > (off_t)before ? at : (off_t)before, to);
        else
            rc = -errno;
    }
    return rc;
}

/* All or nothing: a disk that is full gets back what was taken behind the old end. */
static int grow_or_give_back(int fd, off_t offset, off_t n)
{
    uint64_t before, now;
    int rc = size_of(fd, &before);
    if (rc != 0)
        return rc;
    rc = grow(fd, offset, n);
    if (rc != 0 && size_of(fd, &now) == 0 && now > before && ftruncate(fd, (off_t)before) != 0)
        return rc;              /* what is lost is space on a disk that fails */
    return rc;
}

static int flush(int fd)
{
    int rc;
    do
        rc = fdatasync(fd);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : -errno;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int boot_of(unsigned char id[16])
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    int digits = 0;
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        int value = digit(text[i]);
        if (value < 0)
            continue;
        id[digits / 2] = (unsigned char)(digits % 2 == 0 ? value << 4 : id[digits / 2] | value);
        digits++;
    }
    return digits == 32 ? 0 : -EIO;
}

static int random_bytes(void *bytes, size_t n)
{
    unsigned char *at = bytes;
    while (n != 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
    return 0;
}

const struct emmap_kernel emmap_linux = {
    .fallocate = grow_or_give_back,
    .pwrite = write_at,
    .fdatasync = flush,
    .size = size_of,
    .identity = identity_of,
    .boot = boot_of,
    .random = random_bytes,
};
