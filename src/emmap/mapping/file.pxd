from emmap.mapping.pages cimport MappedPages

cdef extern from "system.h" nogil:
    cdef struct emmap_file:
        size_t device
        size_t inode
        long long size
        long long changed


cdef class MappedFile(MappedPages):
    cdef emmap_file seen            # of a file that the mapping has room to follow
    cdef bint may_be_copied_up      # to another inode, which the mapping would not show
    cdef int shrinking              # threads that make the file shorter, without the GIL
    cdef Py_ssize_t limit           # and meanwhile the mapping becomes no longer than this
    cdef int change_length(self, Py_ssize_t length, bint only_longer) except -1
    cdef int change_in_room(self, Py_ssize_t length) except -1
    cdef int shrink_file(self, Py_ssize_t length, int fd) except -1
    cdef int fill(self, Py_ssize_t length) except -1
    cdef int show_copy(self, emmap_file now) except -1
    cdef int resize_file(self, Py_ssize_t length, object descriptor, bint only_longer) except -1
    cdef int lengthen_file(self, Py_ssize_t length, object descriptor, long long before) except -1
    cdef int set_length(self, Py_ssize_t length, Py_ssize_t shown, int fd,
                        long long file_size) except -1
    cdef int begin_again(self, Py_ssize_t length, int fd, Py_ssize_t first) except -1
    cdef size_t backed_by(self, long long file_size) noexcept
