/* What a store is after a power loss, in a copied file, after a recovery that was cut short: its last flush,
 * whole, and ready to be written. */
#define _GNU_SOURCE
#include "history.h"

#define ROUNDS (UNDER_TSAN || UNDER_ASAN ? 4 : 20)

static struct box box;
static struct emmap_txn txn;
static struct model model, flushed, before;

static void run(struct box *it, int n)
{
    for (int i = 0; i < n; i++)
        transact(it, &txn, &model, i % 10 == 0 ? 200 : 12);
}

static void flush_all(void)
{
    before = flushed;
    flushed = model;
    CHECK(flush_store(&box) >= 0);
}

static void expect(struct box *it, const struct model *content)
{
    CHECK_STORE(it);
    compare_live(it, content);
}

/* It can be written, and flushed. */
static void go_on(struct box *it, const struct model *content)
{
    static struct model here;
    here = *content;
    for (int i = 0; i < 20; i++) {
        transact(it, &txn, &here, 20);
        CHECK_STORE(it);
        if (i % 7 == 0)
            CHECK(flush_store(it) >= 0);
    }
    compare_live(it, &here);
}

static void a_new_store_is_empty_and_flushed(void)
{
    struct emmap_meta meta;
    create(&box);
    CHECK(barriers == 0 && emmap_meta_read(&box.store, 0, &meta) == 0 && meta.txn == 1);
    CHECK(emmap_meta_read(&box.store, 1, &meta) == -ENOENT);
    expect(&box, &model);
    CHECK(flush_store(&box) == 1 && barriers == 0);
    static struct image image;
    take_image(&image, &box);
    static struct box copy;
    attach_image(&copy, &image);
    CHECK(emmap_store_begin(&copy.store) == EMMAP_NEEDS_RECOVERY && open_store(&copy) == 0);
    expect(&copy, &model);
    go_on(&copy, &model);
}

/* Whoever opens the file here goes on from the live root, flushed or not. */
static void who_comes_later_goes_on(void)
{
    create(&box);
    run(&box, 50);
    int fd = dup(box.store.fd);
    detach(&box);
    barriers = 0;
    attach(&box, fd);
    CHECK(emmap_store_begin(&box.store) == 0 && box.store.pin != NULL && barriers == 0);
    expect(&box, &model);
    go_on(&box, &model);
}

/* Rebuilt from any root: the same content, all else free, and no byte of the root is touched. */
static void rebuilding_keeps_what_is_reached(void)
{
    static struct image image;
    create(&box);
    for (int round = 0; round < ROUNDS; round++) {
        struct emmap_trace trace, again;
        run(&box, 60);
        take_image(&image, &box);
        const struct emmap_root *root = live_root(&box.store);
        uint64_t at = atomic_load(&emmap_live(&box.store)->root), number = root->txn;
        for (int i = 0; i < 2; i++) {
            struct emmap_trace *it = i == 0 ? &again : &trace;
            CHECK(emmap_trace_begin(it, &box.store, image.n) == 0);
            CHECK(emmap_trace_root(it, at, number) == 0);
        }
        uint64_t bytes = trace.bytes;
        CHECK(emmap_rebuild(&box.store, &trace, at, number + 1) == 0);
        for (uint64_t i = EMMAP_BLOCKS_AT; i < image.n; i += 16)
            if (again.reached[i / 1024] >> i / 16 % 64 & 1)
                CHECK(memcmp(box.store.base + i, image.bytes + i, 16) == 0);
        CHECK(live_root(&box.store)->txn == number + 1);
        expect(&box, &model);
        struct emmap_trace found;
        CHECK(emmap_check(&box.store, &found) == 0);
        CHECK(found.bytes == bytes - emmap_class_size(EMMAP_CLASS(root->header)) + 64);
        emmap_trace_end(&trace);
        emmap_trace_end(&again);
    }
    go_on(&box, &model);
    free(image.bytes);
}

