from emmap.mapping.cursor cimport MappedCursor


cdef class MappedPages(MappedCursor):
    cdef object file_name(self)
    cdef bint is_private(self) noexcept
    cdef size_t with_room(self, size_t stop) noexcept
    cdef int span_of(self, object offset, object length, size_t *start, size_t *stop) except -1
    cdef int record(self, size_t first, size_t end, int prot) except -1
    cdef int protect_again(self) except -1
    cdef int set_pinned(self, object offset, object length, bint pinned) except -1
    cdef int raise_if_file_ends_before(self, Py_ssize_t stop) except -1
