"""Who does the work of a scan: this thread, some threads, or anybody's executor."""

from __future__ import annotations

from collections import deque
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future
    from typing import Any, TypeAlias, TypeVarTuple

    from typing_extensions import TypeVar, Unpack

    Workers: TypeAlias = int | Executor | None
    Task = TypeVarTuple("Task")
    Result = TypeVar("Result")

# An executor that does not tell how many workers it has (Dask's) is taken to have so many: enough
# to keep a cluster busy. What is under way is bounded, and so is what its results take.
UNKNOWN = 128


def check_workers(workers: Workers) -> None:
    """Raises for what cannot work."""
    if isinstance(workers, int):
        if workers < 1:
            raise ValueError(f"workers is a number of threads, from 1 on, not {workers}")
    elif workers is not None and not hasattr(workers, "submit"):
        raise TypeError(
            f"workers is a number of threads, an executor of concurrent.futures, or None for this "
            f"thread, not a {type(workers).__name__}"
        )


# How often an executor is asked to do a task, where it fails and not the task.
TRIES = 3


def in_order(
    function: Callable[[Unpack[Task]], Result],
    tasks: Iterable[tuple[*Task]],
    workers: Workers,
    *,
    tries: int = TRIES,
) -> Iterator[tuple[tuple[*Task], Result]]:
    """Yields (task, function(*task)) for each task, in their order.

    The tasks are asked for only a little ahead of their results. Whoever stops asking, or gets an
    exception, has nothing under way any more: what had begun is waited for, the rest is cancelled.
    A task that an executor has lost is tried again, so it must do no harm to do it twice; else
    `tries` is 1.
    """
    if workers is None or workers == 1:
        for task in tasks:
            yield task, function(*task)
    elif isinstance(workers, int):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers, "emmap") as executor:
            yield from _submit(function, tasks, executor, 2 * workers, tries)
    else:
        ahead = 2 * getattr(workers, "_max_workers", UNKNOWN)
        yield from _submit(function, tasks, workers, ahead, tries)


def attempt(function: Callable[..., Any], *task: Any) -> tuple[Any, Exception | None]:
    """What a worker does. A task tells its failure as a result: so what a future itself raises is
    the executor's failure. (Dask's raises TypeError when a worker dies just after it has answered.)
    """
    try:
        return function(*task), None
    except Exception as error:
        return None, error


def _submit(
    function: Callable[[Unpack[Task]], Result],
    tasks: Iterable[tuple[*Task]],
    executor: Executor,
    ahead: int,
    tries: int,
) -> Iterator[tuple[tuple[*Task], Result]]:
    from concurrent.futures import wait

    waiting = iter(tasks)
    failure = None
    pending: deque[tuple[tuple[*Task], Future[Any]]] = deque()
    tried = 1
    try:
        while True:
            try:
                for task in islice(waiting, ahead - len(pending)):
                    pending.append((task, executor.submit(attempt, function, *task)))
            except Exception as error:  # told in its turn, after the results before it
                waiting, failure = iter(()), error
            if not pending:
                break
            task, future = pending[0]
            try:
                result, failed = future.result()
            except Exception:
                if tried == tries:
                    raise
                tried += 1
                pending[0] = task, executor.submit(attempt, function, *task)
                continue
            pending.popleft()
            tried = 1
            if failed is not None:
                raise failed
            yield task, result
        if failure is not None:
            raise failure
    finally:
        wait([future for _, future in pending if not future.cancel()])
