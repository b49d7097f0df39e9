/* The semaphore, a process that uses it killed after each instruction: its permits come back, and those
 * that it has released for others stay. */
#define _GNU_SOURCE
#include "placed.h"

#include "semaphore.h"

struct notes {
    int64_t least[8], most[8];  /* permits that are there after so many calls, when their holder is dead */
};

static struct emmap_semaphore semaphore_in(const struct step_scene *scene)
{
    struct emmap_semaphore semaphore;
    struct emmap_place place = place_in(scene, EMMAP_SEMAPHORE, EMMAP_CELLS_SIZE);
    CHECK(emmap_semaphore_begin(&semaphore, &place, 3, -1) == 0);
    return semaphore;
}

static int acquire(struct emmap_semaphore *semaphore)
{
    return wait_for(emmap_semaphore_attempt, semaphore);
}

static int release(struct emmap_semaphore *semaphore, int64_t n)
{
    struct emmap_semaphore_release release = {semaphore, n};
    return wait_for(emmap_semaphore_release_attempt, &release);
}

static void expect(int call, int64_t least, int64_t most)
{
    struct notes *notes = step_notes;
    notes->least[call] = least;
    notes->most[call] = most;
}

/* After `returned` calls, in the middle of the next one. */
static void recover(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_semaphore semaphore = semaphore_in(scene);
    int permits = wait_for(emmap_semaphore_count_attempt, &semaphore);
    CHECK(permits >= notes->least[scene->returned] && permits <= notes->most[scene->returned]);
    for (int i = 0; i < permits; i++)
        CHECK(acquire(&semaphore) == 0);
    CHECK(emmap_semaphore_try(&semaphore, EMMAP_LOOK, NULL) == EMMAP_NONE_FREE);
    CHECK(release(&semaphore, permits) == 0);
    CHECK(wait_for(emmap_semaphore_count_attempt, &semaphore) == permits);
    CHECK(atomic_load(semaphore.inner.word) == 0);
}

static void begin(const struct step_scene *scene)
{
    static struct emmap_lost nothing;
    struct emmap_semaphore semaphore;
    struct emmap_place place = {.at = scene->at, .lost = &nothing};
    CHECK(emmap_life_begin(&place.life, scene->fd, page_size()) == 0);
    owner_in(&place);
    expect(0, 3, 3);
    expect(1, 3, 3);
    expect(2, 3, 3);
    step_begin();
    CHECK(emmap_place_claim(&place, EMMAP_SEMAPHORE, EMMAP_CELLS_SIZE) == 0);
    step_returned();
    CHECK(emmap_semaphore_begin(&semaphore, &place, 3, -1) == 0);
    step_returned();
}

static void acquire_and_release(const struct step_scene *scene)
{
    struct emmap_semaphore semaphore = semaphore_in(scene);
    owner_in(&semaphore.inner.place);
    expect(0, 3, 3);
    expect(1, 3, 3);
    expect(2, 3, 3);
    expect(3, 3, 5);    /* 3 are released of 1 that is held: in the middle 2 more, and at first none */
    expect(4, 5, 5);
    expect(5, 5, 5);
    step_begin();
    CHECK(acquire(&semaphore) == 0); /* and claims a cell */
    step_returned();
    CHECK(acquire(&semaphore) == 0);
    step_returned();
    CHECK(release(&semaphore, 1) == 0);
    step_returned();
    CHECK(release(&semaphore, 3) == 0);
    step_returned();
    CHECK(acquire(&semaphore) == 0);
    step_returned();
}

/* From the dead: all permits, the inner lock and the cell are his. */
static void die_holding(const struct step_scene *scene)
{
    struct emmap_semaphore semaphore = semaphore_in(scene);
    for (int i = 0; i < 3; i++)
        CHECK(acquire(&semaphore) == 0);
    CHECK(emmap_lock_take(&semaphore.inner) == 0);
}

static void take_over(const struct step_scene *scene)
{
    struct emmap_semaphore semaphore = semaphore_in(scene);
    owner_in(&semaphore.inner.place);
    for (int i = 0; i < 4; i++)
        expect(i, 3, 3);
    step_begin();
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_ASK, NULL) == 0);
    step_returned();
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_ASK, NULL) == 0);
    step_returned();
    CHECK(release(&semaphore, 2) == 0);
    step_returned();
}

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "begin", .size = EMMAP_CELLS_SIZE, .kills = 20, .operate = begin, .recover = recover},
        {.name = "acquire and release", .size = EMMAP_CELLS_SIZE, .kills = 200,
         .operate = acquire_and_release, .recover = recover},
        {.name = "take over", .size = EMMAP_CELLS_SIZE, .kills = 200, .prepare = die_holding,
         .operate = take_over, .recover = recover},
    };
    return STEP_MAIN(argc, argv, tests);
}
