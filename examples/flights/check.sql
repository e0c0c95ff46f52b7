-- What the features say against plain SQL over the files. Every count of differences is 0.

-- 1. One row for each label, none lost and none twice.
SELECT count(*) AS labels, count(DISTINCT label_id) AS different FROM training_set;

-- 2. A week of whole days before the label's day, as a self-join counts it.
WITH plain AS (
  SELECT l.label_id, count(f.ts) AS flights, avg(f.dep_delay) AS dep_delay
  FROM labels l LEFT JOIN flights f
    ON f.tailnum = l.tailnum
   AND f.ts >= date_trunc('day', l.asked_at) - interval '7 days' AND f.ts < date_trunc('day', l.asked_at)
  GROUP BY l.label_id)
SELECT count(*) AS compared,
       count(*) FILTER (WHERE t.flights_7d <> p.flights) AS differing_flights,
       count(*) FILTER (WHERE abs(coalesce(t.dep_delay_avg_7d, -999) - coalesce(p.dep_delay, -999)) > 0.000001) AS differing_delays
FROM training_set t JOIN plain p ON p.label_id = t.label_id;

-- 3. The hour up to the very moment of the label: after its beginning, its end included.
WITH plain AS (
  SELECT l.label_id, count(f.ts) AS departures
  FROM labels l LEFT JOIN flights f
    ON f.carrier = l.carrier AND f.ts > l.asked_at - interval '1 hour' AND f.ts <= l.asked_at
  WHERE l.label_id < 500
  GROUP BY l.label_id)
SELECT count(*) AS compared, count(*) FILTER (WHERE t.departures_1h <> p.departures) AS differing
FROM training_set t JOIN plain p ON p.label_id = t.label_id;

-- 4. What is served now is what a training set of now would get.
SELECT count(*) AS airlines,
       count(*) FILTER (WHERE (o.flights_24h IS DISTINCT FROM p.flights_24h)
                        OR (o.dep_delay_avg_24h IS DISTINCT FROM p.dep_delay_avg_24h)) AS differing
FROM airline_hourly o
JOIN airline_hourly FOR SYSTEM_TIME AS OF timestamptz '2014-01-01 08:00:00' AS p ON p.carrier = o.carrier;

-- 5. An airline that nobody knows still gets its row.
SELECT carrier, flights_24h, dep_delay_avg_24h, _status FROM airline_hourly WHERE carrier = 'ZZ';

-- 6. A report holds for three hours: a microsecond before their end it is there, at their end it is not.
SELECT * FROM airport_weather FOR SYSTEM_TIME AS OF '2013-12-31 01:59:59.999999' WHERE origin = 'JFK';
SELECT * FROM airport_weather FOR SYSTEM_TIME AS OF '2013-12-31 02:00:00' WHERE origin = 'JFK';

-- 7. A service answers what its views answer, and its expressions are what they would be by hand.
SELECT count(*) AS labels,
       count(*) FILTER (WHERE f.aircraft__flights_7d IS DISTINCT FROM t.flights_7d) AS differing_flights,
       count(*) FILTER (WHERE f.weather__temp IS DISTINCT FROM t.temp) AS differing_weather,
       count(*) FILTER (WHERE f.delay_now__above_airline IS DISTINCT FROM (l.label_id % 60 - t.dep_delay_avg_24h)) AS differing_delays
FROM training_set t JOIN labels l ON l.label_id = t.label_id
LEFT JOIN arrival FOR SYSTEM_TIME AS OF l.asked_at AS f
  ON f.tailnum = l.tailnum AND f.carrier = l.carrier AND f.origin = l.origin AND f.delay = l.label_id % 60;
