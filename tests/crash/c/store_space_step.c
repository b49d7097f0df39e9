/* Transactions of several changes, and what becomes of the space: killed after each instruction. */
#define _GNU_SOURCE
#include "store_recover.h"

#include "queue.h"

/* Some of all sizes, and some of it free. */
static void before_several(struct play *play)
{
    open_box(play);
    make_both(play);
    for (unsigned i = 0; i < 24; i++) {
        begin(play);
        set(play, i % 12, VALUE(i, 100 * i));
        insert(play, i / 2, VALUE(i, 5 * i));
        if (i % 3 == 2)
            delete(play, i % 12);
        commit(play);
    }
}

static void during_several(struct play *play)
{
    open_box(play);
    stage(play);
    begin(play);
    set(play, 12, VALUE(200, 1200));
    insert(play, 3, VALUE(201, 33));
    delete(play, 7);
    set(play, 12, VALUE(202, 12));
    commit(play);
    begin(play);
    set(play, 13, VALUE(203, 12));
    take_out(play, 0);
    roll_back(play);
    ALONE(play, set(play, 13, VALUE(204, 600)));
}

PLAY(several)

/* A part of a transaction is dropped, and the rest committed. */
static void before_savepoint(struct play *play)
{
    before_several(play);
}

static void during_savepoint(struct play *play)
{
    open_box(play);
    stage(play);
    begin(play);
    set(play, 12, VALUE(200, 12));
    save(play);
    set(play, 12, VALUE(201, 900));
    delete(play, 7);
    insert(play, 0, VALUE(202, 33));
    go_back(play);
    insert(play, 0, VALUE(203, 30));
    commit(play);
    ALONE(play, set(play, 12, VALUE(204, 40)));
}

PLAY(savepoint)

/* The queue of blocks of so many bytes, as it is between transactions. */
static const struct emmap_fifo *queue_for(struct play *play, size_t bytes)
{
    struct emmap_store *store = &play->box->store;
    uint64_t txn = atomic_load(&emmap_live(store)->epoch);
    int is_first = atomic_load(&emmap_space(store, 0)->txn) == txn;
    return &emmap_space(store, !is_first)->fifos[emmap_class_of(bytes)];
}

/* Each commit replaces a root record. One of key 10 replaces its entry, of a length that no other has. */
#define OF_ROOTS sizeof(struct emmap_root)
#define OF_ENTRY (sizeof(struct emmap_entry) + 8 + 40)

static void before_chunks(struct play *play)
{
    before_several(play);
    ALONE(play, set(play, 9, VALUE(98, 200)));
    ALONE(play, set(play, 10, VALUE(99, 40)));
    while (play->box != NULL && queue_for(play, OF_ENTRY)->head_i != EMMAP_CHUNK_ENTRIES)
        commit_again(play, 10);
    while (play->box != NULL && queue_for(play, OF_ROOTS)->tail_i != EMMAP_CHUNK_ENTRIES)
        commit_again(play, 9);
}

/* In one transaction one queue's chunk is emptied, and another one gets a new chunk. */
static void during_chunks(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 10, VALUE(200, 40)));
    if (play->box != NULL)
        CHECK(queue_for(play, OF_ENTRY)->head_i == 1 && queue_for(play, OF_ROOTS)->tail_i == 1);
    for (unsigned i = 1; i < 4; i++)
        ALONE(play, set(play, 10, VALUE(200 + i, 40)));
}

PLAY(chunks)

/* What an old root reaches waits in `held`, and comes back. */
static void before_held(struct play *play)
{
    before_several(play);
    flush(play);
    ALONE(play, set(play, 0, VALUE(100, 5000)));
    ALONE(play, set(play, 1, VALUE(101, 5000)));
}

static void during_held(struct play *play)
{
    open_box(play);
    pin_root(play);
    stage(play);
    ALONE(play, set(play, 0, VALUE(200, 5000)));
    ALONE(play, set(play, 0, VALUE(201, 5000)));
    ALONE(play, set(play, 1, VALUE(202, 5000)));
    if (play->box != NULL) {
        CHECK(play->txn.space->held.count != 0);
        unpin_root(play);
        OK(emmap_scan(&play->box->store));
        /* As who looks at the pins in a transaction does. */
        play->txn.sweep = play->txn.space->held.count;
    }
    ALONE(play, set(play, 1, VALUE(203, 10)));
    if (play->box != NULL)
        CHECK(play->txn.space->held.count == 0);
    ALONE(play, set(play, 0, VALUE(204, 5000)));
    ALONE(play, set(play, 1, VALUE(205, 5000)));
}

PLAY(held)

/* The file is made longer. */
static void before_length(struct play *play)
{
    before_several(play);
    flush(play);
}

static void during_length(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 0, VALUE(200, 60000)));
    ALONE(play, insert(play, 0, VALUE(201, 65000)));
}

PLAY(length)

/* Much is free, in blocks that are larger than what is asked for. */
static void before_cutting(struct play *play)
{
    open_box(play);
    make_both(play);
    begin(play);
    for (unsigned i = 0; i < 8; i++)
        set(play, i, VALUE(i, 60000));
    commit(play);
    begin(play);
    for (unsigned i = 0; i < 8; i++)
        set(play, i, VALUE(i, 8 * i));
    commit(play);
}

static void during_cutting(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 3, VALUE(200, 2000)));
    ALONE(play, set(play, 4, VALUE(201, 20000)));
}

PLAY(cutting)

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        PLAY_TEST("several changes at once", several),
        PLAY_TEST("a savepoint gone back to", savepoint),
        PLAY_TEST("the ends of a queue's chunks", chunks),
        PLAY_TEST("what an old root holds", held),
        PLAY_TEST("the file made longer", length),
        PLAY_TEST("larger blocks cut", cutting),
    };
    return STEP_MAIN(argc, argv, tests);
}
