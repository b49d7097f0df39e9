/* A store of a C test: an empty one, made by hand, in a file in memory that is mapped as far as it reaches.
 * What lies behind cannot be read. */
#ifndef BARE_STORE_H
#define BARE_STORE_H

#include "check.h"
#include "commit.h"

#include <sys/mman.h>
#include <sys/stat.h>

static struct emmap_store store;
static struct emmap_lost lost;
static struct emmap_protected found;
static struct emmap_txn txn;
static int full;                /* the file cannot be made longer */

static int grow_file(int fd, off_t offset, off_t n)
{
    if (full)
        return -ENOSPC;
    return ftruncate(fd, offset + n) == 0 ? 0 : -errno;
}

static int size_of_file(int fd, uint64_t *bytes)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    *bytes = (uint64_t)now.st_size;
    return 0;
}

static int identity_of_file(int fd, uint64_t *device, uint64_t *inode)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -errno;
    *device = (uint64_t)now.st_dev;
    *inode = (uint64_t)now.st_ino;
    return 0;
}

static const struct emmap_kernel kernel = {
    .fallocate = grow_file, .size = size_of_file, .identity = identity_of_file};

/* `room` bytes of address space for it, and one page behind that nobody may touch. */
static inline void make_store(size_t room)
{
    struct emmap_store_header *header;
    size_t page = page_size();
    store.kernel = &kernel;
    store.room = room;
    store.fd = memfd_create("store", MFD_CLOEXEC);
    CHECK(store.fd >= 0 && ftruncate(store.fd, EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH) == 0);
    store.base = mmap(NULL, room + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(store.base != MAP_FAILED);
    CHECK(mmap(store.base, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, store.fd, 0) == store.base);
    emmap_lost_begin(&lost, (uintptr_t)store.base, room, page);
    store.lost = &lost;
    store.protected = &found;
    CHECK(emmap_life_begin(&store.life, store.fd, page) == 0);
    CHECK(emmap_store_look(&store) == 0);
    atomic_store(&emmap_live(&store)->size, atomic_load(&store.size));

    header = (void *)store.base;
    CHECK(identity_of_file(store.fd, &header->home.device, &header->home.inode) == 0);
    struct emmap_root *root = (void *)(store.base + EMMAP_BLOCKS_AT);
    unsigned class = emmap_class_of(sizeof *root);
    root->header = EMMAP_HEADER(1, EMMAP_ROOT, class);
    root->txn = 1;
    emmap_space(&store, 0)->frontier = EMMAP_BLOCKS_AT + emmap_class_size(class);
    atomic_store(&emmap_space(&store, 0)->txn, 1);
    atomic_store(&emmap_live(&store)->root, EMMAP_BLOCKS_AT);
    atomic_store(&emmap_live(&store)->epoch, 1);
    CHECK(emmap_pin_claim(&store, &store.pin) == 0);
}

/* Transactions publish a list in place of the directory. */
static inline void begin(void)
{
    CHECK(emmap_begin(&txn, &store) == 0);
}

static inline void commit(uint64_t root, uint64_t count)
{
    txn.directory = root;
    txn.names = count;
    CHECK(emmap_commit(&txn) == 0);
}

/* Numbers that look random, the same in each run. */
static uint64_t random_state = 1;

static inline uint64_t below(uint64_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % n;
}

#endif
