/* Each request to the kernel fails once: whatever is asked for either succeeds or changes nothing.
 *
 * Linked with --wrap, so that the core's own calls come here, and the sanitizers' do not. */
#define _GNU_SOURCE
#include "check.h"

static int fails_in; /* the call that fails; 0: none */
static int calls;
static int pages_stay; /* mremap never moves pages, as with several kernel mappings before Linux 6.17 */

static int fails(void)
{
    errno = ENOMEM;
    return ++calls == fails_in;
}

void *__real_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);
void *__real_mremap(void *address, size_t length, size_t to, int flags, ...);
int __real_mprotect(void *address, size_t length, int prot);
void *__wrap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mremap(void *address, size_t length, size_t to, int flags, void *target);
int __wrap_mprotect(void *address, size_t length, int prot);

void *__wrap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(address, length, prot, flags, fd, offset);
}

void *__wrap_mremap(void *address, size_t length, size_t to, int flags, void *target)
{
    int failed = fails();
    if (!failed && !pages_stay)
        return __real_mremap(address, length, to, flags, target);
    munmap(target, to); /* as the kernel does, before it looks at the pages */
    errno = failed ? ENOMEM : EFAULT;
    return MAP_FAILED;
}

int __wrap_mprotect(void *address, size_t length, int prot)
{
    return fails() ? -1 : __real_mprotect(address, length, prot);
}

/* What the kernel has mapped, as a text without the heap and the stack. */
static char *kernel_state(void)
{
    static char texts[2][1 << 16];
    static int next;
    char *text = texts[next++ % 2], line[512];
    size_t length = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        if (!strstr(line, "[heap]") && !strstr(line, "[stack]")) {
            CHECK(length + strlen(line) < sizeof texts[0]);
            length += (size_t)sprintf(text + length, "%s", line);
        }
    fclose(maps);
    text[length] = 0;
    return text;
}

/* What may fail */

static struct emmap_pages pages;
static int fd;

