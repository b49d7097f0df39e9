#define _GNU_SOURCE
#include "length.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int answer(int rc)
{
    return rc == 0 ? 0 : -errno;
}

static struct flock growth_byte(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = EMMAP_GROWTH_BYTE,
                          .l_len = 1};
}

int emmap_file_open_again(int fd, int flags)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return open(name, flags | O_CLOEXEC);
}

int emmap_length_open(int fd)
{
    int lock = emmap_file_open_again(fd, O_RDWR);
    if (lock < 0)
        lock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return lock >= 0 ? lock : -errno;
}

int emmap_length_lock(int lock)
{
    for (;;) {
        struct flock request = growth_byte(F_WRLCK), other = growth_byte(F_WRLCK);
        int rc = answer(fcntl(lock, F_OFD_SETLK, &request));
        if (rc != -EAGAIN && rc != -EACCES)
            return 0; /* on a filesystem without locks we go on as well */
        rc = answer(fcntl(lock, F_OFD_GETLK, &other));
        if (rc == 0 && other.l_type == F_UNLCK)
            continue; /* it has just been let go */
        /* A lock over more than our byte is a stranger's, who has the whole file to himself (it may be
         * this very process). Nobody else of us can have the byte meanwhile, so we go on. */
        if (rc != 0 || other.l_start != EMMAP_GROWTH_BYTE || other.l_len != 1)
            return 0;
        request = growth_byte(F_WRLCK);
        if (fcntl(lock, F_OFD_SETLKW, &request) == 0)
            return 0;
        if (errno == EINTR)
            return -EINTR;
    }
}

void emmap_length_unlock(int lock)
{
    struct flock none = growth_byte(F_UNLCK);
    fcntl(lock, F_OFD_SETLK, &none);
}

/* The size of a file whose end can be moved: of a device it is 0, and means nothing. */
static int size_of(int fd, off_t *size)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    *size = now.st_size;
    return S_ISREG(now.st_mode) ? 0 : -EINVAL;
}

/* Ends the file where it ends, which gives back the space that was taken behind. */
static void give_space_back(int lock)
{
    off_t size = 0;
    if (size_of(lock, &size) == 0 && ftruncate(lock, size) != 0)
        return; /* what is lost is space on a disk that fails */
}

static int take_space(int lock, off_t from, off_t to, off_t *step)
{
    while (from < to) {
        off_t n = to - from < *step ? to - from : *step;
        int rc = answer(fallocate(lock, FALLOC_FL_KEEP_SIZE, from, n));
        if (rc == -EOPNOTSUPP)
            return 0;
        if (rc == -EINTR)
            *step = n / 2 > EMMAP_LEAST_STEP ? n / 2 : EMMAP_LEAST_STEP;
        if (rc != 0)
            return rc;
        from += n;
    }
    return 0;
}

static int extend(int lock, off_t from, off_t to)
{
    static const char zeros[1 << 16];
    off_t at = from;
    /* Not posix_fallocate: where the filesystem cannot, glibc writes into the file behind our back. */
    int rc = answer(fallocate(lock, 0, from, to - from));
    if (rc == -EOPNOTSUPP) {
        for (rc = 0; rc == 0 && at < to;) {
            size_t n = to - at < (off_t)sizeof zeros ? (size_t)(to - at) : sizeof zeros;
            ssize_t written = pwrite(lock, zeros, n, at);
            if (written >= 0)
                at += written;
            else if (errno != EINTR)
                rc = -errno;
        }
        /* A stranger who has written further than we wanted keeps it. */
        off_t now = 0;
        if (rc != 0 && size_of(lock, &now) == 0 && now <= to && ftruncate(lock, from) != 0)
            rc = -errno;
    }
    return rc;
}

int emmap_length_grow(int lock, off_t to, int publish, off_t *step, off_t *before)
{
    int rc = emmap_length_lock(lock);
    if (rc != 0)
        return rc;
    rc = size_of(lock, before);
    if (rc == 0 && *before < to) {
        rc = take_space(lock, *before, to, step);
        if (rc == 0 && publish)
            rc = extend(lock, *before, to);
        if (rc != 0 && rc != -EINTR) /* else it goes on from here */
            give_space_back(lock);
    }
    emmap_length_unlock(lock);
    return rc;
}

void emmap_length_give_back(int lock)
{
    struct flock request = growth_byte(F_WRLCK);
    if (fcntl(lock, F_OFD_SETLK, &request) != 0)
        return; /* whoever has it now will use the space, or give it back */
    give_space_back(lock);
    emmap_length_unlock(lock);
}

int emmap_length_shrink(int lock, off_t to, off_t unless_above)
{
    off_t size = 0;
    int rc = emmap_length_lock(lock);
    if (rc != 0)
        return rc;
    rc = size_of(lock, &size);
    if (rc == 0 && size <= unless_above)
        rc = answer(ftruncate(lock, size < to ? size : to));
    emmap_length_unlock(lock);
    return rc;
}
