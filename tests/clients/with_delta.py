"""The offline tables as delta-rs and Polars read and rewrite them. Ends with 0 if everything is as expected.

Arguments: the folder of the tables, then table=rows,sum: what SQL says of the table and of its column `amount`.
"""

import sys
from pathlib import Path

import polars
from deltalake import DeltaTable


def check(path, rows, amount):
    # delta-rs: the log, its statistics and partitions
    table = DeltaTable(path)
    files = polars.DataFrame(table.get_add_actions(flatten=True))
    assert files["num_records"].sum() == rows, files
    columns = [field.name for field in table.schema().fields]
    is_view = table.metadata().partition_columns == ["_bucket", "_month"]
    assert {"user_id", "ts", "amount"} | ({"_bucket", "_month"} if is_view else set()) <= set(columns), columns
    assert files["min.ts"].null_count() == 0 and files["max.user_id"].null_count() == 0, files

    # Polars, which reads the Parquet files by itself, and prunes them by statistics and pages
    found = polars.scan_delta(path)
    total = found.select(polars.len(), polars.col("amount").sum()).collect()
    assert total.row(0) == (rows, amount), total
    keys = found.select(polars.col("user_id").unique()).collect()["user_id"].to_list()
    apart = [found.filter(polars.col("user_id") == key).select(polars.len()).collect().item() for key in keys]
    assert sum(apart) == rows, (keys, apart)
    if is_view:
        months = found.group_by("_month").agg(polars.col("ts").min().dt.date().dt.truncate("1mo")).collect()
        assert months.height > 1 and all(month == first for month, first in months.iter_rows()), months
    return is_view


for argument in sys.argv[2:]:
    name, said = argument.split("=")
    rows, amount = (int(number) for number in said.split(","))
    path = str(Path(sys.argv[1]) / name)
    if check(path, rows, amount):
        before = len(DeltaTable(path).file_uris())
        done = DeltaTable(path).optimize.compact()
        assert done["numFilesRemoved"] > done["numFilesAdded"] > 0, done
        assert len(DeltaTable(path).file_uris()) < before
        check(path, rows, amount)

print("delta: fine")
