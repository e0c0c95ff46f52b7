CREATE FEATURE SERVICE fraud AS
  user_spend (txn_count_1h, spend_7d),
  user_spend AS payee KEYS (user_id = payee_id),
  merchant_risk,
  amount_check
  WITH (cache = '60 s', log_sample = 0.1);
CREATE OR REPLACE FEATURE SERVICE s AS public.a;
CREATE FEATURE SERVICE IF NOT EXISTS s WITH (owner = 'me') COMMENT 'all' AS a (x) AS b KEYS (i = j, k = l), keys, last (sum, timestamp);
