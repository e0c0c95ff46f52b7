CREATE FEATURE VIEW user_spend
  ENTITY customer
  TIMESTAMP ts
  FEATURES (
    count(*)               OVER (LAST '1 day')  AS payments_1d,
    sum(amount)            OVER (LAST '7 days') AS spend_7d COMMENT 'dollars',
    avg(amount)            OVER (LAST '30 days') AS amount_avg_30d,
    last_distinct(merchant_id, 5) OVER (LAST '30 days') AS last_merchants
  )
  WITH (schedule = '1 day', start = '2024-01-01', trigger = manual, tags = ('team' = 'risk'))
AS SELECT user_id, ts, amount, merchant_id FROM settled;

CREATE FEATURE VIEW user_profile
  ENTITY customer
  TIMESTAMP updated_at
  WITH (schedule = '1 day', start = '2024-01-01', trigger = manual, ttl = '400 days')
AS SELECT user_id, updated_at, country, plan FROM customers;
