GRANT viewer TO app;
GRANT owner, editor TO alice, bob WITH ADMIN OPTION;
REVOKE viewer FROM app;
REVOKE ADMIN OPTION FOR editor FROM alice CASCADE;
