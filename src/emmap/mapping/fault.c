#define _GNU_SOURCE
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARDS_IN_CHUNK 64

/* The table is a chain of chunks that are never freed, so the handler may walk it at any time. */
struct chunk {
    struct emmap_guard guards[GUARDS_IN_CHUNK];
    _Atomic(struct chunk *) next;
};

static struct chunk table;
static _Atomic(struct chunk *) likely_free = &table;

/* Who had SIGBUS before us, the latest first: there is more than one when somebody came on top of us,
 * and we on top of him. Never freed: a handler may be reading it. */
struct previous {
    struct sigaction action;
    struct previous *older;
};
static _Atomic(struct previous *) previous;

/* Thread-local storage that a signal handler reads must not be allocated on first use. musl refuses
 * this model in a module loaded at run time, and has no need of it: it allocates when it loads. */
#ifdef __GLIBC__
#define IN_HANDLER __attribute__((tls_model("initial-exec")))
#else
#define IN_HANDLER
#endif
static _Thread_local struct previous *passing IN_HANDLER; /* we are inside this one's handler */
static _Thread_local int passing_raised IN_HANDLER;       /* what it handles was raised here */
static _Thread_local const siginfo_t *passed IN_HANDLER;  /* what it was given, */
static _Thread_local uintptr_t passed_from IN_HANDLER;    /* and by which frame */
static _Thread_local int excused IN_HANDLER; /* one SIGBUS raised by another handler was let go */

int emmap_probe(const void *address)
{
    /* The kernel copies the signal set from `address` before it looks at `how`, which is invalid:
     * EFAULT where the page cannot be supplied, else EINVAL and nothing done. */
    const int no_such_how = 1 << 20;
    int before = errno;
    long rc = syscall(SYS_rt_sigprocmask, no_such_how, address, NULL, 8);
    int fault = rc != 0 && errno == EFAULT;
    errno = before;
    return fault ? -EFAULT : 0;
}

/* Is everything from `page` to the end gone, as after a truncation? Pages at doubling distances and
 * the last one answer for all: where they are gone but some page between is not, that page is lost
 * with them, which is told like any other loss. No descriptor is needed to ask for the file's size. */
static int tail_is_gone(struct emmap_guard *guard, uintptr_t page, uintptr_t end)
{
    uintptr_t tail = atomic_load(&guard->lost.tail);
    if (atomic_load(&guard->unreadable))
        return 0;
    uintptr_t filled = guard->lost.start + atomic_load(&guard->lost.filled);
    if (filled < end)
        end = filled; /* what follows never was in the file */
    if (tail < end)
        end = tail; /* what follows has zeros already */
    for (size_t away = guard->page; page + away < end; away *= 2)
        if (emmap_probe((const void *)(page + away)) == 0)
            return 0;
    return page + guard->page >= end || emmap_probe((const void *)(end - guard->page)) != 0;
}

