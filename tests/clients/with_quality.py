"""Figures of runs, drift and skew beside a brute force over the same rows, which are all in memory here: a year of flights.
Takes the server's port, password, and the file of flights; ends with 0 if all figures are within the bounds that the reference
pages state. Prints how many were compared."""

import bisect
import collections
import math
import struct
import sys

import psycopg
import pyarrow.parquet

port, password, path = sys.argv[1:4]
connection = psycopg.connect(host="127.0.0.1", port=port, user="granary", dbname="granary", password=password, autocommit=True)
execute = connection.execute

MONTHS = [f"2013-{month:02}-01" for month in range(1, 13)] + ["2014-01-01"]
FEW = 512
QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
n_compared = 0


def same(found, brute, tolerance, what):
    global n_compared
    n_compared += 1
    if brute is None or found is None:
        assert found is None and brute is None, (what, found, brute)
    else:
        assert abs(found - brute) <= tolerance, (what, found, brute, tolerance)


# the rows as they are

table = pyarrow.parquet.read_table(path)
rows = [row for row in table.to_pylist() if row["tailnum"] is not None and row["ts"].year == 2013]
for row in rows:
    row["tail"] = row["tailnum"]
    row["late"] = None if row["dep_delay"] is None else row["dep_delay"] > 15
    row["speed"] = None if not row["air_time"] else row["distance"] / row["air_time"]
    row["seen"] = row["sched_ts"].timestamp()
FEATURES = {
    "dep_delay": "number", "arr_delay": "number", "air_time": "number", "distance": "number", "flight": "number",
    "speed": "number", "seen": "number", "carrier": "text", "dest": "text", "tail": "text", "late": "bool",
}
bounds = MONTHS


def month_of(row):
    return bisect.bisect_right(bounds, row["ts"].strftime("%Y-%m-%d")) - 1


by_month = collections.defaultdict(list)
for row in rows:
    by_month[month_of(row)].append(row)

# the same rows there

execute("CREATE ENTITY aircraft (tailnum text)")
execute(f"CREATE SOURCE flights FROM PARQUET '{path}' TIMESTAMP ts")
QUERY = """SELECT tailnum, ts, dep_delay, arr_delay, air_time, distance, flight,
  CASE WHEN air_time <> 0 THEN distance::float8 / air_time END AS speed, sched_ts AS seen,
  carrier, dest, tailnum AS tail, dep_delay > 15 AS late FROM flights"""
for name in ["by_month", "at_once"]:
    execute(f"CREATE FEATURE VIEW {name} ENTITY aircraft TIMESTAMP ts WITH (trigger = manual) AS {QUERY}")
for start, end in zip(MONTHS, MONTHS[1:]):
    execute(f"REFRESH FEATURE VIEW by_month FROM '{start}' TO '{end}'")
execute("REFRESH FEATURE VIEW at_once FROM '2013-01-01' TO '2014-01-01'")


# figures of runs


def quantile(ordered, p):
    place = p * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place)), max(abs(low), abs(high))


def check_figures(found, values, kind, what):
    present = [value for value in values if value is not None]
    counts = collections.Counter(present)
    is_exact = len(counts) <= FEW
    same(found["rows"], len(values), 0, (what, "rows"))
    same(found["nulls"], len(values) - len(present), 0, (what, "nulls"))
    same(found["null_share"], (len(values) - len(present)) / len(values), 1e-15, (what, "null_share"))
    # four standard errors of the estimate
    same(found["distinct_values"], len(counts), 0 if is_exact else 4 * 1.04 / 64 * len(counts), (what, "distinct_values"))
    assert found["distinct_exact"] == is_exact, (what, len(counts))
    if kind == "number":
        ordered = sorted(present)
        mean = math.fsum(present) / len(present)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in present) / (len(present) - 1))
        same(found["zeros"], sum(value == 0 for value in present), 0, (what, "zeros"))
        same(found["min"], ordered[0], 0, (what, "min"))
        same(found["max"], ordered[-1], 0, (what, "max"))
        same(found["mean"], mean, 1e-9 * abs(mean) + 1e-12, (what, "mean"))
        same(found["stddev"], deviation, 1e-9 * deviation, (what, "stddev"))
        for name, p in QUANTILES.items():
            brute, scale = quantile(ordered, p)
            same(found[name], brute, 1e-9 * scale if is_exact else scale / 64, (what, name))
    if kind == "text":
        lengths = [len(value) for value in present]
        same(found["zeros"], lengths.count(0), 0, (what, "zeros"))
        same(found["min_length"], min(lengths), 0, (what, "min_length"))
        same(found["max_length"], max(lengths), 0, (what, "max_length"))
        same(found["mean_length"], sum(lengths) / len(lengths), 1e-12, (what, "mean_length"))
    error = found["top_error"]
    assert error <= len(values) / (FEW + 1) and (error == 0 or not is_exact), (what, error)
    as_value = {"number": float, "text": str, "bool": lambda text: text == "true"}[kind]
    top = [(as_value(value), count) for value, count in zip(found["top_values"], found["top_counts"])]
    for value, count in top:
        same(count, counts[value], error, (what, "top", value))
    if is_exact:
        expected = sorted(counts.items(), key=lambda item: (-item[1], item[0] if kind != "bool" else str(item[0]).lower()))
        assert top == expected[:10], (what, top, expected[:10])


