CREATE TEST counts_settled
  GIVEN transactions AS (VALUES ('u1', timestamptz '2024-01-01 10:00', 5.0, 'settled'), ('u1', '2024-01-01 11:00', 7.0, 'open'))
  EXPECT (SELECT user_id, spend_7d FROM user_spend FOR SYSTEM_TIME AS OF '2024-01-08' WHERE user_id = 'u1')
  RETURNS (VALUES ('u1', 5.0));
CREATE TEST IF NOT EXISTS public.nothing GIVEN a (x, "Y z") AS (SELECT 1, 2), b AS (TABLE c) AT '2024-01-01' EXPECT (SELECT * FROM v) RETURNS NOTHING;
CREATE OR REPLACE TEST fails EXPECT (SELECT 1 / 0) FAILS '22012' WITH (tags = ('a' = 'b')) COMMENT 'it does';
CREATE TEST fails_somehow EXPECT ((SELECT 1)) FAILS;
CREATE TEST sorted EXPECT (SELECT a FROM v ORDER BY 1) RETURNS (VALUES (1), (2)) IN ORDER;
