"""The same questions to DuckDB, Polars and DataFusion, each in its best form. peers.py TASK FOLDER OUTPUT"""

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


def datafusion_context(folder):
    import datafusion

    context = datafusion.SessionContext()
    for name in ("events", "labels"):
        context.register_parquet(name, f"{folder}/{name}.parquet")
    return context


def datafusion_windows(folder, output):
    features = ", ".join(
        f"{function}(CASE WHEN e.t > s.t - {width} THEN e.amount END) AS {function}_{name}"
        for name, width in WINDOWS.items()
        for function in ("count", "sum", "avg", "max")
    )
    datafusion_context(folder).sql(f"""
        COPY (
            WITH s AS (SELECT label_id, user_id, CAST(ts AS BIGINT) AS t FROM labels),
                 e AS (SELECT user_id, CAST(ts AS BIGINT) AS t, amount FROM events)
            SELECT s.label_id, min(s.user_id) AS user_id, min(s.t) AS t, {features}
            FROM s LEFT JOIN e ON e.user_id = s.user_id AND e.t <= s.t AND e.t > s.t - {WINDOWS["30d"]}
            GROUP BY s.label_id
        ) TO '{output}' STORED AS parquet""").collect()


def datafusion_latest(folder, output):
    features = ", ".join(
        f"last_value({column}) IGNORE NULLS OVER "
        f"(PARTITION BY user_id ORDER BY t, is_label ROWS UNBOUNDED PRECEDING) AS {column}"
        for column in ("amount", "items", "channel")
    )
    rows = """SELECT CAST(NULL AS BIGINT) AS label_id, user_id, CAST(ts AS BIGINT) AS t, false AS is_label,
                     amount, items, channel FROM events
              UNION ALL SELECT label_id, user_id, CAST(ts AS BIGINT), true, NULL, NULL, NULL FROM labels"""
    datafusion_context(folder).sql(f"""
        COPY (
            SELECT label_id, user_id, t, amount, items, channel
            FROM (SELECT label_id, user_id, t, {features} FROM ({rows}))
            WHERE label_id IS NOT NULL
        ) TO '{output}' STORED AS parquet""").collect()


if __name__ == "__main__":
    task, folder, output = sys.argv[1:4]
    begun = time.perf_counter()
    globals()[task](folder, output)
    print(f"{time.perf_counter() - begun:.3f}")
