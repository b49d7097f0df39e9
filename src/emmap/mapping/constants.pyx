# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The numbers that the kernel takes, under the names of the standard `mmap` module and of C."""

import os

cdef extern from "system.h":
    cpdef enum:
        MAP_SHARED
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_FIXED
        MAP_FIXED_NOREPLACE
        MAP_POPULATE
        MAP_NORESERVE
        MAP_LOCKED
        MAP_STACK
        MAP_DENYWRITE
        MAP_EXECUTABLE
        MAP_HUGETLB
        MAP_NONBLOCK
        MAP_SHARED_VALIDATE
        MAP_TYPE
        MAP_GROWSDOWN
        MAP_32BIT
        PROT_NONE
        PROT_READ
        PROT_WRITE
        PROT_EXEC
        MS_SYNC
        MS_ASYNC
        MS_INVALIDATE
        MADV_NORMAL
        MADV_RANDOM
        MADV_SEQUENTIAL
        MADV_WILLNEED
        MADV_DONTNEED
        MADV_FREE
        MADV_REMOVE
        MADV_DONTFORK
        MADV_DOFORK
        MADV_HWPOISON
        MADV_MERGEABLE
        MADV_UNMERGEABLE
        MADV_SOFT_OFFLINE
        MADV_HUGEPAGE
        MADV_NOHUGEPAGE
        MADV_DONTDUMP
        MADV_DODUMP
        MADV_WIPEONFORK
        MADV_KEEPONFORK
        MADV_COLD
        MADV_PAGEOUT
        MADV_POPULATE_READ
        MADV_POPULATE_WRITE
        MADV_COLLAPSE

PAGESIZE = ALLOCATIONGRANULARITY = os.sysconf("SC_PAGESIZE")

ACCESS_DEFAULT = 0
ACCESS_READ = 1
ACCESS_WRITE = 2
ACCESS_COPY = 3

MAP_ANON = MAP_ANONYMOUS
