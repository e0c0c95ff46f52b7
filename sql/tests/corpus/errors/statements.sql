-- error: syntax error at or near "REFERSH"
-- position: 1
-- hint: did you mean REFRESH?
REFERSH FEATURE VIEW v

-- error: syntax error at or near "USE"
-- position: 1
USE prod

-- error: syntax error at or near ","
-- position: 30
REFRESH FEATURE VIEW v ONLINE, OFFLINE

-- error: conflicting or redundant OFFLINE
-- position: 31
-- hint: without ONLINE and OFFLINE both stores are refreshed
REFRESH FEATURE VIEW v ONLINE OFFLINE

-- error: syntax error at or near "soon"
-- position: 24
REFRESH FEATURE VIEW v soon

-- error: syntax error at end of input
-- position: 28
REFRESH FEATURE VIEW v FROM

-- error: syntax error at or near "1.5"
-- position: 30
VERIFY FEATURE VIEW v SAMPLE 1.5

-- error: syntax error at or near "x"
-- position: 12
-- hint: find it with SELECT * FROM granary.jobs
CANCEL JOB x

-- error: syntax error at or near "b"
-- position: 15
DROP ENTITY a b

-- error: syntax error at or near "ADD"
-- position: 22
-- hint: to change a definition, type CREATE OR REPLACE …
ALTER FEATURE VIEW v ADD FEATURE x

-- error: syntax error at or near "("
-- position: 26
-- hint: type SET (owner = 'me')
ALTER FEATURE VIEW v SET ()

-- error: syntax error at or near "WHAT"
-- position: 24
-- hint: type IS 'text', or IS NULL to take the comment away
COMMENT ON ENTITY c    WHAT 'x'

-- error: syntax error at or near "IS"
-- position: 21
-- hint: type COMMENT ON COLUMN relation.column IS 'text'
COMMENT ON COLUMN a IS 'x'

-- error: syntax error at or near "EXPLAIN"
-- position: 9
EXPLAIN EXPLAIN SELECT 1

-- error: unrecognized EXPLAIN option "color"
-- position: 10
-- hint: type EXPLAIN (ANALYZE, FORMAT JSON) …
EXPLAIN (COLOR) SELECT 1

-- error: CREATE RULE is not supported
-- sqlstate: 0A000
-- position: 1
CREATE RULE r AS ON INSERT TO t DO NOTHING

-- error: syntax error at or near ";"
-- position: 11
SELECT a +; SELECT 1

-- error: syntax error at or near "FROM"
-- position: 11
SELECT a, FROM t

-- error: syntax error at or near "GROUP"
-- position: 23
SELECT a FROM t WHERE GROUP BY a

-- error: syntax error at or near ")"
-- position: 29
SELECT a FROM (SELECT b FROM) x

-- error: unterminated quoted string at or near "'a FROM t"
-- position: 8
SELECT 'a FROM t

-- error: unterminated quoted identifier at or near ""a FROM t"
-- position: 8
SELECT "a FROM t

-- error: syntax error at or near "ö"
-- position: 14
SELECT 'ü' ä ö FROM t

-- error: syntax error at or near "FEATRE"
-- position: 8
-- hint: did you mean FEATURE?
CREATE FEATRE VIEW v ENTITY e TIMESTAMP ts AS SELECT 1

-- error: syntax error at or near "FEATURE"
-- position: 8
-- hint: the kinds are FEATURE VIEW, FEATURE TABLE and FEATURE SERVICE
CREATE FEATURE v ENTITY e TIMESTAMP ts AS SELECT 1

-- error: syntax error at or near "ENTTIY"
-- position: 6
-- hint: did you mean ENTITY?
DROP ENTTIY e

-- error: syntax error at or near "OPTIMISE"
-- position: 1
-- hint: did you mean OPTIMIZE?
OPTIMISE v

-- error: syntax error at end of input
-- position: 9
OPTIMIZE

-- error: files cannot be retained for less than no time
-- sqlstate: 22023
-- position: 17
-- hint: RETAIN '0'
VACUUM t RETAIN '-1 day'
