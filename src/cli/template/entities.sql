CREATE ENTITY customer (customer_id text) COMMENT 'somebody who has bought something';
