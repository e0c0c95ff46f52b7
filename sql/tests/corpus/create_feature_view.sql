CREATE FEATURE VIEW user_spend
  ENTITY customer
  TIMESTAMP ts
  AGGREGATE BY merchant
  FEATURES (
    count(*)                      OVER (LAST '1 hour')                     AS txn_count_1h,
    sum(amount)                   OVER (LAST '7 days')                     AS spend_7d  COMMENT 'settled spend, USD',
    sum(amount)                   OVER (LAST '7 days' OFFSET '-7 days')    AS spend_prev_7d,
    avg(amount) FILTER (WHERE amount > 100) OVER month                     AS avg_large_30d,
    last(merchant, 10)            OVER (LIFETIME)                          AS last_merchants,
    sum(amount)                   OVER (SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day') AS daily_spend
  )
  WINDOW month AS (LAST '30 days')
  WITH (schedule = '1 day', aggregation_interval = '1 hour', start = '2024-01-01', online = true, offline = true)
AS SELECT user_id, ts, amount, merchant FROM transactions WHERE status = 'settled';

CREATE FEATURE VIEW user_profile ENTITY customer TIMESTAMP updated_at WITH (ttl = '90 days', schedule = '1 day')
AS SELECT user_id, updated_at, country, plan FROM customers;

CREATE OR REPLACE FEATURE VIEW v ENTITY customer, merchant TIMESTAMP ts COMMENT 'pairs'
  FEATURES (count(DISTINCT a) OVER (LAST INTERVAL '2 hours') AS count, count_distinct(a) OVER w AS last, max(b) OVER w AS timestamp)
  WINDOW w AS (LAST '1 day'), lifetime AS (LIFETIME)
AS SELECT * FROM t;

CREATE FEATURE VIEW IF NOT EXISTS public.v
  WITH (online, trigger = manual, tags = ('a' = 'b'), known_at = published)
  FEATURES (
    approx_percentile(x, 0.95) OVER last AS p95,
    arg_max(x, coalesce(a, b)) OVER (LAST '01:30:00') AS best,
    sum(case when a then 1 else 0 end) OVER (LAST 'PT1H') AS "Sum",
    sum(ALL a) OVER (LAST '90s') AS entity,
    mode(a) FILTER (WHERE b IN ('x', 'y') AND NOT c) OVER (LAST '1h30m' OFFSET '0') AS mode
  )
  TIMESTAMP timestamp
  ENTITY entity
AS WITH a AS (SELECT 1) SELECT * FROM a, b FOR SYSTEM_TIME AS OF now() AS c;

CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts WITH () AS TABLE t;
CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts AS (SELECT a FROM t) UNION ALL SELECT b FROM u;
CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts AS SELECT a, -- the key
  b /* the value */ FROM t;
CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts
  WITH (leading_edge = latest_event, compaction = on, unfiltered = off, prevent_destroy = true, owner = "Me", ratio = -0.5, names = ('a', 'b'), list = ARRAY['c', 'd'])
AS SELECT 1;
