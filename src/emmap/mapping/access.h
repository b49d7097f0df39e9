/* How Python subscripts become offsets, with a short way for what nearly every caller writes. */
#ifndef EMMAP_ACCESS_H
#define EMMAP_ACCESS_H

#include <Python.h>

/* The offset that an exact, small int means in `length` bytes, where negative ones count from the end;
 * else -1 and no exception. It may lie beyond the end. */
static inline Py_ssize_t emmap_small_index(PyObject *item, Py_ssize_t length)
{
    if (!PyLong_CheckExact(item))
        return -1;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)item))
        return -1;
    Py_ssize_t value = PyUnstable_Long_CompactValue((PyLongObject *)item);
#else
    Py_ssize_t digits = Py_SIZE(item);
    if (digits < -1 || digits > 1)
        return -1;
    Py_ssize_t value = digits == 0 ? 0 : digits * (Py_ssize_t)((PyLongObject *)item)->ob_digit[0];
#endif
    if (value < 0)
        value += length;
    return value < 0 ? -1 : value;
}

/* The bounds of a slice without a step whose ends are small ints in their order, not counted from the
 * end: 1; else 0 and no exception. They may lie beyond the end. */
static inline int emmap_small_slice(PyObject *item, Py_ssize_t *start, Py_ssize_t *stop)
{
    if (!PySlice_Check(item))
        return 0;
    PySliceObject *slice = (PySliceObject *)item;
    if (slice->step != Py_None)
        return 0;
    *start = emmap_small_index(slice->start, 0);
    *stop = emmap_small_index(slice->stop, 0);
    return *start >= 0 && *stop >= *start;
}

/* What iteration, `in` and `reversed` take from the type. Cython fills this slot with __getitem__; the
 * standard mmap gives an int there, and bytes of length 1 here. */
static inline void emmap_set_sequence_item(PyObject *type, ssizeargfunc item)
{
    ((PyTypeObject *)type)->tp_as_sequence->sq_item = item;
}

#endif
