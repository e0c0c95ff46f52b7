CREATE TABLE rides (id bigint, driver text, fare double precision, at timestamptz);
INSERT INTO rides VALUES (1, 'ann', 10.5, '2024-01-01 10:00:00+00'), (2, 'bob', 7.25, '2024-01-01 11:00:00+00'), (3, 'ann', 3.0, '2024-01-02 09:00:00+00');
CREATE VIEW fares AS SELECT driver, sum(fare) AS total FROM rides GROUP BY driver;
CREATE SOURCE ride_source TIMESTAMP at AS SELECT driver, at, fare FROM rides;
CREATE ENTITY driver (driver text);
CREATE FEATURE VIEW driver_fares ENTITY driver TIMESTAMP at FEATURES (sum(fare) OVER (LAST '1 day') AS fares_1d COMMENT 'fares of a day') WITH (aggregation_interval = '1 hour', schedule = '1 hour', start = '2024-01-01') COMMENT 'what drivers earn' AS SELECT driver, at, fare FROM ride_source;
CREATE STREAM ride_stream (driver text, at timestamptz, fare float8) FROM PUSH TIMESTAMP at;
