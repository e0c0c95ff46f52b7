-- A source of its own rows, so that this works at once. A real one reads files:
--   CREATE SOURCE purchases FROM PARQUET '/data/purchases/*.parquet' TIMESTAMP bought_at;
CREATE SOURCE purchases AS
  SELECT * FROM (VALUES
    ('ada',   timestamptz '2024-01-01 09:30:00+00', 12.50::float8, 'books'),
    ('ada',   timestamptz '2024-01-03 18:00:00+00', 40.00::float8, 'shoes'),
    ('grace', timestamptz '2024-01-02 11:15:00+00',  7.25::float8, 'books')
  ) AS rows (customer_id, bought_at, amount, category)
  TIMESTAMP bought_at;
