"""Count a text on a Dask cluster of processes on this machine.

Run:  python dask_count.py FILE
      python dask_count.py              (makes a text of its own)

The workers get the path and a range each, and send back a few numbers: the text never travels.
On a cluster of several machines it is the same call, if all see the file under the same path.
"""

import sys
from typing import Any

import distributed

import emmap

# Dask has no types.
LocalCluster: Any = distributed.LocalCluster
Client: Any = distributed.Client


def main() -> None:
    """Count here and on the cluster."""
    path = sys.argv[1] if len(sys.argv) > 1 else "text.txt"
    if len(sys.argv) == 1:
        with open(path, "w") as text:
            text.write("one line of six short words\n" * 5_000_000)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        print("here:      ", emmap.count(path))
        print("by cluster:", emmap.count(path, workers=client.get_executor()))


if __name__ == "__main__":
    main()
