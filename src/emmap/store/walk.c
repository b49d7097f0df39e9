/* A walk over all entries of a trie in the order in which they lie in the file. */
#include "walk.h"

#include <stdlib.h>

/* Entries that are collected at first, how many times more the next time, and at most: 64 MiB of offsets. */
#define FIRST 64
#define TIMES 8
#define MOST ((size_t)4 << 20)

void emmap_walk_begin(struct emmap_walk *walk, struct emmap_store *store, uint64_t root, uint64_t count)
{
    memset(walk, 0, sizeof *walk);
    emmap_cursor_begin(&walk->cursor, store, root, count);
}

void emmap_walk_end(struct emmap_walk *walk)
{
    free(walk->at);
    walk->at = NULL;
    walk->i = walk->n = walk->capacity = 0;
    walk->cursor.left = 0;
}

/* Sorts by 11 bits of the offsets at a time, the lowest first: as often as the largest one has bits. `room` is for as
 * many again. Where they are in the end. */
static uint64_t *sort(uint64_t *at, uint64_t *room, size_t n, uint64_t largest)
{
    for (unsigned shift = 4; shift < 64 && largest >> shift != 0; shift += 11) {
        size_t counts[2048] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++)
            counts[at[i] >> shift & 2047]++;
        for (size_t digit = 0; digit < 2048; digit++) {
            size_t here = counts[digit];
            counts[digit] = sum;
            sum += here;
        }
        for (size_t i = 0; i < n; i++)
            room[counts[at[i] >> shift & 2047]++] = at[i];
        uint64_t *sorted = room;
        room = at;
        at = sorted;
    }
    return at;
}

static int make_room(struct emmap_walk *walk)
{
    size_t wanted = walk->capacity == 0 ? FIRST : walk->capacity * TIMES;
    if (wanted > MOST)
        wanted = MOST;
    if (wanted > walk->cursor.left)
        wanted = walk->cursor.left;
    if (wanted <= walk->capacity)
        return 0;
    uint64_t *at = realloc(walk->at, 2 * wanted * sizeof *at);
    if (at == NULL)
        return -ENOMEM;
    walk->at = at;
    walk->capacity = wanted;
    return 0;
}

int emmap_walk_collect(struct emmap_walk *walk)
{
    uint64_t largest = 0;
    int rc = make_room(walk);
    walk->i = walk->n = 0;
    while (rc == 0 && walk->n < walk->capacity && walk->cursor.left != 0) {
        uint64_t at;
        rc = emmap_cursor_step(&walk->cursor, &at);
        if (rc == 0) {
            walk->at[walk->n++] = at;
            largest |= at;
        }
    }
    if (rc != 0) {
        walk->n = 0;
        return rc;
    }
    const uint64_t *sorted = sort(walk->at, walk->at + walk->capacity, walk->n, largest);
    if (sorted != walk->at)
        memcpy(walk->at, sorted, walk->n * sizeof *sorted);
    return 0;
}
