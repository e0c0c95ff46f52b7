"""Writes the rows of the views to Feast's online store: python load.py KEYS, in the repository's folder."""

import sys
import time

import pandas
from feast import FeatureStore

import definitions


def rows(view, first, last):
    """The same values as run.features makes in SQL."""
    keys = pandas.Series(range(first, last), dtype="int64")
    columns = {"user_id": keys, "ts": pandas.Timestamp("2024-01-01", tz="UTC")}
    columns |= {f"x{n}": keys * 0.25 + view * 10 + n for n in range(6)}
    columns |= {f"n{n}": keys * (n + 3) + view for n in range(2)}
    columns |= {f"t{n}": f"text-{view}-{n}-" + keys.astype(str) for n in range(2)}
    return pandas.DataFrame(columns)


def main():
    keys = int(sys.argv[1])
    store = FeatureStore(".")
    begun = time.monotonic()
    for view in range(definitions.VIEWS):
        for first in range(1, keys + 1, 10_000):
            store.write_to_online_store(f"view{view}", df=rows(view, first, min(first + 10_000, keys + 1)))
    print(f"loaded {keys} keys in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
