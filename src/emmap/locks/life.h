/* Who is alive: by one locked byte for each process and file.
 *
 * A process that locks something in a file takes an id, 60 random bits that are never used again, and
 * write-locks the byte at 2^62 + id of that file (F_OFD_SETLK). Whoever finds the id in a lock word asks
 * whether that byte is locked (F_OFD_GETLK): the kernel lets go of it when the process ends, however it
 * ends. No pid is compared, so it holds across containers and boots.
 *
 * life.c keeps the registry of this process, and is compiled into exactly one extension module. The
 * functions of alive.c work on one entry of it.
 */
#ifndef EMMAP_LIFE_H
#define EMMAP_LIFE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* In lock words an owner is an id shifted left by so much: what lies below is for flags. */
#define EMMAP_ID_BITS 60
#define EMMAP_FLAG_BITS 4
#define EMMAP_FLAGS ((UINT64_C(1) << EMMAP_FLAG_BITS) - 1)

/* Where the ids' bytes begin: behind all bytes that range locks of ours may cover. */
#define EMMAP_ID_BYTES (INT64_C(1) << 62)

/* This process in one file. It is never moved while somebody uses it. */
struct emmap_life {
    _Atomic(uint64_t) me;       /* our id as an owner, or 0: we have none (yet, after a fork, or any more) */
    pthread_mutex_t *mutex;     /* over all below, and over forks */
    uint64_t device, inode;
    size_t page;                /* bytes in a page of the file */
    _Atomic(int) ask;           /* a descriptor that holds no lock, to ask by */
    int kept;                   /* the one that holds our byte where a mapping cannot, else -1 */
    void *held;                 /* the mapping that holds our byte, or NULL */
    _Atomic(int) hidden;        /* a stranger's lock has hidden an answer */
    size_t users;
    int immortal;               /* something is held through it, though nobody uses it */
    struct emmap_life *next;
};

/* The entry for the file `fd`, made if it is not there: 0 or -errno. `fd` stays the caller's. */
int emmap_life_begin(struct emmap_life **life, int fd, size_t page);

/* Ends one use. `holding`: locks are held that name our id, which is then kept until the process ends. */
void emmap_life_end(struct emmap_life *life, int holding);

/* Sees to it that we have an id: 0 or -errno. -EBUSY: somebody has locked the whole file. */
int emmap_life_enter(struct emmap_life *life);

/* Gives our id up, so that others take over what we hold: what we would write reaches nobody any more. */
void emmap_life_give_up(struct emmap_life *life);

/* What is known of an owner. A lock over more than the one byte is a stranger's, which hides the answer:
 * then the owner counts as alive. */
enum { EMMAP_DEAD = 0, EMMAP_ALIVE = 1, EMMAP_HIDDEN = 2 };

/* Does this owner live? One of the above, or -errno. Cost: two system calls, half a microsecond. */
int emmap_life_ask(struct emmap_life *life, uint64_t owner);

/* Who has the whole file locked: his pid, or -1 where it is not to be told. */
int emmap_life_stranger(struct emmap_life *life);

/* Does the name still lead to the file? 0, -ESTALE, or -errno. */
int emmap_life_is_named(struct emmap_life *life, const char *name);

#endif
