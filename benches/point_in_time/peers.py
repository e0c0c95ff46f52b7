"""The same questions to DuckDB and Polars, each in its best form. peers.py TASK FOLDER OUTPUT"""

import sys
import time

HOUR_US = 3_600_000_000
WINDOWS = {"1h": HOUR_US, "1d": 24 * HOUR_US, "7d": 7 * 24 * HOUR_US, "30d": 30 * 24 * HOUR_US}


def duckdb_windows(folder, output):
    import duckdb

    features = ", ".join(
        f"{function}(CASE WHEN e.t > s.t - {width} THEN e.amount END) AS {function}_{name}"
        for name, width in WINDOWS.items()
        for function in ("count", "sum", "avg", "max")
    )
    duckdb.connect().execute(f"""
        COPY (
            WITH s AS (SELECT label_id, user_id, epoch_us(ts) AS t FROM '{folder}/labels.parquet'),
                 e AS (SELECT user_id, epoch_us(ts) AS t, amount FROM '{folder}/events.parquet')
            SELECT s.label_id, any_value(s.user_id) AS user_id, any_value(s.t) AS t, {features}
            FROM s LEFT JOIN e ON e.user_id = s.user_id AND e.t <= s.t AND e.t > s.t - {WINDOWS["30d"]}
            GROUP BY s.label_id
        ) TO '{output}' (FORMAT parquet, COMPRESSION zstd)""")


def duckdb_latest(folder, output):
    import duckdb

    duckdb.connect().execute(f"""
        COPY (
            SELECT s.label_id, s.user_id, s.ts, e.amount, e.items, e.channel
            FROM '{folder}/labels.parquet' s
            ASOF LEFT JOIN '{folder}/events.parquet' e ON e.user_id = s.user_id AND s.ts >= e.ts
        ) TO '{output}' (FORMAT parquet, COMPRESSION zstd)""")


def polars_latest(folder, output):
    import polars as pl

    labels = pl.scan_parquet(f"{folder}/labels.parquet").sort("ts")
    events = pl.scan_parquet(f"{folder}/events.parquet").sort("ts")
    labels.join_asof(events, on="ts", by="user_id", check_sortedness=False).sink_parquet(output, compression="zstd")


if __name__ == "__main__":
    task, folder, output = sys.argv[1:4]
    begun = time.perf_counter()
    globals()[task](folder, output)
    print(f"{time.perf_counter() - begun:.3f}")
