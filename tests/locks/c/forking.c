/* A thread forks in the very moment in which another one locks the byte of our id: the child must not get
 * the description, or our death would never show. Linked with --wrap=madvise, which is called then. */
#define _GNU_SOURCE
#include "check.h"
#include "lock.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

int __real_madvise(void *start, size_t span, int advice);
int __wrap_madvise(void *start, size_t span, int advice);

static _Atomic(int) child;
static pthread_t forker;

static void *fork_now(void *unused)
{
    (void)unused;
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    atomic_store(&child, pid);
    return NULL;
}

int __wrap_madvise(void *start, size_t span, int advice)
{
    CHECK(advice == MADV_DONTFORK);
    CHECK(pthread_create(&forker, NULL, fork_now, NULL) == 0);
    for (int i = 0; i < 200 && atomic_load(&child) == 0; i++)
        usleep(1000); /* in vain: the fork waits for us */
    return __real_madvise(start, span, advice);
}

int main(void)
{
    struct emmap_life *life;
    int fd = memfd_create("forking", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    CHECK(emmap_life_begin(&life, fd, 4096) == 0 && emmap_life_enter(life) == 0);
    uint64_t me = atomic_load(&life->me);
    CHECK(pthread_join(forker, NULL) == 0 && atomic_load(&child) > 0);
    emmap_life_give_up(life); /* what our death would do */
    int alive = emmap_life_ask(life, me);
    CHECK(kill(atomic_load(&child), SIGKILL) == 0 && waitpid(atomic_load(&child), NULL, 0) > 0);
    CHECK(alive == EMMAP_DEAD);
    emmap_life_end(life, 0);
    return 0;
}
