-- How unusual the payment is that is to be decided about.
CREATE REALTIME FEATURE VIEW amount_check
  REQUEST (amount float8)
AS SELECT amount > 3 * s.amount_avg_30d AS is_large, share(amount, s.spend_7d) AS share_of_week
   FROM user_spend AS s;

CREATE FEATURE SERVICE fraud AS
  user_spend,
  user_profile (country, plan),
  merchant_volume,
  amount_check
  COMMENT 'of the model that decides about payments';
