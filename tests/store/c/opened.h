/* A store that was flushed and changed since, and processes that open it in turns. */
#ifndef OPENED_H
#define OPENED_H

#include "history.h"

/* An id of somebody who has never lived. */
#define DEAD UINT64_C(0x123456789ABCDEF0)

static struct box box;
static struct emmap_txn txn;
static struct model model, flushed;

static inline void run(int n)
{
    for (int i = 0; i < n; i++)
        transact(&box, &txn, &model, 12);
}

static inline void make(void)
{
    create(&box);
    run(100);
    CHECK(flush_store(&box) == 0);
    flushed = model;
    run(100);
}

/* Gives the file up without a word, as who is killed does. */
static inline void leave(void)
{
    int fd = dup(box.store.fd);
    CHECK(fd >= 0);
    detach(&box);
    attach(&box, fd);
}

static inline struct emmap_store_header *header(void)
{
    return (void *)box.store.base;
}

static inline void expect_content(const struct model *content)
{
    CHECK_STORE(&box);
    compare_live(&box, content);
}

/* Two processes that take turns: each step is told by a byte through a pipe. */
static int to_child[2], to_parent[2];

static inline void tell(int pipe[2])
{
    CHECK(write(pipe[1], "", 1) == 1);
}

static inline void hear(int pipe[2])
{
    char byte;
    CHECK(read(pipe[0], &byte, 1) == 1);
}

static inline pid_t child_does(void (*what)(void))
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

static inline void wait_for_end(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* A process that uses the file in this boot, until it is told to end. */
static inline void use_it(void)
{
    CHECK(emmap_store_begin(&box.store) == 0);
    tell(to_parent);
    hear(to_child);
}

#endif
