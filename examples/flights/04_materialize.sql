-- Computes the year and writes it to the offline store, for training, and to the online store, for lookups.
-- What is materialized already is refused: add OVERWRITE to do it again.
REFRESH FEATURE VIEW aircraft_daily;
REFRESH FEATURE VIEW airline_hourly;
REFRESH FEATURE VIEW airline_10m;
REFRESH FEATURE VIEW airline_live;
REFRESH FEATURE VIEW aircraft_last_flight;
REFRESH FEATURE VIEW airport_weather;
