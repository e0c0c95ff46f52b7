CREATE ENTITY customer (user_id text);
CREATE ENTITY route (carrier text, origin text);
CREATE OR REPLACE ENTITY customer (user_id text) WITH (owner = 'risk', tags = ('team' = 'risk', 'tier' = '1'), prevent_destroy = true);
CREATE ENTITY IF NOT EXISTS public.customer (user_id bigint) COMMENT 'somebody who pays';
CREATE ENTITY prod.public.customer (user_id uuid);
create entity "Customer" ("User ID" varchar(36));
CREATE ENTITY source (entity text, "select" int8, timestamp timestamptz);
-- a comment before, /* and one */ within
CREATE /* here */ ENTITY merchant -- there
  (merchant text);
