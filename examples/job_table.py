"""A table of jobs: a worker that is killed in the middle of one leaves it for the others.

Run:  python job_table.py

To claim a job is two changes, and to finish it two more: each pair is one transaction, so no job is
lost or done twice, wherever a worker dies.
"""

import multiprocessing
import os
import signal
import time

import emmap

JOBS, PATIENCE = 100, 0.2  # seconds until a worker that is silent counts as dead


def claim(store: emmap.Store) -> int | None:
    """Takes a job that waits, or one whose worker has not been heard of for too long."""
    waiting, running = store.list("waiting"), store.dict("running")
    with store.transaction():
        late = [job for job, until in running.items() if until < time.time()]
        if not late and not waiting:
            return None
        job: int = late[0] if late else waiting.pop()
        running[job] = time.time() + PATIENCE
    return job


def work(path: str, turns: int) -> None:
    """Does jobs until there are none; after so many turns it is killed in the middle of one."""
    with emmap.Store(path) as store:
        running, done = store.dict("running"), store.dict("done")
        while store.list("waiting") or running:
            job, turns = claim(store), turns - 1
            if turns == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            with store.transaction():
                if job is not None and job in running:
                    del running[job]
                    done[job] = job * job


def main() -> None:
    """Enter the jobs, let three work of whom one dies, and print the sum of the results."""
    with emmap.Store("jobs.emmap", "w") as store:
        store.list("waiting").extend(range(JOBS))
        start = multiprocessing.get_context("spawn").Process
        workers = [start(target=work, args=(store.path, turns)) for turns in (5, -1, -1)]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        print(f"{len(store.dict('done'))} jobs done, sum {sum(store.dict('done').values()):,}")


if __name__ == "__main__":
    main()
