"""Makes the input: events of skewed keys over 90 days in random order, and a spine of labels.

generate.py FOLDER EVENTS KEYS LABELS
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01
DAYS = 90
ROW_GROUP_ROWS = 1_000_000


def keys_of(random, count, keys):
    """A mild skew: a tenth of the keys have more than half of the rows."""
    of_all = random.integers(0, keys, count)
    return np.where(random.random(count) < 0.5, of_all // 10, of_all)


def main(folder, events, keys, labels):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20260101)
    times = START_US + (random.random(events) * DAYS * DAY_US).astype(np.int64)
    table = pa.table(
        {
            "user_id": keys_of(random, events, keys),
            "ts": pa.array(times, pa.timestamp("us", tz="UTC")),
            "amount": np.round(random.lognormal(3, 1, events), 2),
            "items": random.integers(1, 20, events),
            "channel": pa.array(np.array(["web", "app", "shop", "phone"])[random.integers(0, 4, events)]),
        }
    )
    pq.write_table(table, folder / "events.parquet", compression="zstd", row_group_size=ROW_GROUP_ROWS)
    # labels are of the last 60 days, so that a 30-day window has a past
    times = START_US + ((30 + random.random(labels) * (DAYS - 30)) * DAY_US).astype(np.int64)
    spine = pa.table(
        {
            "label_id": np.arange(labels),
            "user_id": keys_of(random, labels, keys),
            "ts": pa.array(times, pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(spine, folder / "labels.parquet", compression="zstd", row_group_size=ROW_GROUP_ROWS)


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:5]))
