/* The dict of a store, killed after each instruction of a commit. */
#define _GNU_SOURCE
#include "store_recover.h"

/* A full leaf, of keys that stay together; and some that do not. */
static void before_keys(struct play *play)
{
    open_box(play);
    make_both(play);
    begin(play);
    for (unsigned i = 0; i < EMMAP_LEAF_MOST; i++)
        set(play, i, VALUE(i, 3 * i));
    commit(play);
    flush(play);
}

static void during_keys(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 3, VALUE(30, 9)));        /* another value of the same length */
    ALONE(play, set(play, 3, VALUE(31, 70)));       /* and of another one */
    ALONE(play, delete(play, 5));
    ALONE(play, set(play, 5, VALUE(50, 0)));
}

PLAY(keys)

/* One more, and the leaf becomes two, below nodes of two levels. */
static void before_growth(struct play *play)
{
    before_keys(play);
}

static void during_growth(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 16, VALUE(16, 20)));
    ALONE(play, set(play, KEYS - 1, VALUE(17, 20)));
}

PLAY(growth)

/* Two levels of nodes, and so few keys that they become one leaf again, and none. */
static void before_merging(struct play *play)
{
    before_keys(play);
    begin(play);
    for (unsigned i = EMMAP_LEAF_MOST; i < CROWD; i++)
        set(play, i, VALUE(i, 8));
    set(play, CROWD, VALUE(100, 1));
    commit(play);
    begin(play);
    for (unsigned i = 4; i < CROWD; i++)
        delete(play, i);
    commit(play);
}

static void during_merging(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, delete(play, CROWD));
    for (unsigned i = 0; i < 4; i++)
        ALONE(play, delete(play, i));
}

PLAY(merging)

/* Values that lie in blocks of their own. */
static void before_values(struct play *play)
{
    before_keys(play);
    ALONE(play, set(play, 0, VALUE(1, 3000)));
}

static void during_values(struct play *play)
{
    open_box(play);
    stage(play);
    ALONE(play, set(play, 1, VALUE(2, 3000)));
    ALONE(play, set(play, 0, VALUE(3, 5000)));
    ALONE(play, set(play, 1, VALUE(4, 10)));
    ALONE(play, delete(play, 0));
}

PLAY(values)

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        PLAY_TEST("keys set and deleted", keys),
        PLAY_TEST("a leaf split and nodes made", growth),
        PLAY_TEST("leaves merged and nodes given up", merging),
        PLAY_TEST("large values", values),
    };
    return STEP_MAIN(argc, argv, tests);
}
