/* Recovering from a play (store_play.h) that was killed. To write one:
 *
 *     static void before_it(struct play *play)    what is there before, left by a process that is dead
 *     static void during_it(struct play *play)    what is done then: it is stepped from `stage` on
 *     PLAY(it)                                    makes what PLAY_TEST("what it does", it) needs
 *
 * Whoever recovers must find all that has returned, and what was under way as a whole or not at all; the
 * store must be sound, with no space lost, and work; and so it must be after a reboot, with what was flushed.
 */
#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "store_play.h"

/* Comparing */

static inline int is_list(struct emmap_store *store, const struct emmap_record *record,
                          const struct model *model)
{
    if (record->count != model->n)
        return 0;
    for (unsigned i = 0; i < model->n; i++) {
        const struct emmap_slot *slot;
        uint64_t n;
        OK(emmap_list_get(store, record->root, record->count, i, &slot));
        const unsigned char *payload = emmap_slot_payload(store, slot, &n);
        CHECK(payload != NULL);
        if (!is_value(payload, n, model->list[i]))
            return 0;
    }
    return 1;
}

static inline int is_dict(struct emmap_store *store, const struct emmap_record *record,
                          const struct model *model)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        const struct emmap_entry *entry;
        OK(emmap_trie_find(store, record->root, &keys[i], &entry));
        if ((entry != NULL) != (model->dict[i] != 0))
            return 0;
        if (entry == NULL)
            continue;
        count++;
        const unsigned char *payload = emmap_entry_payload(store, entry);
        CHECK(payload != NULL);
        if (!is_value(payload, entry->value_n, model->dict[i]))
            return 0;
    }
    CHECK(count == record->count);
    return 1;
}

/* Is what the root reaches what the model says? Whatever it is, it must be whole. */
static inline int is_as(struct box *box, uint64_t at, const struct model *model)
{
    struct emmap_store *store = &box->store;
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    const struct emmap_record *dict, *list;
    in_use = box;
    CHECK(root != NULL);
    OK(emmap_record_find(store, root->directory, name_of(EMMAP_A_DICT), &dict));
    OK(emmap_record_find(store, root->directory, name_of(EMMAP_A_LIST), &list));
    CHECK(root->names == (uint64_t)((dict != NULL) + (list != NULL)));
    return (dict != NULL) == model->has_dict && (dict == NULL || is_dict(store, dict, model)) &&
           (list != NULL) == model->has_list && (list == NULL || is_list(store, list, model));
}

static inline int is_live_as(struct box *box, const struct model *model)
{
    return is_as(box, atomic_load(&emmap_live(&box->store)->root), model);
}

/* Recovering */

static inline struct emmap_home *home_of(struct box *box)
{
    return &((struct emmap_store_header *)(void *)box->store.base)->home;
}

/* A lock is free, or its owner is dead. */
static inline void take_over(struct box *box)
{
    OK(wait_for_lock(&box->store.lock));
}

/* The same file after a reboot has what was flushed: `last`, or `next` when that was under way. */
static inline void check_after_reboot(const struct play *play, const struct box *box)
{
    static struct image image;
    struct box copy;
    take_image(&image, box);
    unsigned char here[16];
    memcpy(here, boot_id, sizeof here);
    attach_image(&copy, &image);
    kernel.fdatasync = no_barrier;
    memcpy(boot_id, "one boot more", 13);
    OK(open_store(&copy));
    take_over(&copy);
    CHECK_STORE(&copy);
    CHECK(is_live_as(&copy, &play->last.flushed) || is_live_as(&copy, &play->next.flushed));
    OK(emmap_lock_release(&copy.store.lock));
    detach(&copy);
    memcpy(boot_id, here, sizeof here);
}

/* It works: changes are made, so many that space is used again, and nobody is in their way. */
#define COMMITS 8

