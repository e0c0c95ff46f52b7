-- Files are read by the server: paths are relative to its working folder.
CREATE SOURCE transactions (tx_id text, ts timestamptz, user_id text, merchant_id text, amount float8, status text, is_fraud int8)
  FROM CSV 'examples/fraud/data/transactions.csv' TIMESTAMP ts
  COMMENT 'card payments, as they are authorized';

CREATE SOURCE customers (user_id text, updated_at timestamptz, country text, plan text)
  FROM CSV 'examples/fraud/data/customers.csv' TIMESTAMP updated_at;

CREATE SOURCE merchants (merchant_id text, listed_at timestamptz, category text)
  FROM CSV 'examples/fraud/data/merchants.csv' TIMESTAMP listed_at;

CREATE SOURCE settled AS
  SELECT tx_id, ts, user_id, merchant_id, amount FROM transactions WHERE status = 'settled'
  TIMESTAMP ts;
