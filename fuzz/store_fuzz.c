/* Hostile files: a store is damaged, opened, read, checked and written. Anything may be answered; nothing
 * may crash, hang, leak, or reach behind the end of the file. And where the check finds nothing wrong,
 * nothing may be wrong: then every element can be read, and every change leaves a sound store.
 *
 * The input: a byte that says which store, one that says what is done with it (the DO_ bits), and patches.
 * README.md tells how to run it. */
#define _GNU_SOURCE
#include "store_images.h"

#define PATCHES 24

enum {
    DO_STAMP = 1,       /* sums are made right again after the damage */
    DO_REBOOT = 2,      /* another boot: it is recovered from its last flush */
    DO_CHECK = 4,
    DO_RECOVER = 8,     /* whether or not it is needed */
    DO_FLUSH = 16,
    DO_FAIL_FLUSH = 32,
    DO_MANY = 64,       /* transactions, so that blocks are used again */
    DO_CROWD = 128,     /* no address space is left to grow into */
};

static int open_store(struct emmap_store *store, unsigned what)
{
    TRY(emmap_store_recognise(store));
    int rc = emmap_store_begin(store);
    if (rc < 0)
        return rc;
    if (rc == EMMAP_NEEDS_RECOVERY || (what & DO_RECOVER) != 0) {
        rc = lock_store(store);
        if (rc == 0) {
            uint64_t before = emmap_live(store)->root;
            rc = emmap_recover(store);
            if (rc == 0 && emmap_live(store)->root != before) {
                /* What recovery has made of whatever it found is sound. */
                is_sound = 1;
                check_all(store);
            }
            unlock_store(store);
        }
    }
    return rc;
}

static void use_store(struct emmap_store *store, unsigned what)
{
    struct emmap_txn txn = {0};
    struct emmap_waiting waiting;
    if ((what & DO_CHECK) != 0 && lock_store(store) == 0) {
        check_all(store);
        unlock_store(store);
    }
    read_all(store);
    struct walk walk;
    walk_begin(store, &walk);
    if (lock_store(store) == 0) {
        change_store(store, &txn, what & DO_MANY ? 8 : 2);
        unlock_store(store);
        read_all(store);
    }
    walk_on(store, &walk, 100);
    walk_end(&walk);
    if ((what & DO_FLUSH) != 0) {
        memory_fails_flush = (what & DO_FAIL_FLUSH) != 0;
        emmap_waiting_begin(&waiting, 1000000000);
        int rc = emmap_flush(store, &waiting);
        MUST(rc < 0 || !memory_fails_flush || rc == 1);
        memory_fails_flush = 0;
        if (lock_store(store) == 0) {
            change_store(store, &txn, 2);
            unlock_store(store);
        }
    }
    if (lock_store(store) == 0) {
        check_all(store);
        unlock_store(store);
    }
    emmap_txn_end(&txn);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    memory_begin();
    for (unsigned i = 0; i < IMAGES; i++)
        build(i);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return -1;
    const struct image *image = &images[data[0] % IMAGES];
    unsigned what = data[1];
    memory_resize(image->size);
    memcpy(memory, image->bytes, image->size);
    memory_boot = what & DO_REBOOT ? 2 : 1;
    memory_seed = 1;
    is_sound = 0;
    for (size_t at = 2; at + sizeof(struct patch) <= n; at += sizeof(struct patch)) {
        struct patch patch;
        memcpy(&patch, data + at, sizeof patch);
        apply(image, patch);
    }
    if ((what & DO_STAMP) != 0)
        stamp();
    struct emmap_store store;
    memory_store(&store);
    if ((what & DO_CROWD) != 0)
        store.room = pages_up(memory_size);
    in_use = &store;
    if (open_store(&store, what) == 0)
        use_store(&store, what);
    emmap_store_end(&store);
    return 0;
}

/* Whole patches are added, taken away and changed; most are small damage, and most words are near the
 * front of what they lie in. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed)
{
    uint64_t random = seed;
    struct patch patches[PATCHES];
    size_t m = n < 2 ? 0 : (n - 2) / sizeof *patches;
    if (most < 2 + sizeof *patches)
        return n < most ? n : most;
    if (m > PATCHES)
        m = PATCHES;
    if (m > (most - 2) / sizeof *patches)
        m = (most - 2) / sizeof *patches;
    if (m != 0)
        memcpy(patches, data + 2, m * sizeof *patches);
    if (n < 2 || next_random(&random) % 8 == 0) {
        /* In a small store each word counts, and it is done with soon. */
        data[0] = (uint8_t)(next_random(&random) % 2 ? SMALL : next_random(&random) % IMAGES);
        data[1] = (uint8_t)(next_random(&random) | (next_random(&random) % 4 != 0));
    }
    uint64_t choice = next_random(&random);
    if (m != 0 && choice % 4 == 0) {
        patches[choice / 4 % m] = patches[m - 1];
        m--;
    } else if (m == 0 || (choice % 4 != 1 && m < PATCHES && m < (most - 2) / sizeof *patches)) {
        m++;
        choice = m - 1;
    } else {
        choice = choice / 4 % m;
    }
    if (choice < m) {
        uint64_t value = next_random(&random);
        patches[choice] = (struct patch){
            .how = (uint8_t)(value % HOWS),
            .where = (uint8_t)((value >> 8) % WHERES),
            .which = (uint16_t)(value >> 16),
            .word = (uint16_t)((value >> 32) % (value >> 63 ? 4 : value >> 62 ? 16 : 160)),
            .spare = (uint16_t)(value >> 48),
            .value = next_random(&random) >> next_random(&random) % 64,
        };
    }
    if (m != 0)
        memcpy(data + 2, patches, m * sizeof *patches);
    return 2 + m * sizeof *patches;
}
