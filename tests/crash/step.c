#define _GNU_SOURCE
#include "victim.h"

#include <inttypes.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define MOST_WORKERS 4

static const char *folder;

static enum standing begin(struct victim *victim, const struct step_test *test, int worker)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/victim-%d", folder, worker);
    return victim_begin(victim, test, path);
}

/* Where the last instruction stands in the source, as far as can be told. */
static void print_line(uint64_t pc)
{
    extern const char __executable_start[], etext[];
    char command[PATH_MAX];
    if (pc < (uintptr_t)__executable_start || pc >= (uintptr_t)etext) {
        printf("    by an instruction of a library or a system call\n");
        return;
    }
    snprintf(command, sizeof command, "addr2line -ifs -e /proc/%d/exe %#" PRIx64, (int)getpid(),
             pc - (uintptr_t)__executable_start);
    fflush(NULL);
    if (system(command) != 0)
        printf("    by the instruction at %#" PRIx64 "\n", pc - (uintptr_t)__executable_start);
}

/* Images */

#define PAGE ((size_t)4096)

struct images {
    unsigned char *now, *last;  /* the file, mapped; and a copy of what it held */
    size_t size, last_size;
    uint64_t *pages;            /* hashes of the copy's */
    int returned;
    uint64_t *seen;             /* hashes of those that have been recovered */
    size_t n, room;
    size_t from, to;            /* the bytes that differ from the image before */
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

static size_t pages_in(size_t size)
{
    return (size + PAGE - 1) / PAGE;
}

static size_t page_end(size_t page, size_t size)
{
    return (page + 1) * PAGE < size ? (page + 1) * PAGE : size;
}

/* Takes note of the file's length: what is new of it counts as zeros before. */
static void follow_size(struct images *images, int fd)
{
    struct stat file;
    CHECK(fstat(fd, &file) == 0 && file.st_size > 0);
    size_t size = (size_t)file.st_size, before = images->size;
    if (size == before)
        return;
    if (images->now != NULL)
        munmap(images->now, before);
    images->size = size;
    images->now = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(images->now != MAP_FAILED);
    CHECK((images->last = realloc(images->last, size)) != NULL);
    CHECK((images->pages = realloc(images->pages, pages_in(size) * sizeof *images->pages)) != NULL);
    if (size > before)
        memset(images->last + before, 0, size - before);
    for (size_t page = pages_in(before); page < pages_in(size); page++)
        images->pages[page] = 0;
}

static void take_page(struct images *images, size_t page)
{
    size_t from = page * PAGE, to = page_end(page, images->size);
    uint64_t hash = page + 1, word;
    for (size_t i = from; i < to; i++) {
        if (images->last[i] == images->now[i])
            continue;
        if (images->to <= images->from)
            images->from = i;
        images->to = i + 1;
    }
    memcpy(images->last + from, images->now + from, to - from);
    for (size_t i = from; i < to; i += sizeof word) {
        word = 0;
        memcpy(&word, images->last + i, to - i < sizeof word ? to - i : sizeof word);
        hash = mix(hash, word);
    }
    images->pages[page] = hash;
}

/* Has the file changed, or another call returned, since this was asked last? */
static int has_changed(struct images *images, const struct victim *victim)
{
    follow_size(images, victim->fd);
    int changed = images->size != images->last_size || images->returned != victim->scene.returned;
    images->last_size = images->size;
    images->returned = victim->scene.returned;
    images->from = images->to = 0;
    for (size_t page = 0; page < pages_in(images->size); page++) {
        size_t from = page * PAGE;
        if (memcmp(images->last + from, images->now + from, page_end(page, images->size) - from) == 0)
            continue;
        take_page(images, page);
        changed = 1;
    }
    return changed || images->n == 0;
}

static int is_new(struct images *images)
{
    uint64_t hash = mix(images->size, (uint64_t)images->returned);
    for (size_t page = 0; page < pages_in(images->size); page++)
        hash = mix(hash, images->pages[page]);
    for (size_t i = 0; i < images->n; i++)
        if (images->seen[i] == hash)
            return 0;
    if (images->n == images->room) {
        images->room = images->room ? 2 * images->room : 64;
        CHECK((images->seen = realloc(images->seen, images->room * sizeof hash)) != NULL);
    }
    images->seen[images->n++] = hash;
    return 1;
}

/* Recovers from a fresh file that holds the image. The victim stands still meanwhile. */
static int recover_image(const struct images *images, const struct victim *victim)
{
    char path[PATH_MAX];
    struct step_scene scene = victim->scene;
    snprintf(path, sizeof path, "%s/image", folder);
    write_file(path, images->last, images->size);
    scene.path = path;
    if (recover(victim->test, scene)) {
        unlink(path);
        return 1;
    }
    print_moment(victim);
    if (images->to > images->from) {
        printf("    bytes %zu to %zu had just become", images->from, images->to);
        for (size_t i = images->from; i < images->to && i < images->from + 16; i++)
            printf(" %02x", images->last[i]);
        printf("\n");
        print_line(victim->pc);
    }
    write_file(path, images->last, images->size); /* the recovery has changed it */
    printf("    the image: %s\n", path);
    return 0;
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Steps through the operation once. */
static int step_through(const struct step_test *test, struct trail *trail)
{
    struct victim victim;
    struct images images = {.returned = 0};
    double spent = 0;
    int well = 1;
    enum standing standing = begin(&victim, test, 0);
    while (well && standing == STEPPED) {
        if (has_changed(&images, &victim) && is_new(&images))
            well = recover_image(&images, &victim);
        double since = seconds();
        standing = victim_advance(&victim);
        spent += seconds() - since;
        if (standing == STEPPED)
            trail_add(trail, &victim);
    }
    well = victim_end(&victim) && well && standing == ENDED;
    if (images.now != NULL)
        munmap(images.now, images.size);
    printf("%s: %" PRIu64 " steps (%.0f a second), %zu images\n", test->name, victim.scene.step,
           spent > 0 ? (double)victim.scene.step / spent : 0, images.n);
    free(images.last);
    free(images.pages);
    free(images.seen);
    unlink(victim.path);
    return well;
}

/* Kills */

/* Lets it run as many steps as the seed says, kills, and recovers from the file that is left. */
static int kill_once(const struct step_test *test, const struct trail *trail, uint64_t random,
                     int worker)
{
    struct victim victim;
    enum standing standing = begin(&victim, test, worker);
    if (standing == STEPPED)
        standing = victim_run(&victim, trail, mix(0, random) % (trail->n + 1));
    victim.scene.killed = 1;
    int well = victim_end(&victim) && standing != FAILED && recover(test, victim.scene);
    if (well)
        unlink(victim.path);
    else
        print_moment(&victim);
    return well;
}

static int kill_many(const struct step_test *test, const struct trail *trail, uint64_t seed)
{
    int workers = CPU_COUNT(&step_processors), failed = 0, status;
    if (workers > MOST_WORKERS)
        workers = MOST_WORKERS;
    fflush(NULL);
    for (int worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid > 0)
            continue;
        int well = 1;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(worker);
        new_notes();
        for (int i = worker; well && i < test->kills; i += workers)
            well = kill_once(test, trail, mix(seed, (uint64_t)i), worker);
        fflush(NULL);
        _exit(well ? 0 : 1);
    }
    for (int worker = 0; worker < workers; worker++) {
        CHECK(wait(&status) > 0);
        failed |= status != 0;
    }
    if (!failed)
        printf("%s: %d kills\n", test->name, test->kills);
    return !failed;
}

int step_main(int argc, char **argv, const struct step_test *tests, size_t n)
{
    uint64_t seed;
    int failed = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [SEED [TEST]]\n", argv[0]);
        return 2;
    }
#if defined(__aarch64__) && defined(HWCAP_ATOMICS)
    if (!(getauxval(AT_HWCAP) & HWCAP_ATOMICS)) {
        /* A step between load-exclusive and store-exclusive makes the store fail, for ever. */
        printf("ptrace: atomic operations of this processor cannot be stepped\n");
        return SKIPPED;
    }
#endif
    folder = argv[1];
    CHECK(sched_getaffinity(0, sizeof step_processors, &step_processors) == 0);
    CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 0);
    printf("seed %#" PRIx64 "\n", seed);
    pin(0);
    new_notes();
    for (size_t i = 0; i < n; i++) {
        if (argc > 3 && strcmp(argv[3], tests[i].name) != 0)
            continue;
        struct trail trail = {.n = 0};
        if (!step_through(&tests[i], &trail) || !kill_many(&tests[i], &trail, seed)) {
            printf("%s: failed\n", tests[i].name);
            failed = 1;
        }
        free(trail.steps);
    }
    return failed;
}
