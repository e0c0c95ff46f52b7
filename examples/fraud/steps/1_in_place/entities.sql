CREATE ENTITY customer (user_id text) COMMENT 'who pays';
CREATE ENTITY merchant (merchant_id text) COMMENT 'who is paid, by its number';
