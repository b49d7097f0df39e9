#include "arena_blocks.h"

int emmap_arena_statistics(struct emmap_arena *arena, struct emmap_arena_statistics *statistics)
{
    struct bounds b;
    uint64_t found, extent = 0;
    int rc = enter(arena, &b);
    if (rc)
        return rc;
    for (unsigned class = EMMAP_ARENA_CLASSES; class-- > 0 && extent == 0;) {
        if (!(get(&b.head->maps[class / 64]) >> class % 64 & 1))
            continue;
        rc = search(arena, &b, class, UINT64_MAX, &found, &extent);
        if (rc)
            return rc;
    }
    if (extent < b.size - b.top)
        extent = b.size - b.top;
    statistics->size = b.size;
    statistics->blocks = get(&b.head->blocks);
    statistics->used = get(&b.head->used);
    statistics->free = b.size - FIRST - get(&b.head->taken);
    statistics->largest = extent < SMALLEST ? 0 : extent - WORD;
    return 0;
}

/* What the chain says, whatever lists and counters say. */
struct totals {
    uint64_t blocks, used, taken, free_blocks;
};

static void count(struct totals *totals, uint64_t header)
{
    totals->blocks++;
    totals->used += extent_in(header) - WORD - slack_in(header);
    totals->taken += extent_in(header);
}

/* Verifies the chain, and that each free block in it is in its list. */
static int check_chain(struct emmap_arena *arena, const struct bounds *b, struct totals *totals)
{
    uint64_t header, root = get(&b->head->root), after_free = 0;
    int has_root = root == 0;
    for (uint64_t block = FIRST; block < b->top; block += extent_in(header)) {
        header = header_at(b, block);
        if (header == 0 || (header & AFTER_FREE) != after_free ||
            (header & IS_FREE && (after_free || block + extent_in(header) == b->top)))
            return damaged(arena, block - WORD);
        if (header & IS_FREE) {
            if (!is_linked(b, block, extent_in(header)))
                return damaged(arena, block);
            totals->free_blocks++;
        } else {
            count(totals, header);
            has_root |= block == root;
        }
        after_free = header & IS_FREE ? AFTER_FREE : 0;
    }
    return has_root ? 0 : damaged(arena, offsetof(struct emmap_arena_head, root));
}

/* Verifies that the lists have exactly so many members, and the bitmap is theirs. */
static int check_lists(struct emmap_arena *arena, const struct bounds *b, uint64_t members)
{
    for (unsigned class = 0; class < EMMAP_ARENA_MAPS * 64; class++) {
        uint64_t previous = 0, block = 0;
        if (class < EMMAP_ARENA_CLASSES)
            block = get(&b->head->lists[class]);
        if ((get(&b->head->maps[class / 64]) >> class % 64 & 1) != (block != 0))
            return damaged(arena, offsetof(struct emmap_arena_head, maps) + class / 64 * WORD);
        for (; block; previous = block, block = get(next_of(b, block))) {
            uint64_t header = free_header_at(b, block);
            if (header == 0 || class_of(extent_in(header)) != class ||
                get(previous_of(b, block)) != previous)
                return damaged(arena, previous ? previous : list_place(class));
            members--;
        }
    }
    return members ? damaged(arena, offsetof(struct emmap_arena_head, lists)) : 0;
}

int emmap_arena_check(struct emmap_arena *arena)
{
    struct bounds b;
    struct totals totals = {0, 0, 0, 0};
    int rc = enter(arena, &b);
    if (rc == 0)
        rc = check_chain(arena, &b, &totals);
    if (rc == 0)
        rc = check_lists(arena, &b, totals.free_blocks);
    if (rc)
        return rc;
    if (get(&b.head->blocks) != totals.blocks)
        return damaged(arena, offsetof(struct emmap_arena_head, blocks));
    if (get(&b.head->used) != totals.used)
        return damaged(arena, offsetof(struct emmap_arena_head, used));
    if (get(&b.head->taken) != totals.taken)
        return damaged(arena, offsetof(struct emmap_arena_head, taken));
    return 0;
}

/* Joins the free block with those that follow it, and returns where they end. */
static uint64_t join(struct bounds *b, uint64_t block, uint64_t extent)
{
    uint64_t header, end = block + extent;
    while ((header = free_header_at(b, end)))
        end += extent_in(header);
    if (end == b->top) {
        put(&b->head->top, block);
        b->top = block;
    } else {
        put(header_of(b, block), header_for(b, block, end - block, 0, IS_FREE));
        link_block(b, block, end - block);
    }
    return end;
}

int emmap_arena_repair(struct emmap_arena *arena)
{
    struct bounds b;
    struct totals totals = {0, 0, 0, 0};
    uint64_t block, header;
    int rc = look(arena, &b);
    if (rc)
        return rc;
    for (block = FIRST; block < b.top; block += extent_in(header)) {
        header = header_at(&b, block);
        if (header == 0)
            return damaged(arena, block - WORD);
    }

    /* Like any other change, this one leaves the chain whole at each store. */
    put(&b.head->busy, 1);
    uint64_t fresh = get(&b.head->fresh), root = get(&b.head->root), after_free = 0;
    int has_root = 0;
    if (fresh < b.top || fresh > b.size)
        put(&b.head->fresh, b.size);
    for (unsigned i = 0; i < EMMAP_ARENA_MAPS; i++)
        put(&b.head->maps[i], 0);
    for (unsigned class = 0; class < EMMAP_ARENA_CLASSES; class++)
        put(&b.head->lists[class], 0);
    for (block = FIRST; block < b.top;) {
        header = header_at(&b, block);
        if (header == 0)
            return damaged(arena, block - WORD); /* a page was lost since it was looked at */
        if (header & IS_FREE) {
            block = join(&b, block, extent_in(header));
            after_free = AFTER_FREE;
        } else {
            put(header_of(&b, block), (header & ~AFTER_FREE) | after_free);
            count(&totals, header);
            has_root |= block == root;
            block += extent_in(header);
            after_free = 0;
        }
    }
    if (!has_root)
        put(&b.head->root, 0);
    put(&b.head->blocks, totals.blocks);
    put(&b.head->used, totals.used);
    put(&b.head->taken, totals.taken);
    put(&b.head->busy, 0);
    return 0;
}
