/* The lock word, its holder killed after each instruction.
 *
 * Each call changes the word by one store or not at all. So what `recover` finds is the word as it was
 * after the calls that have returned, or after one more. */
#define _GNU_SOURCE
#include "placed.h"

#include "lock.h"

#include <sched.h>

#define SIZE 16
#define MOST_CALLS 8

struct notes {
    uint64_t words[MOST_CALLS + 1]; /* after so many calls */
    int calls;
    _Atomic(uint64_t) held;         /* by this owner */
    _Atomic(uint64_t) trying;       /* for this owner */
    int told;                       /* what the sleeper's acquisition has told */
};

static _Atomic(uint64_t) *word_in(const struct step_scene *scene)
{
    /* SAFETY: the file is mapped, and the word lies behind the tag. */
    return (_Atomic(uint64_t) *)(void *)(scene->at + 8);
}

static struct emmap_lock lock_in(const struct step_scene *scene)
{
    struct emmap_lock lock;
    struct emmap_place place = place_in(scene, EMMAP_LOCK, SIZE);
    emmap_lock_begin(&lock, &place, word_in(scene));
    return lock;
}

static int acquire(struct emmap_lock *lock)
{
    return wait_for(emmap_lock_attempt, lock);
}

static void expect(const uint64_t *words, int calls)
{
    struct notes *notes = step_notes;
    memcpy(notes->words, words, sizeof *words * (size_t)(calls + 1));
    notes->calls = calls;
}

#define EXPECT(...)                                                                             \
    expect((const uint64_t[]){__VA_ARGS__},                                                     \
           (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)) - 1)

/* What the next process does: it gets the lock, and is told of the death exactly when the word names
 * the dead one; and only once. */
static void goes_on(const struct step_scene *scene)
{
    uint64_t word = atomic_load(word_in(scene));
    struct emmap_lock lock = lock_in(scene);
    int died = word & EMMAP_OWNER ? EMMAP_OWNER_DIED : word & EMMAP_DIED ? EMMAP_INCONSISTENT : 0;
    CHECK(acquire(&lock) == died && emmap_lock_is_mine(&lock));
    CHECK(emmap_lock_release(&lock) == 0);
    CHECK(acquire(&lock) == (died ? EMMAP_INCONSISTENT : 0));
    CHECK(emmap_lock_mark_consistent(&lock) == 0 && emmap_lock_release(&lock) == 0);
    CHECK(acquire(&lock) == 0 && emmap_lock_release(&lock) == 0);
    CHECK(atomic_load(lock.word) == 0);
}

static void recover(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    uint64_t word = atomic_load(word_in(scene));
    int i = scene->returned;
    CHECK(word == notes->words[i] || (i < notes->calls && word == notes->words[i + 1]));
    goes_on(scene);
}

/* From zeros: the first thing that a process does with a lock. */

static void begin(const struct step_scene *scene)
{
    static struct emmap_lost nothing;
    struct emmap_lock lock = {.place = {.at = scene->at, .lost = &nothing}};
    CHECK(emmap_life_begin(&lock.place.life, scene->fd, page_size()) == 0);
    emmap_lock_begin(&lock, &lock.place, word_in(scene));
    EXPECT(0, 0, 0, 0, 0);
    step_begin();
    CHECK(emmap_place_claim(&lock.place, EMMAP_LOCK, SIZE) == 0);
    step_returned();
    uint64_t me = owner_in(&lock.place);
    EXPECT(0, 0, 0, me, 0);
    step_returned();
    CHECK(acquire(&lock) == 0);
    step_returned();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
}

/* Again and again, by each way in. */

static void acquire_and_release(const struct step_scene *scene)
{
    struct emmap_lock lock = lock_in(scene);
    uint64_t me = owner_in(&lock.place);
    EXPECT(0, me, 0, me, 0);
    step_begin();
    CHECK(emmap_lock_take(&lock) == 0);
    step_returned();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
    CHECK(emmap_lock_attempt(&lock, EMMAP_LOOK, NULL) == 0);
    step_returned();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
}

/* From a dead holder. */

static void die_holding(const struct step_scene *scene)
{
    struct emmap_lock lock = lock_in(scene);
    CHECK(acquire(&lock) == 0);
}

