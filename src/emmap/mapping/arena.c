#include "arena_blocks.h"

#define MAGIC UINT64_C(0x616e657261706d65) /* "emparena" where the low byte comes first */
#define BEGUN (~MAGIC)                     /* a format was cut short */
#define VERSION 1

/* Beginning */

static uint64_t usable(size_t length)
{
    uint64_t size = (uint64_t)length / UNIT * UNIT;
    return size < LARGEST ? size : LARGEST;
}

int emmap_arena_open(struct emmap_arena *arena)
{
    size_t n = arena->length < sizeof(struct emmap_arena_head) ? arena->length
                                                               : sizeof(struct emmap_arena_head);
    struct bounds b;
    for (size_t i = 0; i < n; i++)
        /* SAFETY: i is less than the length. */
        if (((volatile unsigned char *)arena->base)[i]) {
            if (n < sizeof(uint64_t))
                return damaged(arena, 0);
            b.head = (struct emmap_arena_head *)arena->base;
            uint64_t magic = get(&b.head->magic);
            if (magic == BEGUN)
                return -ENODATA;
            if (magic == __builtin_bswap64(MAGIC))
                return -ENOEXEC;
            if (magic != MAGIC)
                return damaged(arena, 0);
            if (n < sizeof(struct emmap_arena_head))
                return -EFBIG;
            uint64_t version = get(&b.head->version);
            if (version != VERSION) {
                arena->at = version;
                return -EOPNOTSUPP;
            }
            return look(arena, &b);
        }
    return -ENODATA;
}

int emmap_arena_format(struct emmap_arena *arena, uint64_t key)
{
    if (arena->length < EMMAP_ARENA_FEWEST)
        return -EFBIG;
    /* SAFETY: the head lies inside, and the caller gives bytes that are aligned. */
    struct emmap_arena_head *head = (struct emmap_arena_head *)arena->base;
    put(&head->magic, BEGUN);
    put(&head->version, VERSION);
    put(&head->key, key);
    put(&head->top, FIRST);
    put(&head->fresh, FIRST);
    put(&head->size, usable(arena->length));
    put(&head->magic, MAGIC);
    return 0;
}

int emmap_arena_extend(struct emmap_arena *arena, uint64_t n, uint64_t *needed)
{
    struct bounds b;
    int rc = enter(arena, &b);
    if (rc)
        return rc;
    *needed = n < LARGEST ? b.top + extent_for(n) : LARGEST + 1;
    if (usable(arena->length) <= b.size)
        return 0;
    put(&b.head->size, usable(arena->length));
    return 1;
}

/* Blocks */

/* A place for `want` bytes: a free block, or the top (then `extent` is `want`). */
static int find(struct emmap_arena *arena, const struct bounds *b, uint64_t want, uint64_t *block,
                uint64_t *extent)
{
    unsigned class = class_of(want);
    /* The head of this list may be large enough, and any member of a later one is. */
    if (extent_in(free_header_at(b, get(&b->head->lists[class]))) < want) {
        class = class_with_members(b, class + 1);
        if (class == EMMAP_ARENA_CLASSES) {
            if (b->size - b->top >= want) {
                *block = b->top;
                *extent = want;
                return 0;
            }
            class = class_of(want); /* before it is said that there is none: look at each */
        }
    }
    int rc = search(arena, b, class, want, block, extent);
    if (rc)
        return rc;
    if (*extent == 0 && class != class_of(want))
        return damaged(arena, offsetof(struct emmap_arena_head, maps));
    return *extent < want ? -ENOMEM : 0;
}

/* What is wrong with the free block at this offset, or with the list that its rest would go to? */
static int verify_split(struct emmap_arena *arena, const struct bounds *b, uint64_t block,
                        uint64_t extent, uint64_t rest)
{
    uint64_t end = block + extent;
    if (!is_linked(b, block, extent))
        return damaged(arena, block);
    if (!(header_at(b, end) & AFTER_FREE))
        return damaged(arena, end - WORD);
    if (rest >= SMALLEST && !is_sound_list(b, class_of(rest)))
        return damaged(arena, list_place(class_of(rest)));
    return 0;
}

