CREATE FUNCTION share(part float8, whole float8) RETURNS float8
  COMMENT 'NULL where there is nothing to have a share of'
  RETURN part / nullif(whole, 0);
