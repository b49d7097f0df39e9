/* Range locks by themselves: threads, forks, signals, and what fails. */
#define _GNU_SOURCE
#include "ranges.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(truth)                                                                     \
    do {                                                                                 \
        if (!(truth)) {                                                                  \
            fprintf(stderr, "%s:%d: %s: not so (%s)\n", __FILE__, __LINE__, #truth,      \
                    strerror(errno));                                                    \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

#define THREADS 4

static int memory(void)
{
    int fd = memfd_create("ranges", MFD_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static struct emmap_range range_of(int fd, int64_t start, int64_t length, int shared)
{
    return (struct emmap_range){.start = start, .length = length, .shared = shared, .fd = fd};
}

static int64_t in_seconds(int seconds)
{
    return emmap_range_clock() + seconds * INT64_C(1000000000);
}

static int exit_status(pid_t child)
{
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* One range that threads share: its gate makes a plain counter safe, and ThreadSanitizer looks on. */

static struct emmap_range shared_range;
static int counter;

static void *count(void *rounds)
{
    for (int i = 0; i < *(int *)rounds; i++) {
        int64_t deadline = i % 3 == 0 ? EMMAP_NEVER : in_seconds(i % 3 == 1 ? 100 : 0);
        int rc = i % 5 == 0 ? emmap_range_try(&shared_range) : emmap_range_wait(&shared_range, deadline);
        if (rc != 0) {
            CHECK(rc == -EAGAIN || rc == -ETIMEDOUT);
            continue;
        }
        counter++;
        CHECK(emmap_range_locked(&shared_range) == 1);
        CHECK(emmap_range_release(&shared_range) == 0);
    }
    return NULL;
}

static void threads_share_a_range(void)
{
    int fd = memory(), rounds = 2000;
    pthread_t threads[THREADS];
    shared_range = range_of(fd, 0, 1, 1);
    CHECK(emmap_range_open(&shared_range, fd, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count, &rounds) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(counter > 0 && emmap_range_locked(&shared_range) == 0);
    CHECK(emmap_range_release(&shared_range) == -EPERM);
    emmap_range_close(&shared_range);
    close(fd);
}

/* Ranges that come and go while others fork. */

static _Atomic(int) stop;

static void *come_and_go(void *file)
{
    while (!atomic_load(&stop)) {
        struct emmap_range range = range_of(-1, 5, 5, 1);
        CHECK(emmap_range_open(&range, *(int *)file, NULL) == 0);
        CHECK(emmap_range_try(&range) == 0);
        if (range.inode % 2)
            CHECK(emmap_range_release(&range) == 0);
        emmap_range_close(&range);
    }
    return NULL;
}

static void children_hold_nothing(void)
{
    int fd = memory(), ready[2];
    char told[20];
    pthread_t threads[THREADS];
    pid_t children[20];
    struct emmap_range held = range_of(-1, 0, 4, 0), all = range_of(-1, 0, EMMAP_RANGE_END, 0);
    CHECK(emmap_range_open(&held, fd, NULL) == 0 && emmap_range_open(&all, fd, NULL) == 0);
    CHECK(emmap_range_try(&held) == 0 && pipe(ready) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, come_and_go, &fd) == 0);
    for (int i = 0; i < 20; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            int well = emmap_range_release(&held) == -EPERM && emmap_range_try(&held) == -EAGAIN &&
                       emmap_range_locked(&held) == 1;
            CHECK(write(ready[1], well ? "y" : "n", 1) == 1);
            for (;;)
                pause();
        }
    }
    for (int i = 0; i < 20; i++)
        CHECK(read(ready[0], &told[i], 1) == 1 && told[i] == 'y');
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(emmap_range_locked(&all) == 1 && emmap_range_release(&held) == 0);
    /* The children are alive, and none of them keeps a lock that was held here. */
    CHECK(emmap_range_wait(&all, in_seconds(20)) == 0);
    CHECK(emmap_range_release(&all) == 0);
    for (int i = 0; i < 20; i++) {
        kill(children[i], SIGKILL);
        CHECK(exit_status(children[i]) == 128 + SIGKILL);
    }
    emmap_range_close(&held);
    emmap_range_close(&all);
    close(ready[0]);
    close(ready[1]);
    close(fd);
}

/* A signal ends a wait, and nothing is held. */

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

static void a_signal_ends_a_wait(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    int fd = memory();
    struct emmap_range held = range_of(-1, 0, 4, 0), other = held;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(emmap_range_open(&held, fd, NULL) == 0 && emmap_range_open(&other, fd, NULL) == 0);
    CHECK(emmap_range_try(&held) == 0 && emmap_range_try(&other) == -EAGAIN);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK(emmap_range_wait(&other, EMMAP_NEVER) == -EINTR);  /* in the kernel */
    CHECK(emmap_range_wait(&other, in_seconds(100)) == -EINTR); /* between two attempts */
    CHECK(emmap_range_wait(&held, EMMAP_NEVER) == -EINTR);   /* at the gate */
    CHECK(emmap_range_wait(&held, in_seconds(100)) == -EINTR);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(emmap_range_wait(&other, emmap_range_clock() + 1000) == -ETIMEDOUT);
    CHECK(emmap_range_wait(&held, emmap_range_clock() + 1000) == -ETIMEDOUT);
    CHECK(emmap_range_release(&held) == 0 && emmap_range_try(&other) == 0);
    emmap_range_close(&other);
    emmap_range_close(&held);
    close(fd);
}

/* What fails. */

static void errors(void)
{
    char name[] = "ranges-XXXXXX";
    int fd = mkstemp(name);
    struct emmap_range range = range_of(-1, 0, 1, 0), other = range;
    CHECK(fd >= 0);
    CHECK(emmap_range_open(&range, -1, NULL) < 0 && emmap_range_open(&range, 1 << 20, "name") < 0);
    CHECK(emmap_range_open(&range, fd, name) == 0 && emmap_range_open(&other, fd, name) == 0);
    CHECK(unlink(name) == 0);
    CHECK(emmap_range_try(&range) == -ESTALE);
    CHECK(emmap_range_wait(&range, EMMAP_NEVER) == -ESTALE);
    CHECK(emmap_range_locked(&other) == 0 && emmap_range_release(&range) == -EPERM);
    close(range.fd);
    CHECK(emmap_range_try(&range) == -EBADF && emmap_range_wait(&range, EMMAP_NEVER) == -EBADF);
    CHECK(emmap_range_locked(&range) == -EBADF);
    emmap_range_close(&range);
    emmap_range_close(&other);
    close(fd);
}

/* A child that cannot open anew gives up its descriptor. */
static void a_child_without_proc(void)
{
    int fd = memory();
    struct emmap_range range = range_of(-1, 0, 1, 0);
    CHECK(emmap_range_open(&range, fd, NULL) == 0 && emmap_range_try(&range) == 0);
    CHECK(fchmod(fd, 0) == 0);
    if (geteuid() == 0)
        CHECK(seteuid(65534) == 0); /* root may open what nobody may */
    pid_t child = fork();
    if (child == 0)
        _exit(range.fd == -1 && emmap_range_try(&range) == -EBADF ? 0 : 1);
    CHECK(exit_status(child) == 0);
    if (getuid() == 0)
        CHECK(seteuid(0) == 0);
    CHECK(emmap_range_release(&range) == 0);
    emmap_range_close(&range);
    close(fd);
}

int main(void)
{
    threads_share_a_range();
    children_hold_nothing();
    a_signal_ends_a_wait();
    errors();
    a_child_without_proc();
    return 0;
}
