from emmap.mapping.pages cimport MappedPages


cdef class MappedFile(MappedPages):
    cdef int resize_file(self, Py_ssize_t length, object descriptor) except -1
    cdef int set_length(self, Py_ssize_t length, int fd, long long file_size) except -1
    cdef size_t backed_by(self, long long file_size) noexcept
