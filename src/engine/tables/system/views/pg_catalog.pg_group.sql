SELECT rolname AS groname, oid AS grosysid, ARRAY(SELECT member FROM pg_auth_members WHERE roleid = a.oid) AS grolist
FROM pg_authid a WHERE NOT rolcanlogin
