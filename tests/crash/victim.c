#define _GNU_SOURCE
#include "victim.h"

#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#define MOST_STEPS 5000000
#ifndef PATIENCE
#define PATIENCE 20     /* seconds for a process that is not stepped */
#endif

void *step_notes;
struct step_told *step_told;
cpu_set_t step_processors;

/* Processes */

void new_notes(void)
{
    unsigned char *shared = mmap(NULL, STEP_NOTES + sizeof *step_told, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    step_notes = shared;
    /* SAFETY: it lies behind the notes, a multiple of its alignment. */
    step_told = (struct step_told *)(void *)(shared + STEP_NOTES);
}

void pin(int worker)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0, n = worker % CPU_COUNT(&step_processors); cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &step_processors) && n-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

void step_begin(void)
{
    alarm(0); /* steps are slow */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        step_told->refused = errno;
        _exit(SKIPPED);
    }
    kill(getpid(), SIGSTOP);
}

void step_returned(void)
{
    step_told->returned++;
}

/* Starts a process that calls `run` for the file of this name, which is mapped for it. */
static pid_t start(step_process *run, struct step_scene scene, int stepped)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    struct stat now;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(PATIENCE);
    if (!stepped)
        sched_setaffinity(0, sizeof step_processors, &step_processors);
    scene.fd = open(scene.path, O_RDWR | O_CLOEXEC);
    CHECK(scene.fd >= 0 && fstat(scene.fd, &now) == 0);
    scene.size = (size_t)now.st_size;
    scene.at = mmap(NULL, scene.size, PROT_READ | PROT_WRITE, MAP_SHARED, scene.fd, 0);
    CHECK(scene.at != MAP_FAILED);
    run(&scene);
    if (stepped)
        kill(getpid(), SIGSTOP);
    fflush(NULL);
    _exit(0);
}

static int ended_well(pid_t pid, const char *what)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 1;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("%s took more than %d seconds\n", what, PATIENCE);
    else if (WIFSIGNALED(status))
        printf("%s died of signal %d\n", what, WTERMSIG(status));
    else
        printf("%s failed\n", what);
    return 0;
}

/* Victims */

void write_file(const char *path, const unsigned char *bytes, size_t size)
{
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    CHECK(fd >= 0);
    for (size_t done = 0; bytes != NULL && done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        CHECK(n > 0);
        done += (size_t)n;
    }
    CHECK(ftruncate(fd, (off_t)size) == 0 && close(fd) == 0);
}

static uint64_t pc_of(pid_t pid)
{
    struct __ptrace_syscall_info info;
    return ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0
               ? info.instruction_pointer
               : 0;
}

/* Waits for its next stop. */
static enum standing await(struct victim *victim)
{
    int status;
    CHECK(waitpid(victim->pid, &status, 0) == victim->pid);
    if (WIFSTOPPED(status)) {
        int signal = WSTOPSIG(status);
        victim->scene.returned = step_told->returned;
        victim->signal = signal == SIGTRAP ? 0 : signal;
        return signal == SIGSTOP ? ENDED : STEPPED;
    }
    victim->pid = 0;
    if (step_told->refused) {
        printf("ptrace: %s\n", strerror(step_told->refused));
        fflush(NULL);
        _exit(SKIPPED);
    }
    printf("%s: the operation failed after step %" PRIu64 ", wait status %#x\n",
           victim->test->name, victim->scene.step, (unsigned)status);
    return FAILED;
}

enum standing victim_begin(struct victim *victim, const struct step_test *test, const char *path)
{
    *victim = (struct victim){.test = test, .fd = -1};
    snprintf(victim->path, sizeof victim->path, "%s", path);
    victim->scene.path = victim->path;
    memset(step_notes, 0, STEP_NOTES);
    step_told->returned = 0;
    write_file(victim->path, NULL, test->size);
    victim->fd = open(victim->path, O_RDWR | O_CLOEXEC);
    CHECK(victim->fd >= 0);
    if (test->prepare != NULL &&
        !ended_well(start(test->prepare, victim->scene, 0), "the preparation"))
        return FAILED;
    if (test->beside != NULL)
        victim->beside = start(test->beside, victim->scene, 0);
    victim->pid = start(test->operate, victim->scene, 1);
    enum standing standing = await(victim);
    if (standing != ENDED)
        return FAILED;
    victim->signal = 0;
    CHECK(ptrace(PTRACE_SETOPTIONS, victim->pid, NULL, (void *)PTRACE_O_EXITKILL) == 0);
    return STEPPED;
}

