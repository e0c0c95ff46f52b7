-- Where the rows come from. The server reads the files: paths are relative to its working folder.
CREATE SOURCE IF NOT EXISTS flights
  FROM PARQUET 'examples/flights/data/events.parquet' TIMESTAMP ts
  COMMENT 'one row for each flight out of New York in 2013, at its departure';

CREATE SOURCE IF NOT EXISTS weather
  FROM PARQUET 'examples/flights/data/weather.parquet' TIMESTAMP ts
  COMMENT 'hourly weather at the three airports';

-- The labels: for which keys, and as of when, features are wanted. A few of them lie after the data's end,
-- up to a month; they ask as of the first moment of 2014.
CREATE SOURCE IF NOT EXISTS label_file
  FROM PARQUET 'examples/flights/data/labels.parquet' TIMESTAMP "timestamp";

CREATE SOURCE IF NOT EXISTS labels AS
  SELECT spine_id AS label_id, tailnum, carrier, origin, least("timestamp", timestamptz '2014-01-01 00:00:00') AS asked_at
  FROM label_file
  TIMESTAMP asked_at
  COMMENT '10,000 keys and times';

-- Streams, with the files above as their past. Pushing new events is for a later release.
CREATE STREAM IF NOT EXISTS departures
  (event_id bigint, carrier text, ts timestamptz, arr_delay float8, distance bigint)
  FROM PUSH TIMESTAMP ts DEDUPLICATE BY (event_id)
  BACKFILL FROM flights;

CREATE STREAM IF NOT EXISTS weather_reports
  (origin text, ts timestamptz, temp float8, wind_speed float8, wind_gust float8, pressure float8)
  FROM PUSH TIMESTAMP ts
  BACKFILL FROM weather;
