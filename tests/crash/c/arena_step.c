/* The arena, killed after each instruction of its changes and of its repair. */
#define _GNU_SOURCE
#include "../step.h"

#include "arena.h"

#include <stdatomic.h>

#define BLOCKS 6

/* Blocks that are surely handed out, each full of its number; 0: none. */
struct notes {
    uint64_t offsets[BLOCKS];
};

static uint64_t length_of(unsigned i)
{
    return 24 + 40 * i;
}

static struct emmap_arena arena_at(const struct step_scene *scene)
{
    return (struct emmap_arena){scene->at, scene->size, 0};
}

static void allocate(struct emmap_arena *arena, unsigned i)
{
    struct notes *notes = step_notes;
    uint64_t offset, dirty;
    CHECK(emmap_arena_allocate(arena, length_of(i), &offset, &dirty) == 0);
    memset(arena->base + offset, (int)i + 1, length_of(i));
    notes->offsets[i] = offset;
}

static void release(struct emmap_arena *arena, unsigned i)
{
    struct notes *notes = step_notes;
    uint64_t offset = notes->offsets[i];
    notes->offsets[i] = 0;
    CHECK(emmap_arena_free(arena, offset) == 0);
}

/* Three blocks, with a gap in the middle. */
static void prepare(const struct step_scene *scene)
{
    struct emmap_arena arena = arena_at(scene);
    CHECK(emmap_arena_format(&arena, 12345) == 0);
    for (unsigned i = 4; i-- > 0;)
        allocate(&arena, i);
    release(&arena, 2);
}

/* Allocates out of the gap and behind the last block; frees with free neighbours on either side. */
static void change(const struct step_scene *scene)
{
    struct emmap_arena arena = arena_at(scene);
    struct notes *notes = step_notes;
    step_begin();
    for (unsigned i = 4; i < BLOCKS; i++) {
        allocate(&arena, i);
        step_returned();
    }
    CHECK(emmap_arena_set_root(&arena, notes->offsets[1]) == 0);
    step_returned();
    static const unsigned order[] = {1, 3, 5, 0, 4};
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        release(&arena, order[i]);
        step_returned();
    }
}

/* A change has begun, and the head holds nothing true but the chain's end. */
static void spoil(const struct step_scene *scene)
{
    prepare(scene);
    struct emmap_arena_head *head = (struct emmap_arena_head *)(void *)scene->at;
    for (unsigned i = 0; i < EMMAP_ARENA_CLASSES; i += 8)
        atomic_store(&head->lists[i], 16 * i);
    atomic_store(&head->blocks, 77);
    atomic_store(&head->busy, 1);
}

static void repair(const struct step_scene *scene)
{
    struct emmap_arena arena = arena_at(scene);
    step_begin();
    CHECK(emmap_arena_repair(&arena) == 0);
    step_returned();
    CHECK(emmap_arena_check(&arena) == 0);
}

static void recover(const struct step_scene *scene)
{
    struct emmap_arena arena = arena_at(scene);
    struct notes *notes = step_notes;
    struct emmap_arena_statistics found;
    uint64_t blocks = 0, n, root;
    CHECK(emmap_arena_open(&arena) == 0);
    int rc = emmap_arena_check(&arena);
    CHECK(rc == 0 || rc == -EOWNERDEAD);
    if (rc != 0)
        CHECK(emmap_arena_repair(&arena) == 0 && emmap_arena_check(&arena) == 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        uint64_t offset = notes->offsets[i];
        if (offset == 0)
            continue;
        CHECK(emmap_arena_length_of(&arena, offset, &n) == 0 && n == length_of(i));
        for (uint64_t j = 0; j < n; j++)
            CHECK(arena.base[offset + j] == i + 1);
        blocks++;
    }
    /* The one that was being allocated or freed is there or it is not. */
    CHECK(emmap_arena_statistics(&arena, &found) == 0);
    CHECK(found.blocks == blocks || found.blocks == blocks + 1);
    CHECK(emmap_arena_root(&arena, &root) == 0);
    CHECK(root == 0 || emmap_arena_length_of(&arena, root, &n) == 0);
    memset(notes, 0, sizeof *notes);
    allocate(&arena, 0);
    release(&arena, 0);
    CHECK(emmap_arena_check(&arena) == 0);
}

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "changes", .size = 8192, .kills = 200, .prepare = prepare, .operate = change,
         .recover = recover},
        {.name = "repair", .size = 8192, .kills = 200, .prepare = spoil, .operate = repair,
         .recover = recover},
    };
    return STEP_MAIN(argc, argv, tests);
}
