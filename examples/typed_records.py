"""Records of your own types in a file: what comes back is what went in, checked both ways.

Run:  python typed_records.py

A dataclass serves, and so does a `msgspec.Struct`, which is faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import msgspec

import emmap


class Place(msgspec.Struct, frozen=True):
    """Where somebody lives."""

    city: str
    country: str = "UK"


@dataclass
class User:
    """Somebody we know."""

    name: str
    born: date
    home: Place
    tags: set[str] = field(default_factory=set)


def main() -> None:
    """Keep two users, change one, and refuse what is none."""
    with emmap.Store("users.emmap", "w") as store:
        users = store.dict("users", type=User)
        users["ada"] = User("Ada Lovelace", date(1815, 12, 10), Place("London"))
        users["alan"] = User("Alan Turing", date(1912, 6, 23), Place("Wilmslow"), {"logic"})
        # A value is a copy; what is changed in this block is written back as one.
        with users.edit("ada") as ada:
            ada.tags.add("engines")
        try:
            users["grace"] = {"name": "Grace Hopper"}  # type: ignore[assignment]  # mypy sees it
        except TypeError as error:
            print(error)

    with emmap.Store("users.emmap", "r") as store:
        for name, user in sorted(store.dict("users", type=User).items()):
            print(f"{name}: {user.name}, {user.born.year}, {user.home.city}, {user.tags}")


if __name__ == "__main__":
    main()
