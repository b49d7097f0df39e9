/* Who opens a store: here, in another boot, in a container that calls this boot by another name, by another
 * device number; while others use it or recover it. And what becomes of flushes that fail. */
#define _GNU_SOURCE
#include "history.h"

static struct box box;
static struct emmap_txn txn;
static struct model model, flushed;

static void run(int n)
{
    for (int i = 0; i < n; i++)
        transact(&box, &txn, &model, 12);
}

static void make(void)
{
    create(&box);
    run(100);
    CHECK(flush_store(&box) == 0);
    flushed = model;
    run(100);
}

/* Gives the file up without a word, as who is killed does. */
static void leave(void)
{
    int fd = dup(box.store.fd);
    CHECK(fd >= 0);
    detach(&box);
    attach(&box, fd);
}

static struct emmap_store_header *header(void)
{
    return (void *)box.store.base;
}

static void expect_content(const struct model *content)
{
    CHECK_STORE(&box);
    compare_live(&box, content);
}

/* Two processes that take turns: each step is told by a byte through a pipe. */
static int to_child[2], to_parent[2];

static void tell(int pipe[2])
{
    CHECK(write(pipe[1], "", 1) == 1);
}

static void hear(int pipe[2])
{
    char byte;
    CHECK(read(pipe[0], &byte, 1) == 1);
}

