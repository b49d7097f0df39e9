/* What the C tests share. Each test runs in a child process of its own, so that signal handlers, limits
 * and crashes stay there, and an alarm ends one that hangs. */
#ifndef CHECK_H
#define CHECK_H

#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);     \
            fflush(NULL);                                                               \
            _exit(1);                                                                   \
        }                                                                               \
    } while (0)

#define SKIPPED 77

#define SKIP(reason)                                                                    \
    do {                                                                                \
        printf("skipped: %s\n", reason);                                                \
        fflush(NULL);                                                                   \
        _exit(SKIPPED);                                                                 \
    } while (0)

/* Which sanitizer looks on: gcc tells by macros, clang by features. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN 1
#else
#define UNDER_TSAN __has_feature(thread_sanitizer)
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN 1
#else
#define UNDER_ASAN __has_feature(address_sanitizer)
#endif

/* Mapped bytes are read without synchronisation by nature: zeros may come at any moment. */
#if defined(__clang__)
#define UNSYNCHRONISED __attribute__((no_sanitize("thread")))
#else
#define UNSYNCHRONISED __attribute__((no_sanitize_thread))
#endif

UNSYNCHRONISED static inline unsigned char peek(const void *address)
{
    return *(const volatile unsigned char *)address;
}

UNSYNCHRONISED static inline void poke(void *address, unsigned char value)
{
    *(volatile unsigned char *)address = value;
}

static inline size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* What byte `i` of a file of ours holds: never zero, so that zeros can be told. */
static inline unsigned char content(size_t i)
{
    return (unsigned char)(1 + (i / page_size() + i) % 251);
}

/* A file in memory of so many bytes, each as `content` says. */
static inline int memory_file(size_t bytes)
{
    unsigned char *data = malloc(bytes + 1);
    int fd = memfd_create("emmap test", MFD_CLOEXEC);
    CHECK(data != NULL && fd >= 0);
    for (size_t i = 0; i < bytes; i++)
        data[i] = content(i);
    CHECK(pwrite(fd, data, bytes, 0) == (ssize_t)bytes);
    free(data);
    return fd;
}

static inline struct emmap_pages pages_of(size_t span, int prot, int flags)
{
    return (struct emmap_pages){.span = span, .page = page_size(), .prot = prot, .flags = flags};
}

/* A guarded mapping of the first pages of a file. */
static inline struct emmap_pages map_pages(int fd, size_t span, int prot, int flags)
{
    struct emmap_pages pages = pages_of(span, prot, flags);
    CHECK(emmap_pages_map(&pages, NULL, 0, fd, 0) == 0);
    return pages;
}

static inline struct emmap_pages map_shared(int fd, size_t span)
{
    return map_pages(fd, span, PROT_READ | PROT_WRITE, MAP_SHARED);
}

/* The lost bytes in [start, start + length): the first run of them, as offsets from the first page. */
static inline int lost_run(struct emmap_pages *pages, size_t start, size_t length, size_t *from,
                           size_t *to)
{
    uintptr_t base = (uintptr_t)pages->base, run_from, run_to;
    int found = emmap_lost_find(&pages->guard->lost, base + start, base + start + length, &run_from,
                                &run_to);
    *from = run_from - base;
    *to = run_to - base;
    return found;
}

static inline int is_lost(struct emmap_pages *pages, size_t offset)
{
    size_t from, to;
    return lost_run(pages, offset, 1, &from, &to);
}

/* The kernel's mappings that touch [start, start + span). */
static inline int kernel_mappings(const void *start, size_t span)
{
    uintptr_t first = (uintptr_t)start, from, to;
    char line[512];
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%zx-%zx", &from, &to) == 2 && from < first + span && first < to)
            n++;
    fclose(maps);
    return n;
}

/* Runs `body` in a child; its wait status. */
static inline int status_of(void (*body)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(20);
        body();
        fflush(NULL);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static inline int dies_of_sigbus(void (*body)(void))
{
    int status = status_of(body);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

static inline int succeeds(void (*body)(void))
{
    int status = status_of(body);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct test {
    const char *name;
    void (*run)(void);
};

#define TEST(name) {#name, name}

static inline int run_tests(const struct test *tests, size_t n)
{
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        printf("%s: ", tests[i].name);
        int status = status_of(tests[i].run);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            printf("ok\n");
        } else if (!WIFEXITED(status) || WEXITSTATUS(status) != SKIPPED) {
            printf("failed, wait status %#x\n", (unsigned)status);
            failed = 1;
        }
    }
    return failed;
}

#define RUN_TESTS(tests) run_tests(tests, sizeof(tests) / sizeof(tests)[0])

#endif
