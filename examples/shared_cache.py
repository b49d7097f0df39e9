"""A cache that all web workers share: what one of them has made, no other makes again.

Run:  python shared_cache.py

Each worker is a process, as a web server starts them, and opens the store by its path. The cache
outlives them, and whoever is killed in the middle of a write leaves it whole.
"""

from __future__ import annotations

import multiprocessing
import time

import emmap

WORKERS, REQUESTS, PAGES = 4, 1000, 20
FRESH = 60.0  # seconds


def answer(store: emmap.Store, page: int) -> str:
    """A page from the cache; where it is not there, one worker makes it and the others wait."""
    pages, counts = store.dict("pages"), store.dict("counts")
    counts.add("answered")
    text: str
    text, until = pages.get(page, ("", 0.0))
    if until < time.time():
        with store.lock("rendering"):
            text, until = pages.get(page, ("", 0.0))
            if until < time.time():
                text = f"<h1>Page {page}</h1>"  # which takes long
                pages[page] = text, time.time() + FRESH
                counts.add("rendered")
    return text


def worker(path: str) -> None:
    """Answer many requests."""
    with emmap.Store(path) as store:
        for request in range(REQUESTS):
            assert answer(store, request % PAGES) == f"<h1>Page {request % PAGES}</h1>"


def main() -> None:
    """Let all of them answer, and print how often a page was made."""
    with emmap.Store("cache.emmap", "w") as store:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=worker, args=(store.path,)) for _ in range(WORKERS)]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        counts = store.dict("counts")
        print(f"{counts['answered']:,} requests, {counts['rendered']} pages made")


if __name__ == "__main__":
    main()
