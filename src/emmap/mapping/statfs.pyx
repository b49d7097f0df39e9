# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""What the kernel tells of the filesystem that a file lies on (fstatfs)."""

from emmap.mapping.memory cimport check


cdef extern from "system.h" nogil:
    int emmap_file_system(int fd, size_t *page, unsigned *type)


def file_system(int fd, name):
    """The filesystem of an open file: the bytes in a page of it, and the number of its type.

    Pages are larger than usual on hugetlbfs.
    """
    cdef size_t page = 0
    cdef unsigned kind = 0
    check(emmap_file_system(fd, &page, &kind), "look at the filesystem", name)
    return page, kind
