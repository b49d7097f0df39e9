"""How the benchmarks measure.

A question has several contestants that do the same work. They take turns in one process, A B A B,
in many short rounds until the time is up, so that whatever slows the machine slows them all. The
figure of each is the median of its rounds, and its ratio is to that of the peer which the question
names. The cost of the loop is not subtracted: it is made small by repeating the statement in it.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UNROLLED = 50  # times that a statement stands in its loop, which then costs it less than 0.5 ns
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Contestant:
    """One way to do the work. `sample` does one short round: nanoseconds for each unit of work.

    Where a question asks for bytes, it returns these.
    """

    name: str
    sample: Callable[[], float]


@dataclass(frozen=True)
class Question:
    """What is asked of whom. Ratios are to the contestant named `peer`.

    emmap is the first contestant. It may promise a cost: `at_most` this ratio, or `at_most_more`
    nanoseconds than the peer. A question for bytes is asked once: the answer is always the same.
    """

    title: str
    contestants: list[Contestant]
    peer: str
    at_most: float | None = None
    at_most_more: float | None = None
    unit: Literal["nanoseconds", "bytes"] = "nanoseconds"


@dataclass(frozen=True)
class Result:
    """The rounds of each contestant, in nanoseconds or bytes."""

    question: Question
    rounds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """The figure of a contestant."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str) -> float:
        """How much of what the peer takes a contestant takes."""
        return self.median(name) / self.median(self.question.peer)


def statement(
    name: str, code: str, loops: int = 100, setup: str = "pass", **variables: object
) -> Contestant:
    """A contestant that executes `code`, one unit of work, `loops` times `UNROLLED` in a round.

    The variables are local to the code, as they are where speed matters. `setup` is executed before
    each round and not timed.
    """
    loads = "\n".join([f"{variable} = _{variable}" for variable in variables] + [setup])
    timer = timeit.Timer(
        "\n".join([code] * UNROLLED),
        loads,
        timer=time.perf_counter_ns,
        globals={f"_{variable}": value for variable, value in variables.items()},
    )
    return Contestant(name, lambda: timer.timeit(loops) / (loops * UNROLLED))


def timed(work: Callable[[], object], units: int = 1) -> float:
    """Nanoseconds that a call takes for each of its units of work."""
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / units


def ask(question: Question, seconds: float) -> Result:
    """Let the contestants take turns until the time is up."""
    if question.unit == "bytes":
        return Result(question, {each.name: [each.sample()] for each in question.contestants})
    rounds: dict[str, list[float]] = {contestant.name: [] for contestant in question.contestants}
    for contestant in question.contestants:
        contestant.sample()  # warms caches; not counted
    gc.collect()
    gc.disable()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(rounds[question.peer]) < FEWEST_ROUNDS:
            for contestant in question.contestants:
                rounds[contestant.name].append(contestant.sample())
    finally:
        gc.enable()
    return Result(question, rounds)


def duration(nanoseconds: float) -> str:
    """A time as people read it."""
    for unit, size in (("s ", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:7.2f} {unit}"
    return f"{nanoseconds:7.2f} ns"


def amount(figure: float, unit: str) -> str:
    """A time, or mebibytes."""
    return f"{figure / (1 << 20):6.1f} MiB" if unit == "bytes" else duration(figure)


def table(result: Result) -> str:
    """The figures of one question."""
    question = result.question
    lines = [f"{question.title:<54}   median   ratio"]
    for contestant in question.contestants:
        name = contestant.name
        figure = amount(result.median(name), question.unit)
        lines.append(f"  {name:<48} {figure}  {result.ratio(name):6.2f}")
    return "\n".join(lines)


def verdict(result: Result) -> str | None:
    """Was the promise kept? None where nothing was promised."""
    question = result.question
    ours = question.contestants[0].name
    if question.at_most is not None:
        found = result.ratio(ours)
        kept = found <= question.at_most
        what = f"{found:.2f} of {question.peer} (at most {question.at_most:.2f})"
    elif question.at_most_more is not None:
        more = result.median(ours) - result.median(question.peer)
        kept = more <= question.at_most_more
        what = (
            f"{duration(more).strip()} more than {question.peer} "
            f"(at most {duration(question.at_most_more).strip()})"
        )
    else:
        return None
    return f"{'pass' if kept else 'MISS'}  {question.title}: {what}"


def machine() -> dict[str, str]:
    """The facts that figures depend on; nothing that names a machine or a person."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "processors": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def quartiles(samples: list[float]) -> list[float]:
    """What a quarter of the rounds is below, and what a quarter is above."""
    return statistics.quantiles(samples, n=4)[::2] if len(samples) > 1 else samples * 2


def record(folder: Path, name: str, facts: dict[str, str], results: list[Result]) -> Path:
    """Write the figures to a dated file and return its path."""
    date = time.strftime("%Y-%m-%d")
    report = {
        "benchmark": name,
        "date": date,
        "machine": facts,
        "questions": [
            {
                "question": result.question.title,
                "peer": result.question.peer,
                "promise": verdict(result),
                "contestants": {
                    contestant: {
                        result.question.unit: round(result.median(contestant), 3),
                        "quartiles": [round(q, 3) for q in quartiles(samples)],
                        "ratio": round(result.ratio(contestant), 4),
                        "rounds": len(samples),
                    }
                    for contestant, samples in result.rounds.items()
                },
            }
            for result in results
        ],
    }
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}-{date}.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    return target
