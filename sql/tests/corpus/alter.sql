ALTER ENTITY customer SET (owner = 'risk');
ALTER SOURCE transactions SET (data_delay = '2 hours');
ALTER STREAM IF EXISTS tx_live RENAME TO tx;
ALTER FEATURE VIEW user_spend SET (online = false, tags = ('a' = 'b'));
ALTER FEATURE VIEW user_spend RESET (ttl, tags);
ALTER FEATURE TABLE t OWNER TO risk;
ALTER REALTIME FEATURE VIEW r RENAME TO "R";
ALTER FEATURE SERVICE fraud SET (cache = '60 s');
ALTER WORKSPACE dev RENAME TO test;
ALTER DATABASE dev OWNER TO current_user;
ALTER DATASET d OWNER TO me;
ALTER SECRET s RENAME TO u;
ALTER API KEY k SET (expires = '1 day');

ALTER FUNCTION ratio(a float8, double precision) RENAME TO "Ratio";
ALTER FUNCTION IF EXISTS ratio OWNER TO CURRENT_USER;
ALTER FUNCTION s.one() SET (tags = ('a' = 'b'));
ALTER STREAM tx_live PAUSE;
ALTER STREAM IF EXISTS public.tx_live RESUME;
