CREATE EXPECTATION few_nulls ON user_profile CHECK (null_share(country) < 0.01);
CREATE OR REPLACE EXPECTATION e ON public.v CHECK (rows() > 0 AND change(null_share(amount)) <= 0.05) SEVERITY ERROR ON FAILURE HOLD WITH (owner = 'me');
CREATE EXPECTATION IF NOT EXISTS public.e ON v CHECK (psi(amount) < 0.2 OR previous(rows()) IS NULL) SEVERITY WARNING ON FAILURE WARN COMMENT 'it does not drift';