with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
    quality = cursor.execute("SELECT *, range_start::text AS began FROM granary.quality WHERE state = 'succeeded'").fetchall()
    runs = cursor.execute("SELECT *, range_start::text AS began FROM granary.quality_of_runs").fetchall()
assert len(quality) == 13 * len(FEATURES) and len(runs) == 13, (len(quality), len(runs))
for found in quality:
    # a first run begins where nothing comes before
    month = 0 if found["began"] is None else MONTHS.index(found["began"][:10])
    of = rows if found["view"] == "at_once" else by_month[month]
    kind = FEATURES[found["feature"]]
    check_figures(found, [row[found["feature"]] for row in of], kind, (found["view"], month, found["feature"]))
for found in runs:
    month = 0 if found["began"] is None else MONTHS.index(found["began"][:10])
    of = rows if found["view"] == "at_once" else by_month[month]
    keys = len({row["tailnum"] for row in of})
    same(found["rows"], len(of), 0, "rows of a run")
    same(found["distinct_keys"], keys, 0 if keys <= 1024 else 4 * 1.04 / 64 * keys, "keys of a run")


# drift


def ordinal(value):
    bits = struct.unpack(">q", struct.pack(">d", value + 0.0))[0]
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


def bucket(value):
    return ordinal(value) >> 46


def shares(bins, n_base, n_now):
    return [(base / n_base, now / n_now) for base, now in bins if base or now]


def measures(bins, n_base, n_now):
    psi = js = change = 0.0
    for p, q in shares(bins, n_base, n_now):
        least_p, least_q = max(p, 1e-4), max(q, 1e-4)
        psi += (least_q - least_p) * math.log(least_q / least_p)
        middle = (p + q) / 2
        js += sum(share * math.log2(share / middle) / 2 for share in (p, q) if share)
        change = max(change, abs(p - q))
    return psi, math.sqrt(max(js, 0)), change


def drift(base, now, kind):
    """The measures, and how far the Kolmogorov-Smirnov statistic may be too low; None where only a bound is known."""
    base_values, now_values = ([value for value in side if value is not None] for side in (base, now))
    bins = [(len(base) - len(base_values), len(now) - len(now_values))]
    if kind != "number":
        base_counts, now_counts = collections.Counter(base_values), collections.Counter(now_values)
        if max(len(base_counts), len(now_counts)) > FEW:
            return None
        word = (lambda value: str(value).lower()) if kind == "bool" else str
        most = lambda counts: [value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], word(item[0])))[:20]]
        top = set(most(base_counts)) | set(most(now_counts))
        bins += [(base_counts[value], now_counts[value]) for value in top]
        bins.append((sum(n for value, n in base_counts.items() if value not in top), sum(n for value, n in now_counts.items() if value not in top)))
        return *measures(bins, len(base), len(now)), None, 0
    base_ordered, now_ordered = sorted(base_values), sorted(now_values)
    is_exact = max(len(set(base_values)), len(set(now_values))) <= FEW
    place = (lambda value: value) if is_exact else bucket
    base_places, now_places = [place(value) for value in base_ordered], [place(value) for value in now_ordered]
    ends = sorted({base_places[max(math.ceil(i * len(base_places) / 10), 1) - 1] for i in range(1, 10)})
    before = (0, 0)
    for end in ends + [None]:
        up_to = tuple(len(side) if end is None else bisect.bisect_right(side, end) for side in (base_places, now_places))
        bins.append((up_to[0] - before[0], up_to[1] - before[1]))
        before = up_to
    at_or_below = lambda side, value: bisect.bisect_right(side, value) / len(side)
    ks = max(abs(at_or_below(base_ordered, value) - at_or_below(now_ordered, value)) for value in set(base_values) | set(now_values))
    slack = 0 if is_exact else max(max(collections.Counter(side).values()) / len(side) for side in (base_places, now_places))
    return *measures(bins, len(base), len(now)), ks, slack


