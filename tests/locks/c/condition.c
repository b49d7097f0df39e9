/* The condition between threads, and its row of cells: the orders in which the dead are found. */
#define _GNU_SOURCE
#include "condition.h"
#include "lock.h"
#include "company.h"

#define THREADS 4
#define ITEMS 4000

static struct emmap_condition condition;
static struct emmap_lock guard;
static struct emmap_place place, lock_place;
static long items, taken;   /* guarded by the lock */
static int closed;

static void acquire(struct emmap_lock *lock)
{
    CHECK(run_attempt(emmap_lock_attempt, lock, -1) == 0);
}

static int wait_here(struct emmap_lock *lock, int64_t patience)
{
    struct emmap_condition_wait wait;
    CHECK(emmap_condition_enter(&condition, &wait) == 0 && emmap_lock_release(lock) == 0);
    int rc = run_attempt(emmap_condition_attempt, &wait, patience);
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    acquire(lock);
    return emmap_condition_leave(&wait);
}

static void *consume(void *unused)
{
    struct emmap_lock lock;
    (void)unused;
    emmap_lock_begin(&lock, &lock_place, guard.word);
    acquire(&lock);
    for (;;) {
        while (items == 0 && !closed)
            /* Some are impatient: a notify that meets one whose time is up is his all the same. */
            wait_here(&lock, taken % 3 ? -1 : 20000);
        if (items == 0)
            break;
        items--;
        taken++;
    }
    CHECK(emmap_lock_release(&lock) == 0);
    return NULL;
}

