"""The C core of the lock by itself, built plainly and under the sanitizers."""