int emmap_arena_allocate(struct emmap_arena *arena, uint64_t n, uint64_t *offset, uint64_t *dirty)
{
    struct bounds b;
    uint64_t block, extent;
    int rc = enter(arena, &b);
    if (rc)
        return rc;
    uint64_t want = n < LARGEST ? extent_for(n) : LARGEST;
    if (want > b.size - FIRST)
        return -ENOMEM;
    rc = find(arena, &b, want, &block, &extent);
    if (rc)
        return rc;
    *offset = block;
    if (block == b.top) {
        uint64_t fresh = get(&b.head->fresh), end = block + want;
        put(&b.head->busy, 1);
        if (fresh < end)
            put(&b.head->fresh, end);
        put(header_of(&b, block), header_for(&b, block, want, want - WORD - n, 0));
        put(&b.head->top, end);
        *dirty = fresh - block < n ? fresh - block : n;
    } else {
        uint64_t rest = extent - want, end = block + extent;
        rc = verify_split(arena, &b, block, extent, rest);
        if (rc)
            return rc;
        put(&b.head->busy, 1);
        unlink_block(&b, block, extent);
        if (rest >= SMALLEST) {
            put(header_of(&b, block + want), header_for(&b, block + want, rest, 0, IS_FREE));
            link_block(&b, block + want, rest);
        } else {
            want = extent;
            put(header_of(&b, end), get(header_of(&b, end)) & ~AFTER_FREE);
        }
        put(header_of(&b, block), header_for(&b, block, want, want - WORD - n, 0));
        *dirty = n;
    }
    put(&b.head->blocks, get(&b.head->blocks) + 1);
    put(&b.head->used, get(&b.head->used) + n);
    put(&b.head->taken, get(&b.head->taken) + want);
    put(&b.head->busy, 0);
    return 0;
}

int emmap_arena_free(struct emmap_arena *arena, uint64_t offset)
{
    struct bounds b;
    int rc = enter(arena, &b);
    if (rc)
        return rc;
    uint64_t header = taken_header_at(&b, offset), extent = extent_in(header);
    if (header == 0)
        return -EINVAL;
    uint64_t start = offset, end = offset + extent, behind = header_at(&b, end);
    if (header & AFTER_FREE) {
        uint64_t before = get(footer_before(&b, offset));
        start = offset - before;
        uint64_t found = free_header_at(&b, start);
        if (found == 0 || extent_in(found) != before || !is_linked(&b, start, before))
            return damaged(arena, offset - 2 * WORD);
    }
    if (behind & IS_FREE) {
        end += extent_in(behind);
        if (!is_linked(&b, offset + extent, extent_in(behind)))
            return damaged(arena, offset + extent);
        if (!(header_at(&b, end) & AFTER_FREE))
            return damaged(arena, end - WORD);
    }
    if (end < b.top && !is_sound_list(&b, class_of(end - start)))
        return damaged(arena, list_place(class_of(end - start)));

    put(&b.head->busy, 1);
    /* From this store on it is free. Its header says so for as long as it can be read. */
    put(header_of(&b, offset),
        header_for(&b, offset, extent, 0, IS_FREE | (header & AFTER_FREE)));
    if (get(&b.head->root) == offset)
        put(&b.head->root, 0);
    if (start < offset)
        unlink_block(&b, start, offset - start);
    if (behind & IS_FREE)
        unlink_block(&b, offset + extent, extent_in(behind));
    if (end == b.top) {
        put(&b.head->top, start);
    } else {
        if (!(behind & IS_FREE))
            put(header_of(&b, end), behind | AFTER_FREE);
        put(header_of(&b, start), header_for(&b, start, end - start, 0, IS_FREE));
        link_block(&b, start, end - start);
    }
    put(&b.head->blocks, get(&b.head->blocks) - 1);
    put(&b.head->used, get(&b.head->used) - (extent - WORD - slack_in(header)));
    put(&b.head->taken, get(&b.head->taken) - extent);
    put(&b.head->busy, 0);
    return 0;
}

int emmap_arena_length_of(struct emmap_arena *arena, uint64_t offset, uint64_t *n)
{
    struct bounds b;
    int rc = look(arena, &b);
    if (rc)
        return rc;
    uint64_t header = taken_header_at(&b, offset);
    *n = extent_in(header) - WORD - slack_in(header);
    return header ? 0 : -EINVAL;
}

int emmap_arena_root(struct emmap_arena *arena, uint64_t *offset)
{
    if (arena->length < EMMAP_ARENA_FEWEST)
        return -EFBIG;
    /* SAFETY: the head lies inside. */
    *offset = get(&((struct emmap_arena_head *)arena->base)->root);
    return 0;
}

int emmap_arena_set_root(struct emmap_arena *arena, uint64_t offset)
{
    struct bounds b;
    int rc = enter(arena, &b);
    if (rc)
        return rc;
    if (offset && !taken_header_at(&b, offset))
        return -EINVAL;
    put(&b.head->root, offset);
    return 0;
}
