"""The C face of the event."""

from emmap.locks.place cimport Placed, emmap_place, emmap_sleep

cdef extern from "event.h" nogil:
    cdef struct emmap_event:
        pass
    cdef struct emmap_event_wait:
        pass
    void emmap_event_begin(emmap_event *event, const emmap_place *place)
    int emmap_event_is_set(emmap_event *event)
    int emmap_event_set(emmap_event *event)
    int emmap_event_clear(emmap_event *event)
    void emmap_event_wait_begin(emmap_event_wait *wait, const emmap_event *event)
    int emmap_event_attempt(void *wait, int how, emmap_sleep *sleep)


cdef class Event(Placed):
    cdef emmap_event core

    cdef int glance_at_path(self) except -1
