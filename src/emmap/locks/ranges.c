#define _GNU_SOURCE
#include "ranges.h"

#include "../mapping/length.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long to sleep between two attempts, in nanoseconds: it doubles from the first to the last. The
 * kernel has no wait for such a lock that ends at a time. */
#define SHORTEST_PAUSE INT64_C(100000)
#define LONGEST_PAUSE INT64_C(10000000)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct emmap_range *ranges;

/* Does the descriptor still lead to our file? Somebody may have closed it, and its number may be
 * another file's by now. */
static int is_ours(const struct emmap_range *range)
{
    struct stat now;
    return range->fd >= 0 && fstat(range->fd, &now) == 0 && (uint64_t)now.st_dev == range->device &&
           (uint64_t)now.st_ino == range->inode;
}

/* Does the name lead to our file? Whoever opens it by its name would lock another one otherwise. */
static int is_named(const struct emmap_range *range)
{
    struct stat now;
    return range->name == NULL || (stat(range->name, &now) == 0 &&
                                   (uint64_t)now.st_dev == range->device &&
                                   (uint64_t)now.st_ino == range->inode);
}

/* Fork */

static int open_anew(const struct emmap_range *range, int fd)
{
    int fresh = emmap_file_open_again(fd, (range->shared ? O_RDONLY : O_RDWR) | O_NONBLOCK);
    return fresh >= 0 ? fresh : -errno;
}

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The child holds nothing, and what it has inherited would go on holding when the parent is killed. The
 * new description takes the number of the old one. No other thread is here, and POSIX locks are not
 * inherited, so nobody loses any. */
static void after_fork_in_child(void)
{
    for (struct emmap_range *range = ranges; range != NULL; range = range->next) {
        int fresh;
        atomic_store(&range->gate, 0);
        atomic_store(&range->held, 0);
        if (!is_ours(range)) {
            range->fd = -1;
            continue;
        }
        fresh = open_anew(range, range->fd);
        if (fresh < 0 || dup3(fresh, range->fd, O_CLOEXEC) < 0) {
            close(range->fd);
            range->fd = -1;
        }
        if (fresh >= 0)
            close(fresh);
    }
    pthread_mutex_unlock(&mutex);
}

static int register_fork_handlers(void)
{
    static int done;
    if (!done) {
        int rc = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        if (rc != 0)
            return -rc;
        done = 1;
    }
    return 0;
}

/* How a range begins and ends */

