/* A store of a C test: in a file in memory, opened as any other, with system calls that can be told to fail and
 * with a boot of its own. */
#ifndef A_STORE_H
#define A_STORE_H

#include "check.h"
#include "home.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define ROOM ((size_t)256 << 20)

struct box {
    struct emmap_store store;
    struct emmap_lost lost;
};

/* Numbers that look random, the same in each run. */
static uint64_t random_state = 1;

static inline uint64_t below(uint64_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % n;
}

/* The kernel that the store sees. */
static unsigned char boot_id[16] = "a boot";
static int barriers, writes;            /* asked for */
static int fail_barrier, fail_write;    /* the how manieth from now on fails; 0: none */
static int is_full;
static void (*at_barrier)(struct box *box); /* called before each one, with the store that is in use */
static struct box *in_use;

static inline int boot_of_test(unsigned char id[16])
{
    memcpy(id, boot_id, 16);
    return 0;
}

static inline int flush_of_test(int fd)
{
    barriers++;
    if (at_barrier != NULL)
        at_barrier(in_use);
    if (fail_barrier != 0 && --fail_barrier == 0)
        return -EIO;
    return emmap_linux.fdatasync(fd);
}

static inline ssize_t write_of_test(int fd, const void *bytes, size_t n, off_t offset)
{
    writes++;
    if (fail_write != 0 && --fail_write == 0)
        return -EIO;
    return emmap_linux.pwrite(fd, bytes, n, offset);
}

static inline int grow_of_test(int fd, off_t offset, off_t n)
{
    uint64_t size;
    CHECK(emmap_linux.size(fd, &size) == 0);
    return is_full && (uint64_t)(offset + n) > size ? -ENOSPC : emmap_linux.fallocate(fd, offset, n);
}

static inline int random_of_test(void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)below(256);
    return 0;
}

static struct emmap_kernel kernel;

static inline void attach(struct box *box, int fd)
{
    struct emmap_store *store = &box->store;
    memset(box, 0, sizeof *box);
    kernel = emmap_linux;
    kernel.boot = boot_of_test;
    kernel.fdatasync = flush_of_test;
    kernel.pwrite = write_of_test;
    kernel.fallocate = grow_of_test;
    kernel.random = random_of_test;
    store->kernel = &kernel;
    store->fd = fd;
    store->writable = 1;
    store->room = ROOM;
    store->base = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    CHECK(store->base != MAP_FAILED);
    emmap_lost_begin(&box->lost, (uintptr_t)store->base, ROOM, page_size());
    store->lost = &box->lost;
    CHECK(emmap_life_begin(&store->life, fd, page_size()) == 0);
    in_use = box;
}

static inline void detach(struct box *box)
{
    emmap_store_end(&box->store);
    emmap_life_end(box->store.life, 0);
    munmap(box->store.base, ROOM);
    close(box->store.fd);
}

static inline int wait_for_lock(struct emmap_lock *lock)
{
    struct emmap_waiting waiting;
    int rc;
    emmap_waiting_begin(&waiting, -1);
    do
        rc = emmap_lock_acquire(lock, &waiting);
    while (rc == -EINTR);
    return rc > 0 ? emmap_lock_mark_consistent(lock) : rc;
}

/* Opens as the Python side does. */
static inline int open_store(struct box *box)
{
    int rc = emmap_store_begin(&box->store);
    if (rc != EMMAP_NEEDS_RECOVERY)
        return rc;
    CHECK(wait_for_lock(&box->store.lock) == 0);
    rc = emmap_recover(&box->store);
    CHECK(emmap_lock_release(&box->store.lock) == 0);
    return rc;
}

static inline void create(struct box *box)
{
    int fd = memfd_create("store", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH) == 0);
    attach(box, fd);
    CHECK(emmap_store_create(&box->store) == 0);
    CHECK(open_store(box) == 0);
}

static inline int flush_store(struct box *box)
{
    struct emmap_waiting waiting;
    int rc;
    emmap_waiting_begin(&waiting, -1);
    do
        rc = emmap_flush(&box->store, &waiting);
    while (rc == -EINTR);
    return rc;
}

/* The check, which tells where it fails. */
static inline int check_store(struct box *box)
{
    struct emmap_trace found;
    return emmap_check(&box->store, &found);
}

#define CHECK_STORE(box)                                                                          \
    do {                                                                                          \
        int check_rc = check_store(box);                                                          \
        if (check_rc != 0) {                                                                      \
            fprintf(stderr, "%s:%d: %d: at %#lx: %s\n", __FILE__, __LINE__, check_rc,             \
                    (unsigned long)(box)->store.wrong_at, (const char *)(box)->store.wrong);      \
            abort();                                                                              \
        }                                                                                         \
    } while (0)

/* Bytes of a file, and another file of these bytes: a copy, or what a power loss has left. */
struct image {
    unsigned char *bytes;
    size_t n;
};

static inline void take_image(struct image *image, const struct box *box)
{
    struct stat now;
    CHECK(fstat(box->store.fd, &now) == 0);
    image->n = (size_t)now.st_size;
    image->bytes = realloc(image->bytes, image->n);
    CHECK(image->bytes != NULL);
    memcpy(image->bytes, box->store.base, image->n);
}

static inline void attach_image(struct box *box, const struct image *image)
{
    int fd = memfd_create("copy", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)image->n) == 0);
    attach(box, fd);
    memcpy(box->store.base, image->bytes, image->n);
}

#endif
