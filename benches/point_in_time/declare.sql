-- What is measured: one view of 16 continuous aggregates and one of the newest values, over the same events.
CREATE ENTITY bench_user (user_id bigint);
CREATE SOURCE events FROM PARQUET '@FOLDER/events.parquet' TIMESTAMP ts;
CREATE SOURCE labels FROM PARQUET '@FOLDER/labels.parquet' TIMESTAMP ts;
CREATE STREAM event_stream (user_id bigint, ts timestamptz, amount double precision, items bigint, channel text)
  TIMESTAMP ts FROM PUSH BACKFILL FROM events UNTIL '2024-04-01';
CREATE FEATURE VIEW spend ENTITY bench_user TIMESTAMP ts
  FEATURES (
    count(amount) OVER (LAST '1 hour') AS count_1h, sum(amount) OVER (LAST '1 hour') AS sum_1h,
    avg(amount) OVER (LAST '1 hour') AS avg_1h, max(amount) OVER (LAST '1 hour') AS max_1h,
    count(amount) OVER (LAST '1 day') AS count_1d, sum(amount) OVER (LAST '1 day') AS sum_1d,
    avg(amount) OVER (LAST '1 day') AS avg_1d, max(amount) OVER (LAST '1 day') AS max_1d,
    count(amount) OVER (LAST '7 days') AS count_7d, sum(amount) OVER (LAST '7 days') AS sum_7d,
    avg(amount) OVER (LAST '7 days') AS avg_7d, max(amount) OVER (LAST '7 days') AS max_7d,
    count(amount) OVER (LAST '30 days') AS count_30d, sum(amount) OVER (LAST '30 days') AS sum_30d,
    avg(amount) OVER (LAST '30 days') AS avg_30d, max(amount) OVER (LAST '30 days') AS max_30d
  )
  WITH (online = false)
AS SELECT user_id, ts, amount FROM event_stream;
CREATE FEATURE VIEW latest ENTITY bench_user TIMESTAMP ts WITH (online = false)
AS SELECT user_id, ts, amount, items, channel FROM event_stream;
