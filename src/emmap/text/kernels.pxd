"""The C kernels, for the other modules of this room."""

from libc.stdint cimport uint8_t, uint64_t

from emmap.mapping.memory cimport MappedMemory

cdef extern from "kernels.h" nogil:
    enum:
        EMMAP_LINES
        EMMAP_WORDS
        EMMAP_CHARACTERS
        EMMAP_LONGEST
        EMMAP_LOOK_AHEAD

    cdef struct emmap_counts:
        uint64_t bytes, lines, words, characters
        uint64_t before, after, inner, open
        uint8_t tab, ended, first, last
    void emmap_counts_join(emmap_counts *left, const emmap_counts *right)
    uint64_t emmap_counts_longest(const emmap_counts *counts)

    size_t EMMAP_NOWHERE
    cdef struct emmap_needle:
        size_t length
    void emmap_needle_prepare(emmap_needle *needle, const uint8_t *bytes, size_t length,
                              int ignore_case)

    cdef struct emmap_translation:
        pass
    void emmap_translation_prepare(emmap_translation *translation, const uint8_t *table)

    cdef struct emmap_kernels:
        const char *name
        void (*count)(const uint8_t *p, size_t n, size_t ahead, unsigned wanted,
                      emmap_counts *counts) noexcept nogil
        size_t (*find)(const emmap_needle *needle, const uint8_t *p, size_t n) noexcept nogil
        size_t (*newlines)(const uint8_t *p, size_t n, uint64_t first, uint64_t every,
                           uint64_t *offsets, size_t capacity, uint64_t *seen) noexcept nogil
        uint64_t (*translate)(const emmap_translation *translation, uint8_t *p,
                              size_t n) noexcept nogil
    const emmap_kernels *emmap_kernels_find(unsigned i)


cdef class Scan:
    cdef uint8_t *data              # of the first byte
    cdef Py_ssize_t start, length   # where that is in the target, and how many are scanned
    cdef Py_ssize_t behind          # bytes of the target that follow
    cdef MappedMemory memory        # that the bytes are mapped by, or None
    cdef Py_ssize_t place           # of the first byte in `memory`
    cdef size_t repairs             # of `memory`, before
    cdef Py_buffer buffer           # unless the target is `memory` itself
    cdef bint exported, writes

    cdef int begin(self, object target, object start, object stop, bint writes) except -1
    cdef int take_mapping(self, MappedMemory memory, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int take_buffer(self, object target, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int set_range(self, Py_ssize_t size, Py_ssize_t first, Py_ssize_t stop) except -1
    cdef Py_ssize_t look_ahead(self) except -1
    cdef int ensure_real(self, Py_ssize_t touched) except -1
    cdef void end(self) noexcept


cdef class Watch:
    cdef Scan scan


cdef class Tally:
    cdef emmap_counts counts
    cdef readonly unsigned int wanted
    cdef int require(self, unsigned int which, str name) except -1


cdef class Needle:
    cdef emmap_needle needle
    cdef readonly bytes pattern
    cdef readonly bint ignore_case