int emmap_range_open(struct emmap_range *range, int fd, const char *name)
{
    struct stat file;
    char *copy = name != NULL ? strdup(name) : NULL;
    if (name != NULL && copy == NULL)
        return -ENOMEM;
    /* Under the mutex: a child that is forked in between would have a description that nobody knows of. */
    pthread_mutex_lock(&mutex);
    int rc = register_fork_handlers();
    if (rc == 0)
        rc = range->fd = open_anew(range, fd);
    if (rc >= 0 && fstat(range->fd, &file) != 0) {
        rc = -errno;
        close(range->fd);
    }
    if (rc >= 0) {
        rc = 0;
        range->device = file.st_dev;
        range->inode = file.st_ino;
        range->name = copy;
        range->next = ranges;
        range->link = &ranges;
        if (ranges != NULL)
            ranges->link = &range->next;
        ranges = range;
    } else {
        free(copy);
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

void emmap_range_close(struct emmap_range *range)
{
    pthread_mutex_lock(&mutex);
    *range->link = range->next;
    if (range->next != NULL)
        range->next->link = range->link;
    if (is_ours(range))
        close(range->fd);
    pthread_mutex_unlock(&mutex);
    free(range->name);
}

/* Time */

int64_t emmap_range_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct timespec timespec_of(int64_t time)
{
    return (struct timespec){.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000};
}

/* The gate: one thread at a time is past it. */

static int try_gate(struct emmap_range *range)
{
    uint32_t expected = 0;
    return atomic_compare_exchange_strong(&range->gate, &expected, 1) ? 0 : -EAGAIN;
}

static int wait_at_gate(struct emmap_range *range, int64_t deadline)
{
    struct timespec until = timespec_of(deadline);
    if (try_gate(range) == 0)
        return 0;
    while (atomic_exchange(&range->gate, 2) != 0)
        if (syscall(SYS_futex, &range->gate, FUTEX_WAIT_BITSET_PRIVATE, 2,
                    deadline == EMMAP_NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno != EAGAIN)
            return -errno;
    return 0;
}

static void leave_gate(struct emmap_range *range)
{
    if (atomic_exchange(&range->gate, 0) == 2)
        syscall(SYS_futex, &range->gate, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The kernel's lock */

static int ask(const struct emmap_range *range, int command, int type, struct flock *request)
{
    *request = (struct flock){.l_type = (short)type, .l_whence = SEEK_SET,
                              .l_start = range->start, .l_len = range->length};
    if (fcntl(range->fd, command, request) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno; /* POSIX allows either for a conflict */
}

static int lock(const struct emmap_range *range, int command)
{
    struct flock request;
    return ask(range, command, range->shared ? F_RDLCK : F_WRLCK, &request);
}

static int unlock(const struct emmap_range *range)
{
    struct flock request;
    return ask(range, F_OFD_SETLK, F_UNLCK, &request);
}

static int look_at_file(const struct emmap_range *range)
{
    return !is_ours(range) ? -EBADF : !is_named(range) ? -ESTALE : 0;
}

/* Keeps what the kernel has given, or gives up with the error `rc`. We are past the gate. */
static int settle(struct emmap_range *range, int rc)
{
    if (rc == 0 && !is_named(range)) { /* replaced while we waited */
        unlock(range);
        rc = -ESTALE;
    }
    if (rc == 0)
        atomic_store(&range->held, 1);
    else
        leave_gate(range);
    return rc;
}

int emmap_range_try(struct emmap_range *range)
{
    int rc = try_gate(range);
    if (rc != 0)
        return rc;
    return settle(range, is_ours(range) ? lock(range, F_OFD_SETLK) : -EBADF);
}

static int attempt_until(struct emmap_range *range, int64_t deadline)
{
    for (int64_t pause = SHORTEST_PAUSE;; pause = 2 * pause < LONGEST_PAUSE ? 2 * pause : LONGEST_PAUSE) {
        int rc = lock(range, F_OFD_SETLK);
        int64_t now = emmap_range_clock();
        if (rc != -EAGAIN)
            return rc;
        if (now >= deadline)
            return -ETIMEDOUT;
        struct timespec wake = timespec_of(deadline - now < pause ? deadline : now + pause);
        rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
        if (rc != 0)
            return -rc;
    }
}

int emmap_range_wait(struct emmap_range *range, int64_t deadline)
{
    int rc = wait_at_gate(range, deadline);
    if (rc != 0)
        return rc;
    rc = look_at_file(range);
    if (rc == 0)
        rc = deadline == EMMAP_NEVER ? lock(range, F_OFD_SETLKW) : attempt_until(range, deadline);
    return settle(range, rc);
}

int emmap_range_release(struct emmap_range *range)
{
    int held = 1;
    if (!atomic_compare_exchange_strong(&range->held, &held, 0))
        return -EPERM;
    int rc = is_ours(range) ? unlock(range) : -EBADF;
    leave_gate(range);
    return rc;
}

int emmap_range_locked(struct emmap_range *range)
{
    struct flock request;
    if (atomic_load(&range->held))
        return 1;
    if (!is_ours(range))
        return -EBADF;
    int rc = ask(range, F_OFD_GETLK, range->shared ? F_RDLCK : F_WRLCK, &request);
    return rc != 0 ? rc : request.l_type != F_UNLCK;
}
