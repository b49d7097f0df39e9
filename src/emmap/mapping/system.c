#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef FUSE_SUPER_MAGIC /* before Linux 5.10 */
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* Addresses that are taken, and hold nothing. */
#define RESERVED (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

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
        if (rc != 0 && middle > from && fixed != MAP_FIXED) /* else it lies in what is ours already */
            munmap(base + from, middle - from);
    }
    return rc;
}

/* Copies private pages, also such as may not be read. A lost one is -EFAULT here, and no signal. */
static int copy_private(const struct emmap_pages *pages, unsigned char *target)
{
    int rc = map_at(target, pages->span, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (memory < 0)
        return -errno;
    for (size_t at = 0; rc == 0 && at < pages->span;) {
        /* SAFETY: both ranges are ours for `span` bytes, and the caller knows of no view. */
        ssize_t n = pread(memory, target + at, pages->span - at, (off_t)(pages->base + at));
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            rc = n == 0 || errno == EIO ? -EFAULT : -errno;
    }
    close(memory);
    return rc == 0 ? answer(mprotect(target, pages->span, pages->prot)) : rc;
}

/* Builds the larger mapping in a reservation, and takes the last step when nothing can fail any more:
 * until then everything is as it was. */
static int move_and_grow(struct emmap_pages *pages, size_t span, int fd, off_t offset,
                         size_t backed)
{
    unsigned char *target = mmap(NULL, span, PROT_NONE, RESERVED, -1, 0);
    if (target == MAP_FAILED)
        return -errno;
    int rc = map_part(pages, target, pages->span, span, MAP_FIXED, fd, offset, backed);
    if (rc != 0) {
        munmap(target, span);
        return rc;
    }
    /* The guard ends before the addresses are given up: they may be somebody else's at once. */
    emmap_guard_retire(pages->guard);
    if (mremap(pages->base, pages->span, pages->span, MREMAP_MAYMOVE | MREMAP_FIXED, target) ==
        MAP_FAILED) {
        rc = -errno;
        emmap_guard_move(pages->guard, pages->base, pages->span);
        /* mremap unmaps its target before it looks: somebody else may be there by now. */
        if (map_at(target, pages->span, PROT_NONE, RESERVED | MAP_FIXED_NOREPLACE, -1, 0) != 0) {
            munmap(target + pages->span, span - pages->span);
            return -ENOMEM;
        }
        /* Protection or advice has split the pages into several kernel mappings, which do not move
         * together before Linux 6.17. So a shared file is mapped anew, and private pages are copied. */
        if (rc == -EFAULT)
            rc = (pages->flags & MAP_TYPE) == MAP_PRIVATE
                     ? copy_private(pages, target)
                     : map_part(pages, target, 0, pages->span, MAP_FIXED, fd, offset, backed);
        if (rc != 0) {
            munmap(target, span);
            return rc;
        }
        emmap_guard_retire(pages->guard);
        munmap(pages->base, pages->span);
    }
    pages->base = target;
    pages->span = span;
    emmap_guard_move(pages->guard, target, span);
    return 0;
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
    int rc = 0, prot = atomic_load(&pages->guard->prot);

    for (uintptr_t at = base; emmap_lost_find(lost, at, end, &from, &to); at = to)
        if (to - base > backed)
            return -ENXIO;
    /* The marks go before the zeros do: a page that is lost again meanwhile gets a new mark, which
     * stays. At worst it marks a page that is well again, never the other way round. */
    emmap_lost_take(lost, &before);
    emmap_guard_wait(pages->guard);
    emmap_lost_settle(lost);
    for (uintptr_t at = base; rc == 0 && emmap_lost_find(&before, at, end, &from, &to); at = to)
        /* SAFETY: a lost run lies inside the mapping; zeros of the guard are what is replaced. */
        rc = map_at((unsigned char *)from, to - from, prot, pages->flags | MAP_FIXED, fd,
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
    /* First, and for good: zeros that come in between must not have less than what is now granted. */
    int before = atomic_fetch_or(&pages->guard->prot, prot);
    if (!(prot & (PROT_READ | PROT_WRITE)))
        atomic_store(&pages->guard->unreadable, 1);
    emmap_guard_wait(pages->guard);
    if (mprotect(pages->base + start, stop - start, prot) == 0)
        return 0;
    atomic_store(&pages->guard->prot, before);
    return -errno;
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
    /* The fork handler must know which pages a child does not have, before a thread can fork. Part of
     * them counts as all. */
    int before = advice == MADV_DONTFORK ? atomic_exchange(&pages->guard->forked_away, 1) : 0;
    if (madvise(pages->base + start, stop - start, advice) != 0) {
        int rc = -errno;
        if (advice == MADV_DONTFORK)
            atomic_store(&pages->guard->forked_away, before);
        return rc;
    }
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
        /* Before Linux 5.14, or with a lost page, which the guard shall see. Putting a byte in its own
         * place makes a page writable without a change that another process could see. (An `or` of no
         * bits does too; but clang knows that it changes nothing, and leaves it out.) */
        for (; at < end; at += pages->page)
            for (unsigned char was = *(volatile unsigned char *)at;
                 !atomic_compare_exchange_weak((_Atomic(unsigned char) *)at, &was, was);)
                ;
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

int emmap_pages_shorten(struct emmap_pages *pages, size_t length)
{
    size_t clean = up(length, pages->page);
    unsigned char *rest = pages->base + clean;
    /* SAFETY: the caller knows of no view, may write the last page, and `length` bytes lie inside. */
    if (clean < pages->span && madvise(rest, pages->span - clean, MADV_DONTNEED) != 0) {
        if (errno != EINVAL) /* else they are pinned */
            return -errno;
        munlock(rest, pages->span - clean);
        if (madvise(rest, pages->span - clean, MADV_DONTNEED) != 0)
            return -errno;
    }
    memset(pages->base + length, 0, clean - length);
    return 0;
}

int emmap_file_look(int fd, struct emmap_file *file)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    file->device = now.st_dev;
    file->inode = now.st_ino;
    file->size = now.st_size;
    file->changed = now.st_ctim.tv_sec * INT64_C(1000000000) + now.st_ctim.tv_nsec;
    return 0;
}

int emmap_file_may_be_copied_up(int fd)
{
    struct statfs filesystem;
    return fstatfs(fd, &filesystem) == 0 && filesystem.f_type == OVERLAYFS_SUPER_MAGIC &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

int emmap_file_show_copy(struct emmap_pages *pages, int fd, off_t offset, struct emmap_file *file)
{
    struct statfs filesystem;
    struct emmap_file now;
    int again = emmap_file_open_again(fd, O_RDONLY);
    if (again < 0)
        return -errno;
    int rc = fstatfs(again, &filesystem) != 0 ? -errno : emmap_file_look(again, &now);
    if (rc == 0 && filesystem.f_type != OVERLAYFS_SUPER_MAGIC)
        rc = -ESTALE;
    /* SAFETY: the pages are ours, and the new ones begin with the same bytes: who reads meanwhile finds
     * one or the other. */
    if (rc == 0)
        rc = map_at(pages->base, pages->span, pages->prot, pages->flags | MAP_FIXED, again, offset);
    if (rc == 0 && dup3(again, fd, O_CLOEXEC) < 0) /* whoever maps it anew shall not get the old one */
        rc = -errno;
    if (rc == 0)
        *file = now;
    close(again);
    return rc;
}

int emmap_file_system(int fd, size_t *page, unsigned *type)
{
    struct statfs filesystem = {.f_type = FUSE_SUPER_MAGIC};
    if (fstatfs(fd, &filesystem) != 0 && errno != ENOSYS) /* only a program does not implement it */
        return -errno;
    *type = (unsigned)filesystem.f_type;
    *page = *type == HUGETLBFS_MAGIC ? (size_t)filesystem.f_bsize : (size_t)sysconf(_SC_PAGESIZE);
    return 0;
}
