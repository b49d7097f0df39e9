/* Who opens a store: here, in another boot, in a container that calls this boot by another name, by another
 * device number; while others use it or recover it; and from which flush. */
#define _GNU_SOURCE
#include "opened.h"

static void headers_are_recognised(void)
{
    static struct emmap_store_header whole;
    make();
    whole = *header();
#define SPOILT(field, value, answer)                        \
    header()->field = value;                                \
    CHECK(emmap_store_recognise(&box.store) == (answer));   \
    CHECK(emmap_store_begin(&box.store) == (answer));       \
    *header() = whole;
    SPOILT(magic, 7, -EINVAL)
    SPOILT(magic, 0, -EINVAL)
    SPOILT(magic, __builtin_bswap64(EMMAP_STORE_MAGIC), -ENOTSUP)
    SPOILT(byte_order, __builtin_bswap32(EMMAP_BYTE_ORDER), -ENOTSUP)
    SPOILT(version, 2, -EPROTO)
    SPOILT(hash_key[0], 5, -EUCLEAN)
    SPOILT(check, 5, -EUCLEAN)
#undef SPOILT
    CHECK(emmap_store_begin(&box.store) == 0);
    CHECK(ftruncate(box.store.fd, EMMAP_BLOCKS_AT - 4096) == 0);
    CHECK(emmap_store_recognise(&box.store) == -EUCLEAN);
    CHECK(ftruncate(box.store.fd, 10) == 0);
    CHECK(emmap_store_recognise(&box.store) == -EINVAL);
    CHECK(ftruncate(box.store.fd, 0) == 0);
    CHECK(emmap_store_recognise(&box.store) == -EINVAL);
}

static void another_device_number_is_refused(void)
{
    make();
    leave();
    header()->home.device ^= 1;
    CHECK(open_store(&box) == -EXDEV && box.store.pin == NULL);
    header()->home.device ^= 1;
    CHECK(open_store(&box) == 0);
    /* The locks tell, too. */
    box.store.life->device ^= 1;
    CHECK(emmap_store_begin(&box.store) == -EXDEV);
    box.store.life->device ^= 1;
}

static void what_is_no_lock_is_told(void)
{
    make();
    emmap_live(&box.store)->lock[0] = 5;
    CHECK(emmap_store_begin(&box.store) == -EUCLEAN);
    CHECK(atomic_load(&box.store.wrong_at) == EMMAP_LIVE_AT + offsetof(struct emmap_live, lock));
}

/* Another boot's name, and somebody who lives: it is the same boot, seen from a container. */
static void who_lives_is_not_recovered_from_under(void)
{
    make();
    uint64_t root = atomic_load(&emmap_live(&box.store)->root);
    pid_t child = child_does(use_it);
    hear(to_parent);
    leave();
    boot_id[3] = 'X';
    CHECK(emmap_store_begin(&box.store) == EMMAP_NEEDS_RECOVERY && box.store.pin == NULL);
    CHECK(open_store(&box) == 0 && box.store.pin != NULL);
    CHECK(atomic_load(&emmap_live(&box.store)->root) == root);
    expect_content(&model);
    run(20);
    /* When nobody lives there, that boot is over. */
    tell(to_child);
    wait_for_end(child);
    leave();
    CHECK(open_store(&box) == 0);
    expect_content(&flushed);
    CHECK(header()->home.boot[3] == 'X' && emmap_store_begin(&box.store) == 0);
}

/* After a reboot two come at once: the one who waits for the other is no user of the live root. */
static void wait_for_recovery(void)
{
    struct box mine;
    int fd = dup(box.store.fd);
    attach(&mine, fd);
    CHECK(emmap_store_begin(&mine.store) == EMMAP_NEEDS_RECOVERY);
    tell(to_parent);            /* and waits for the lock, with an id */
    CHECK(wait_for_lock(&mine.store.lock) == 0);
    CHECK(emmap_recover(&mine.store) == 0 && mine.store.pin != NULL);
    CHECK_STORE(&mine);
    compare_live(&mine, &flushed);
    CHECK(emmap_lock_release(&mine.store.lock) == 0);
}

