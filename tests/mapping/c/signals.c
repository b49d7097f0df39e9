/* SIGBUS that is not ours: it does what it did before the guard came, whoever handled it. */
#define _GNU_SOURCE
#include "check.h"

#include <setjmp.h>

static volatile sig_atomic_t calls, last_code;
static volatile pid_t last_sender;
static void *volatile last_address;
static unsigned char *foreign; /* a mapping without a guard, truncated */
static struct emmap_pages ours; /* one with a guard; its first page is lost, and not yet touched */

static void other_mapping(void)
{
    size_t page = page_size();
    int fd = memory_file(page);
    foreign = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(foreign != MAP_FAILED && ftruncate(fd, 0) == 0);
}

static void guard_a_mapping(void)
{
    size_t page = page_size();
    int fd = memory_file(page);
    ours = map_shared(fd, page);
    CHECK(ftruncate(fd, 0) == 0);
}

static void touch_foreign(void)
{
    peek(foreign);
}

static void handle(const struct sigaction *action)
{
    CHECK(sigaction(SIGBUS, action, NULL) == 0);
}

static void handle_simply(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    handle(&action);
}

static void count(int signal_number)
{
    CHECK(signal_number == SIGBUS);
    calls++;
}

static void note(int signal_number, siginfo_t *info, void *context)
{
    CHECK(context != NULL);
    count(signal_number);
    last_code = info->si_code;
    last_sender = info->si_pid;
    last_address = info->si_addr;
}

/* Without a page of ours: to the handler that was there */

static void another_handler_gets_what_is_not_ours(void)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    handle(&action);
    guard_a_mapping();
    for (int i = 1; i <= 3; i++) {
        CHECK(kill(getpid(), SIGBUS) == 0);
        CHECK(calls == i && last_code == SI_USER && last_sender == getpid());
    }
    CHECK(raise(SIGBUS) == 0 && calls == 4 && last_code == SI_TKILL);
    CHECK(peek(ours.base) == 0 && is_lost(&ours, 0) && calls == 4);
}

static void a_plain_handler_gets_it_too(void)
{
    handle_simply(count, 0);
    guard_a_mapping();
    CHECK(kill(getpid(), SIGBUS) == 0 && calls == 1);
    CHECK(raise(SIGBUS) == 0 && calls == 2);
    CHECK(peek(ours.base) == 0 && calls == 2);
}

static void map_memory_there(int signal_number, siginfo_t *info, void *context)
{
    note(signal_number, info, context);
    CHECK(mmap(info->si_addr, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == info->si_addr);
}

static void another_handler_gets_faults_of_others(void)
{
    struct sigaction action = {.sa_sigaction = map_memory_there, .sa_flags = SA_SIGINFO};
    handle(&action);
    guard_a_mapping();
    for (int i = 1; i <= 3; i++) {
        other_mapping();
        CHECK(peek(foreign) == 0);
        CHECK(calls == i && last_code == BUS_ADRERR && last_address == foreign);
    }
}

static void send_sigbus(void)
{
    kill(getpid(), SIGBUS);
}

static void raise_sigbus_twice(void)
{
    raise(SIGBUS); /* one raised in this thread may be another handler's way to pass a fault on */
    raise(SIGBUS);
}

static void by_default_it_kills(void)
{
    handle_simply(SIG_DFL, 0);
    guard_a_mapping();
    other_mapping();
    CHECK(dies_of_sigbus(send_sigbus));
    CHECK(dies_of_sigbus(raise_sigbus_twice));
    CHECK(dies_of_sigbus(touch_foreign));
    CHECK(peek(ours.base) == 0);
    CHECK(dies_of_sigbus(send_sigbus));
    CHECK(dies_of_sigbus(touch_foreign));
}

static void where_it_is_ignored_only_a_fault_kills(void)
{
    handle_simply(SIG_IGN, 0);
    guard_a_mapping();
    other_mapping();
    CHECK(succeeds(send_sigbus) && succeeds(raise_sigbus_twice));
    CHECK(dies_of_sigbus(touch_foreign)); /* the kernel does not let a fault be ignored */
    CHECK(peek(ours.base) == 0);
}

static sigjmp_buf before_the_fault;

static void leave(int signal_number)
{
    count(signal_number);
    siglongjmp(before_the_fault, 1);
}

static void another_handler_may_leave_by_siglongjmp(void)
{
    handle_simply(leave, 0);
    guard_a_mapping();
    other_mapping();
    for (volatile int i = 1; i <= 3; i++) {
        if (sigsetjmp(before_the_fault, 1) == 0)
            touch_foreign();
        CHECK(calls == i);
    }
    CHECK(peek(ours.base) == 0 && calls == 3);
}

/* Where it was ignored, it did not interrupt a system call either. */
static void an_ignored_signal_interrupts_nothing(void)
{
    struct sigaction now;
    handle_simply(SIG_IGN, 0);
    guard_a_mapping();
    CHECK(sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_RESTART));
}

