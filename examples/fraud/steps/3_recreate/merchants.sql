CREATE FEATURE VIEW merchant_volume
  ENTITY merchant
  TIMESTAMP ts
  FEATURES (
    count(*)    OVER (LAST '7 days') AS payments_7d,
    sum(amount) OVER (LAST '7 days') AS volume_7d
  )
  WITH (schedule = '1 day', start = '2024-01-01', trigger = manual)
AS SELECT merchant_id, ts, amount FROM settled WHERE amount < 1000;