/* Where what is free lies in ranges that are too small for the queues' chunks, the file grows. */
static void chunks_that_fit_nowhere(void)
{
    struct emmap_trace trace;
    create(&box);
    CHECK(ftruncate(box.store.fd, 2 << 20) == 0 && emmap_store_look(&box.store) == 0);
    uint64_t at = atomic_load(&emmap_live(&box.store)->root), size = atomic_load(&box.store.size), n = 0;
    CHECK(emmap_trace_begin(&trace, &box.store, size) == 0 && emmap_trace_root(&trace, at, 1) == 0);
    for (uint64_t i = at + 32; i < size; i += 32, n++)
        CHECK(emmap_trace_mark(&trace, i + 16, 16));
    CHECK(emmap_rebuild(&box.store, &trace, at, 2) == 0);
    CHECK(atomic_load(&box.store.size) > size);
    const struct emmap_space *space = emmap_space(&box.store, 0);
    CHECK(space->fifos[0].count == n && space->frontier <= atomic_load(&box.store.size));
    CHECK(space->frontier >= size + n / EMMAP_CHUNK_ENTRIES * sizeof(struct emmap_chunk));
    emmap_trace_end(&trace);
}

/* Power loss: of what was written since the last barrier, each sector has come to the disk or has not. */

static struct image durable, now;

static void note_barrier(struct box *it)
{
    take_image(&durable, it);
}

static void lose_power(struct image *lost)
{
    uint64_t all = below(4);            /* or none, or some */
    take_image(&now, &box);
    lost->n = now.n;
    lost->bytes = realloc(lost->bytes, lost->n);
    CHECK(lost->bytes != NULL);
    memcpy(lost->bytes, now.bytes, now.n);
    for (size_t i = 0; i < durable.n; i += 512)
        if (all > 1 ? below(2) : all == 0)
            memcpy(lost->bytes + i, durable.bytes + i, 512);
}

/* The live words of a store that has been recovered. */
static void expect_settled(struct box *it)
{
    struct emmap_live *live = emmap_live(&it->store);
    CHECK(live_root(&it->store)->txn > atomic_load(&live->flushed));
    CHECK(atomic_load(&live->epoch) == live_root(&it->store)->txn);
    CHECK(atomic_load(&live->flushing) == 0 && atomic_load(&live->poisoned) == 0);
    CHECK(atomic_load(&live->recovering) == 0 && atomic_load(&live->pins) <= EMMAP_PINS);
    CHECK(atomic_load(&live->size) == atomic_load(&it->store.size));
}

/* Opens what is left in another boot: the content of the last flush. With `or_before`, one that was under way
 * may not be in it. */
static void expect_after_loss(const struct image *lost, const struct model *content, const struct model *or_before)
{
    static struct box left;
    attach_image(&left, lost);
    int rc = open_store(&left);
    if (rc != 0)
        fprintf(stderr, "%d: at %#lx: %s\n", rc, (unsigned long)left.store.wrong_at, (const char *)left.store.wrong);
    CHECK(rc == 0);
    expect_settled(&left);
    CHECK_STORE(&left);
    if (or_before != NULL && atomic_load(&emmap_live(&left.store)->flushed) < atomic_load(&emmap_live(&box.store)->flushing))
        content = or_before;
    compare_live(&left, content);
    go_on(&left, content);
    detach(&left);
    in_use = &box;
}

static void power_loss_leaves_the_last_flush(void)
{
    static struct image lost;
    create(&box);
    note_barrier(&box);
    at_barrier = note_barrier;
    for (int round = 0; round < 3 * ROUNDS; round++) {
        run(&box, (int)below(60));
        if (below(3))
            flush_all();
        run(&box, (int)below(60));
        lose_power(&lost);
        at_barrier = NULL;
        expect_after_loss(&lost, &flushed, NULL);
        at_barrier = note_barrier;
    }
    free(lost.bytes);
}