static void two_come_after_a_reboot(void)
{
    make();
    leave();
    boot_id[3] = 'Y';
    CHECK(emmap_store_begin(&box.store) == EMMAP_NEEDS_RECOVERY);
    CHECK(wait_for_lock(&box.store.lock) == 0);
    pid_t child = child_does(wait_for_recovery);
    hear(to_parent);
    while (!(atomic_load(box.store.lock.word) & EMMAP_WAITERS))
        sched_yield();
    CHECK(emmap_recover(&box.store) == 0);
    expect_content(&flushed);
    uint64_t root = atomic_load(&emmap_live(&box.store)->root);
    CHECK(emmap_lock_release(&box.store.lock) == 0);
    wait_for_end(child);
    CHECK(atomic_load(&emmap_live(&box.store)->root) == root);
}

/* Who looks for others sees those who come in while he looks, or they see him. */
static void nobody_comes_in_meanwhile(void)
{
    make();
    leave();
    atomic_store(&emmap_live(&box.store)->recovering, 1);
    CHECK(emmap_store_begin(&box.store) == EMMAP_NEEDS_RECOVERY && box.store.pin == NULL);
    for (size_t i = 0; i < EMMAP_PINS; i++)
        CHECK(atomic_load(&emmap_pins(&box.store)[i].owner) == 0);
    /* He was killed: nothing was changed yet. */
    CHECK(open_store(&box) == 0 && atomic_load(&emmap_live(&box.store)->recovering) == 0);
    expect_content(&model);
    /* He was killed in the middle: there is no way around. */
    leave();
    memset(&header()->home, 0, sizeof header()->home);
    CHECK(open_store(&box) == 0);
    expect_content(&flushed);
}

/* A stranger's lock hides who lives. */
static void lock_all(void)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 2,
                        .l_start = EMMAP_ID_BYTES + (int64_t)(DEAD >> EMMAP_FLAG_BITS)};
    CHECK(fcntl(box.store.fd, F_SETLK, &all) == 0);
    tell(to_parent);
    hear(to_child);
}

static void a_stranger_hides_who_lives(void)
{
    struct emmap_pin *pin = NULL;
    make();
    CHECK(emmap_pin_claim(&box.store, &pin) == 0);
    leave();
    atomic_store(&pin->owner, DEAD);
    boot_id[3] = 'Z';
    CHECK(emmap_store_begin(&box.store) == EMMAP_NEEDS_RECOVERY);
    CHECK(wait_for_lock(&box.store.lock) == 0);
    pid_t child = child_does(lock_all);
    hear(to_parent);
    CHECK(emmap_recover(&box.store) == -EBUSY);
    tell(to_child);
    wait_for_end(child);
    CHECK(emmap_recover(&box.store) == 0);
    CHECK(emmap_lock_release(&box.store.lock) == 0);
    expect_content(&flushed);
}

/* Metas */

static void spoil(uint64_t at)
{
    box.store.base[at] ^= 1;
}

static void reopen_elsewhere(int answer, const struct model *content)
{
    static struct image image;
    static struct box copy;
    take_image(&image, &box);
    attach_image(&copy, &image);
    CHECK(open_store(&copy) == answer);
    if (answer == 0) {
        CHECK_STORE(&copy);
        compare_live(&copy, content);
    }
    detach(&copy);
    in_use = &box;
}

