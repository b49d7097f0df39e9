/* Every request to the kernel that concerns mapped pages, and nothing of Python.
 *
 * map.c begins and ends a mapping and so needs the guard's table; system.c does all between and has no
 * state, so it is linked into each module that wants it.
 *
 * Offsets and lengths are in bytes from the mapping's first page and may be odd: each function says
 * which way it rounds. All return 0 or -errno.
 */
#ifndef EMMAP_SYSTEM_H
#define EMMAP_SYSTEM_H

#include "fault.h"
#include "length.h"

#include <sys/types.h>

/* Constants that the headers of an older system lack; the running kernel answers EINVAL then. */
#include <sys/mman.h>
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86 only */
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_KEEPONFORK
#define MADV_KEEPONFORK 19
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* The pages of one mapping. `span` 0 means that nothing is mapped (an empty file). */
struct emmap_pages {
    unsigned char *base;
    size_t span;                /* bytes, whole pages */
    size_t page;                /* bytes in a page; more than sysconf's with MAP_HUGETLB */
    int prot;                   /* what mmap was asked for, joined with all that mprotect added */
    int flags;
    struct emmap_guard *guard;
};

/* Maps `span` bytes from `offset` of `fd` (-1: anonymous). `address` NULL lets the kernel choose; else
 * exactly there, and where something is in the way: -EEXIST, or it is replaced when `replace` is set. */
int emmap_pages_map(struct emmap_pages *pages, void *address, int replace, int fd, off_t offset);

/* The same where the kernel chooses, with room to grow: `span` is a wish, which is halved down to 1 GiB
 * where address space is scarce, and then to `least` bytes. Core dumps leave it out. */
int emmap_pages_reserve(struct emmap_pages *pages, size_t least, int fd, off_t offset);

/* Unmaps. */
int emmap_pages_unmap(struct emmap_pages *pages);

/* Puts zeros that belong to nobody on a range, so that its addresses stay taken, for whoever still
 * holds a pointer that the buffer protocol did not count. Where the range is not ours any more
 * (`replace` 0) and somebody else has come there: -EEXIST. */
int emmap_bury(void *start, size_t span, int replace);

/* Ends the guard, and leaves the pages where they are. */
void emmap_pages_end_guard(struct emmap_pages *pages);

/* Gives up [0, span) to a reservation: the range reads and writes no more, and stays taken. */
int emmap_pages_return(struct emmap_pages *pages);

/* Makes the mapping `span` bytes long. Bytes past `backed` have no file behind them and are anonymous.
 * In place if that works, else (only when `may_move`) elsewhere; otherwise -EEXIST. The caller
 * sees to it that nothing is lost, and that there are no views when it shrinks or may move. */
int emmap_pages_resize(struct emmap_pages *pages, size_t span, int may_move, int fd, off_t offset,
                       size_t backed);

/* Maps the lost pages of [0, backed) from the file again. -ENXIO where a lost page lies beyond. */
int emmap_pages_repair(struct emmap_pages *pages, int fd, off_t offset, size_t backed);

/* mprotect, rounded outwards. */
int emmap_pages_protect(struct emmap_pages *pages, size_t start, size_t stop, int prot);

/* msync, rounded outwards. MS_ASYNC starts the writing where the descriptor is known (fd >= 0). */
int emmap_pages_flush(struct emmap_pages *pages, size_t start, size_t stop, int flags, int fd,
                      off_t offset);

/* madvise; rounded outwards, but inwards where the advice destroys bytes. */
int emmap_pages_advise(struct emmap_pages *pages, size_t start, size_t stop, int advice);

/* Loads the pages of a range, rounded outwards. One that is lost meets the guard. */
int emmap_pages_populate(struct emmap_pages *pages, size_t start, size_t stop, int write);

/* mlock and munlock, rounded outwards. */
int emmap_pages_pin(struct emmap_pages *pages, size_t start, size_t stop, int pinned);

/* Drops a range from memory, rounded outwards: shared pages are written out first, the private
 * copies of written pages stay. `fd` may be -1. */
int emmap_pages_evict(struct emmap_pages *pages, size_t start, size_t stop, int fd, off_t offset);

/* Makes zeros of what lies behind the first `length` bytes of anonymous memory, and gives whole pages back. */
int emmap_pages_shorten(struct emmap_pages *pages, size_t length);

/* What is known of an open file. */
struct emmap_file {
    uint64_t device, inode;
    int64_t size;               /* bytes */
    int64_t changed;            /* ctime in nanoseconds */
};
int emmap_file_look(int fd, struct emmap_file *file);

/* Is the file open for reading only, on a filesystem that copies it up to another inode once somebody
 * writes? Then a mapping does not see the changes. */
int emmap_file_may_be_copied_up(int fd);

/* Maps what has been copied up in place of the pages, and puts it in the descriptor's place too. `file` is
 * what was seen of it. -ESTALE where the descriptor is another file's by now. */
int emmap_file_show_copy(struct emmap_pages *pages, int fd, off_t offset, struct emmap_file *file);

/* The filesystem of a file: the bytes in a page of it (more than usual on hugetlbfs), and its type, a
 * number of linux/magic.h. */
int emmap_file_system(int fd, size_t *page, unsigned *type);

#endif
