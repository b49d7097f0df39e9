"""The C face of mapped memory, for the layers above and for the other rooms."""

cdef extern from "lost.h" nogil:
    cdef struct emmap_lost:
        pass
    int emmap_lost_any(emmap_lost *lost)
    int emmap_lost_claim_report(emmap_lost *lost)
    int emmap_lost_find(emmap_lost *lost, size_t start, size_t stop, size_t *run_from, size_t *run_to)

cdef extern from "fault.h" nogil:
    cdef struct emmap_guard:
        emmap_lost lost
    void emmap_guard_resize(emmap_guard *guard, size_t span)
    void emmap_guard_fill(emmap_guard *guard, size_t filled)

cdef extern from "system.h" nogil:
    cdef struct emmap_pages:
        unsigned char *base
        size_t span
        size_t page
        int prot
        int flags
        emmap_guard *guard
    int emmap_pages_map(emmap_pages *pages, void *address, int replace, int fd, long long offset)
    int emmap_pages_reserve(emmap_pages *pages, size_t least, int fd, long long offset)
    int emmap_pages_unmap(emmap_pages *pages)
    void emmap_pages_end_guard(emmap_pages *pages)
    int emmap_bury(void *start, size_t span, int replace)
    int emmap_pages_return(emmap_pages *pages)

# From this many bytes on, a copy or a search gives the GIL away.
cdef enum:
    LARGE = 32768


cdef int check(int rc, str doing, object name) except -1


cdef class MappedMemory:
    cdef unsigned char *data        # the first byte that was asked for; NULL once closed
    cdef Py_ssize_t length          # bytes
    cdef Py_ssize_t settled         # `length` where it changes by our own calls only, else 0
    cdef Py_ssize_t farthest        # the longest that it was, where there is room to grow
    cdef Py_ssize_t room            # bytes it can grow to where it is; 0: nothing was reserved
    cdef Py_ssize_t readable        # `length` while every byte may be read, else 0
    cdef Py_ssize_t writable        # `length` while every byte may be written, else 0
    cdef emmap_pages pages          # what holds them
    cdef Py_ssize_t head            # bytes from the first page's start to `data`
    cdef long long file_offset      # of the first byte
    cdef Py_ssize_t exports         # views, and calls that work without the GIL
    cdef Py_ssize_t writers         # of these, the ones that may write
    cdef size_t repairs             # how many times lost pages were mapped again
    cdef bint was_exported          # the buffer protocol has handed out the address at least once
    cdef list graves                # [(address, bytes)]: zeros where such an address once led
    cdef int protection             # of all pages, unless `protections` says more
    cdef list protections           # [(first page, end page, protection)], or None
    cdef readonly object _backing   # the file behind, or None
    cdef MappedMemory reservation   # the reserved range that holds these pages, or None
    cdef Py_ssize_t position        # of `read`, `write` and `find`
    cdef bint fixed                 # the caller chose the address: the pages never move
    cdef list placed                # of a reservation: the addresses [(start, end)] given away
    cdef object __weakref__

    cdef inline int look(self) except -1:
        """Raises unless the mapping is open, and sees how long it is by now."""
        if self.data == NULL:
            self.require(0, 0, 0)
        return self.follow() if self.room else 0

    cdef inline int ensure_open(self) except -1:
        if self.data == NULL:
            self.require(0, 0, 0)
        return 0

    cdef int follow(self) except -1
    cdef int expect(self, int rc, str doing) except -1
    cdef int require(self, Py_ssize_t start, Py_ssize_t stop, int right) except -1
    cdef int require_writable(self) except -1
    cdef int prepare_write(self, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int raise_if_lost(self, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int raise_if_lost_since(self, size_t repairs, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef int update_rights(self) except -1
    cdef int range_of(self, object offset, object length, Py_ssize_t *start, Py_ssize_t *stop) except -1
    cdef void hold(self) noexcept
    cdef void let_go(self) noexcept
    cdef void unmap(self) noexcept
    cdef bint bury(self, size_t start, size_t span, bint replace) noexcept
    cdef bytes pick(self, Py_ssize_t start, Py_ssize_t n, Py_ssize_t step)
    cdef int spread(self, Py_ssize_t start, const unsigned char *source, Py_ssize_t n,
                    Py_ssize_t step) except -1
    cdef bytes copy_out(self, Py_ssize_t start, Py_ssize_t n)
    cdef int copy_in(self, Py_ssize_t start, const unsigned char *source, Py_ssize_t n) except -1
    cdef int set_byte(self, object item, object value) except -1
    cdef int set_slice(self, object item, object value) except -1
    cdef Py_ssize_t index_of(self, object item) except -1
