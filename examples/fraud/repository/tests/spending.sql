CREATE TEST spend_has_settled_payments_only
  GIVEN transactions (user_id, ts, amount, status) AS (VALUES
    ('u1', timestamptz '2024-02-01 10:00:00+00', 10.0, 'settled'),
    ('u1', timestamptz '2024-02-01 11:00:00+00', 90.0, 'declined'))
  EXPECT (SELECT payments_1d, spend_7d FROM user_spend FOR SYSTEM_TIME AS OF '2024-02-02' WHERE user_id = 'u1')
  RETURNS (VALUES (1, 10.0));

CREATE TEST large_is_three_times_the_average
  GIVEN transactions (user_id, ts, amount, status) AS (VALUES
    ('u1', timestamptz '2024-02-01 10:00:00+00', 10.0, 'settled'))
  EXPECT (SELECT p.amount, f.is_large FROM (VALUES (29.0::float8), (31.0)) AS p (amount)
          JOIN amount_check FOR SYSTEM_TIME AS OF '2024-02-02' AS f ON f.user_id = 'u1' AND f.amount = p.amount)
  RETURNS (VALUES (29.0, false), (31.0, true));

CREATE TEST nobody_has_no_share
  EXPECT (SELECT share(1, 0))
  RETURNS (VALUES (NULL));
