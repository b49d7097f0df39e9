"""The first step: map a file and read one byte."""

from __future__ import annotations

import emmap
from emmap.cli.tour.measure import Meter
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, amount, duration

TITLE = "Map it, read a byte"


def run(place: Place) -> Report:
    """Map the whole file, and touch a single page of it."""
    emmap.open(place.file).close()  # A rehearsal: loading emmap itself is not to be measured.
    calls = f"m = emmap.open({place.literal})"
    with Meter() as opening:
        mapping = emmap.open(place.file)
    with mapping:
        measured = [
            ("mapped", amount(len(mapping))),
            ("time to map it", duration(opening.seconds)),
            ("resident memory", f"{amount(opening.resident)} more"),
        ]
        if not mapping:
            return Report(
                TITLE,
                calls,
                measured,
                "An empty file is a valid empty mapping: it has no bytes, and it does no harm.",
            )
        offset = min(30, len(mapping) - 1)
        with Meter() as touching:
            byte = mapping[offset]
    measured += [
        (f"byte at offset {offset}", repr(bytes([byte]))[1:]),
        ("time to read it", duration(touching.seconds)),
        ("faults to read it", touching.faults_in_words()),
    ]
    return Report(
        TITLE,
        f"{calls}\nm[{offset}]",
        measured,
        "Mapping read nothing: it only gave the file a place in our memory. The page that holds "
        "this byte came in by a fault, at the moment when we asked for the byte.",
    )
