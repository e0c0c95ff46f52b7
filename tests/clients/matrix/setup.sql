CREATE SCHEMA ws;
COMMENT ON SCHEMA ws IS 'a shop';
CREATE TABLE ws.customers (
    id bigint PRIMARY KEY, name text NOT NULL UNIQUE, code varchar(20), letter char(3), n numeric(18, 4) DEFAULT 1.5,
    i2 smallint, i4 integer DEFAULT 7, f4 real, f8 double precision, b boolean DEFAULT true, d date, t time,
    ts timestamp, tstz timestamptz DEFAULT now(), j json, jb jsonb, u uuid, by bytea, ai integer[], at text[],
    af double precision[], CHECK (i4 > 0)
);
COMMENT ON TABLE ws.customers IS 'who buys';
COMMENT ON COLUMN ws.customers.name IS 'the "name" it''s called by';
CREATE TABLE ws.orders (
    id serial PRIMARY KEY, customer bigint NOT NULL, amount numeric(10, 2) NOT NULL DEFAULT 0, at timestamptz
);
CREATE INDEX orders_customer ON ws.orders (customer, at DESC);
CREATE TABLE ws.lines (
    "order" integer, line integer GENERATED ALWAYS AS IDENTITY, "Odd Name" text, PRIMARY KEY ("order", line)
);
CREATE SEQUENCE ws.numbers START 10 INCREMENT 5;
CREATE VIEW ws.totals AS SELECT customer, sum(amount) AS total, count(*) AS orders FROM ws.orders GROUP BY customer;
CREATE MATERIALIZED VIEW ws.newest AS SELECT customer, max(at) AS at FROM ws.orders GROUP BY customer;
INSERT INTO ws.customers (id, name, code, letter, tstz) VALUES (1, 'ann', 'a1', 'x', '2024-01-01 10:00+00'), (2, 'bob', NULL, NULL, NULL);
INSERT INTO ws.orders (customer, amount, at) SELECT 1 + value % 2, value * 1.5, to_timestamp(1704067200 + value * 3600) FROM generate_series(1, 100) AS g (value);
REFRESH MATERIALIZED VIEW ws.newest;
