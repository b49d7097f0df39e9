/* A store without a file: exactly as many bytes can be touched as the file would have, and the kernel is
 * ours. What reads or writes behind the end dies there. */
#ifndef STORE_MEMORY_H
#define STORE_MEMORY_H

#include "home.h"
#include "list.h"

#include "../mapping/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(condition)                                                                 \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);     \
            abort();                                                                    \
        }                                                                               \
    } while (0)

/* Address space, and the disk: a file that wants to be longer is told that the disk is full. */
#define ROOM ((size_t)4 << 20)
#define DISK ((size_t)3 << 20)

static unsigned char *memory;
static size_t memory_size;              /* of the file; the pages behind it cannot be touched */
static int memory_fd;                   /* an empty file, for the byte that says we are alive */
static struct emmap_lost memory_lost;
static struct emmap_life *memory_life;
static unsigned char memory_boot = 1;
static uint64_t memory_device, memory_inode;
static uint64_t memory_seed = 1;
static int memory_fails_flush;          /* the disk is broken */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* Pages, for the kernel protects no less; sizes of files are multiples of them where it counts. */
static size_t pages_up(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page;
}

static void memory_resize(size_t size)
{
    size_t before = pages_up(memory_size), now = pages_up(size);
    MUST(now <= DISK);
    if (now > before)
        MUST(mprotect(memory + before, now - before, PROT_READ | PROT_WRITE) == 0);
    if (now < before) {
        MUST(madvise(memory + now, before - now, MADV_DONTNEED) == 0);
        MUST(mprotect(memory + now, before - now, PROT_NONE) == 0);
    }
    memory_size = size;
}

static int memory_fallocate(int fd, off_t offset, off_t n)
{
    (void)fd;
    if (offset < 0 || n <= 0 || n > INT64_MAX - offset)
        return -EINVAL;
    if ((size_t)(offset + n) > DISK)
        return -ENOSPC;
    if ((size_t)(offset + n) > memory_size)
        memory_resize((size_t)(offset + n));
    return 0;
}

static ssize_t memory_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    (void)fd;
    MUST(offset >= 0 && (size_t)offset <= memory_size && n <= memory_size - (size_t)offset);
    memcpy(memory + offset, bytes, n);
    return (ssize_t)n;
}

static int memory_fdatasync(int fd)
{
    (void)fd;
    return memory_fails_flush ? -EIO : 0;
}

static int memory_size_of(int fd, uint64_t *bytes)
{
    (void)fd;
    *bytes = memory_size;
    return 0;
}

static int memory_identity(int fd, uint64_t *device, uint64_t *inode)
{
    (void)fd;
    *device = memory_device;
    *inode = memory_inode;
    return 0;
}

static int memory_boot_id(unsigned char id[16])
{
    memset(id, memory_boot, 16);
    return 0;
}

static int memory_random(void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)next_random(&memory_seed);
    return 0;
}

static const struct emmap_kernel memory_kernel = {
    .fallocate = memory_fallocate,
    .pwrite = memory_pwrite,
    .fdatasync = memory_fdatasync,
    .size = memory_size_of,
    .identity = memory_identity,
    .boot = memory_boot_id,
    .random = memory_random,
};

static void memory_begin(void)
{
    struct emmap_file file;
    memory = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memory_fd = memfd_create("store", MFD_CLOEXEC);
    MUST(memory != MAP_FAILED && memory_fd >= 0);
    MUST(emmap_file_look(memory_fd, &file) == 0);
    memory_device = file.device;
    memory_inode = file.inode;
    emmap_lost_begin(&memory_lost, (uintptr_t)memory, ROOM, (size_t)sysconf(_SC_PAGESIZE));
    MUST(emmap_life_begin(&memory_life, memory_fd, (size_t)sysconf(_SC_PAGESIZE)) == 0);
    MUST(emmap_life_enter(memory_life) == 0);
}

static void memory_store(struct emmap_store *store)
{
    *store = (struct emmap_store){
        .base = memory,
        .room = ROOM,
        .fd = memory_fd,
        .writable = 1,
        .kernel = &memory_kernel,
        .lost = &memory_lost,
        .life = memory_life,
    };
}

/* A lock that a damaged file says somebody living holds would be waited for: nobody lives but us. */
static int lock_store(struct emmap_store *store)
{
    struct emmap_waiting waiting;
    emmap_waiting_begin(&waiting, 1000000000);
    int rc;
    do
        rc = emmap_lock_acquire(&store->lock, &waiting);
    while (rc == -EINTR);
    if (rc > 0)
        rc = emmap_lock_mark_consistent(&store->lock);
    return rc;
}

static void unlock_store(struct emmap_store *store)
{
    MUST(emmap_lock_release(&store->lock) == 0);
}

#endif