/* The newest that is whole, whose root is whole, and for which the file is long enough. */
static void the_newest_good_meta_is_taken(void)
{
    static struct model older;
    struct emmap_meta metas[2];
    make();
    older = flushed;
    flushed = model;
    CHECK(flush_store(&box) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(emmap_meta_read(&box.store, i, &metas[i]) == 0);
    int newer = metas[1].txn > metas[0].txn;
    reopen_elsewhere(0, &flushed);
    spoil(EMMAP_META_AT(newer) + offsetof(struct emmap_meta, boot));
    reopen_elsewhere(0, &older);
    spoil(EMMAP_META_AT(newer) + offsetof(struct emmap_meta, boot));
    spoil(EMMAP_META_AT(newer) + 8);
    reopen_elsewhere(0, &older);
    spoil(EMMAP_META_AT(1 - newer) + 8);
    reopen_elsewhere(-EUCLEAN, NULL);
    spoil(EMMAP_META_AT(newer) + 8);
    reopen_elsewhere(0, &flushed);
    spoil(EMMAP_META_AT(1 - newer) + 8);

    /* The file has been cut. */
    struct emmap_meta longer = metas[newer];
    longer.size = atomic_load(&box.store.size) + 16;
    CHECK(emmap_meta_write(&box.store, newer, &longer) == 0);
    reopen_elsewhere(-EUCLEAN, NULL);
    longer.size = longer.frontier - 16;
    CHECK(emmap_meta_write(&box.store, newer, &longer) == 0);
    CHECK(emmap_meta_read(&box.store, newer, &longer) == -ENOENT);
    CHECK(emmap_meta_write(&box.store, newer, &metas[newer]) == 0);
    reopen_elsewhere(0, &flushed);

    /* A root that is damaged, by no power loss: nothing older is taken for the last flush. */
    spoil(metas[newer].root + 1);
    reopen_elsewhere(-EUCLEAN, NULL);
    spoil(metas[newer].root + 1);
    reopen_elsewhere(0, &flushed);
    leave();
    boot_id[5] = 'Q';
    CHECK(open_store(&box) == 0);
    expect_content(&flushed);
    model = flushed;
    run(50);
    CHECK_STORE(&box);

}

/* A forked child begins again, with a pin of its own. */
static void begin_in_child(void)
{
    struct emmap_pin *parents = box.store.pin;
    CHECK(emmap_store_begin(&box.store) == 0 && box.store.pin != parents);
    compare_live(&box, &model);
    run(10);
    CHECK_STORE(&box);
    emmap_store_end(&box.store);
}

/* One that does not use it ends, and the pin is not its own. */
static void end_in_child(void)
{
    emmap_store_end(&box.store);
}

static void a_child_begins_again(void)
{
    make();
    struct emmap_pin *pin = box.store.pin;
    uint64_t owner = atomic_load(&pin->owner);
    wait_for_end(child_does(begin_in_child));
    wait_for_end(child_does(end_in_child));
    CHECK(box.store.pin == pin && atomic_load(&pin->owner) == owner);
    CHECK_STORE(&box);
}

/* A copy of the last flush that has no byte more than its root needs. */
static void cut_short(struct box *copy)
{
    static struct image image;
    struct emmap_meta metas[2];
    take_image(&image, &box);
    for (int i = 0; i < 2; i++)
        CHECK(emmap_meta_read(&box.store, i, &metas[i]) == 0);
    int newer = metas[1].txn > metas[0].txn;
    image.n = metas[newer].size = metas[newer].frontier;
    attach_image(copy, &image);
    CHECK(emmap_store_recognise(&copy->store) == 0);
    CHECK(emmap_meta_write(&copy->store, newer, &metas[newer]) == 0);
}

static void growth_that_fails_is_told(void)
{
    static const struct emmap_home nowhere;
    static struct box copy;
    make();
    for (int i = 0; i < 300; i++)
        transact(&box, &txn, &model, 300);
    CHECK(flush_store(&box) == 0);
    cut_short(&copy);
    is_full = 1;
    CHECK(open_store(&copy) == -ENOSPC);
    /* It had begun to rebuild: nobody may take what is there for live. */
    CHECK(memcmp(&((struct emmap_store_header *)(void *)copy.store.base)->home, &nowhere, sizeof nowhere) == 0);
    is_full = 0;
    CHECK(open_store(&copy) == 0);
    CHECK_STORE(&copy);
    compare_live(&copy, &model);
}

/* A copy may have holes, which a full disk could not fill when they are written to. */
static void holes_are_filled(void)
{
    static struct image image;
    static struct box copy;
    struct stat now;
    make();
    take_image(&image, &box);
    attach_image(&copy, &image);
    CHECK(ftruncate(copy.store.fd, (off_t)image.n + (1 << 20)) == 0);
    CHECK(open_store(&copy) == 0);
    CHECK(fstat(copy.store.fd, &now) == 0 && now.st_blocks * 512 >= now.st_size);
    CHECK(atomic_load(&emmap_live(&copy.store)->size) == (uint64_t)now.st_size);
}

static const struct test tests[] = {
    TEST(headers_are_recognised),
    TEST(another_device_number_is_refused),
    TEST(what_is_no_lock_is_told),
    TEST(who_lives_is_not_recovered_from_under),
    TEST(two_come_after_a_reboot),
    TEST(nobody_comes_in_meanwhile),
    TEST(a_stranger_hides_who_lives),
    TEST(the_newest_good_meta_is_taken),
    TEST(a_child_begins_again),
    TEST(growth_that_fails_is_told),
    TEST(holes_are_filled),
};

int main(void)
{
    return RUN_TESTS(tests);
}