static void stand_behind(void)
{
    void *behind = pages.base + pages.span;
    void *got = __real_mmap(behind, pages.page, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(got == behind || errno == EEXIST);
}

static void map_file(int flags)
{
    fd = memory_file(4 * page_size());
    pages = map_pages(fd, 4 * page_size(), PROT_READ | PROT_WRITE, flags);
}

static int grow(size_t backed)
{
    return emmap_pages_resize(&pages, 8 * pages.page, 1, fd, 0, backed * pages.page);
}

static void shared(void)
{
    map_file(MAP_SHARED);
    CHECK(ftruncate(fd, (off_t)(8 * page_size())) == 0);
    stand_behind();
}

static void shared_and_mixed(void)
{
    shared();
    CHECK(emmap_pages_protect(&pages, pages.page, 2 * pages.page, PROT_READ) == 0);
}

static void private_and_mixed(void)
{
    map_file(MAP_PRIVATE);
    stand_behind();
    poke(pages.base + 2 * pages.page, content(2 * pages.page));
    CHECK(emmap_pages_protect(&pages, pages.page, 2 * pages.page, PROT_READ) == 0);
}

static void private_alone(void)
{
    map_file(MAP_PRIVATE);
    stand_behind();
    poke(pages.base + 2 * pages.page, content(2 * pages.page));
}

static void private_with_room(void)
{
    size_t page = page_size();
    char *range = __real_mmap(NULL, 8 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fd = memory_file(5 * page);
    CHECK(range != MAP_FAILED && munmap(range, 8 * page) == 0);
    pages = pages_of(4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    CHECK(emmap_pages_map(&pages, range, 0, fd, 0) == 0);
}

static int grow_in_file(void)
{
    return grow(8);
}

static int grow_past_file(void)
{
    return grow(5);
}

static void lost(void)
{
    map_file(MAP_SHARED);
    CHECK(ftruncate(fd, (off_t)pages.page) == 0);
    CHECK(peek(pages.base + 2 * pages.page) == 0 && peek(pages.base + pages.page) == 0);
    CHECK(ftruncate(fd, (off_t)(4 * pages.page)) == 0);
}

static int repair(void)
{
    return emmap_pages_repair(&pages, fd, 0, pages.span);
}

static int protect(void)
{
    return emmap_pages_protect(&pages, 0, 2 * pages.page, PROT_READ);
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    int (*run)(void);
} operations[] = {
    {"growth of a shared mapping", shared, grow_in_file},
    {"growth of a shared mapping with mixed protections", shared_and_mixed, grow_in_file},
    {"growth of a private mapping with mixed protections", private_and_mixed, grow_in_file},
    {"growth of one with mixed protections past the file", private_and_mixed, grow_past_file},
    {"growth of a private mapping past the file", private_alone, grow_past_file},
    {"growth in place past the file", private_with_room, grow_past_file},
    {"repair", lost, repair},
    {"protection", shared, protect},
};

static const struct operation *operation;
static int failing_call;

/* The guard stands for the pages: each of them, and nothing else. */
static void check_guard(void)
{
    CHECK(atomic_load(&pages.guard->state) == EMMAP_LIVE);
    CHECK(atomic_load(&pages.guard->start) == (uintptr_t)pages.base);
    CHECK(atomic_load(&pages.guard->end) == (uintptr_t)pages.base + pages.span);
}

static void fail_one_call(void)
{
    operation->prepare();
    int was_lost = emmap_lost_any(&pages.guard->lost);
    struct emmap_pages before = pages;
    char *kernel_before = kernel_state();
    calls = 0;
    fails_in = failing_call;
    int rc = operation->run();
    fails_in = 0;
    check_guard();
    CHECK(rc == 0 || (rc == -ENOMEM && calls >= failing_call));
    if (rc != 0) {
        CHECK(memcmp(&pages, &before, sizeof pages) == 0);
        CHECK(UNDER_ASAN || UNDER_TSAN || strcmp(kernel_before, kernel_state()) == 0);
        CHECK(emmap_lost_any(&pages.guard->lost) == was_lost);
    }
    for (size_t at = 0; at < pages.span && !was_lost; at += pages.page)
        CHECK(at >= before.span || peek(pages.base + at) == content(at));
    if (calls < failing_call)
        _exit(SKIPPED); /* there are no further calls */
}

static void every_call_may_fail(void)
{
    size_t n = sizeof operations / sizeof operations[0];
    for (size_t i = 0; i < 2 * n; i++) {
        operation = &operations[i / 2];
        pages_stay = i % 2;
        for (failing_call = 1;; failing_call++) {
            int status = status_of(fail_one_call);
            if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
                break;
            if (status != 0)
                fprintf(stderr, "%s, call %d fails\n", operation->name, failing_call);
            CHECK(status == 0);
        }
    }
}

/* The file is truncated after its size was asked for: the copy fails, and the loss is not forgotten. */
static void a_copy_does_not_hide_a_loss(void)
{
    private_and_mixed();
    pages_stay = 1;
    CHECK(ftruncate(fd, (off_t)pages.page) == 0);
    CHECK(grow_in_file() == -EFAULT);
    check_guard();
    CHECK(pages.span == 4 * pages.page && peek(pages.base) == content(0));
    CHECK(peek(pages.base + 3 * pages.page) == 0 && is_lost(&pages, 3 * pages.page));
}

static void a_move_does_not_hide_a_loss(void)
{
    private_and_mixed();
    CHECK(ftruncate(fd, (off_t)pages.page) == 0);
    int rc = emmap_pages_resize(&pages, 8 * pages.page, 1, fd, 0, pages.page);
    CHECK(rc == 0 || rc == -EFAULT); /* moved, or copied where the kernel cannot move them */
    CHECK(peek(pages.base + 3 * pages.page) == 0 && is_lost(&pages, 3 * pages.page));
}

int main(void)
{
    static const struct test tests[] = {TEST(every_call_may_fail), TEST(a_copy_does_not_hide_a_loss),
                                        TEST(a_move_does_not_hide_a_loss)};
    return RUN_TESTS(tests);
}
