CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS $$ SELECT $1; $$;
CREATE FUNCTION ratio(a float8, b float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a / nullif(b, 0)';
CREATE OR REPLACE FUNCTION s.ratio(double precision, double precision) RETURNS double precision
  LANGUAGE sql RETURNS NULL ON NULL INPUT STABLE PARALLEL SAFE COST 100 AS $body$ SELECT $1 / nullif($2, 0) $body$;
CREATE FUNCTION IF NOT EXISTS one() RETURNS int4 RETURN 1;
CREATE FUNCTION is_late(IN ts timestamp with time zone, timestamp with time zone) RETURNS bool
  CALLED ON NULL INPUT VOLATILE NOT LEAKPROOF SECURITY INVOKER
  WITH (owner = 'ada', tags = ('team' = 'risk')) COMMENT 'it''s late' RETURN ts > $2 + interval '1 day';
CREATE FUNCTION "Odd"(span interval, "double" double precision, ids bigint[]) RETURNS text LANGUAGE 'SQL'
  AS $$SELECT 'it''s' || "double"$$;
