/* An allocator that lies in mapped bytes and hands out offsets, which stay true wherever they are mapped.
 *
 * Segregated fit: free blocks stand in lists by size, a bitmap tells which lists have members, and a
 * block that is freed is joined with its free neighbours at once. So nothing here depends on the number
 * of blocks, but where it says so.
 *
 *     0                  FIRST                                      top                    size
 *     +------------------+-------+-------------+-------+------------+----------------------+
 *     | struct           | block | free block  | block | block      | never handed out, or |
 *     | emmap_arena_head |       |             |       |            | given back           |
 *     +------------------+-------+-------------+-------+------------+----------------------+
 *                         \____ the chain: each header tells where the next block begins ____/
 *
 * The chain can be walked at any moment: each change of it is one store of a header or of `top`. Lists and
 * counters follow from it. So a process that is killed in the middle of a change leaves nothing that
 * `emmap_arena_repair` cannot put right, and `busy` tells that it has to.
 *
 * No word that is read here is trusted: a file may be damaged, and a lost page reads as zeros. Whatever
 * they hold, nothing outside of the arena's bytes is touched, and everything ends.
 *
 * The caller keeps the bytes mapped, and others away while it calls. Only `emmap_arena_open`,
 * `emmap_arena_length_of` and `emmap_arena_root` may run beside changes by others.
 */
#ifndef EMMAP_ARENA_H
#define EMMAP_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define EMMAP_ARENA_CLASSES 304 /* eight to each doubling of the size */
#define EMMAP_ARENA_MAPS ((EMMAP_ARENA_CLASSES + 63) / 64)

/* What the arena begins with, in the byte order of the machine. All numbers are bytes or offsets from here.
 *
 * A block's offset is that of its first byte, a multiple of 16. Its header is the word before it:
 *
 *     bit 0      40     41          42      48     64
 *     | extent / 16 | free | after free | slack | tag |
 *
 * The extent counts from this header to the next one; slack is what of it nobody asked for; the tag follows
 * from the offset and the key, so that a wrong offset is told from a block. A free block holds the offsets
 * of the next and the previous one of its list in its first two words, and its extent in its last one. */
struct emmap_arena_head {
    _Atomic(uint64_t) magic;
    _Atomic(uint64_t) version;
    _Atomic(uint64_t) key;     /* random, for the tags */
    _Atomic(uint64_t) size;    /* the end of what may be handed out */
    _Atomic(uint64_t) top;     /* the end of the chain */
    _Atomic(uint64_t) fresh;   /* from here on no byte was ever written */
    _Atomic(uint64_t) root;    /* a block, or 0 */
    _Atomic(uint64_t) busy;    /* is a change under way? */
    _Atomic(uint64_t) blocks;  /* that are handed out */
    _Atomic(uint64_t) used;    /* bytes in them, as asked for */
    _Atomic(uint64_t) taken;   /* the sum of their extents */
    _Atomic(uint64_t) maps[EMMAP_ARENA_MAPS];     /* a bit for each list that has members */
    _Atomic(uint64_t) lists[EMMAP_ARENA_CLASSES]; /* the first free block of each class, or 0 */
};

/* Where the first block begins, behind its header; and the fewest bytes that make an arena. */
#define EMMAP_ARENA_FIRST ((sizeof(struct emmap_arena_head) + 8 + 15) / 16 * 16)
#define EMMAP_ARENA_FEWEST (EMMAP_ARENA_FIRST + 32)

/* What the functions are called with. They return 0 or one of these:
 *
 *     -EILSEQ        damaged, or no arena; `at` is the offset of the first word that is wrong
 *     -EOWNERDEAD    a process was killed in the middle of a change: `emmap_arena_repair`
 *     -EFBIG         the arena has more bytes than are mapped
 *     -EINVAL        no block begins at this offset (or what begins there is damaged)
 *     -ENOMEM        full */
struct emmap_arena {
    unsigned char *base; /* a multiple of 16 */
    size_t length;       /* bytes mapped there */
    uint64_t at;
};

struct emmap_arena_statistics {
    uint64_t size, blocks, used, free, largest;
};

/* Looks for an arena: 0; -ENODATA where all is zero, or a format was cut short; -EOPNOTSUPP for another
 * version (and then `at` is its number), -ENOEXEC for the other byte order. */
int emmap_arena_open(struct emmap_arena *arena);

/* Makes an arena of bytes that are all zero. `key` is any random number. */
int emmap_arena_format(struct emmap_arena *arena, uint64_t key);

/* Adds what has been mapped behind the arena, which must be zero: 1, or 0 where there is nothing. Then
 * `n` bytes find a place once `needed` bytes are mapped. */
int emmap_arena_extend(struct emmap_arena *arena, uint64_t n, uint64_t *needed);

/* Gives a block of `n` bytes. The first `dirty` of them may hold something: the caller zeroes them. */
int emmap_arena_allocate(struct emmap_arena *arena, uint64_t n, uint64_t *offset, uint64_t *dirty);

/* Takes a block back. A root that names it becomes 0. */
int emmap_arena_free(struct emmap_arena *arena, uint64_t offset);

/* The bytes that were asked for, of the block at `offset`. */
int emmap_arena_length_of(struct emmap_arena *arena, uint64_t offset, uint64_t *n);

/* The root is returned as it stands there; a new one must be 0 or a block. */
int emmap_arena_root(struct emmap_arena *arena, uint64_t *offset);
int emmap_arena_set_root(struct emmap_arena *arena, uint64_t offset);

/* Costs a walk of the list of the largest free blocks. */
int emmap_arena_statistics(struct emmap_arena *arena, struct emmap_arena_statistics *statistics);

/* Verifies each block, list and counter. Costs a walk of all blocks. */
int emmap_arena_check(struct emmap_arena *arena);

/* Rebuilds all lists and counters from the chain. Costs a walk of all blocks. */
int emmap_arena_repair(struct emmap_arena *arena);

/* The bytes that the arena says it has: more than are mapped, once another process has made it larger. */
static inline uint64_t emmap_arena_size(const unsigned char *base, size_t length)
{
    if (length < EMMAP_ARENA_FEWEST)
        return EMMAP_ARENA_FEWEST;
    /* SAFETY: the head lies inside, and the caller keeps it mapped. */
    struct emmap_arena_head *head = (struct emmap_arena_head *)base;
    return atomic_load_explicit(&head->size, memory_order_relaxed);
}

#endif