/* Who comes after us: like faulthandler, he puts back whom he found, and raises the signal anew */

static struct sigaction found_by_later;

static void put_back_and_raise(int signal_number)
{
    count(signal_number);
    handle(&found_by_later);
    raise(SIGBUS);
}

static void come_later(int flags)
{
    struct sigaction later = {.sa_handler = put_back_and_raise, .sa_flags = flags};
    CHECK(sigaction(SIGBUS, &later, &found_by_later) == 0);
}

static void a_later_handler_does_not_hide_our_pages(void)
{
    for (int i = 1; i <= 3; i++) {
        guard_a_mapping();
        come_later(i % 2 ? SA_NODEFER : 0);
        CHECK(peek(ours.base) == 0 && is_lost(&ours, 0) && calls == i);
    }
}

static void a_later_handler_does_not_hide_faults_of_others(void)
{
    guard_a_mapping();
    other_mapping();
    come_later(SA_NODEFER);
    CHECK(dies_of_sigbus(touch_foreign));
    CHECK(dies_of_sigbus(send_sigbus) || dies_of_sigbus(raise_sigbus_twice));
}

/* We are put on top again, and the later handler, which is now ours to call, calls us: a ring. */
static void a_ring_of_handlers_ends(void)
{
    for (int deferred = 0; deferred < 2; deferred++) {
        guard_a_mapping();
        come_later(deferred ? 0 : SA_NODEFER);
        guard_a_mapping();
        other_mapping();
        calls = 0;
        CHECK(peek(ours.base) == 0 && is_lost(&ours, 0) && calls == 0);
        CHECK(dies_of_sigbus(touch_foreign));
        CHECK(dies_of_sigbus(send_sigbus));
    }
}

static void call_whom_i_found(int signal_number, siginfo_t *info, void *context)
{
    calls++;
    found_by_later.sa_sigaction(signal_number, info, context);
}

static void a_ring_of_calls_ends(void)
{
    struct sigaction later = {.sa_sigaction = call_whom_i_found, .sa_flags = SA_SIGINFO};
    guard_a_mapping();
    CHECK(sigaction(SIGBUS, &later, &found_by_later) == 0);
    CHECK(peek(ours.base) == 0 && calls == 1);
    guard_a_mapping();
    other_mapping();
    CHECK(dies_of_sigbus(touch_foreign));
    CHECK(dies_of_sigbus(send_sigbus));
    CHECK(peek(ours.base) == 0 && calls == 1);
}

/* Our own place */

static void each_new_mapping_puts_us_on_top(void)
{
    struct sigaction now, first;
    guard_a_mapping();
    CHECK(sigaction(SIGBUS, NULL, &first) == 0 && (first.sa_flags & SA_SIGINFO));
    guard_a_mapping();
    handle_simply(count, 0);
    guard_a_mapping();
    CHECK(sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction == first.sa_sigaction);
    CHECK(kill(getpid(), SIGBUS) == 0 && calls == 1);
    CHECK(peek(ours.base) == 0 && calls == 1);
}

static void it_works_on_an_alternate_stack(void)
{
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    CHECK(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);
    guard_a_mapping();
    CHECK(peek(ours.base) == 0 && is_lost(&ours, 0));
}

int main(void)
{
    static const struct test tests[] = {
        TEST(another_handler_gets_what_is_not_ours),
        TEST(a_plain_handler_gets_it_too),
        TEST(another_handler_gets_faults_of_others),
        TEST(another_handler_may_leave_by_siglongjmp),
        TEST(an_ignored_signal_interrupts_nothing),
        TEST(by_default_it_kills),
        TEST(where_it_is_ignored_only_a_fault_kills),
        TEST(a_later_handler_does_not_hide_our_pages),
        TEST(a_later_handler_does_not_hide_faults_of_others),
        TEST(a_ring_of_handlers_ends),
        TEST(a_ring_of_calls_ends),
        TEST(each_new_mapping_puts_us_on_top),
        TEST(it_works_on_an_alternate_stack),
    };
    return RUN_TESTS(tests);
}
