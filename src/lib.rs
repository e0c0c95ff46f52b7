//! Granary, a SQL-native feature warehouse.
//!
//! Reading order is layer order: a module uses the ones before it, never the ones after it.

pub mod config;
pub mod error;
pub mod metrics;
pub mod priority;
pub mod store_file;
pub mod time;

pub mod outbound;
pub mod trace;

pub mod logging;

pub mod access;
pub mod audit;

pub mod row;
pub mod tile;

pub mod monitor;

pub mod alerts;

pub mod ingest_log;
pub mod offline;
pub mod online;

pub mod request_log;

pub mod engine;

pub mod ingest;
pub mod kafka;

pub mod capture;

pub mod openlineage;

pub mod warehouse;

pub mod materialize;

pub mod backup;

pub mod statement;

pub mod session;

pub mod wire;

pub mod http;

pub mod flight;

pub mod attendants;

pub mod alerting;
pub mod readers;
pub mod scheduler;
pub mod sinks;

pub mod server;

pub mod cli;
