#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

static size_t down(size_t n, size_t page)
{
    return n - n % page;
}

static size_t up(size_t n, size_t page)
{
    return down(n + page - 1, page);
}

static int answer(int rc)
{
    return rc == 0 ? 0 : -errno;
}

static int map_at(unsigned char *address, size_t length, int prot, int flags, int fd, off_t offset)
{
    void *got = mmap(address, length, prot, flags, fd, offset);
    if (got == MAP_FAILED)
        return -errno;
    if (got != address) {
        munmap(got, length);
        return -EEXIST;
    }
    return 0;
}

int emmap_bury(void *start, size_t span, int replace)
{
    return map_at(start, span, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                      (replace ? MAP_FIXED : MAP_FIXED_NOREPLACE),
                  -1, 0);
}

/* Maps [from, to) of the mapping at `base`, of which [0, backed) has a file behind it. */
static int map_part(const struct emmap_pages *pages, unsigned char *base, size_t from, size_t to,
                    int fixed, int fd, off_t offset, size_t backed)
{
    size_t middle = backed < from ? from : backed > to ? to : backed;
    int rc = 0;
    if (middle > from)
        rc = map_at(base + from, middle - from, pages->prot, pages->flags | fixed, fd,
                    offset + (off_t)from);
    if (rc == 0 && to > middle) {
        rc = map_at(base + middle, to - middle, pages->prot, pages->flags | fixed | MAP_ANONYMOUS,
                    -1, 0);
        if (rc != 0 && middle > from)
            munmap(base + from, middle - from);
    }
    return rc;
}

/* Protection or advice may have split the pages into several kernel mappings, which mremap does not
 * grow together. So a shared file is mapped anew, and private pages are copied. */
static int copy_and_grow(struct emmap_pages *pages, size_t span, int fd, off_t offset,
                         size_t backed, unsigned char **moved)
{
    unsigned char *target =
        mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (target == MAP_FAILED)
        return -errno;
    int rc = map_part(pages, target, 0, span, MAP_FIXED, fd, offset, backed);
    if (rc == 0 && (pages->flags & MAP_TYPE) == MAP_PRIVATE) {
        if (mprotect(pages->base, pages->span, PROT_READ) != 0 ||
            mprotect(target, pages->span, PROT_READ | PROT_WRITE) != 0)
            rc = -errno;
        else /* SAFETY: both ranges are ours for `span` bytes, and the caller knows of no view. */
            memcpy(target, pages->base, pages->span);
        if (rc == 0 && mprotect(target, pages->span, pages->prot) != 0)
            rc = -errno;
    }
    if (rc != 0) {
        munmap(target, span);
        return rc;
    }
    munmap(pages->base, pages->span);
    *moved = target;
    return 0;
}

static int move_and_grow(struct emmap_pages *pages, size_t span, int fd, off_t offset,
                         size_t backed)
{
    size_t anonymous_from = backed > pages->span ? backed : pages->span;
    unsigned char *moved = mremap(pages->base, pages->span, span, MREMAP_MAYMOVE);
    int rc = 0;
    if (moved == MAP_FAILED) {
        rc = copy_and_grow(pages, span, fd, offset, backed, &moved);
        if (rc != 0)
            return rc;
    } else if (fd >= 0 && span > anonymous_from) {
        rc = map_part(pages, moved, anonymous_from, span, MAP_FIXED, fd, offset, backed);
        if (rc != 0) {
            munmap(moved + pages->span, span - pages->span);
            span = pages->span;
        }
    }
    pages->base = moved;
    pages->span = span;
    emmap_guard_move(pages->guard, moved, span);
    return rc;
}

int emmap_pages_resize(struct emmap_pages *pages, size_t span, int may_move, int fd, off_t offset,
                       size_t backed)
{
    if (span < pages->span) {
        emmap_guard_resize(pages->guard, span);
        /* SAFETY: the caller has made sure that there are no views. */
        if (munmap(pages->base + span, pages->span - span) != 0) {
            int rc = -errno;
            emmap_guard_resize(pages->guard, pages->span);
            return rc;
        }
        pages->span = span;
        return 0;
    }
    if (span == pages->span)
        return 0;
    int rc = map_part(pages, pages->base, pages->span, span, MAP_FIXED_NOREPLACE, fd, offset,
                      backed);
    if (rc == 0) {
        pages->span = span;
        emmap_guard_resize(pages->guard, span);
        return 0;
    }
    return rc == -EEXIST && may_move ? move_and_grow(pages, span, fd, offset, backed) : rc;
}

int emmap_pages_repair(struct emmap_pages *pages, int fd, off_t offset, size_t backed)
{
    struct emmap_lost *lost = &pages->guard->lost, before;
    uintptr_t base = (uintptr_t)pages->base, end = base + pages->span, from, to;
    int rc = 0;

    for (uintptr_t at = base; emmap_lost_find(lost, at, end, &from, &to); at = to)
        if (to - base > backed)
            return -ENXIO;
    /* The marks go before the zeros do: a page that is lost again meanwhile gets a new mark, which
     * stays. At worst it marks a page that is well again, never the other way round. */
    emmap_lost_take(lost, &before);
    emmap_guard_wait(pages->guard);
    for (uintptr_t at = base; rc == 0 && emmap_lost_find(&before, at, end, &from, &to); at = to)
        /* SAFETY: a lost run lies inside the mapping; zeros of the guard are what is replaced. */
        rc = map_at((unsigned char *)from, to - from, pages->prot, pages->flags | MAP_FIXED, fd,
                    offset + (off_t)(from - base));
    if (rc != 0)
        emmap_lost_put_back(lost, &before);
    emmap_lost_end(&before);
    return rc;
}

