-- Point in time: each label gets the features as they were at its own time, and nothing that happened later.
CREATE TABLE IF NOT EXISTS training_set AS
SELECT l.label_id, l.asked_at, l.tailnum, l.carrier, l.origin,
       a.flights_7d, a.dep_delay_avg_7d, a.last_dests,
       h.flights_24h, h.dep_delay_avg_24h,
       m.departures_30m,
       s.departures_1h,
       f.dest AS last_flight_to,
       w.temp
FROM labels l
LEFT JOIN aircraft_daily       FOR SYSTEM_TIME AS OF l.asked_at AS a ON a.tailnum = l.tailnum
LEFT JOIN airline_hourly       FOR SYSTEM_TIME AS OF l.asked_at AS h ON h.carrier = l.carrier
LEFT JOIN airline_10m          FOR SYSTEM_TIME AS OF l.asked_at AS m ON m.carrier = l.carrier
LEFT JOIN airline_live         FOR SYSTEM_TIME AS OF l.asked_at AS s ON s.carrier = l.carrier
LEFT JOIN aircraft_last_flight FOR SYSTEM_TIME AS OF l.asked_at AS f ON f.tailnum = l.tailnum
LEFT JOIN airport_weather      FOR SYSTEM_TIME AS OF l.asked_at AS w ON w.origin = l.origin;

SELECT count(*) AS labels, count(dep_delay_avg_7d) AS with_a_flight_before, count(temp) AS with_weather FROM training_set;

SELECT label_id, asked_at, tailnum, flights_7d, last_dests, flights_24h, departures_1h, last_flight_to, temp
FROM training_set ORDER BY label_id LIMIT 5;
