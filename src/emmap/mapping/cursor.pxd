from emmap.mapping.memory cimport MappedMemory


cdef class MappedCursor(MappedMemory):
    cdef Py_ssize_t rest(self) noexcept
    cdef Py_ssize_t clamp(self, object offset) except -1
    cdef Py_ssize_t search(self, object sub, object start, object end, bint backwards) except -2
    cdef Py_ssize_t search_in(self, Py_ssize_t low, Py_ssize_t high, Py_buffer *needle,
                              bint backwards) noexcept
