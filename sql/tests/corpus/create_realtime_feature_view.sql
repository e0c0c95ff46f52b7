CREATE REALTIME FEATURE VIEW amount_check
  REQUEST (amount float8)
AS SELECT amount > 3 * s.avg_large_30d AS is_large, amount / nullif(s.spend_7d, 0) AS share_of_week
   FROM user_spend s;
CREATE OR REPLACE REALTIME FEATURE VIEW r AS SELECT a.x - b.y AS difference FROM a, b;
CREATE REALTIME FEATURE VIEW IF NOT EXISTS r WITH (owner = 'me') REQUEST (a int, b text[]) COMMENT 'now' AS SELECT request_timestamp() AS at;
