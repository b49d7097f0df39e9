"""Map: NumPy arrays that live in files or in shared memory, and pickle by reference."""


def _require_numpy() -> None:
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise ImportError("emmap's arrays need NumPy: pip install 'emmap[numpy]'") from error


_require_numpy()

from emmap.arrays.array import MappedArray  # noqa: E402
from emmap.arrays.making import empty, load, save, share  # noqa: E402

__all__ = ["MappedArray", "empty", "load", "save", "share"]
