/* How Python subscripts become offsets, with a short way for what nearly every caller writes. */
#ifndef EMMAP_ACCESS_H
#define EMMAP_ACCESS_H

#include <Python.h>

/* The value of an exact, small, non-negative int; else -1 and no exception. */
static inline Py_ssize_t emmap_small_int(PyObject *item)
{
    if (!PyLong_CheckExact(item))
        return -1;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)item))
        return -1;
    return PyUnstable_Long_CompactValue((PyLongObject *)item);
#else
    /* One digit of 30 bits, positive; or none, which is zero. */
    if (Py_SIZE(item) == 1)
        return (Py_ssize_t)((PyLongObject *)item)->ob_digit[0];
    return Py_SIZE(item) == 0 ? 0 : -1;
#endif
}

/* The bounds of a slice without a step whose ends are small ints: 1; else 0 and no exception. */
static inline int emmap_small_slice(PyObject *item, Py_ssize_t *start, Py_ssize_t *stop)
{
    if (!PySlice_Check(item))
        return 0;
    PySliceObject *slice = (PySliceObject *)item;
    if (slice->step != Py_None)
        return 0;
    *start = emmap_small_int(slice->start);
    *stop = emmap_small_int(slice->stop);
    return *start >= 0 && *stop >= *start;
}

/* What iteration, `in` and `reversed` take from the type. Cython fills this slot with __getitem__; the
 * standard mmap gives an int there, and bytes of length 1 here. */
static inline void emmap_set_sequence_item(PyObject *type, ssizeargfunc item)
{
    ((PyTypeObject *)type)->tp_as_sequence->sq_item = item;
}

#endif
