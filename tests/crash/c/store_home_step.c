/* Creating, opening, reading, flushing and recovering: killed after each instruction. */
#define _GNU_SOURCE
#include "store_recover.h"

/* Nobody sees a file before it is whole: but whoever does must not come to harm. */
static void operate_creation(const struct step_scene *scene)
{
    static struct box box;
    attach_file(&box, scene->path);
    notes()->inode = box.store.life->inode;
    step_begin();
    OK(emmap_store_create(&box.store));
    step_returned();
}

static void recover_creation(const struct step_scene *scene)
{
    static struct box box;
    static struct play play;
    attach_file(&box, scene->path);
    if (home_of(&box)->inode == notes()->inode)
        home_of(&box)->inode = box.store.life->inode;
    int rc = emmap_store_recognise(&box.store);
    int is_none = rc == -EINVAL || rc == -EUCLEAN || rc == -EPROTO || rc == -ENOTSUP;
    CHECK(rc == 0 || (!scene->returned && is_none));
    if (rc == 0)
        rc = open_store(&box);
    CHECK(rc == 0 || (!scene->returned && rc < 0));
    if (rc != 0)
        return;
    choose_keys(&box.store);
    CHECK_STORE(&box);
    CHECK(is_live_as(&box, &play.last.now));
    play.box = &box;
    make_both(&play);
    CHECK_STORE(&box);
    CHECK(is_live_as(&box, &play.moment.now));
}

/* The first one to open it makes its locks. */
static void before_first(struct play *play)
{
    (void)play;
}

static void during_first(struct play *play)
{
    stage(play);
    open_box(play);
    has_returned(play);
    make_both(play);
}

PLAY(first)

/* Some commits, and a flush. */
static void use(struct play *play)
{
    open_box(play);
    make_both(play);
    for (unsigned i = 0; i < 8; i++)
        ALONE(play, set(play, i, VALUE(i, 200 * i)));
    flush(play);
    commit_again(play, 3);
}

/* Reads: pins claimed, set, copied, cleared and given back. */
static void before_reading(struct play *play)
{
    use(play);
    for (unsigned i = 0; i < 2; i++)
        ALONE(play, set(play, 3, VALUE(90 + i, 5000)));
}

static void during_reading(struct play *play)
{
    stage(play);
    open_box(play);
    has_returned(play);
    pin_root(play);
    if (play->box != NULL) {
        struct emmap_pin *copy;
        emmap_pin_since(play->pin);
        OK(emmap_pin_claim(&play->box->store, &copy));
        emmap_pin_copy(&play->box->store, copy, atomic_load(&play->pin->word));
        emmap_pin_give(play->pin);
        play->pin = copy;
    }
    has_returned(play);
    /* So large that the pins are looked at each time. */
    for (unsigned i = 0; i < 2; i++)
        ALONE(play, set(play, 3, VALUE(100 + i, 5000)));
    unpin_root(play);
    if (play->box != NULL) {
        emmap_pin_give(play->pin);
        emmap_store_end(&play->box->store);
    }
    has_returned(play);
}

PLAY(reading)

/* Flushes, and commits between them. One of the same content was killed before it was completed. */
static void before_flushing(struct play *play)
{
    use(play);
    if (play->box != NULL) {
        struct emmap_meta meta;
        OK(emmap_meta_make(&play->box->store, &meta));
        atomic_store(&emmap_live(&play->box->store)->flushing, meta.txn);
        OK(emmap_meta_write(&play->box->store, 0, &meta)); /* the flush before it is in slot 1 */
    }
    commit_again(play, 4);
}

static void during_flushing(struct play *play)
{
    open_box(play);
    stage(play);
    flush(play);
    ALONE(play, set(play, 2, VALUE(100, 600)));
    flush(play);
    ALONE(play, set(play, 2, VALUE(101, 600)));
    ALONE(play, set(play, 2, VALUE(102, 600)));
    flush(play);
}

PLAY(flushing)

/* Whatever was committed since the flush is not what it was, and another flush was cut short. */
static void lose_since_flush(struct play *play)
{
    ALONE(play, set(play, 1, VALUE(50, 900)));
    ALONE(play, delete(play, 2));
    play->moment.now = play->moment.flushed;
    if (play->box == NULL)
        return;
    struct emmap_live *live = emmap_live(&play->box->store);
    atomic_store(&live->flushing, atomic_load(&live->epoch));
    for (unsigned i = 0; i < 2 * EMMAP_CLASSES; i++) {
        struct emmap_fifo *fifo = &emmap_space(&play->box->store, i % 2)->fifos[i / 2];
        fifo->head_i += fifo->count != 0;
    }
}

static void before_recovery(struct play *play)
{
    use(play);
    lose_since_flush(play);
}

static void recover_and_change(struct play *play)
{
    stage(play);
    open_box(play);
    has_returned(play);
    ALONE(play, set(play, 3, VALUE(100, 600)));
}

static void during_recovery(struct play *play)
{
    if (play->box != NULL)
        reboot();
    recover_and_change(play);
}

PLAY(recovery)

/* The same where it was last opened: the live root is found to be none. */
static void before_repair(struct play *play)
{
    before_recovery(play);
    if (play->box == NULL)
        return;
    struct emmap_live *live = emmap_live(&play->box->store);
    atomic_store(&live->root, atomic_load(&live->root) + 64);
    atomic_store(&live->epoch, 1);
}

static void during_repair(struct play *play)
{
    recover_and_change(play);
}

PLAY(repair)

/* The same when a flush has failed. Its meta is the newest, but counts for a reboot only: before this. */
static void before_failure(struct play *play)
{
    use(play);
    ALONE(play, set(play, 1, VALUE(50, 900)));
    struct model failed = play->moment.now;
    play->moment.now = play->moment.flushed;
    play->moment.flushed = failed;
    if (play->box == NULL)
        return;
    struct emmap_live *live = emmap_live(&play->box->store);
    struct emmap_meta meta;
    OK(emmap_meta_make(&play->box->store, &meta));
    OK(emmap_meta_write(&play->box->store, 0, &meta));
    atomic_store(&live->flushing, meta.txn);
    atomic_store(&live->poisoned, 1);
}

static void during_failure(struct play *play)
{
    stage(play);
    play->moment.flushed = play->moment.now;
    open_box(play);
    has_returned(play);
    ALONE(play, set(play, 3, VALUE(100, 600)));
}

PLAY(failure)

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "creation", .size = STORE_SIZE, .kills = KILLS, .operate = operate_creation,
         .recover = recover_creation},
        PLAY_TEST("the first opening", first),
        PLAY_TEST("readers", reading),
        PLAY_TEST("flushes", flushing),
        PLAY_TEST("recovery after a reboot", recovery),
        PLAY_TEST("recovery of a live root that is none", repair),
        PLAY_TEST("recovery after a flush that failed", failure),
    };
    return STEP_MAIN(argc, argv, tests);
}
