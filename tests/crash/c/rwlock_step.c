/* The lock for readers and writers, one of them killed after each instruction: a dead reader keeps nobody
 * out and is not told of, a dead writer is, exactly when the word names him. */
#define _GNU_SOURCE
#include "placed.h"

#include "rwlock.h"

struct notes {
    int writes[8];      /* may the word name the dead one during this call? 2: it does from the start */
};

static struct emmap_rwlock rwlock_in(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock;
    struct emmap_place place = place_in(scene, EMMAP_RWLOCK, EMMAP_CELLS_SIZE);
    emmap_rwlock_begin(&rwlock, &place, 0);
    return rwlock;
}

static int write_it(struct emmap_rwlock *rwlock)
{
    struct emmap_rwlock_write write = {.rwlock = rwlock};
    return wait_for(emmap_rwlock_write_attempt, &write);
}

static int read_it(struct emmap_rwlock *rwlock)
{
    return wait_for(emmap_rwlock_read_attempt, rwlock);
}

/* Images with an even step are recovered by a writer first, the others by a reader. */
static void recover(const struct step_scene *scene)
{
    struct notes *notes = step_notes;
    struct emmap_rwlock rwlock = rwlock_in(scene);
    uint64_t word = atomic_load(rwlock.writer.word);
    CHECK(!(word & EMMAP_OWNER) || notes->writes[scene->returned]);
    CHECK(word & EMMAP_OWNER || notes->writes[scene->returned] != 2);
    int died = word & EMMAP_OWNER ? EMMAP_OWNER_DIED : word & EMMAP_DIED ? EMMAP_INCONSISTENT : 0;
    if (scene->step % 2 == 0) {
        CHECK(write_it(&rwlock) == died && emmap_rwlock_release_write(&rwlock) == 0);
        CHECK(read_it(&rwlock) == (died ? EMMAP_INCONSISTENT : 0));
    } else {
        CHECK(read_it(&rwlock) == died);
    }
    CHECK(emmap_rwlock_readers(&rwlock) == 1);
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    CHECK(write_it(&rwlock) == (died ? EMMAP_INCONSISTENT : 0));
    CHECK(emmap_lock_mark_consistent(&rwlock.writer) == 0);
    CHECK(emmap_rwlock_release_write(&rwlock) == 0);
    CHECK(read_it(&rwlock) == 0 && emmap_rwlock_take_read(&rwlock) == 0);
    CHECK(emmap_rwlock_release_read(&rwlock) == 0 && emmap_rwlock_release_read(&rwlock) == 0);
    CHECK(write_it(&rwlock) == 0 && emmap_rwlock_release_write(&rwlock) == 0);
    CHECK(atomic_load(rwlock.writer.word) == 0);
}

static void expect(const int *writes, size_t n)
{
    struct notes *notes = step_notes;
    memcpy(notes->writes, writes, n * sizeof *writes);
}

#define EXPECT(...) expect((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static void read_and_write(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    owner_in(&rwlock.cells.place);
    EXPECT(0, 0, 0, 0, 1, 1, 0);
    step_begin();
    CHECK(read_it(&rwlock) == 0); /* and claims a cell */
    step_returned();
    CHECK(emmap_rwlock_take_read(&rwlock) == 0);
    step_returned();
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    step_returned();
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    step_returned();
    CHECK(write_it(&rwlock) == 0);
    step_returned();
    CHECK(emmap_rwlock_release_write(&rwlock) == 0);
    step_returned();
}

/* A writer who waits for a reader, and gives up. */
static void give_up(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    owner_in(&rwlock.cells.place);
    CHECK(read_it(&rwlock) == 0);
    EXPECT(1, 1, 0, 0);
    step_begin();
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_LOOK, NULL) == -EAGAIN);
    step_returned();
    emmap_rwlock_write_give_up(&write);
    step_returned();
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    step_returned();
}

/* From a dead writer, who was also counted as a reader. */
static void die_holding(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    CHECK(read_it(&rwlock) == 0);
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_LOOK, NULL) == -EAGAIN);
}

static void take_over_to_read(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    owner_in(&rwlock.cells.place);
    EXPECT(1, 0, 0);
    step_begin();
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == EMMAP_OWNER_DIED);
    step_returned();
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    step_returned();
}

static void take_over_to_write(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    owner_in(&rwlock.cells.place);
    EXPECT(2, 2, 2, 1, 0);
    step_begin();
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_ASK, NULL) == EMMAP_OWNER_DIED);
    step_returned();
    CHECK(emmap_lock_mark_consistent(&rwlock.writer) == 0);
    step_returned();
    step_returned();
    CHECK(emmap_rwlock_release_write(&rwlock) == 0);
    step_returned();
}

/* He takes over, cannot write for a reader of ours, and leaves the death to the next to tell. */
static void leave_to_the_next(const struct step_scene *scene)
{
    struct emmap_rwlock rwlock = rwlock_in(scene);
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    struct emmap_cell *mine;
    owner_in(&rwlock.cells.place);
    CHECK(emmap_cells_claim(&rwlock.cells, &mine) == 0);
    atomic_store(&mine->payload, 1);
    EXPECT(2, 2, 2, 2);
    step_begin();
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_ASK, NULL) == -EAGAIN);
    step_returned();
    emmap_rwlock_write_give_up(&write);
    step_returned();
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    step_returned();
}

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "read and write", .size = EMMAP_CELLS_SIZE, .kills = 200, .operate = read_and_write,
         .recover = recover},
        {.name = "give up", .size = EMMAP_CELLS_SIZE, .kills = 50, .operate = give_up,
         .recover = recover},
        {.name = "take over to read", .size = EMMAP_CELLS_SIZE, .kills = 50, .prepare = die_holding,
         .operate = take_over_to_read, .recover = recover},
        {.name = "take over to write", .size = EMMAP_CELLS_SIZE, .kills = 50, .prepare = die_holding,
         .operate = take_over_to_write, .recover = recover},
        {.name = "leave to the next", .size = EMMAP_CELLS_SIZE, .kills = 50, .prepare = die_holding,
         .operate = leave_to_the_next, .recover = recover},
    };
    return STEP_MAIN(argc, argv, tests);
}
