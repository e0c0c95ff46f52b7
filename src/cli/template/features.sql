CREATE FEATURE VIEW customer_spend
  ENTITY customer
  TIMESTAMP bought_at
  FEATURES (
    count(*)          OVER (LAST '7 days') AS purchases_7d,
    sum(amount)       OVER (LAST '7 days') AS spend_7d COMMENT 'what they have paid, in dollars',
    last(category, 3) OVER (LAST '30 days') AS last_categories
  )
  WITH (schedule = '1 day', start = '2024-01-01')
AS SELECT customer_id, bought_at, amount, category FROM purchases;

CREATE FEATURE SERVICE recommendations AS customer_spend;
