CREATE STREAM tx_live (user_id text, ts timestamptz, amount float8, merchant text, tx_id text)
  FROM PUSH TIMESTAMP ts DEDUPLICATE BY (tx_id) BACKFILL FROM transactions UNTIL '2024-06-01';
CREATE STREAM tx_live (user_id text, ts timestamptz)
  FROM KAFKA (brokers 'kafka:9092', topic 'tx', format json) TIMESTAMP ts;
CREATE STREAM tx_live (user_id text, ts timestamptz)
  FROM POSTGRES 'secret:crm' PUBLICATION changes TABLE t TIMESTAMP ts;
CREATE OR REPLACE STREAM s (id text, ts timestamptz) FROM POSTGRES 'secret:crm' TABLE 'public.events' TIMESTAMP ts;
CREATE STREAM IF NOT EXISTS s (id text, ts timestamptz) FROM PUSH TIMESTAMP ts BACKFILL FROM public.past;
CREATE STREAM s (id text, ts timestamptz) FROM PUSH WITH (owner = 'me') DEDUPLICATE BY (id, ts) TIMESTAMP ts COMMENT 'live';
CREATE STREAM s (id text, ts timestamptz) TIMESTAMP ts FROM KAFKA (brokers = 'a:1,b:2', topic = 'x', format = avro, sasl.mechanism = 'PLAIN', "group.id" = 'g');
