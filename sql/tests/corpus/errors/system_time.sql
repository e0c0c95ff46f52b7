-- error: syntax error at or near "ALL"
-- position: 33
-- hint: type FOR SYSTEM_TIME AS OF '2024-01-31', or FROM '2024-01-01' TO '2024-02-01'
SELECT * FROM v FOR SYSTEM_TIME ALL

-- error: syntax error at end of input
-- position: 32
-- hint: type FOR SYSTEM_TIME AS OF '2024-01-31', or FROM '2024-01-01' TO '2024-02-01'
SELECT * FROM v FOR SYSTEM_TIME

-- error: syntax error at or near "WHERE"
-- position: 51
-- hint: type FOR SYSTEM_TIME FROM '2024-01-01' TO '2024-02-01'
SELECT * FROM v FOR SYSTEM_TIME FROM '2024-01-01' WHERE a

-- error: syntax error at or near ")"
-- position: 67
SELECT * FROM (SELECT * FROM v FOR SYSTEM_TIME FROM '2024-01-01'TO) x

-- error: syntax error at or near "SYSTEM_TIME"
-- position: 26
-- hint: the alias comes after the time: v FOR SYSTEM_TIME AS OF t AS f
SELECT * FROM v AS f FOR SYSTEM_TIME AS OF '2024-01-01'

-- error: syntax error at or near "WHERE"
-- position: 39
SELECT * FROM v FOR SYSTEM_TIME AS OF WHERE a
