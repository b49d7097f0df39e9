cdef bytes pack(object value)
