//! What a user of the catalog sees, through its public face only, on real files.

mod commit;
mod crash;
mod diff;
mod fixture;
mod ledger;
mod model;
#[path = "../../src/testing.rs"]
mod random;
mod rules;
mod snapshot;
mod stored;
