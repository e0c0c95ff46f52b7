-- error: syntax error at end of input
-- position: 16
-- hint: type CREATE ENTITY c (user_id text)
CREATE ENTITY c

-- error: column "a" specified more than once
-- sqlstate: 42701
-- position: 26
-- hint: give each column a name of its own
CREATE ENTITY c (a text, a int)

-- error: syntax error at or near ")"
-- position: 20
-- hint: type a text
CREATE ENTITY c (a )

-- error: syntax error at or near "NOT"
-- position: 25
-- hint: a column here is a name and a type, without DEFAULT, NOT NULL or other constraints
CREATE ENTITY c (a text NOT NULL)

-- error: OR REPLACE and IF NOT EXISTS cannot be used together
-- position: 26
-- hint: keep one of the two
CREATE OR REPLACE ENTITY IF NOT EXISTS c (a text)

-- error: zero-length delimited identifier at or near """"
-- position: 15
CREATE ENTITY "" (a text)

-- error: syntax error at or near "select"
-- position: 15
-- hint: select is a reserved word: type "select"
CREATE ENTITY select (a text)

-- error: improper qualified name (too many dotted names): a.b.c.d
-- position: 15
-- hint: name it as workspace.schema.name
CREATE ENTITY a.b.c.d (e text)

-- error: syntax error at end of input
-- position: 16
-- hint: type CREATE SOURCE s FROM PARQUET 'path' TIMESTAMP ts
CREATE SOURCE s

-- error: syntax error at or near "XML"
-- position: 22
-- hint: type FROM PARQUET 'path', or AS SELECT … over other sources
CREATE SOURCE s FROM XML 'a'

-- error: syntax error at or near "path"
-- position: 30
CREATE SOURCE s FROM PARQUET path

-- error: TIMESTAMP is given more than once
-- position: 47
-- hint: keep one TIMESTAMP
CREATE SOURCE s FROM PARQUET 'a' TIMESTAMP ts TIMESTAMP b

-- error: option "a" is given more than once
-- position: 47
-- hint: keep one a
CREATE SOURCE s FROM PARQUET 'a' WITH (a = 1, a = 2)

-- error: syntax error at or near ")"
-- position: 44
CREATE SOURCE s FROM PARQUET 'a' WITH (a = )

-- error: syntax error at or near "WHERE"
-- position: 34
CREATE SOURCE s AS SELECT a FROM WHERE x TIMESTAMP ts

-- error: syntax error at or near "INSERT"
-- position: 20
-- hint: type SELECT … FROM …
CREATE SOURCE s AS INSERT INTO t VALUES (1)

-- error: a query that writes cannot stand here
-- sqlstate: 0A000
-- position: 21
-- hint: type a SELECT
CREATE DATASET d AS WITH a AS (SELECT 1) DELETE FROM t

-- error: a stream needs a clause TIMESTAMP
-- position: 35
-- hint: add TIMESTAMP ts
CREATE STREAM s (a text) FROM PUSH

-- error: syntax error at end of input
-- position: 38
-- hint: type FROM PUSH for events that arrive by INSERT or HTTP
CREATE STREAM s (a text) TIMESTAMP ts

-- error: date/time field value out of range: "2024-02-30"
-- sqlstate: 22008
-- position: 70
-- hint: type it as '2024-01-31', '2024-01-31 10:00' or '2024-01-31T10:00:00Z'
CREATE STREAM s (a text) FROM PUSH TIMESTAMP a BACKFILL FROM p UNTIL '2024-02-30'

-- error: member "a" specified more than once
-- sqlstate: 42701
-- position: 32
-- hint: name it: a AS other
CREATE FEATURE SERVICE s AS a, a

-- error: syntax error at end of input
-- position: 25
-- hint: type CREATE FEATURE SERVICE s AS view, other_view (feature)
CREATE FEATURE SERVICE s

-- error: syntax error at or near "b"
-- position: 31
-- hint: a member is: view [(feature, …)] [AS name] [KEYS (key = column, …)]
CREATE FEATURE SERVICE s AS a b

-- error: syntax error at or near "'x'"
-- position: 17
-- hint: type CREATE SECRET s AS 'value'
CREATE SECRET s 'x'

-- error: syntax error at end of input
-- position: 18
-- hint: type CREATE API KEY FOR role
CREATE API KEY ci