/* Power is lost at each moment of a flush: the barriers, and behind them. Others write meanwhile. */
static struct image losses[4];
static int n_losses, cleans_up;
static struct model newest;     /* what is flushed where it begins by cleaning up */

static void lose_at_barrier(struct box *it)
{
    at_barrier = NULL;
    run(it, (int)below(30));
    at_barrier = lose_at_barrier;
    if (cleans_up && n_losses == 0)
        newest = model;
    lose_power(&losses[n_losses++]);
    note_barrier(it);
}

static void power_loss_in_a_flush(void)
{
    cleans_up = 0;
    create(&box);
    note_barrier(&box);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        run(&box, 1 + (int)below(40));
        n_losses = 0;
        at_barrier = lose_at_barrier;
        flush_all();
        at_barrier = NULL;
        lose_power(&losses[n_losses++]);
        CHECK(n_losses == 3 || (n_losses == 1 && round > 0));
        for (int i = 0; i < n_losses; i++) {
            static struct box left;
            attach_image(&left, &losses[i]);
            CHECK(open_store(&left) == 0);
            CHECK_STORE(&left);
            /* The second loss may have the new meta, or not. */
            uint64_t txn_then = atomic_load(&emmap_live(&left.store)->flushed);
            int is_new = txn_then == atomic_load(&emmap_live(&box.store)->flushed);
            CHECK(i == 1 || n_losses == 1 || is_new == (i == 2));
            compare_live(&left, is_new ? &flushed : &before);
            detach(&left);
            in_use = &box;
        }
    }
}

/* A child does something and is killed in the middle, or ends. */
static pid_t child_does(void (*what)(void))
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        what();
        _exit(0);
    }
    return child;
}

static void wait_for(pid_t child, int signal)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(signal == 0 ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == signal);
}

static int die_at;

static void die_at_barrier(struct box *it)
{
    (void)it;
    if (--die_at == 0)
        kill(getpid(), SIGKILL);
}

static void flush_in_child(void)
{
    CHECK(emmap_store_begin(&box.store) == 0);
    at_barrier = die_at_barrier;
    CHECK(flush_store(&box) == 0);
    kill(getpid(), SIGKILL);
}

/* A flusher is killed at a barrier: his root stays protected, and never comes to be taken for a flush. */
static void a_flusher_dies(void)
{
    static struct image lost;
    create(&box);
    note_barrier(&box);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        run(&box, 5 + (int)below(60));
        CHECK(flush_store(&box) >= 0);
        before = model;
        note_barrier(&box);
        do
            run(&box, 1 + (int)below(30));
        while (live_root(&box.store)->txn == atomic_load(&emmap_live(&box.store)->flushed));
        flushed = model;
        die_at = 1 + round % 3;
        if (die_at > 1)
            note_barrier(&box); /* the first one of the flush, of which we hear nothing */
        wait_for(child_does(flush_in_child), SIGKILL);
        int is_done = die_at == 3;
        uint64_t pending = atomic_load(&emmap_live(&box.store)->flushing);
        CHECK(is_done ? pending == 0 : pending != 0);
        if (is_done)
            note_barrier(&box);
        run(&box, (int)below(100));
        lose_power(&lost);
        expect_after_loss(&lost, is_done || die_at == 2 ? &flushed : &before, die_at == 2 ? &before : NULL);
        if (below(2)) {
            /* The next flush does away with his meta first. */
            n_losses = 0;
            at_barrier = lose_at_barrier;
            newest = model;
            cleans_up = !is_done;
            CHECK(flush_store(&box) >= 0);
            at_barrier = NULL;
            for (int i = 0; i < n_losses; i++) {
                static struct box left;
                attach_image(&left, &losses[i]);
                CHECK(open_store(&left) == 0);
                CHECK_STORE(&left);
                uint64_t then = atomic_load(&emmap_live(&left.store)->flushed);
                compare_live(&left, then == atomic_load(&emmap_live(&box.store)->flushed) ? &newest
                                    : then == pending || is_done                          ? &flushed
                                                                                          : &before);
                CHECK(i == 0 || is_done || then != pending);
                detach(&left);
                in_use = &box;
            }
            CHECK(atomic_load(&emmap_live(&box.store)->flushing) == 0);
        }
    }
    free(lost.bytes);
}

