"""What may be done with pages, and how they will be used: the arguments of mprotect and madvise."""

from enum import IntEnum, IntFlag

from emmap.mapping import constants


class Protection(IntFlag):
    """What may be done with pages (mprotect(2)). Combine with `|`."""

    NONE = constants.PROT_NONE
    READ = constants.PROT_READ
    WRITE = constants.PROT_WRITE
    EXEC = constants.PROT_EXEC


class Advice(IntEnum):
    """How pages will be used, or what shall become of them (madvise(2)).

    An advice that the running kernel is too old for raises `OSError` with EINVAL.
    """

    NORMAL = constants.MADV_NORMAL
    RANDOM = constants.MADV_RANDOM
    SEQUENTIAL = constants.MADV_SEQUENTIAL
    WILLNEED = constants.MADV_WILLNEED
    DONTNEED = constants.MADV_DONTNEED
    FREE = constants.MADV_FREE
    REMOVE = constants.MADV_REMOVE
    DONTFORK = constants.MADV_DONTFORK
    DOFORK = constants.MADV_DOFORK
    MERGEABLE = constants.MADV_MERGEABLE
    UNMERGEABLE = constants.MADV_UNMERGEABLE
    HUGEPAGE = constants.MADV_HUGEPAGE
    NOHUGEPAGE = constants.MADV_NOHUGEPAGE
    DONTDUMP = constants.MADV_DONTDUMP
    DODUMP = constants.MADV_DODUMP
    WIPEONFORK = constants.MADV_WIPEONFORK
    KEEPONFORK = constants.MADV_KEEPONFORK
    COLD = constants.MADV_COLD
    PAGEOUT = constants.MADV_PAGEOUT
    POPULATE_READ = constants.MADV_POPULATE_READ
    POPULATE_WRITE = constants.MADV_POPULATE_WRITE
    COLLAPSE = constants.MADV_COLLAPSE
