//! PostgreSQL's types, operators and functions, and queries over rows in memory.
