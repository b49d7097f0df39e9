/* Flushes that fail, wait, or have nothing to do. */
#define _GNU_SOURCE
#include "opened.h"

static void be_refused(void)
{
    struct box other;
    attach(&other, dup(box.store.fd));
    CHECK(emmap_store_begin(&other.store) == EMMAP_NEEDS_RECOVERY);
    CHECK(open_store(&other) == -EROFS && other.store.pin == NULL);
}

static void a_failed_flush_poisons(void)
{
    for (int at = 1; at <= 3; at++) {
        struct emmap_meta meta;
        memset(&model, 0, sizeof model);
        make();
        fail_barrier = at == 1 ? 1 : at == 2 ? 2 : 0;
        fail_write = at == 3;
        CHECK(flush_store(&box) == -EIO);
        CHECK(atomic_load(&emmap_live(&box.store)->poisoned) == 1);
        barriers = 0;
        CHECK(flush_store(&box) == -EROFS && barriers == 0);
        CHECK(flush_store(&box) == -EROFS);
        int is_written = emmap_meta_read(&box.store, 0, &meta) == 0 && meta.txn > atomic_load(&emmap_live(&box.store)->flushed);
        /* Others have it open: they cannot be helped. */
        wait_for_end(child_does(be_refused));
        /* Nobody has: it recovers, in the same boot, from the last flush that is known to be on the disk; and a
         * meta that may not be there has gone. */
        leave();
        CHECK(open_store(&box) == 0);
        expect_content(&flushed);
        CHECK(atomic_load(&emmap_live(&box.store)->poisoned) == 0);
        if (is_written)
            CHECK(emmap_meta_read(&box.store, 0, &meta) == -ENOENT);
        CHECK(is_written == (at == 2));
        model = flushed;
        run(20);
        CHECK(flush_store(&box) >= 0);
        CHECK_STORE(&box);
        detach(&box);
    }
}

static void lost_pages_are_not_flushed(void)
{
    make();
    uint64_t was = atomic_load(&emmap_live(&box.store)->flushed);
    emmap_lost_mark_tail(&box.lost, (uintptr_t)box.store.base + EMMAP_BLOCKS_AT);
    CHECK(flush_store(&box) == -EIO);
    CHECK(atomic_load(&emmap_live(&box.store)->flushed) == was);
}

static void lose_now(struct box *it)
{
    emmap_lost_mark_tail(&it->lost, (uintptr_t)it->store.base + EMMAP_BLOCKS_AT);
}

static void pages_lost_in_a_flush_are_told(void)
{
    make();
    uint64_t was = atomic_load(&emmap_live(&box.store)->flushed);
    at_barrier = lose_now;
    writes = 0;
    CHECK(flush_store(&box) == -EIO && writes == 0);
    CHECK(atomic_load(&emmap_live(&box.store)->flushed) == was);
}

/* Another file by the number of our descriptor is neither written nor flushed. */
static void another_file_is_spared(void)
{
    make();
    int kept = dup(box.store.fd), stranger = memfd_create("stranger", MFD_CLOEXEC);
    CHECK(dup2(stranger, box.store.fd) == box.store.fd);
    barriers = writes = 0;
    CHECK(flush_store(&box) == -EBADF && barriers == 0 && writes == 0);
    CHECK(atomic_load(&emmap_live(&box.store)->poisoned) == 0);
    CHECK(dup2(kept, box.store.fd) == box.store.fd);
    CHECK(flush_store(&box) == 0);
}

static void a_flush_counts_once(void)
{
    create(&box);
    run(5);
    for (int i = 1; i < 10; i++) {
        do
            run(1);
        while (live_root(&box.store)->txn == atomic_load(&emmap_live(&box.store)->flushed));
        barriers = writes = 0;
        CHECK(flush_store(&box) == 0 && barriers == 2 && writes == 1);
        CHECK(flush_store(&box) == 1 && barriers == 2 && writes == 1);
        CHECK(atomic_load(&emmap_live(&box.store)->flushed) == live_root(&box.store)->txn);
        CHECK(atomic_load(&emmap_live(&box.store)->flushing) == 0);
        CHECK(atomic_load(&emmap_live(&box.store)->flushes) == (uint64_t)i);
    }
}

/* Bounded by its caller, and leaves nothing locked. */
static void a_flush_waits_no_longer_than_it_may(void)
{
    struct emmap_waiting waiting;
    make();
    pid_t child = child_does(use_it);
    hear(to_parent);
    struct emmap_lock *locks[] = {&box.store.lock, &box.store.flush_lock};
    for (int i = 0; i < 2; i++) {
        /* Somebody who lives has it. */
        uint64_t me = atomic_load(&box.store.life->me), owner = 0;
        for (size_t k = 0; k < EMMAP_PINS; k++) {
            uint64_t it = atomic_load(&emmap_pins(&box.store)[k].owner);
            owner = it != 0 && it != me ? it : owner;
        }
        CHECK(owner != 0);
        atomic_store(locks[i]->word, owner);
        emmap_waiting_begin(&waiting, 1000000);
        int rc;
        do
            rc = emmap_flush(&box.store, &waiting);
        while (rc == -EINTR);
        CHECK(rc == -ETIMEDOUT);
        CHECK((atomic_load(locks[1 - i]->word) & EMMAP_OWNER) == 0);
        CHECK((atomic_load(locks[i]->word) & EMMAP_OWNER) == owner);
        atomic_store(locks[i]->word, 0);
    }
    CHECK(atomic_load(&emmap_live(&box.store)->flushing) == 0);
    tell(to_child);
    wait_for_end(child);
    /* Who died with a lock in his hand holds nobody up. */
    atomic_store(box.store.lock.word, DEAD);
    atomic_store(box.store.flush_lock.word, DEAD);
    CHECK(flush_store(&box) == 0);
    CHECK(atomic_load(box.store.lock.word) == 0 || atomic_load(box.store.lock.word) == EMMAP_WAITERS);
}

static const struct test tests[] = {
    TEST(a_failed_flush_poisons),
    TEST(lost_pages_are_not_flushed),
    TEST(pages_lost_in_a_flush_are_told),
    TEST(another_file_is_spared),
    TEST(a_flush_counts_once),
    TEST(a_flush_waits_no_longer_than_it_may),
};

int main(void)
{
    return RUN_TESTS(tests);
}
