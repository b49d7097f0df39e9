"""Who works for a command: threads, or a Dask cluster."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from typing import Any

DASK = "dask://"
SECONDS_TO_CONNECT = 10


@contextmanager
def workers_of(text: str | None) -> Iterator[int | Executor]:
    """What `--workers` stands for: a number of threads, or the executor of a cluster.

    Without a text it is as many threads as this process has processors. Raises `ValueError` for
    what is neither, and `OSError` for a cluster that cannot be reached.
    """
    if text is None:
        yield len(os.sched_getaffinity(0))
    elif not text.startswith(DASK):
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"--workers is a number from 1 on, or {DASK}HOST:PORT, not '{text}'")
        yield int(text)
    else:
        try:
            import distributed
        except ModuleNotFoundError:
            raise ValueError(f"{text} needs Dask; get it by: pip install 'emmap[dask]'") from None
        connect: Any = distributed.Client  # It has no types.
        address = "tcp://" + text.removeprefix(DASK)
        try:
            client = connect(address, timeout=SECONDS_TO_CONNECT)
        except (OSError, ValueError) as error:
            raise ValueError(f"{text} does not answer") from error
        with client:
            yield client.get_executor()
