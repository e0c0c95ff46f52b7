-- The six feature views of specs.json. The files are read by the server: run it in the repository's folder.
CREATE SOURCE flights FROM PARQUET 'examples/flights/data/events.parquet' TIMESTAMP ts;
CREATE SOURCE weather FROM PARQUET 'examples/flights/data/weather.parquet' TIMESTAMP ts;
CREATE SOURCE labels FROM PARQUET 'examples/flights/data/labels.parquet';

CREATE ENTITY tail (tailnum text);
CREATE ENTITY carrier (carrier text);
CREATE ENTITY airport (origin text);

CREATE STREAM departures (carrier text, ts timestamptz, distance bigint, dep_delay float8, arr_delay float8)
  FROM PUSH
  TIMESTAMP ts
  BACKFILL FROM flights UNTIL '2030-01-01';

CREATE STREAM weather_reports (origin text, ts timestamptz, temp float8, wind_speed float8, wind_gust float8, pressure float8)
  FROM PUSH
  TIMESTAMP ts
  BACKFILL FROM weather UNTIL '2030-01-01';

CREATE FEATURE VIEW tail_daily
  ENTITY tail
  TIMESTAMP ts
  FEATURES (
    sum(dep_delay)                       OVER (LAST '7 days') AS dep_delay_sum_7d,
    count(dep_delay)                     OVER (LAST '7 days') AS dep_delay_count_7d,
    avg(dep_delay)                       OVER (LAST '7 days') AS dep_delay_mean_7d,
    min(dep_delay)                       OVER (LAST '7 days') AS dep_delay_min_7d,
    max(dep_delay)                       OVER (LAST '7 days') AS dep_delay_max_7d,
    stddev_samp(dep_delay)               OVER (LAST '7 days') AS dep_delay_stddev_samp_7d,
    stddev_pop(dep_delay)                OVER (LAST '7 days') AS dep_delay_stddev_pop_7d,
    var_samp(dep_delay)                  OVER (LAST '7 days') AS dep_delay_var_samp_7d,
    var_pop(dep_delay)                   OVER (LAST '7 days') AS dep_delay_var_pop_7d,
    sum(dep_delay)                       OVER (LAST '1 day') AS dep_delay_sum_1d,
    count(dep_delay)                     OVER (LAST '1 day') AS dep_delay_count_1d,
    sum(dep_delay)                       OVER (LAST '30 days') AS dep_delay_sum_30d,
    count(dep_delay)                     OVER (LAST '30 days') AS dep_delay_count_30d,
    avg(dep_delay)                       OVER (LAST '30 days') AS dep_delay_mean_30d,
    sum(distance)                        OVER (LAST '7 days') AS distance_sum_7d,
    count(distance)                      OVER (LAST '7 days') AS distance_count_7d,
    avg(distance)                        OVER (LAST '7 days') AS distance_mean_7d,
    min(distance)                        OVER (LAST '7 days') AS distance_min_7d,
    max(distance)                        OVER (LAST '7 days') AS distance_max_7d,
    last(dest, 3)                        OVER (LAST '30 days') AS dest_last3_30d,
    first(dest, 3)                       OVER (LAST '30 days') AS dest_first3_30d,
    last_distinct(dest, 3)               OVER (LAST '30 days') AS dest_last_distinct3_30d,
    first_distinct(dest, 3)              OVER (LAST '30 days') AS dest_first_distinct3_30d,
    last(dest)                           OVER (LAST '30 days') AS dest_last_30d,
    last(dep_delay, 2)                   OVER (LAST '7 days') AS dep_delay_last2_7d,
    approx_count_distinct(dest, 8)       OVER (LAST '30 days') AS dest_acd_30d,
    approx_percentile(dep_delay, 0.5)    OVER (LAST '30 days') AS dep_delay_p50_30d,
    approx_percentile(dep_delay, 0.9)    OVER (LAST '30 days') AS dep_delay_p90_30d,
    sum(dep_delay)                       OVER (LAST '7 days' OFFSET '-7 days') AS dep_delay_sum_7d_off7d,
    count(dep_delay)                     OVER (LAST '7 days' OFFSET '-7 days') AS dep_delay_count_7d_off7d,
    avg(distance)                        OVER (LAST '1 day' OFFSET '-1 day') AS distance_mean_1d_off1d,
    sum(distance)                        OVER (SERIES FROM '-28 days' TO '0' SIZE '7 days' STEP '7 days') AS distance_sum_series,
    count(dep_delay)                     OVER (SERIES FROM '-10 days' TO '-2 days' SIZE '4 days' STEP '2 days') AS dep_delay_count_series
  )
  WITH (aggregation_interval = '1 day', schedule = '1 day', start = '2012-01-01', trigger = manual)
AS SELECT tailnum, ts, dep_delay, distance, dest FROM flights;