/* In the same boot a meta is found that its dead flusher has not seen on the disk. What only the flush before it
 * reaches is used again when it is there, and not before. */
static void a_recovery_is_on_the_disk_first(void)
{
    static struct image lost;
    create(&box);
    for (int round = 0; round < ROUNDS; round++) {
        run(&box, 20);
        CHECK(flush_store(&box) >= 0);
        do
            run(&box, 20);
        while (live_root(&box.store)->txn == atomic_load(&emmap_live(&box.store)->flushed));
        flushed = model;
        note_barrier(&box);
        die_at = 2;
        wait_for(child_does(flush_in_child), SIGKILL);
        run(&box, 20);
        atomic_store(&emmap_live(&box.store)->root, 0);
        emmap_store_end(&box.store);
        at_barrier = note_barrier;
        CHECK(open_store(&box) == 0);
        expect_settled(&box);
        expect(&box, &flushed);
        model = flushed;
        run(&box, 60);
        lose_power(&lost);
        at_barrier = NULL;
        expect_after_loss(&lost, &flushed, NULL);
    }
    free(lost.bytes);
}

/* The same file after a reboot, its live words whatever they are: recovered; and when the recovery is killed,
 * once more. */
static void recover_in_child(void)
{
    attach(&box, box.store.fd);
    CHECK(open_store(&box) == 0);
    pause();
}

static void spoil_live(void)
{
    struct emmap_live *live = emmap_live(&box.store);
    atomic_store(&live->root, below(UINT64_MAX));
    atomic_store(&live->epoch, below(UINT64_MAX));
    atomic_store(&live->size, below(UINT64_MAX));
    atomic_store(&live->pins, below(UINT64_MAX));
    atomic_store(&live->flushed, below(UINT64_MAX));
    atomic_store(&live->flushing, below(UINT64_MAX));
    atomic_store(&live->flushes, below(UINT64_MAX));
    atomic_store(&live->poisoned, below(2));
    atomic_store(&live->recovering, below(2));
    for (uint64_t i = EMMAP_SPACE_AT(0); i < EMMAP_BLOCKS_AT; i++)
        box.store.base[i] = (unsigned char)below(256);
}

static void a_reboot_in_the_middle_of_a_recovery(void)
{
    create(&box);
    for (int round = 0; round < ROUNDS; round++) {
        run(&box, 1 + (int)below(60));
        flush_all();
        run(&box, 1 + (int)below(60));
        int fd = dup(box.store.fd);
        CHECK(fd >= 0);
        emmap_store_end(&box.store);
        spoil_live();
        boot_id[0]++;
        box.store.fd = fd;
        for (int kills = 0; kills < 10; kills++) {
            pid_t child = child_does(recover_in_child);
            usleep((useconds_t)below(3000));
            kill(child, SIGKILL);
            wait_for(child, SIGKILL);
        }
        attach(&box, fd);
        CHECK(open_store(&box) == 0);
        expect_settled(&box);
        expect(&box, &flushed);
        model = flushed;
    }
    go_on(&box, &flushed);
}

static const struct test tests[] = {
    TEST(a_new_store_is_empty_and_flushed),
    TEST(who_comes_later_goes_on),
    TEST(rebuilding_keeps_what_is_reached),
    TEST(chunks_that_fit_nowhere),
    TEST(power_loss_leaves_the_last_flush),
    TEST(power_loss_in_a_flush),
    TEST(a_flusher_dies),
    TEST(a_recovery_is_on_the_disk_first),
    TEST(a_reboot_in_the_middle_of_a_recovery),
};

int main(void)
{
    return RUN_TESTS(tests);
}
