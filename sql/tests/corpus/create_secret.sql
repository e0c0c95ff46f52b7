CREATE SECRET crm_dsn AS 'postgres://user:pass@host/db';
CREATE OR REPLACE SECRET s AS $$it's$$ COMMENT 'the other one';
CREATE SECRET IF NOT EXISTS public.s AS E'a\nb' WITH (owner = 'me');
