cdef object unpack(const unsigned char *data, Py_ssize_t n)
