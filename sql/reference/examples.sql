-- What the examples of these pages read. Each page's examples run on their own, in an empty workspace, behind this.

CREATE TABLE payments (user_id text, ts timestamptz, amount float8, merchant text, status text);
INSERT INTO payments VALUES
  ('u1', '2024-01-20 09:00:00+00', 30, 'bakery', 'settled'),
  ('u1', '2024-02-27 10:00:00+00', 120, 'garage', 'settled'),
  ('u2', '2024-02-28 12:30:00+00', 8, 'bakery', 'settled'),
  ('u1', '2024-02-29 18:00:00+00', 15, 'bakery', 'settled'),
  ('u2', '2024-03-01 08:00:00+00', 400, 'jeweller', 'refused'),
  ('u1', '2024-03-08 11:00:00+00', 60, 'grocer', 'settled');
CREATE TABLE profiles (user_id text, updated_at timestamptz, country text, plan text);
INSERT INTO profiles VALUES
  ('u1', '2024-01-02 00:00:00+00', 'NL', 'free'),
  ('u2', '2024-01-05 00:00:00+00', 'DE', 'plus'),
  ('u1', '2024-02-10 00:00:00+00', 'NL', 'plus');
CREATE TABLE labels (user_id text, ts timestamptz, label int8);
INSERT INTO labels VALUES ('u1', '2024-02-28 00:00:00+00', 0), ('u2', '2024-03-01 00:00:00+00', 1), ('u3', '2024-03-01 00:00:00+00', 0);

CREATE ENTITY customer (user_id text);
CREATE SOURCE transactions AS SELECT * FROM payments TIMESTAMP ts;
CREATE SOURCE customers AS SELECT * FROM profiles TIMESTAMP updated_at;
CREATE FEATURE VIEW user_spend
  ENTITY customer
  TIMESTAMP ts
  FEATURES (
    count(*)    OVER (LAST '1 hour') AS txn_count_1h,
    sum(amount) OVER (LAST '7 days') AS spend_7d
  )
  WITH (schedule = '1 day', aggregation_interval = '1 hour', start = '2024-01-01', trigger = manual)
AS SELECT user_id, ts, amount FROM transactions WHERE status = 'settled';
REFRESH FEATURE VIEW user_spend;
