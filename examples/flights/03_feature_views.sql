-- Aircraft, by day: windows end at midnight, since the schedule and the tiles are a day.
CREATE FEATURE VIEW IF NOT EXISTS aircraft_daily
  ENTITY aircraft
  TIMESTAMP ts
  FEATURES (
    count(*)                               OVER week                             AS flights_7d COMMENT 'departures of the last 7 days',
    sum(distance)                          OVER week                             AS distance_7d COMMENT 'miles',
    avg(dep_delay)                         OVER week                             AS dep_delay_avg_7d COMMENT 'minutes',
    stddev_samp(dep_delay)                 OVER week                             AS dep_delay_stddev_7d,
    avg(dep_delay)                         OVER (LAST '7 days' OFFSET '-7 days') AS dep_delay_avg_week_before,
    count(*) FILTER (WHERE dep_delay > 15) OVER month                            AS late_30d COMMENT 'more than 15 minutes late',
    last(dest)                             OVER month                            AS last_dest,
    last_distinct(dest, 3)                 OVER month                            AS last_dests,
    approx_count_distinct(dest)            OVER month                            AS dests_30d,
    approx_percentile(dep_delay, 0.5)      OVER month                            AS dep_delay_p50_30d,
    approx_percentile(dep_delay, 0.9)      OVER month                            AS dep_delay_p90_30d,
    sum(distance) OVER (SERIES FROM '-28 days' TO '0' SIZE '7 days' STEP '7 days') AS weekly_distance
  )
  WINDOW week AS (LAST '7 days'), month AS (LAST '30 days')
  WITH (schedule = '1 day', trigger = manual)
  COMMENT 'how an aircraft has flown lately'
AS SELECT tailnum, ts, dest, distance, dep_delay FROM flights;

-- Airlines, by the hour.
CREATE FEATURE VIEW IF NOT EXISTS airline_hourly
  ENTITY airline
  TIMESTAMP ts
  FEATURES (
    count(*)       OVER (LAST '1 hour')   AS flights_1h,
    avg(dep_delay) OVER (LAST '1 hour')   AS dep_delay_avg_1h,
    avg(dep_delay) OVER (LAST '6 hours')  AS dep_delay_avg_6h,
    count(*)       OVER (LAST '24 hours') AS flights_24h,
    avg(dep_delay) OVER (LAST '24 hours') AS dep_delay_avg_24h,
    max(dep_delay) OVER (LAST '24 hours') AS dep_delay_max_24h
  )
  WITH (schedule = '1 hour', trigger = manual)
AS SELECT carrier, ts, dep_delay FROM flights;

-- Airlines again, from the stream and in tiles of ten minutes.
CREATE FEATURE VIEW IF NOT EXISTS airline_10m
  ENTITY airline
  TIMESTAMP ts
  FEATURES (
    count(*)      OVER (LAST '30 minutes') AS departures_30m,
    count(*)      OVER (LAST '2 hours')    AS departures_2h,
    sum(distance) OVER (LAST '24 hours')   AS distance_24h
  )
  WITH (aggregation_interval = '10 minutes', trigger = manual)
AS SELECT carrier, ts, distance FROM departures;

-- And without tiles: a stream's windows end at the very moment that is asked for.
CREATE FEATURE VIEW IF NOT EXISTS airline_live
  ENTITY airline
  TIMESTAMP ts
  FEATURES (
    count(*)       OVER (LAST '1 hour')   AS departures_1h,
    max(arr_delay) OVER (LAST '1 hour')   AS arr_delay_max_1h,
    avg(distance)  OVER (LAST '24 hours') AS distance_avg_24h
  )
  WITH (trigger = manual)
AS SELECT carrier, ts, arr_delay, distance FROM departures;

-- No FEATURES: the columns are the features, as in the aircraft's last flight, if that was in the last week.
CREATE FEATURE VIEW IF NOT EXISTS aircraft_last_flight
  ENTITY aircraft
  TIMESTAMP ts
  WITH (ttl = '7 days', schedule = '1 day', trigger = manual)
AS SELECT tailnum, ts, dest, dep_delay, arr_delay FROM flights;

-- The last weather report, if it is not older than three hours.
CREATE FEATURE VIEW IF NOT EXISTS airport_weather
  ENTITY airport
  TIMESTAMP ts
  WITH (ttl = '3 hours', trigger = manual)
AS SELECT origin, ts, temp, wind_speed, wind_gust, pressure FROM weather_reports;
