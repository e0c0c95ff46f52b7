-- What a view makes of rows that are made up. The window of a batch view ends at midnight, so it has whole days.
CREATE TEST spend_counts_seven_days
  GIVEN purchases (customer_id, bought_at, amount) AS (VALUES
    ('ada', timestamptz '2024-02-01 10:00:00+00', 1.5),
    ('ada', timestamptz '2024-02-07 10:00:00+00', 2.0),
    ('ada', timestamptz '2024-02-08 10:00:00+00', 4.0))
  EXPECT (SELECT purchases_7d, spend_7d FROM customer_spend FOR SYSTEM_TIME AS OF '2024-02-08 12:00:00'
          WHERE customer_id = 'ada')
  RETURNS (VALUES (2, 3.5));

CREATE TEST nobody_has_spent_nothing
  EXPECT (SELECT customer_spend__purchases_7d, customer_spend__spend_7d
          FROM recommendations FOR SYSTEM_TIME AS OF '2024-02-08'
          WHERE customer_id = 'nobody')
  RETURNS (VALUES (0, NULL));
