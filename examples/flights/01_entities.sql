-- What the features describe: an aircraft, an airline, an airport. Join keys bind by name.
CREATE ENTITY IF NOT EXISTS aircraft (tailnum text) COMMENT 'an aircraft, by the number on its tail';
CREATE ENTITY IF NOT EXISTS airline (carrier text) COMMENT 'an airline, by its two-letter code';
CREATE ENTITY IF NOT EXISTS airport (origin text) COMMENT 'an airport that flights leave from';
