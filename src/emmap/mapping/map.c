#define _GNU_SOURCE
#include "system.h"

#include <errno.h>

int emmap_pages_map(struct emmap_pages *pages, void *address, int replace, int fd, off_t offset)
{
    int flags = pages->flags | (fd < 0 ? MAP_ANONYMOUS : 0);
    if (address != NULL)
        flags |= replace ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    void *base = mmap(address, pages->span, pages->prot, flags, fd, offset);
    if (base == MAP_FAILED)
        return -errno;
    if (address != NULL && base != address) { /* before Linux 4.17 the address is but a wish */
        munmap(base, pages->span);
        return -EEXIST;
    }
    int rc = emmap_guard_begin(&pages->guard, base, pages->span, pages->page, pages->prot);
    if (rc != 0) {
        if (replace)
            mmap(base, pages->span, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        else
            munmap(base, pages->span);
        return rc;
    }
    pages->base = base;
    return 0;
}

int emmap_pages_reserve(struct emmap_pages *pages, size_t least, int fd, off_t offset)
{
    const size_t enough = (size_t)1 << 30;
    int rc = emmap_pages_map(pages, NULL, 0, fd, offset);
    while (rc == -ENOMEM && pages->span > least) {
        size_t wish = pages->span <= enough ? least : pages->span / 2 < enough ? enough : pages->span / 2;
        pages->span = wish > least ? wish - wish % pages->page : least;
        rc = emmap_pages_map(pages, NULL, 0, fd, offset);
    }
    /* SAFETY: just mapped. An unknown advice is refused, and all is as well without. */
    if (rc == 0)
        madvise(pages->base, pages->span, MADV_DONTDUMP);
    return rc;
}

void emmap_pages_end_guard(struct emmap_pages *pages)
{
    if (pages->guard != NULL)
        emmap_guard_end(pages->guard);
    pages->guard = NULL;
}

int emmap_pages_unmap(struct emmap_pages *pages)
{
    emmap_pages_end_guard(pages);
    /* SAFETY: the caller has seen the last export go, so no view reaches these addresses. */
    int rc = munmap(pages->base, pages->span) == 0 ? 0 : -errno;
    pages->base = NULL;
    pages->span = 0;
    return rc;
}

int emmap_pages_return(struct emmap_pages *pages)
{
    emmap_pages_end_guard(pages);
    /* SAFETY: the range lies in a reservation that the caller holds. */
    void *reserved = mmap(pages->base, pages->span, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    pages->base = NULL; /* in any case: the addresses are the reservation's again */
    pages->span = 0;
    return reserved == MAP_FAILED ? -errno : 0;
}