static pid_t child_does(void (*what)(void))
{
    CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
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

static void wait_for_end(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

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

/* A process that uses the file in this boot, until it is told to end. */
static void use_it(void)
{
    CHECK(emmap_store_begin(&box.store) == 0);
    tell(to_parent);
    hear(to_child);
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
#define DEAD UINT64_C(0x123456789ABCDEF0)

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

/* Flushes that fail */

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
    atomic_store(box.store.lock.word, UINT64_C(0x123456789ABCDEF0));
    atomic_store(box.store.flush_lock.word, UINT64_C(0x123456789ABCDEF0));
    CHECK(flush_store(&box) == 0);
    CHECK(atomic_load(box.store.lock.word) == 0 || atomic_load(box.store.lock.word) == EMMAP_WAITERS);
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
    reopen_elsewhere(0, &older);
    longer.size = longer.frontier - 16;
    CHECK(emmap_meta_write(&box.store, newer, &longer) == 0);
    CHECK(emmap_meta_read(&box.store, newer, &longer) == -ENOENT);
    CHECK(emmap_meta_write(&box.store, newer, &metas[newer]) == 0);
    reopen_elsewhere(0, &flushed);

    /* A root that is damaged: the one before, and the damaged one is not met again. */
    spoil(metas[newer].root + 1);
    reopen_elsewhere(0, &older);
    leave();
    boot_id[5] = 'Q';
    CHECK(open_store(&box) == 0);
    expect_content(&older);
    CHECK(emmap_meta_read(&box.store, newer, &metas[0]) == -ENOENT);
    model = older;
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

static void a_child_begins_again(void)
{
    make();
    struct emmap_pin *pin = box.store.pin;
    uint64_t owner = atomic_load(&pin->owner);
    wait_for_end(child_does(begin_in_child));
    CHECK(box.store.pin == pin && atomic_load(&pin->owner) == owner);
    CHECK_STORE(&box);
}

/* A full disk, and one that has no more room for it. */
static void growth_that_fails_is_told(void)
{
    static struct image image;
    static struct box copy;
    make();
    for (int i = 0; i < 300; i++)
        transact(&box, &txn, &model, 300);
    CHECK(flush_store(&box) == 0);
    take_image(&image, &box);
    const struct emmap_meta *newest = (void *)(image.bytes + EMMAP_META_AT(0)), *other = (void *)(image.bytes + EMMAP_META_AT(1));
    newest = newest->txn > other->txn ? newest : other;
    /* No byte more than the root needs: the queues must grow the file. */
    image.n = newest->frontier;
    struct emmap_meta meta = *newest;
    meta.size = newest->frontier;
    attach_image(&copy, &image);
    CHECK(emmap_store_recognise(&copy.store) == 0);
    CHECK(emmap_meta_write(&copy.store, newest == other, &meta) == 0);
    is_full = 1;
    CHECK(open_store(&copy) == -ENOSPC);
    is_full = 0;
    CHECK(open_store(&copy) == 0);
    CHECK_STORE(&copy);
    compare_live(&copy, &model);
}

/* Linked with --wrap=fallocate. */
int __real_fallocate(int fd, int mode, off_t offset, off_t n);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t n);
static int fails_with, fails_after, asked;

int __wrap_fallocate(int fd, int mode, off_t offset, off_t n)
{
    if (fails_with != 0 && asked++ >= fails_after) {
        errno = fails_with;
        fails_with = fails_with == EINTR && asked > 30 ? 0 : fails_with;
        return -1;
    }
    return __real_fallocate(fd, mode, offset, n);
}

static void files_grow(void)
{
    uint64_t size;
    char seen[3];
    for (int way = 0; way < 3; way++) {
        /* A file that ends in the middle of what is asked for keeps its bytes. */
        int fd = memfd_create("grow", MFD_CLOEXEC);
        CHECK(pwrite(fd, "abc", 3, 70000) == 3);
        fails_with = way == 1 ? EOPNOTSUPP : way == 2 ? EINTR : 0;
        fails_after = asked = 0;
        CHECK(emmap_linux.fallocate(fd, 65536, 10 << 20) == 0);
        CHECK(emmap_linux.size(fd, &size) == 0 && size == 65536 + (10 << 20));
        CHECK(pread(fd, seen, 3, 70000) == 3 && memcmp(seen, "abc", 3) == 0);
        CHECK(pread(fd, seen, 3, 70003) == 3 && seen[0] == 0);
        CHECK(emmap_linux.fallocate(fd, 0, 65536) == 0);
        CHECK(emmap_linux.size(fd, &size) == 0 && size == 65536 + (10 << 20));
        close(fd);
    }
    /* On a full disk it is as it was. */
    int fd = memfd_create("full", MFD_CLOEXEC);
    CHECK(ftruncate(fd, 5000) == 0 && __real_fallocate(fd, 0, 0, 9000) == 0);
    fails_with = ENOSPC;
    fails_after = asked = 0;
    CHECK(emmap_linux.fallocate(fd, 4096, 1 << 20) == -ENOSPC);
    fails_with = 0;
    CHECK(emmap_linux.size(fd, &size) == 0 && size == 9000);
}

static void the_kernel_answers(void)
{
    unsigned char one[16], two[16];
    uint64_t size;
    CHECK(emmap_linux.boot(one) == 0 && emmap_linux.boot(two) == 0 && memcmp(one, two, 16) == 0);
    CHECK(emmap_linux.random(one, 16) == 0 && emmap_linux.random(two, 16) == 0 && memcmp(one, two, 16) != 0);
    CHECK(emmap_linux.fdatasync(-1) == -EBADF && emmap_linux.pwrite(-1, one, 1, 0) == -EBADF);
    CHECK(emmap_linux.fallocate(-1, 0, 1) == -EBADF && emmap_linux.size(-1, &size) == -EBADF);
}

static const struct test tests[] = {
    TEST(headers_are_recognised),
    TEST(another_device_number_is_refused),
    TEST(what_is_no_lock_is_told),
    TEST(who_lives_is_not_recovered_from_under),
    TEST(two_come_after_a_reboot),
    TEST(nobody_comes_in_meanwhile),
    TEST(a_stranger_hides_who_lives),
    TEST(a_failed_flush_poisons),
    TEST(lost_pages_are_not_flushed),
    TEST(pages_lost_in_a_flush_are_told),
    TEST(another_file_is_spared),
    TEST(a_flush_counts_once),
    TEST(a_flush_waits_no_longer_than_it_may),
    TEST(the_newest_good_meta_is_taken),
    TEST(a_child_begins_again),
    TEST(growth_that_fails_is_told),
    TEST(files_grow),
    TEST(the_kernel_answers),
};

int main(void)
{
    return RUN_TESTS(tests);
}