static int put_zeros(const struct emmap_guard *guard, uintptr_t from, uintptr_t to)
{
    /* SAFETY: [from, to) lies inside a live guarded mapping that cannot be unmapped while the
     * caller counts among its users. */
    return mmap((void *)from, to - from, atomic_load(&guard->prot),
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* Marks the page and puts zeros there, in this order. The number of patches is bounded: the whole
 * tail is one, and a page inside the file takes its granule with it. */
static int lose(struct emmap_guard *guard, uintptr_t start, uintptr_t end, uintptr_t address)
{
    uintptr_t page = address - (address - start) % guard->page, from = page, to = end;
    uintptr_t filled = start + atomic_load(&guard->lost.filled);

    if (tail_is_gone(guard, from, end))
        emmap_lost_mark_tail(&guard->lost, from);
    else if (emmap_lost_mark_granule(&guard->lost, address, &from, &to) != 0)
        goto lose_all;
    /* Behind what is known to hold something nobody looks, and room may be a terabyte. */
    if (from < filled && filled < to)
        to = filled;
    /* Much memory may be refused (by overcommit, mlockall, a limit) where a page is not. */
    if (put_zeros(guard, from, to < end ? to : end) || put_zeros(guard, page, page + guard->page))
        return 1;
lose_all: /* vm.max_map_count is reached: one mapping over everything needs no further one */
    emmap_lost_mark_tail(&guard->lost, start);
    return put_zeros(guard, start, address < filled ? filled : end);
}

static int covers(struct emmap_guard *guard, uintptr_t address, uintptr_t *start, uintptr_t *end)
{
    return atomic_load(&guard->state) == EMMAP_LIVE &&
           address >= (*start = atomic_load(&guard->start)) &&
           address < (*end = atomic_load(&guard->end));
}

static int patch(uintptr_t address)
{
    for (struct chunk *chunk = &table; chunk != NULL; chunk = atomic_load(&chunk->next))
        for (int i = 0; i < GUARDS_IN_CHUNK; i++) {
            struct emmap_guard *guard = &chunk->guards[i];
            uintptr_t start, end;
            if (!covers(guard, address, &start, &end))
                continue;
            /* The entry may be retired between the look and the patch, and its addresses belong to
             * somebody else by then. So: say that we are here, and look again. Who retires it says
             * so first, and then waits for us to go. tests/model/test_guard_model.py proves it. */
            atomic_fetch_add(&guard->users, 1);
            atomic_thread_fence(memory_order_seq_cst);
            int patched = covers(guard, address, &start, &end) && lose(guard, start, end, address);
            atomic_fetch_sub(&guard->users, 1);
            if (patched)
                return 1;
        }
    return 0;
}

static void die_by_default(const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
    /* After a real fault we return, the instruction faults again, and a core dump shows the place. */
    if (info->si_code <= 0 || info->si_code == BUS_MCEERR_AO)
        raise(SIGBUS);
}

/* faulthandler, when it was enabled after us, answers a fault by putting us back and raising SIGBUS
 * anew, which hides the address. One such signal is let go: the access faults again, and then for us. */
static int may_be_excused(const siginfo_t *info)
{
    if (info->si_code != SI_TKILL || info->si_pid != getpid() || excused)
        return 0;
    excused = 1;
    return 1;
}

/* A SIGBUS that is not ours does what it did before emmap came. */
static void pass_on(int signal_number, siginfo_t *info, void *context)
{
    /* A new fault, and not the one that is being passed on: that handler has left by siglongjmp. (The
     * description of the new one may lie where the old one lay, but not above a frame below it.) */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    int left = info->si_code > 0 && (info != passed || here >= passed_from);
    struct previous *outer = left ? NULL : passing;
    struct previous *next = outer != NULL ? outer->older : atomic_load(&previous);
    int plain = next != NULL && !(next->action.sa_flags & SA_SIGINFO);
    int nobody = next == NULL || (plain && next->action.sa_handler == SIG_DFL);
    int ignored = plain && next->action.sa_handler == SIG_IGN;

    if (ignored && (info->si_code <= 0 || info->si_code == BUS_MCEERR_AO))
        return;
    /* Inside another's handler, only what began with a signal raised here may be such an answer. */
    if ((nobody || ignored || outer != NULL) && (outer == NULL || passing_raised) &&
        may_be_excused(info))
        return;
    if (nobody || ignored) {
        die_by_default(info);
        return;
    }
    int raised = passing_raised;
    passing = next;
    passing_raised = info->si_code == SI_TKILL;
    passed = info;
    passed_from = here;
    if (plain)
        next->action.sa_handler(signal_number);
    else
        next->action.sa_sigaction(signal_number, info, context);
    passing = outer;
    passing_raised = raised;
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    int before = errno;
    if (info->si_code == BUS_ADRERR && patch((uintptr_t)info->si_addr))
        excused = 0;
    else
        pass_on(signal_number, info, context);
    errno = before;
}

/* In a forked child no other thread is inside a handler, and pages kept from it must not crash it. */
static void after_fork_in_child(void)
{
    for (struct chunk *chunk = &table; chunk != NULL; chunk = atomic_load(&chunk->next))
        for (int i = 0; i < GUARDS_IN_CHUNK; i++) {
            struct emmap_guard *guard = &chunk->guards[i];
            atomic_store(&guard->users, 0);
            if (atomic_load(&guard->state) == EMMAP_LIVE && atomic_load(&guard->forked_away)) {
                uintptr_t start = atomic_load(&guard->start);
                emmap_lost_mark_tail(&guard->lost, start);
                put_zeros(guard, start, atomic_load(&guard->end));
            }
        }
}

static int register_fork_handler(void)
{
    static _Atomic(int) done;
    if (!atomic_exchange(&done, 1)) {
        int rc = pthread_atfork(NULL, NULL, after_fork_in_child);
        if (rc != 0) {
            atomic_store(&done, 0);
            return -rc;
        }
    }
    return 0;
}

/* Puts our handler on top when it is not, and remembers the one that was. */
static int install(void)
{
    struct sigaction now, ours = {.sa_sigaction = on_sigbus,
                                  .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return -errno;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sigbus)
        return 0;
    struct previous *latest = atomic_load(&previous);
    if (latest == NULL || latest->action.sa_sigaction != now.sa_sigaction) {
        struct previous *kept = malloc(sizeof *kept);
        if (kept == NULL)
            return -ENOMEM;
        kept->action = now;
        kept->older = latest;
        atomic_store(&previous, kept);
    }
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL) == 0 ? 0 : -errno;
}

static struct emmap_guard *claim_in(struct chunk *chunk)
{
    for (int i = 0; i < GUARDS_IN_CHUNK; i++) {
        int expected = EMMAP_FREE;
        if (atomic_load_explicit(&chunk->guards[i].state, memory_order_relaxed) == EMMAP_FREE &&
            atomic_compare_exchange_strong(&chunk->guards[i].state, &expected, EMMAP_CLAIMED)) {
            atomic_store(&likely_free, chunk);
            chunk->guards[i].home = chunk;
            return &chunk->guards[i];
        }
    }
    return NULL;
}

static struct emmap_guard *claim(void)
{
    struct emmap_guard *guard = claim_in(atomic_load(&likely_free));
    struct chunk *chunk = &table;
    while (guard == NULL && (guard = claim_in(chunk)) == NULL) {
        struct chunk *next = atomic_load(&chunk->next);
        if (next == NULL) {
            struct chunk *fresh = calloc(1, sizeof *fresh);
            if (fresh == NULL)
                return NULL;
            if (atomic_compare_exchange_strong(&chunk->next, &next, fresh))
                next = fresh;
            else
                free(fresh);
        }
        chunk = next;
    }
    return guard;
}

int emmap_guard_begin(struct emmap_guard **out, void *start, size_t span, size_t page, int prot)
{
    int rc = register_fork_handler();
    if (rc == 0)
        rc = install();
    struct emmap_guard *guard = rc == 0 ? claim() : NULL;
    if (guard == NULL)
        return rc != 0 ? rc : -ENOMEM;
    guard->page = page;
    atomic_store(&guard->prot, prot);
    atomic_store(&guard->unreadable, !(prot & (PROT_READ | PROT_WRITE)));
    emmap_lost_begin(&guard->lost, (uintptr_t)start, span, page);
    atomic_store(&guard->forked_away, 0);
    atomic_store(&guard->start, (uintptr_t)start);
    atomic_store(&guard->end, (uintptr_t)start + span);
    atomic_store(&guard->state, EMMAP_LIVE);
    *out = guard;
    return 0;
}

void emmap_guard_end(struct emmap_guard *guard)
{
    emmap_guard_retire(guard);
    emmap_lost_end(&guard->lost);
    atomic_store(&likely_free, guard->home);
    atomic_store(&guard->state, EMMAP_FREE);
}