def check_drift(found, base, now, kind, what):
    same(found["baseline_rows"], len(base), 0, (what, "baseline"))
    same(found["current_rows"], len(now), 0, (what, "current"))
    brute = drift(base, now, kind)
    if brute is None:
        assert 0 <= found["js_distance"] <= 1 and found["psi"] >= 0, (what, found)
        return
    psi, js, change, ks, slack = brute
    same(found["psi"], psi, 1e-9, (what, "psi"))
    same(found["js_distance"], js, 1e-7, (what, "js_distance"))
    same(found["share_change"], change, 1e-12, (what, "share_change"))
    if kind == "number":
        assert -1e-12 <= ks - found["ks"] <= slack + 1e-12, (what, "ks", found["ks"], ks, slack)
        same(found["ks"], ks, slack + 1e-12, (what, "ks"))
    else:
        assert found["ks"] is None


def drifts(call):
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(f"SELECT * FROM {call}").fetchall()


for view in ["by_month", "at_once"]:
    for base, now in [((0, 1), (1, 2)), ((0, 1), (6, 7)), ((0, 6), (6, 12)), ((3, 4), (3, 4))]:
        sides = [[row for month in range(*side) for row in by_month[month]] for side in (base, now)]
        times = ", ".join(f"'{MONTHS[month]}'" for month in (*base, *now))
        found = drifts(f"granary.drift('{view}', {times})")
        assert len(found) == len(FEATURES)
        for feature in found:
            name = feature["feature"]
            check_drift(feature, *([row[name] for row in side] for side in sides), FEATURES[name], (view, base, now, name))

# each run against the one before
of_runs = drifts("granary.drift_of_runs WHERE state = 'succeeded' AND view = 'by_month'")
assert len(of_runs) == 11 * len(FEATURES), len(of_runs)
for feature in of_runs:
    month = feature["range_start"].month - 1
    found = {**feature, "baseline_rows": feature["previous_rows"], "current_rows": feature["rows"]}
    name = feature["feature"]
    check_drift(found, *([row[name] for row in by_month[side]] for side in (month - 1, month)), FEATURES[name], ("runs", month, name))

# skew: a data set of the first half of the year, and what is served at its end
execute("""CREATE DATASET train AS SELECT s.tailnum, f.dep_delay, f.distance, f.carrier, f.late FROM
  (SELECT tailnum, ts FROM flights WHERE ts < '2013-07-01' AND tailnum IS NOT NULL AND event_id % 20 = 0) AS s
  LEFT JOIN by_month FOR SYSTEM_TIME AS OF s.ts AS f ON f.tailnum = s.tailnum""")
train = execute("SELECT dep_delay, distance, carrier, late FROM train").fetchall()
newest = {}
for row in rows:
    known = newest.get(row["tailnum"])
    if known is None or known["ts"] <= row["ts"]:
        newest[row["tailnum"]] = row
found = {feature["feature"]: feature for feature in drifts("granary.dataset_drift('train', 'by_month')")}
assert set(found) == {"dep_delay", "distance", "carrier", "late"}, set(found)
for place, name in enumerate(["dep_delay", "distance", "carrier", "late"]):
    base, now = [row[place] for row in train], [row[name] for row in newest.values()]
    check_drift(found[name], base, now, FEATURES[name], ("skew", name))

print(f"{n_compared} figures are those of the brute force")
