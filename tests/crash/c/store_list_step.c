/* The list of a store, and names, killed after each instruction of a commit. */
#define _GNU_SOURCE
#include "store_recover.h"

/* A full leaf. */
static void before_split(struct play *play)
{
    open_box(play);
    make_both(play);
    begin(play);
    for (unsigned i = 0; i < EMMAP_LIST_MOST; i++)
        insert(play, i, VALUE(i, i % 12));
    commit(play);
    flush(play);
}

static void during_split(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, insert(play, 9, VALUE(100, 7)));    /* two leaves, and a root */
    ALONE(play, insert(play, 0, VALUE(101, 40)));
    ALONE(play, replace(play, 20, VALUE(102, 41)));
    ALONE(play, replace(play, 20, VALUE(103, 2)));
}

PLAY(split)

/* A leaf that has as few as it may, and its neighbour, that has some to spare. */
static void before_join(struct play *play)
{
    before_split(play);
    begin(play);
    for (unsigned i = 0; i < 5; i++)
        insert(play, 16 + i, VALUE(100 + i, i));
    while (play->draft.n > 28)
        take_out(play, 0);
    commit(play);
}

static void during_join(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, take_out(play, 0));                 /* they share what is left, */
    begin(play);
    for (unsigned i = 0; i < 5; i++)
        take_out(play, 0);
    commit(play);
    ALONE(play, take_out(play, 0));                 /* and become one */
    ALONE(play, take_out(play, 0));
}

PLAY(join)

/* Two leaves, the last of which is full. */
static void before_neighbours(struct play *play)
{
    before_split(play);
    begin(play);
    while (play->draft.n < 57)
        insert(play, play->draft.n, VALUE(play->draft.n, 6));
    commit(play);
}

static void during_neighbours(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, insert(play, 57, VALUE(100, 7)));   /* the left one is filled, */
    ALONE(play, insert(play, 0, VALUE(101, 7)));    /* and the right one */
}

PLAY(neighbours)

/* Parts of it are replaced at once. */
static void before_parts(struct play *play)
{
    before_neighbours(play);
}

static void during_parts(struct play *play)
{
    static const uint32_t values[] = {VALUE(100, 3), VALUE(101, 30), VALUE(102, 5)};
    open_box(play);
    stage(play);
    ALONE(play, replace_part(play, 12, 44, values, 3));
    ALONE(play, rearrange(play));
}

PLAY(parts)

/* Names removed with all that they stand for, and made again. */
static void before_names(struct play *play)
{
    before_split(play);
    begin(play);
    insert(play, 16, VALUE(100, 2000));
    for (unsigned i = 0; i < EMMAP_LEAF_MOST + 1; i++)
        set(play, i, VALUE(i, 90 * i));
    commit(play);
}

static void during_names(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, unmake(play, EMMAP_A_LIST));
    begin(play);
    unmake(play, EMMAP_A_DICT);
    make(play, EMMAP_A_LIST);
    commit(play);
    ALONE(play, insert(play, 0, VALUE(101, 20)));
}

PLAY(names)

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        PLAY_TEST("a list's leaf split", split),
        PLAY_TEST("a list's leaves joined", join),
        PLAY_TEST("a list's leaf filled beside a full one", neighbours),
        PLAY_TEST("parts of a list", parts),
        PLAY_TEST("names made and removed", names),
    };
    return STEP_MAIN(argc, argv, tests);
}