static void take_over(const struct step_scene *scene)
{
    struct emmap_lock lock = lock_in(scene);
    uint64_t dead = atomic_load(lock.word), me = owner_in(&lock.place);
    CHECK(dead != 0 && dead != me);
    EXPECT(dead, me | EMMAP_DIED | EMMAP_WAITERS, EMMAP_DIED, me | EMMAP_DIED, me, 0);
    step_begin();
    CHECK(acquire(&lock) == EMMAP_OWNER_DIED);
    step_returned();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
    CHECK(acquire(&lock) == EMMAP_INCONSISTENT);
    step_returned();
    CHECK(emmap_lock_mark_consistent(&lock) == 0);
    step_returned();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
}

/* With a sleeper, whom nobody wakes when the holder is killed before he does. */

static void sleep_for_it(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_lock lock = lock_in(scene);
    while (atomic_load(&notes->held) == 0)
        sched_yield();
    notes->told = acquire(&lock);
    CHECK(notes->told == 0 || notes->told == EMMAP_OWNER_DIED);
    CHECK(emmap_lock_release(&lock) == 0);
}

static void release_to_sleeper(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_lock lock = lock_in(scene);
    CHECK(acquire(&lock) == 0);
    atomic_store(&notes->held, owner_in(&lock.place));
    while (!(atomic_load(lock.word) & EMMAP_WAITERS))
        sched_yield();
    step_begin();
    CHECK(emmap_lock_release(&lock) == 0);
    step_returned();
}

static void recover_from_both(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    uint64_t word = atomic_load(word_in(scene));
    if (scene->killed) /* and the sleeper had his turn */
        CHECK(word == (notes->told ? EMMAP_DIED : 0) && !(notes->told && scene->returned));
    else if (scene->returned)
        CHECK((word & EMMAP_OWNER) != notes->held && !(word & EMMAP_DIED));
    else
        CHECK(word == (notes->held | EMMAP_WAITERS) || (word & EMMAP_OWNER) != notes->held);
    goes_on(scene);
}

/* While a living process holds it, longer than the victim lives. */

static void outlive(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_lock lock = lock_in(scene);
    CHECK(acquire(&lock) == 0);
    atomic_store(&notes->held, owner_in(&lock.place));
    while (atomic_load(&notes->trying) == 0 ||
           emmap_life_ask(lock.place.life, atomic_load(&notes->trying)) == EMMAP_ALIVE)
        sched_yield();
    CHECK(emmap_lock_is_mine(&lock) && emmap_lock_release(&lock) == 0);
}

static void try_in_vain(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_lock lock = lock_in(scene);
    struct emmap_sleep sleep;
    uint64_t me = owner_in(&lock.place), holder;
    while ((holder = atomic_load(&notes->held)) == 0)
        sched_yield();
    EXPECT(holder, holder, holder | EMMAP_WAITERS, holder | EMMAP_WAITERS);
    atomic_store(&notes->trying, me);
    step_begin();
    CHECK(emmap_lock_attempt(&lock, EMMAP_LOOK, &sleep) == -EAGAIN);
    step_returned();
    CHECK(emmap_lock_attempt(&lock, EMMAP_ASK | EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    step_returned();
    CHECK(emmap_lock_release(&lock) == -EPERM);
    step_returned();
}

static void recover_what_is_free(const struct step_scene *scene)
{
    if (!scene->killed) {
        recover(scene);
        return;
    }
    CHECK(atomic_load(word_in(scene)) == 0);
    goes_on(scene);
}

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "begin", .size = SIZE, .kills = 200, .operate = begin, .recover = recover},
        {.name = "acquire and release", .size = SIZE, .kills = 200, .operate = acquire_and_release,
         .recover = recover},
        {.name = "take over", .size = SIZE, .kills = 200, .prepare = die_holding,
         .operate = take_over, .recover = recover},
        {.name = "release to a sleeper", .size = SIZE, .kills = 200, .beside = sleep_for_it,
         .operate = release_to_sleeper, .recover = recover_from_both},
        {.name = "try in vain", .size = SIZE, .kills = 200, .beside = outlive,
         .operate = try_in_vain, .recover = recover_what_is_free},
    };
    return STEP_MAIN(argc, argv, tests);
}