static inline void check_that_it_works(struct play *play, struct box *box, const struct model *found)
{
    struct play again = {.box = box, .moment.now = *found};
    uint64_t size;
    OK(emmap_lock_release(&box->store.lock));
    for (unsigned i = 0; i < COMMITS; i++) {
        begin(&again);
        if (!again.draft.has_dict)
            make(&again, EMMAP_A_DICT);
        set(&again, KEYS - 1 - i % 2, VALUE(900 + i, 600 * (i % 3)));
        OK(emmap_commit(&again.txn));
        if (i == 0 || i == COMMITS - 1)
            CHECK_STORE(box);
        OK(emmap_lock_release(&box->store.lock));
        again.moment.now = again.draft;
    }
    CHECK(is_live_as(box, &again.moment.now));
    check_after_reboot(play, box);
    in_use = box;
    OK(emmap_lock_take(&box->store.lock));
    for (unsigned i = 0; i < 3; i++)
        OK(emmap_scan(&box->store));
    OK(emmap_lock_release(&box->store.lock));
    CHECK(box->store.protected->pins == 0 && box->store.protected->tentative == UINT64_MAX);
    CHECK(emmap_linux.size(box->store.fd, &size) == 0);
    CHECK(atomic_load(&emmap_live(&box->store)->size) <= size);
    CHECK(flush_store(box) == 0);
    play->last.flushed = play->next.flushed = again.moment.now;
    check_after_reboot(play, box);
    in_use = box;
    emmap_txn_end(&again.txn);
}

/* After all who used it have died. `play` says what is to be found. */
static inline void recover_store(struct play *play, struct box *box)
{
    choose_keys(&box->store);
    if (notes()->pinned != 0)
        CHECK(is_as(box, notes()->pinned, &play->pinned));
    OK(open_store(box));
    take_over(box);
    CHECK_STORE(box);
    const struct model *found = is_live_as(box, &play->last.now) ? &play->last.now : &play->next.now;
    CHECK(is_live_as(box, found));
    check_that_it_works(play, box, found);
    detach(box);
}

static inline void prepare_play(const struct step_scene *scene, void (*before)(struct play *play))
{
    static struct box box;
    static struct play play;
    attach_file(&box, scene->path);
    OK(emmap_store_create(&box.store));
    choose_keys(&box.store);
    play.box = &box;
    before(&play);
}

static inline void operate_play(const struct step_scene *scene, void (*before)(struct play *play),
                                void (*during)(struct play *play))
{
    static struct box box;
    static struct play play;
    attach_file(&box, scene->path);
    OK(emmap_store_recognise(&box.store));
    choose_keys(&box.store);
    before(&play);              /* on the model alone: the one who did it is dead */
    play.box = &box;
    /* Memory that it need not ask for: what is copied meanwhile takes steps. */
    play.txn.retired.at = malloc(MUCH * sizeof *play.txn.retired.at);
    play.txn.dropped.blocks = malloc(MUCH * sizeof *play.txn.dropped.blocks);
    CHECK(play.txn.retired.at != NULL && play.txn.dropped.blocks != NULL);
    play.txn.retired.capacity = play.txn.dropped.capacity = MUCH;
    notes()->inode = box.store.life->inode;
    memcpy(notes()->boot, boot_id, sizeof boot_id);
    during(&play);
}

static inline void recover_play(const struct step_scene *scene, void (*before)(struct play *play),
                                void (*during)(struct play *play))
{
    static struct box box;
    static struct play play;
    attach_file(&box, scene->path);
    memcpy(boot_id, notes()->boot, sizeof boot_id);
    /* An image is another file: it is told that it is where it was. */
    if (home_of(&box)->inode == notes()->inode)
        home_of(&box)->inode = box.store.life->inode;
    play.until = scene->returned;
    before(&play);
    during(&play);
    OK(emmap_store_recognise(&box.store));
    recover_store(&play, &box);
}

#define PLAY(it)                                                                                  \
    static void prepare_##it(const struct step_scene *scene)                                      \
    {                                                                                             \
        prepare_play(scene, before_##it);                                                         \
    }                                                                                             \
    static void operate_##it(const struct step_scene *scene)                                      \
    {                                                                                             \
        operate_play(scene, before_##it, during_##it);                                            \
    }                                                                                             \
    static void recover_##it(const struct step_scene *scene)                                      \
    {                                                                                             \
        recover_play(scene, before_##it, during_##it);                                            \
    }

#define STORE_SIZE (EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH)
#ifndef KILLS
#define KILLS 200
#endif
#define PLAY_TEST(title, it)                                                                      \
    {                                                                                             \
        .name = title, .size = STORE_SIZE, .kills = KILLS, .prepare = prepare_##it,               \
        .operate = operate_##it, .recover = recover_##it                                          \
    }

#endif
