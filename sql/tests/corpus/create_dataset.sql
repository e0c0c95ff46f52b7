CREATE DATASET fraud_train_v1 AS
SELECT l.label, f.*
FROM labels l LEFT JOIN fraud FOR SYSTEM_TIME AS OF l.ts AS f
  ON f.user_id = l.user_id AND f.payee_id = l.payee_id AND f.merchant_id = l.merchant_id AND f.amount = l.amount;
CREATE DATASET IF NOT EXISTS d WITH (tags = 'a=b') COMMENT 'once' AS SELECT 1 AS a;
CREATE OR REPLACE DATASET public.d AS SELECT * FROM v FOR SYSTEM_TIME FROM '2024-01-01' TO '2024-02-01';