CREATE FEATURE VIEW carrier_hourly
  ENTITY carrier
  TIMESTAMP ts
  FEATURES (
    sum(dep_delay)                       OVER (LAST '1 hour') AS dep_delay_sum_1h,
    count(dep_delay)                     OVER (LAST '1 hour') AS dep_delay_count_1h,
    avg(dep_delay)                       OVER (LAST '1 hour') AS dep_delay_mean_1h,
    min(dep_delay)                       OVER (LAST '1 hour') AS dep_delay_min_1h,
    max(dep_delay)                       OVER (LAST '1 hour') AS dep_delay_max_1h,
    stddev_samp(dep_delay)               OVER (LAST '1 hour') AS dep_delay_stddev_samp_1h,
    stddev_pop(dep_delay)                OVER (LAST '1 hour') AS dep_delay_stddev_pop_1h,
    var_samp(dep_delay)                  OVER (LAST '1 hour') AS dep_delay_var_samp_1h,
    var_pop(dep_delay)                   OVER (LAST '1 hour') AS dep_delay_var_pop_1h,
    sum(dep_delay)                       OVER (LAST '6 hours') AS dep_delay_sum_6h,
    count(dep_delay)                     OVER (LAST '6 hours') AS dep_delay_count_6h,
    avg(dep_delay)                       OVER (LAST '6 hours') AS dep_delay_mean_6h,
    min(dep_delay)                       OVER (LAST '6 hours') AS dep_delay_min_6h,
    max(dep_delay)                       OVER (LAST '6 hours') AS dep_delay_max_6h,
    sum(dep_delay)                       OVER (LAST '1 day') AS dep_delay_sum_24h,
    count(dep_delay)                     OVER (LAST '1 day') AS dep_delay_count_24h,
    avg(dep_delay)                       OVER (LAST '1 day') AS dep_delay_mean_24h,
    min(dep_delay)                       OVER (LAST '1 day') AS dep_delay_min_24h,
    max(dep_delay)                       OVER (LAST '1 day') AS dep_delay_max_24h,
    sum(distance)                        OVER (LAST '1 hour') AS distance_sum_1h,
    count(distance)                      OVER (LAST '1 hour') AS distance_count_1h
  )
  WITH (aggregation_interval = '1 hour', schedule = '1 hour', start = '2012-01-01', trigger = manual)
AS SELECT carrier, ts, dep_delay, distance FROM flights;

CREATE FEATURE VIEW carrier_cont
  ENTITY carrier
  TIMESTAMP ts
  FEATURES (
    sum(distance)                        OVER (LAST '1 hour') AS distance_sum_1h,
    count(distance)                      OVER (LAST '1 hour') AS distance_count_1h,
    sum(distance)                        OVER (LAST '1 day') AS distance_sum_24h,
    count(distance)                      OVER (LAST '1 day') AS distance_count_24h,
    avg(distance)                        OVER (LAST '1 day') AS distance_mean_24h,
    max(arr_delay)                       OVER (LAST '1 hour') AS arr_delay_max_1h,
    min(arr_delay)                       OVER (LAST '1 hour') AS arr_delay_min_1h
  )
  WITH (start = '2012-01-01', trigger = manual)
AS SELECT carrier, ts, distance, arr_delay FROM departures;

CREATE FEATURE VIEW carrier_10m
  ENTITY carrier
  TIMESTAMP ts
  FEATURES (
    sum(dep_delay)                       OVER (LAST '30 minutes') AS dep_delay_sum_30m,
    count(dep_delay)                     OVER (LAST '30 minutes') AS dep_delay_count_30m,
    avg(dep_delay)                       OVER (LAST '30 minutes') AS dep_delay_mean_30m,
    min(dep_delay)                       OVER (LAST '30 minutes') AS dep_delay_min_30m,
    max(dep_delay)                       OVER (LAST '30 minutes') AS dep_delay_max_30m,
    sum(dep_delay)                       OVER (LAST '2 hours') AS dep_delay_sum_2h,
    count(dep_delay)                     OVER (LAST '2 hours') AS dep_delay_count_2h,
    avg(dep_delay)                       OVER (LAST '2 hours') AS dep_delay_mean_2h,
    min(dep_delay)                       OVER (LAST '2 hours') AS dep_delay_min_2h,
    max(dep_delay)                       OVER (LAST '2 hours') AS dep_delay_max_2h,
    sum(distance)                        OVER (LAST '1 day') AS distance_sum_24h,
    count(distance)                      OVER (LAST '1 day') AS distance_count_24h
  )
  WITH (aggregation_interval = '10 minutes', start = '2012-01-01', trigger = manual)
AS SELECT carrier, ts, dep_delay, distance FROM departures;

CREATE FEATURE VIEW tail_attr_daily
  ENTITY tail
  TIMESTAMP ts
  WITH (schedule = '1 day', ttl = '7 days', start = '2012-01-01', trigger = manual)
AS SELECT tailnum, ts, dep_delay, arr_delay, dest FROM flights;

CREATE FEATURE VIEW weather_attr
  ENTITY airport
  TIMESTAMP ts
  WITH (ttl = '3 hours', start = '2012-01-01', trigger = manual)
AS SELECT origin, ts, temp, wind_speed, wind_gust, pressure FROM weather_reports;
