-- What one model reads, as one relation: features of three views, and what is computed from the question itself.
CREATE REALTIME FEATURE VIEW IF NOT EXISTS delay_now
  REQUEST (delay float8)
  COMMENT 'a delay, in minutes, against those of the airline and of the aircraft'
AS SELECT delay - h.dep_delay_avg_24h       AS above_airline,
          delay > 2 * d.dep_delay_p90_30d   AS is_unusual,
          extract(hour FROM request_timestamp()) AS hour
   FROM airline_hourly h, aircraft_daily d;

CREATE FEATURE SERVICE IF NOT EXISTS arrival AS
  aircraft_daily (flights_7d, dep_delay_avg_7d) AS aircraft,
  airline_hourly (flights_24h, dep_delay_avg_24h) AS airline,
  airport_weather (temp, wind_speed) AS weather,
  delay_now
  COMMENT 'for a model of delays at arrival';

-- As of now: every key and request column is asked for.
SELECT * FROM arrival WHERE tailnum = 'N279JB' AND carrier = 'B6' AND origin = 'JFK' AND delay = 20;

-- For training: the same features, each as of its label's time.
SELECT l.label_id, f.*
FROM labels l LEFT JOIN arrival FOR SYSTEM_TIME AS OF l.asked_at AS f
  ON f.tailnum = l.tailnum AND f.carrier = l.carrier AND f.origin = l.origin AND f.delay = l.label_id % 60
ORDER BY l.label_id LIMIT 5;
