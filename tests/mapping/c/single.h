/* A page inside a file that the kernel cannot supply, as on a full disk: without root, and without a
 * disk. A hole of a memory file is watched by userfaultfd, which answers its touch with SIGBUS. */
#ifndef SINGLE_H
#define SINGLE_H

#include "check.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef UFFD_USER_MODE_ONLY /* Linux 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif

/* Lets every hole in the pages answer with SIGBUS. The descriptor stays open until the process ends. */
static inline void lose_holes(void *start, size_t span)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fd < 0)
        SKIP("no page can be lost singly: this system has no userfaultfd for us");
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    struct uffdio_register holes = {.range = {(uintptr_t)start, span},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &holes) != 0)
        SKIP("no page can be lost singly: userfaultfd here cannot answer with SIGBUS");
}

/* A shared mapping in which page `hole` is lost, and the first byte of each near it is 1. Of a mapping
 * of many pages only those near the hole and the last one are there. */
static inline struct emmap_pages map_without_page(size_t span, size_t hole)
{
    size_t page = page_size(), pages = span / page;
    int fd = memfd_create("emmap test", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)span) == 0);
    for (size_t i = 0; i < pages; i++)
        if (i != hole && (i < 200 || i == pages - 1))
            CHECK(pwrite(fd, "\1", 1, (off_t)(i * page)) == 1);
    struct emmap_pages mapped = map_shared(fd, span);
    lose_holes(mapped.base, span);
    return mapped;
}

#endif
