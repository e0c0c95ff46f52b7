-- As of now, from the online store: one row for each key that is asked for, known or not.
SELECT tailnum, flights_7d, dep_delay_avg_7d, last_dests, weekly_distance
FROM aircraft_daily WHERE tailnum = 'N279JB';

SELECT carrier, flights_24h, dep_delay_avg_24h FROM airline_hourly WHERE carrier IN ('UA', 'DL', 'ZZ');

SELECT *, _effective_time, _status FROM aircraft_last_flight WHERE tailnum = 'N279JB';

-- The last weather report is more than three hours old, so its TTL is over: NULL.
SELECT * FROM airport_weather WHERE origin = 'JFK';

-- Two days ago, from the offline store.
SELECT * FROM airport_weather FOR SYSTEM_TIME AS OF '2013-12-30 12:00:00' WHERE origin = 'JFK';
