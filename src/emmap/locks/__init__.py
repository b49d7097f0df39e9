"""Locks that lie in mapped memory, between threads and processes."""
