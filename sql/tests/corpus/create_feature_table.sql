CREATE FEATURE TABLE user_embedding (user_id text, ts timestamptz, vec vector(384)) ENTITY customer TIMESTAMP ts WITH (ttl = '30 days');
CREATE OR REPLACE FEATURE TABLE public.t (a text, b text, ts timestamptz, x float8) TIMESTAMP ts ENTITY a, b COMMENT 'scores';
CREATE FEATURE TABLE IF NOT EXISTS t (id int8, timestamp timestamp with time zone, tags text[]) ENTITY e TIMESTAMP timestamp;