int emmap_pages_protect(struct emmap_pages *pages, size_t start, size_t stop, int prot)
{
    start = down(start, pages->page);
    stop = up(stop, pages->page);
    if (mprotect(pages->base + start, stop - start, prot) != 0)
        return -errno;
    atomic_fetch_or(&pages->guard->prot, prot);
    return 0;
}

int emmap_pages_flush(struct emmap_pages *pages, size_t start, size_t stop, int flags, int fd,
                      off_t offset)
{
    start = down(start, pages->page);
    stop = up(stop, pages->page);
    if (msync(pages->base + start, stop - start, flags) != 0)
        return -errno;
    /* Linux does nothing for MS_ASYNC: the pages are known to be dirty. This starts the writing. */
    if ((flags & MS_ASYNC) && fd >= 0 && (pages->flags & MAP_TYPE) == MAP_SHARED)
        sync_file_range(fd, offset + (off_t)start, (off_t)(stop - start), SYNC_FILE_RANGE_WRITE);
    return 0;
}

/* MADV_DONTNEED only drops pages of a shared mapping, which the file still has. */
static int destroys(const struct emmap_pages *pages, int advice)
{
    return advice == MADV_FREE || advice == MADV_REMOVE ||
           (advice == MADV_DONTNEED && (pages->flags & MAP_TYPE) == MAP_PRIVATE);
}

int emmap_pages_advise(struct emmap_pages *pages, size_t start, size_t stop, int advice)
{
    if (destroys(pages, advice)) {
        start = up(start, pages->page);
        stop = down(stop, pages->page);
        if (start >= stop)
            return 0;
    } else {
        start = down(start, pages->page);
        stop = up(stop, pages->page);
    }
    if (madvise(pages->base + start, stop - start, advice) != 0)
        return -errno;
    /* The fork handler must know which pages a child does not have. Part of them counts as all. */
    if (advice == MADV_DONTFORK)
        atomic_store(&pages->guard->forked_away, 1);
    if (advice == MADV_DOFORK && start == 0 && stop == pages->span)
        atomic_store(&pages->guard->forked_away, 0);
    return 0;
}

int emmap_pages_populate(struct emmap_pages *pages, size_t start, size_t stop, int write)
{
    start = down(start, pages->page);
    stop = up(stop, pages->page);
    unsigned char *at = pages->base + start, *end = pages->base + stop;
    if (write) {
        if (madvise(at, stop - start, MADV_POPULATE_WRITE) == 0)
            return 0;
        if (errno != EINVAL && errno != EFAULT)
            return -errno;
        /* Before Linux 5.14, or with a lost page, which the guard shall see. Adding no bit makes a
         * page writable without a change that another process could see. */
        for (; at < end; at += pages->page)
            atomic_fetch_or((_Atomic(unsigned char) *)at, 0);
    } else {
        /* Not MADV_POPULATE_READ: a touch brings in the cached pages around it too, which makes it
         * three times as fast. The disk is asked for all of them beforehand. */
        madvise(at, stop - start, MADV_WILLNEED);
        for (; at < end; at += pages->page)
            (void)*(volatile unsigned char *)at;
    }
    return 0;
}

int emmap_pages_pin(struct emmap_pages *pages, size_t start, size_t stop, int pinned)
{
    start = down(start, pages->page);
    stop = up(stop, pages->page);
    return answer(pinned ? mlock(pages->base + start, stop - start)
                         : munlock(pages->base + start, stop - start));
}

int emmap_pages_evict(struct emmap_pages *pages, size_t start, size_t stop, int fd, off_t offset)
{
    start = down(start, pages->page);
    stop = up(stop, pages->page);
    unsigned char *at = pages->base + start;
    if ((pages->flags & MAP_TYPE) == MAP_PRIVATE) /* drops what is the file's, swaps what is ours */
        return answer(madvise(at, stop - start, MADV_PAGEOUT));
    if (msync(at, stop - start, MS_SYNC) != 0 || madvise(at, stop - start, MADV_DONTNEED) != 0)
        return -errno;
    if (fd >= 0)
        return -posix_fadvise(fd, offset + (off_t)start, (off_t)(stop - start),
                              POSIX_FADV_DONTNEED);
    return answer(madvise(at, stop - start, MADV_PAGEOUT));
}

int emmap_file_grow(int fd, off_t from, off_t to)
{
    static const char zeros[1 << 16];
    off_t at = from;
    /* Not posix_fallocate: where the filesystem cannot, glibc writes into the file behind our back. */
    int rc = answer(fallocate(fd, 0, from, to - from));
    if (rc == -EOPNOTSUPP)
        for (rc = 0; rc == 0 && at < to;) {
            size_t n = to - at < (off_t)sizeof zeros ? (size_t)(to - at) : sizeof zeros;
            ssize_t written = pwrite(fd, zeros, n, at);
            if (written >= 0)
                at += written;
            else if (errno != EINTR)
                rc = -errno;
        }
    /* A disk that fills up half-way leaves a file that is half-way longer. */
    if (rc != 0 && ftruncate(fd, from) != 0)
        return -errno;
    return rc;
}

int emmap_file_page(int fd, size_t *page)
{
    struct statfs filesystem;
    if (fstatfs(fd, &filesystem) != 0)
        return -errno;
    *page = filesystem.f_type == HUGETLBFS_MAGIC ? (size_t)filesystem.f_bsize
                                                 : (size_t)sysconf(_SC_PAGESIZE);
    return 0;
}
