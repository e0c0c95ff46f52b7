-- error: a feature view needs a clause ENTITY
-- position: 36
-- hint: add ENTITY customer
CREATE FEATURE VIEW v TIMESTAMP ts AS SELECT 1

-- error: a feature view needs a clause TIMESTAMP
-- position: 32
-- hint: add TIMESTAMP ts
CREATE FEATURE VIEW v ENTITY e AS SELECT 1

-- error: ENTITY is given more than once
-- position: 32
-- hint: keep one ENTITY
CREATE FEATURE VIEW v ENTITY e ENTITY f TIMESTAMP ts AS SELECT 1

-- error: syntax error at or near "SELECT"
-- position: 45
-- hint: clauses go between the name and AS SELECT …
CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts SELECT 1

-- error: syntax error at end of input
-- position: 47
-- hint: type SELECT … FROM …
CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts AS

-- error: a fixed duration is needed, and "1 month" is not one
-- sqlstate: 22007
-- position: 49
-- hint: say it in days: 1 month is about '30 days'
CREATE FEATURE VIEW v
FEATURES (a(b) OVER (LAST '1 month') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: invalid input syntax for type interval: "7 dayz"
-- sqlstate: 22007
-- position: 49
-- hint: type it as '7 days', '1 hour 30 minutes' or '90 s'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (LAST '7 dayz') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near "7"
-- position: 49
-- hint: type it in quotes, as '7 days'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (LAST 7 days) AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: window size must be above zero
-- sqlstate: 22023
-- position: 49
-- hint: LAST '7 days'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (LAST '0') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: window offset must not be above zero
-- sqlstate: 22023
-- position: 66
-- hint: OFFSET '-1 day'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (LAST '1 day'   OFFSET '1 day') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: a series must begin before it ends, and end at '0' or before
-- sqlstate: 22023
-- position: 56
-- hint: SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (SERIES FROM '0' TO '-7 days' SIZE '1 day' STEP '1 day') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: the size of a series' window must not be longer than the series
-- sqlstate: 22023
-- position: 76
-- hint: SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day'
CREATE FEATURE VIEW v FEATURES (a(b) OVER (SERIES FROM '-1 day' TO '0'SIZE '2 days' STEP '1 day') AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near "PARTITION"
-- position: 44
-- hint: type (LAST '7 days'), (LIFETIME) or (SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day')
CREATE FEATURE VIEW v FEATURES (a(b) OVER (PARTITION BY x) AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near "AS"
-- position: 38
-- hint: type a(b) OVER (LAST '7 days') AS name
CREATE FEATURE VIEW v FEATURES (a(b) AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near ")"
-- position: 65
-- hint: name the feature: AS sum_amount_7d
CREATE FEATURE VIEW v FEATURES (sum(amount) OVER (LAST '7 days')) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near "select"
-- position: 63
-- hint: select is a reserved word: type "select"
CREATE FEATURE VIEW v FEATURES (a(b) OVER (LAST '7 days')  AS select) ENTITY e TIMESTAMP t AS SELECT 1

-- error: feature "c" specified more than once
-- sqlstate: 42701
-- position: 71
-- hint: give it another name, such as AS c_2
CREATE FEATURE VIEW v FEATURES (a(b) OVER w AS c, a(d) OVER w      AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: window "w" is already defined
-- position: 48
-- hint: give it another name
CREATE FEATURE VIEW v WINDOW w AS (LIFETIME),  w AS (LIFETIME) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near ")"
-- position: 36
-- hint: type a(column)
CREATE FEATURE VIEW v FEATURES (a( ) OVER w AS c) ENTITY e TIMESTAMP t AS SELECT 1

-- error: syntax error at or near ")"
-- position: 83
CREATE FEATURE VIEW v ENTITY e TIMESTAMP t AS SELECT * FROM (SELECT a FROM b WHERE) x

-- error: syntax error at or near "TIMESTMP"
-- position: 32
-- hint: did you mean TIMESTAMP?
CREATE FEATURE VIEW v ENTITY e TIMESTMP ts AS SELECT 1
