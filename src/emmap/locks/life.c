#define _GNU_SOURCE
#include "life.h"

#include "../mapping/length.h"
#include "../mapping/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Over the registry, and over the moments in which a fork would give our byte's lock to the child. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct emmap_life *lives;

/* Is this our file? Somebody may have closed the descriptor, and its number means another by now. */
static int is_ours(struct emmap_life *life, int fd)
{
    struct emmap_file now;
    return fd >= 0 && emmap_file_look(fd, &now) == 0 && now.device == life->device &&
           now.inode == life->inode;
}

static void close_ours(struct emmap_life *life, int fd)
{
    if (is_ours(life, fd))
        close(fd);
}

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The child is somebody else: it holds nothing, and must not keep the parent's byte locked. The mapping
 * that holds it has not come along (MADV_DONTFORK), so it is not unmapped either. */
static void after_fork_in_child(void)
{
    for (struct emmap_life *life = lives; life != NULL; life = life->next) {
        atomic_store_explicit(&life->me, 0, memory_order_relaxed);
        life->held = NULL;
        life->immortal = 0;
        close_ours(life, life->kept);
        life->kept = -1;
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

/* Opens the descriptor to ask by, of the file that `fd` is: 0 or -errno. */
static int open_to_ask(struct emmap_life *life, int fd)
{
    int ask = emmap_file_open_again(fd, O_RDWR);
    if (ask < 0)
        return -errno;
    if (!is_ours(life, ask)) {
        close(ask);
        return -ESTALE;
    }
    life->ask = ask;
    return 0;
}

static int make(struct emmap_life **out, const struct emmap_file *file, int fd, size_t page)
{
    struct emmap_life *life = calloc(1, sizeof *life);
    if (life == NULL)
        return -ENOMEM;
    life->mutex = &mutex;
    life->device = file->device;
    life->inode = file->inode;
    life->page = page;
    life->kept = -1;
    int rc = open_to_ask(life, fd);
    if (rc != 0) {
        free(life);
        return rc;
    }
    life->next = lives;
    lives = life;
    *out = life;
    return 0;
}

int emmap_life_begin(struct emmap_life **out, int fd, size_t page)
{
    struct emmap_file file;
    int rc = emmap_file_look(fd, &file);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&mutex);
    rc = register_fork_handlers();
    struct emmap_life *life = lives;
    while (life != NULL && (life->device != file.device || life->inode != file.inode))
        life = life->next;
    if (rc == 0 && life == NULL)
        rc = make(&life, &file, fd, page);
    else if (rc == 0 && !is_ours(life, life->ask))
        rc = open_to_ask(life, fd);
    if (rc == 0) {
        life->users++;
        *out = life;
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

void emmap_life_end(struct emmap_life *life, int holding)
{
    pthread_mutex_lock(&mutex);
    life->users--;
    life->immortal |= holding;
    if (life->users == 0 && !life->immortal) {
        struct emmap_life **link = &lives;
        while (*link != life)
            link = &(*link)->next;
        *link = life->next;
        if (life->held != NULL)
            munmap(life->held, life->page);
        close_ours(life, life->kept);
        close_ours(life, life->ask);
        free(life);
    }
    pthread_mutex_unlock(&mutex);
}