static void producing(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = begin_thread(consume, NULL);
    for (int i = 0; i < ITEMS; i++) {
        acquire(&guard);
        items++;
        CHECK(emmap_condition_notify(&condition, 1) == 0 && emmap_lock_release(&guard) == 0);
    }
    acquire(&guard);
    closed = 1;
    CHECK(emmap_condition_notify(&condition, UINT64_MAX) == 0 && emmap_lock_release(&guard) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(taken == ITEMS && emmap_condition_count(&condition) == 0);
}

static struct emmap_condition_wait enter(void)
{
    struct emmap_condition_wait wait;
    CHECK(emmap_condition_enter(&condition, &wait) == 0);
    return wait;
}

/* Its owner is dead from now on. */
static void kill_it(struct emmap_condition_wait *wait)
{
    atomic_store(&wait->mine.cell->owner, DEAD + ((uint64_t)(uintptr_t)wait << 4));
}

static int is_notified(struct emmap_condition_wait *wait, int how)
{
    struct emmap_sleep sleep;
    int rc = emmap_condition_attempt(wait, how, &sleep);
    CHECK(rc == 0 || rc == -EAGAIN);
    return rc == 0;
}

static void notify(uint64_t n)
{
    CHECK(emmap_condition_notify(&condition, n) == 0);
}

static void oldest_first(void)
{
    struct emmap_condition_wait first = enter(), second = enter(), third;
    long calls = atomic_load(&wakes);
    CHECK(!emmap_condition_leave(&first));
    third = enter(); /* in the first one's cell, but younger */
    notify(1);
    CHECK(is_notified(&second, EMMAP_LOOK) && !is_notified(&third, EMMAP_ASK));
    CHECK(atomic_load(&wakes) == calls + 1);
    notify(5);
    CHECK(is_notified(&third, EMMAP_LOOK) && atomic_load(&wakes) == calls + 2);
    CHECK(emmap_condition_leave(&second) && emmap_condition_leave(&third));
    notify(1);
    CHECK(atomic_load(&wakes) == calls + 2 && emmap_condition_count(&condition) == 0);
}

static void passing_on(void)
{
    struct emmap_condition_wait dead = enter(), also = enter(), heir = enter(), other = enter(), late;
    notify(1);
    kill_it(&dead);
    kill_it(&also);
    late = enter();
    CHECK(!is_notified(&heir, EMMAP_LOOK)); /* it did not ask */
    CHECK(!is_notified(&late, EMMAP_ASK) && is_notified(&heir, EMMAP_LOOK));
    CHECK(!is_notified(&other, EMMAP_ASK) && emmap_condition_count(&condition) == 3);
    /* The heir of an heir; and again one that it had notified in vain. */
    kill_it(&heir);
    CHECK(is_notified(&other, EMMAP_ASK));
    emmap_condition_abandon(&other);
    CHECK(!is_notified(&late, EMMAP_ASK)); /* it had not waited then */
    CHECK(!emmap_condition_leave(&late) && emmap_condition_count(&condition) == 0);
}

static void abandoning(void)
{
    struct emmap_condition_wait first = enter(), second = enter(), third = enter();
    emmap_condition_abandon(&first);
    CHECK(!is_notified(&second, EMMAP_ASK));
    notify(1);
    CHECK(is_notified(&second, EMMAP_LOOK));
    emmap_condition_abandon(&second);
    CHECK(is_notified(&third, EMMAP_LOOK) && emmap_condition_leave(&third));
    CHECK(emmap_condition_count(&condition) == 0);
}

/* Our id was given up in between (a page was lost elsewhere in the file), and somebody reaped us. */
static void being_reaped(void)
{
    struct emmap_condition_wait wait = enter(), other;
    atomic_store(&wait.mine.cell->state, 0);
    atomic_store(&wait.mine.cell->owner, 0);
    CHECK(is_notified(&wait, EMMAP_LOOK));
    other = enter();
    CHECK(other.mine.cell == wait.mine.cell && is_notified(&wait, EMMAP_LOOK));
    atomic_store(&other.mine.cell->owner, DEAD); /* another process's */
    emmap_condition_abandon(&wait);
    CHECK(atomic_load(&other.mine.cell->state) == other.mine.state);
    notify(1);
    CHECK(emmap_condition_count(&condition) == 0);
}

static void full_row(void)
{
    static struct emmap_condition_wait waits[EMMAP_MOST_WAITERS];
    struct emmap_condition_wait heir;
    for (int i = 0; i < EMMAP_MOST_WAITERS; i++)
        waits[i] = enter();
    CHECK(emmap_condition_enter(&condition, &heir) == -ENOSPC);
    kill_it(&waits[100]);
    heir = enter();
    CHECK(heir.mine.cell == waits[100].mine.cell);
    CHECK(emmap_condition_enter(&condition, &waits[100]) == -ENOSPC);
    /* A dead one that was notified is not reaped but passed on. */
    notify(1);
    kill_it(&waits[0]);
    waits[100] = enter();
    CHECK(is_notified(&waits[1], EMMAP_LOOK) && !is_notified(&waits[2], EMMAP_LOOK));
    /* Killed before it said what it waits for. */
    kill_it(&waits[50]);
    atomic_store(&waits[50].mine.cell->state, 0);
    waits[50] = enter();
    /* Numbers that somebody else wrote lead nowhere. */
    atomic_store(condition.row.used, UINT64_MAX);
    notify(UINT64_MAX);
    for (int i = 1; i < EMMAP_MOST_WAITERS; i++)
        CHECK(is_notified(&waits[i], EMMAP_LOOK) && emmap_condition_leave(&waits[i]));
    CHECK(emmap_condition_leave(&heir) && emmap_condition_count(&condition) == 0);
}

static void lost_pages(void)
{
    struct emmap_condition_wait wait = enter();
    lose_all();
    CHECK(emmap_condition_notify(&condition, 1) == -EIO);
    CHECK(emmap_condition_attempt(&wait, EMMAP_LOOK, NULL) == -EIO);
    CHECK(emmap_condition_enter(&condition, &wait) == -EIO);
}

int main(void)
{
    place = make_place(EMMAP_CONDITION, 0, 4096);
    lock_place = make_place(EMMAP_LOCK, 4096, 16);
    emmap_condition_begin(&condition, &place);
    emmap_lock_begin(&guard, &lock_place, (_Atomic(uint64_t) *)(void *)(lock_place.at + 8));
    producing();
    oldest_first();
    passing_on();
    abandoning();
    being_reaped();
    full_row();
    lost_pages();
    end_places();
    return 0;
}
