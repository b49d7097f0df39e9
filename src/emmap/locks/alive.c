#define _GNU_SOURCE
#include "life.h"

#include "../mapping/length.h"
#include "../mapping/system.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static struct flock byte_of(uint64_t owner, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_len = 1,
                          .l_start = EMMAP_ID_BYTES + (int64_t)(owner >> EMMAP_FLAG_BITS)};
}

static int is_the_file(struct emmap_life *life, int fd)
{
    struct emmap_file now;
    int rc = emmap_file_look(fd, &now);
    return rc == 0 && (now.device != life->device || now.inode != life->inode) ? -ESTALE : rc;
}

/* Asks by one descriptor, which must not be the one that holds the byte. */
static int ask_by(int fd, uint64_t owner)
{
    /* A read lock conflicts with write locks only: who may not write the file cannot feign a life. */
    struct flock byte = byte_of(owner, F_RDLCK);
    int64_t start = byte.l_start;
    if (fcntl(fd, F_OFD_GETLK, &byte) != 0)
        return -errno;
    if (byte.l_type == F_UNLCK)
        return EMMAP_DEAD;
    return byte.l_pid == -1 && byte.l_start == start && byte.l_len == 1 ? EMMAP_ALIVE : EMMAP_HIDDEN;
}

int emmap_life_ask(struct emmap_life *life, uint64_t owner)
{
    owner &= ~EMMAP_FLAGS;
    if (owner == atomic_load_explicit(&life->me, memory_order_relaxed))
        return EMMAP_ALIVE; /* another thread of ours */
    /* Somebody may have closed our descriptor, and its number may be another file's by now, where no
     * byte is locked: a living holder would look dead. */
    int rc = is_the_file(life, life->ask) != 0 ? -EBADF : ask_by(life->ask, owner);
    if (rc == EMMAP_HIDDEN)
        atomic_store_explicit(&life->hidden, 1, memory_order_relaxed);
    return rc;
}

int emmap_life_stranger(struct emmap_life *life)
{
    struct flock all = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = INT64_MAX, .l_len = 1};
    if (fcntl(life->ask, F_OFD_GETLK, &all) != 0 || all.l_type == F_UNLCK)
        return -1;
    return all.l_pid;
}

int emmap_life_is_named(struct emmap_life *life, const char *name)
{
    struct stat now;
    if (stat(name, &now) != 0)
        return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -errno;
    return now.st_dev == life->device && now.st_ino == life->inode ? 0 : -ESTALE;
}

/* Locks the byte of an owner by a description of its own, and leaves that to a mapping. */
static int hold(struct emmap_life *life, uint64_t owner)
{
    struct flock byte = byte_of(owner, F_WRLCK);
    void *held = MAP_FAILED;
    int fd = emmap_file_open_again(life->ask, O_RDWR);
    int rc = fd < 0 ? -errno : is_the_file(life, fd);
    if (rc == 0 && fcntl(fd, F_OFD_SETLK, &byte) != 0)
        rc = errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
    if (rc == 0) {
        /* A mapping keeps the description open, and with it the lock. No forked child gets it, which
         * would hide our death; and nobody can close it by its number, which would feign one. */
        held = mmap(NULL, life->page, PROT_NONE, MAP_SHARED, fd, 0);
        if (held == MAP_FAILED || madvise(held, life->page, MADV_DONTFORK) != 0)
            rc = -errno;
    }
    if (rc == 0) {
        close(fd);
        if (ask_by(life->ask, owner) == EMMAP_ALIVE) {
            life->held = held;
            return 0;
        }
        /* On overlayfs a mapping holds the file beneath, and the lock has gone: the descriptor stays
         * then, and is closed in each child. */
        munmap(held, life->page);
        held = MAP_FAILED;
        fd = emmap_file_open_again(life->ask, O_RDWR);
        rc = fd < 0 ? -errno : is_the_file(life, fd);
        byte = byte_of(owner, F_WRLCK);
        if (rc == 0 && fcntl(fd, F_OFD_SETLK, &byte) != 0)
            rc = -errno;
        if (rc == 0 && ask_by(life->ask, owner) != EMMAP_ALIVE)
            rc = -ENOLCK;
        if (rc == 0) {
            life->kept = fd;
            return 0;
        }
    }
    if (held != MAP_FAILED)
        munmap(held, life->page);
    if (fd >= 0)
        close(fd);
    return rc;
}

int emmap_life_enter(struct emmap_life *life)
{
    int rc = 0;
    pthread_mutex_lock(life->mutex); /* no fork in between: a child would inherit the description */
    if (atomic_load_explicit(&life->me, memory_order_relaxed) == 0) {
        uint64_t id = 0;
        if (is_the_file(life, life->ask) != 0)
            rc = -EBADF;
        while (rc == 0 && id == 0) {
            if (getrandom(&id, sizeof id, 0) != sizeof id)
                rc = -errno;
            id <<= EMMAP_FLAG_BITS;
        }
        if (rc == 0)
            rc = hold(life, id);
        if (rc == 0)
            atomic_store_explicit(&life->me, id, memory_order_relaxed);
    }
    pthread_mutex_unlock(life->mutex);
    return rc;
}

void emmap_life_give_up(struct emmap_life *life)
{
    pthread_mutex_lock(life->mutex);
    atomic_store_explicit(&life->me, 0, memory_order_relaxed);
    if (life->held != NULL)
        munmap(life->held, life->page);
    life->held = NULL;
    if (life->kept >= 0)
        close(life->kept);
    life->kept = -1;
    pthread_mutex_unlock(life->mutex);
}
