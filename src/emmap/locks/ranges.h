/* Locks on ranges of bytes of a file, that the kernel keeps (F_OFD_SETLK).
 *
 * Such a lock belongs to an open file description, so each range has one of its own: those who share
 * one do not exclude each other. Threads that share a range exclude each other by its gate.
 *
 * A child of fork inherits the descriptions, and would keep the parent's locks alive. So all ranges
 * stand in a registry, and the child opens each of them anew before it does anything else.
 *
 * All functions return 0 or -errno unless they say more.
 */
#ifndef EMMAP_RANGES_H
#define EMMAP_RANGES_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

/* The end of what range locks cover. The bytes behind it tell who is alive, and who changes a length. */
#define EMMAP_RANGE_END (INT64_C(1) << 62)

/* A deadline that never comes. */
#define EMMAP_NEVER INT64_MAX

struct emmap_range {
    int64_t start, length;      /* bytes of the file */
    int shared;                 /* a read lock */
    int fd;                     /* its own description of the file, or -1: it was lost in a fork */
    uint64_t device, inode;     /* the file that `fd` must lead to */
    char *name;                 /* the path that must lead there too, or NULL */
    _Atomic(uint32_t) gate;     /* 0 free; 1 a thread has passed it; 2 and others may be waiting */
    _Atomic(int) held;          /* the kernel has given us the lock */
    struct emmap_range *next, **link;
};

/* Begins with `start`, `length` and `shared` set, and all else 0. Opens the file `fd` anew (which may be
 * an O_PATH descriptor). `name` is copied; it may be NULL. */
int emmap_range_open(struct emmap_range *range, int fd, const char *name);

/* Lets go, and closes the descriptor, which lets go of all POSIX locks that this process has on the
 * file. For a range that was opened, when no thread uses it any more. */
void emmap_range_close(struct emmap_range *range);

/* Takes the lock if it is free: -EAGAIN when it is not. -EBADF when the descriptor is not ours any more;
 * -ESTALE when the name leads to another file by now, or to none. */
int emmap_range_try(struct emmap_range *range);

/* The same, but waits until `deadline`, in nanoseconds of CLOCK_MONOTONIC: -ETIMEDOUT when it has come,
 * -EINTR when a signal has, and then nothing is held. */
int emmap_range_wait(struct emmap_range *range, int64_t deadline);

/* Lets go: -EPERM when nothing is held. */
int emmap_range_release(struct emmap_range *range);

/* 1 when it is held, here or by somebody who excludes us; 0 when it is free. */
int emmap_range_locked(struct emmap_range *range);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t emmap_range_clock(void);

#endif
