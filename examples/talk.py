"""Two processes talk through one shared page.

Run:  python talk.py

The parent writes a number into the first eight bytes of the page, and the child answers with
its square in the next eight. Each looks at the page until the other has written.
"""

from __future__ import annotations

import multiprocessing
import time

import emmap

DEADLINE = 30.0
QUESTION, ANSWER = 0, 1
QUESTIONS = (2, 3, 5, 7)


def words(page: emmap.MemoryMap) -> memoryview[int]:
    """Return the page as numbers of eight bytes, each of which is stored at once."""
    return memoryview(page).cast("Q")


def wait_for_change(page: emmap.MemoryMap, word: int, old: int) -> int:
    """Look at a word of the page until it differs from `old`, and return it."""
    end = time.monotonic() + DEADLINE
    while (new := words(page)[word]) == old:
        if time.monotonic() > end:
            raise TimeoutError("nobody answers")
        time.sleep(0)  # Let the other one run.
    return new


def child(page: emmap.MemoryMap) -> None:
    """Answer each question with its square. The page came by reference, not as a copy."""
    question = 0
    for _ in QUESTIONS:
        question = wait_for_change(page, QUESTION, question)
        words(page)[ANSWER] = question**2


def main() -> None:
    """Ask all questions and print the answers."""
    with emmap.open("page.bin", "w+", size=emmap.PAGESIZE) as page:
        other = multiprocessing.get_context("spawn").Process(target=child, args=(page,))
        other.start()
        answer = 0
        for question in QUESTIONS:
            words(page)[QUESTION] = question
            answer = wait_for_change(page, ANSWER, answer)
            print(f"{question} squared is {answer}, says the other process")
        other.join()


if __name__ == "__main__":
    main()
