#define _GNU_SOURCE
#include "place.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0xFF00
#define HASH_BITS 24
#define HASH_MASK ((UINT64_C(1) << HASH_BITS) - 1)

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

/* The kernel's name for this boot, as a number. */
static int boot_of(uint64_t *boot)
{
    char text[64] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, text, sizeof text);
    int rc = n > 0 ? 0 : -EIO;
    close(fd);
    for (ssize_t i = 0; i < n; i++)
        *boot = mix(*boot, (unsigned char)text[i]);
    return rc;
}

/* The tag of such a thing in this boot and file. */
static int tag_of(struct emmap_place *place, enum emmap_kind kind, uint64_t *tag)
{
    uint64_t boot = 0;
    int rc = boot_of(&boot);
    uint64_t file = mix(mix(boot, place->life->inode), 1) & HASH_MASK;
    uint64_t device = mix(mix(0, place->life->device), 1) & HASH_MASK;
    *tag = MAGIC | kind | file << 16 | device << (16 + HASH_BITS);
    return rc;
}

int emmap_place_is_tag(struct emmap_place *place)
{
    /* SAFETY: the caller keeps the mapping, and the eight bytes at `at`, which are aligned to 8. */
    _Atomic(uint64_t) *word = (_Atomic(uint64_t) *)(void *)place->at;
    uint64_t tag, now = atomic_load_explicit(word, memory_order_relaxed);
    int rc = tag_of(place, EMMAP_LOCK, &tag);
    if (rc == 0)
        rc = emmap_place_lost(place);
    return rc != 0 ? rc : (now & ~UINT64_C(0xF)) == (tag & ~UINT64_C(0xF));
}

int emmap_place_claim(struct emmap_place *place, enum emmap_kind kind, size_t size)
{
    /* SAFETY: the caller keeps the mapping, and its `size` bytes at `at`, which are aligned to 8. */
    _Atomic(uint64_t) *tag = (_Atomic(uint64_t) *)(void *)place->at;
    uint64_t ours;
    int rc = tag_of(place, kind, &ours);
    if (rc != 0)
        return rc;
    uint64_t what = ours & 0xFFFF, file = ours >> 16 & HASH_MASK;

    for (;;) {
        uint64_t now = atomic_load_explicit(tag, memory_order_acquire);
        if (emmap_place_lost(place) != 0)
            return -EIO;
        if (now == ours)
            return 0;
        if (now == 0) {
            /* Who makes it writes the tag first, so that nobody else takes the zeros behind it. */
            for (size_t i = sizeof *tag; i < size; i++)
                if (((volatile unsigned char *)place->at)[i] != 0) {
                    if (atomic_load_explicit(tag, memory_order_acquire) == 0)
                        return EMMAP_SOMETHING_ELSE;
                    break;
                }
        } else if ((now & 0xFFFF) != what) {
            return EMMAP_SOMETHING_ELSE;
        } else if ((now >> 16 & HASH_MASK) == file) {
            /* The same boot and inode: the same bytes and futexes, but owners that lock their byte by
             * the other number do not show by this one, and would look dead. */
            return EMMAP_OTHER_DEVICE;
        }
        if (atomic_compare_exchange_strong(tag, &now, ours))
            return emmap_place_lost(place);
    }
}
