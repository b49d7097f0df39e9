/* The smallest thing to step through: a value, and a word that says which of two values it is.
 *
 * BROKEN leaves out what makes it right, one thing at a time: the harness must catch each. */
#define _GNU_SOURCE
#include "../step.h"

#include <stdatomic.h>
#include <sys/stat.h>

#ifndef BROKEN
#define BROKEN 0
#endif
#define WRONG_ORDER 1   /* the word is stored before the value */
#define TOO_LATE 2      /* the value is stored when the call has returned */
#define ELSEWHERE 3     /* something is kept where no image has it */
#define HANGS 4         /* the recovery waits for who is dead */

struct toy {
    _Atomic(uint64_t) which;        /* the live one of the values */
    _Atomic(uint64_t) values[2];
    _Atomic(uint64_t) busy;
};

static void store(_Atomic(uint64_t) *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static struct toy *toy_at(const struct step_scene *scene)
{
    /* SAFETY: a mapping is aligned, and large enough. */
    return (struct toy *)(void *)scene->at;
}

static uint64_t value_of(struct toy *toy)
{
    return atomic_load(&toy->values[atomic_load(&toy->which) & 1]);
}

static void set(struct toy *toy, uint64_t value)
{
    uint64_t which = !atomic_load(&toy->which);
    store(&toy->busy, 1);
    if (BROKEN != WRONG_ORDER)
        store(&toy->values[which], value);
    store(&toy->which, which);
    if (BROKEN == WRONG_ORDER)
        store(&toy->values[which], value);
    store(&toy->busy, 0);
}

static void prepare(const struct step_scene *scene)
{
    set(toy_at(scene), 100);
}

/* Sets the value to 101, 102 and 103. The file grows by a page in between. */
static void operate(const struct step_scene *scene)
{
    struct toy *toy = toy_at(scene);
    *(pid_t *)step_notes = getpid();
    step_begin();
    for (uint64_t value = 101; value <= 103; value++) {
        if (BROKEN != TOO_LATE)
            set(toy, value);
        if (BROKEN == ELSEWHERE)
            fchmod(scene->fd, 0711);
        if (value == 102 && ftruncate(scene->fd, 8192) != 0)
            _exit(1);
        step_returned();
        if (BROKEN == TOO_LATE)
            set(toy, value);
    }
}

static void recover(const struct step_scene *scene)
{
    struct toy *toy = toy_at(scene);
    struct stat file;
    uint64_t value = value_of(toy), least = 100 + (uint64_t)scene->returned;
    CHECK(value == least || (scene->returned < 3 && value == least + 1));
    CHECK(scene->size == 8192 || (scene->size == 4096 && scene->returned < 2));
    CHECK(fstat(scene->fd, &file) == 0 && (file.st_mode & 0111) == 0);
    CHECK(!scene->killed || (kill(*(pid_t *)step_notes, 0) != 0 && errno == ESRCH));
    while (BROKEN == HANGS && atomic_load(&toy->busy))
        continue;
    set(toy, 7);
    CHECK(value_of(toy) == 7);
}

int main(int argc, char **argv)
{
    static const struct step_test tests[] = {
        {.name = "set", .size = 4096, .kills = 200, .prepare = prepare, .operate = operate,
         .recover = recover},
    };
    return STEP_MAIN(argc, argv, tests);
}