enum standing victim_advance(struct victim *victim)
{
    victim->pc = pc_of(victim->pid);
    if (ptrace(PTRACE_SINGLESTEP, victim->pid, NULL, (void *)(intptr_t)victim->signal) != 0) {
        printf("%s: ptrace: %s\n", victim->test->name, strerror(errno));
        return FAILED;
    }
    enum standing standing = await(victim);
    if (standing == STEPPED && ++victim->scene.step == MOST_STEPS) {
        printf("%s: the operation does not end\n", victim->test->name);
        return FAILED;
    }
    return standing;
}

int victim_end(struct victim *victim)
{
    int status, well = 1;
    if (victim->pid > 0) {
        kill(victim->pid, SIGKILL);
        CHECK(waitpid(victim->pid, &status, 0) == victim->pid && WIFSIGNALED(status));
    }
    if (victim->beside > 0)
        well = ended_well(victim->beside, "the process beside it");
    if (victim->fd >= 0)
        close(victim->fd);
    return well;
}

/* What the recovery does to the notes stays its own: the victim may go on. */
int recover(const struct step_test *test, struct step_scene scene)
{
    static _Alignas(max_align_t) unsigned char copy[STEP_NOTES];
    void *shared = step_notes;
    memcpy(copy, shared, sizeof copy);
    step_notes = copy;
    int well = ended_well(start(test->recover, scene, 0), "the recovery");
    step_notes = shared;
    return well;
}

void print_moment(const struct victim *victim)
{
    printf("%s: %s after step %" PRIu64 ", when %d calls had returned\n", victim->test->name,
           victim->scene.killed ? "killed" : "an image", victim->scene.step, victim->scene.returned);
}

/* Trails */

#define PLACES 65536    /* instructions of an operation, at most */
#define COST 4          /* of a breakpoint, in steps */

/* How often each instruction has been run. */
static struct trail_step places[PLACES];

void trail_add(struct trail *trail, const struct victim *victim)
{
    uint64_t i = victim->pc * UINT64_C(0x9E3779B97F4A7C15) >> 48;
    if (trail->n == 0)
        memset(places, 0, sizeof places);
    for (int looks = 0; places[i].pc != victim->pc && places[i].pc != 0; i = (i + 1) % PLACES)
        CHECK(++looks < PLACES);
    places[i].pc = victim->pc;
    if (trail->n == trail->room) {
        trail->room = trail->room ? 2 * trail->room : 4096;
        trail->steps = realloc(trail->steps, trail->room * sizeof *trail->steps);
        CHECK(trail->steps != NULL);
    }
    trail->steps[trail->n++] = (struct trail_step){victim->pc, places[i].before++};
}

#ifdef __x86_64__
#include <sys/user.h>

#define BREAKPOINT 0xCC /* one byte; it stops behind itself */

/* Lets it run until it comes to where step `i` of the trail was. */
static enum standing run_to_place(struct victim *victim, const struct trail *trail, uint64_t i)
{
    struct user_regs_struct regs;
    uint64_t pc = trail->steps[i].pc, before = trail->steps[i].before;
    pid_t pid = victim->pid;
    void *at = (void *)(uintptr_t)pc;
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    if (errno != 0)
        return STEPPED; /* then it steps all the way */
    for (;;) {
        void *broken = (void *)((text & ~0xFFL) | BREAKPOINT);
        CHECK(ptrace(PTRACE_POKETEXT, pid, at, broken) == 0);
        enum standing standing;
        do {
            CHECK(ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)victim->signal) == 0);
            standing = await(victim);
        } while (standing == STEPPED && victim->signal != 0);
        if (standing == FAILED)
            return standing;
        CHECK(ptrace(PTRACE_POKETEXT, pid, at, (void *)text) == 0);
        if (standing == ENDED) {
            victim->scene.step = trail->n; /* it went another way */
            return standing;
        }
        CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.rip == pc + 1);
        regs.rip = pc;
        CHECK(ptrace(PTRACE_SETREGS, pid, NULL, &regs) == 0);
        if (before-- == 0) {
            victim->scene.step = i;
            return STEPPED;
        }
        standing = victim_advance(victim);
        if (standing != STEPPED)
            return standing;
    }
}

#else
static enum standing run_to_place(struct victim *victim, const struct trail *trail, uint64_t i)
{
    (void)victim, (void)trail, (void)i;
    return STEPPED; /* it steps all the way */
}
#endif

enum standing victim_run(struct victim *victim, const struct trail *trail, uint64_t steps)
{
    uint64_t least = steps, near = 0;
    for (uint64_t i = 0; i < steps && i < trail->n; i++) {
        uint64_t cost = COST * (trail->steps[i].before + 1) + (steps - i);
        if (cost < least) {
            least = cost;
            near = i;
        }
    }
    enum standing standing = near > 0 ? run_to_place(victim, trail, near) : STEPPED;
    while (standing == STEPPED && victim->scene.step < steps)
        standing = victim_advance(victim);
    return standing;
}
