//! Repositories: texts that declare a workspace as a whole. `granary.plan(…)` tells what they would change,
//! `granary.apply(…)` changes it in one transaction, `granary.test(…)` runs tests over it. All are called in FROM.

mod call;
mod compare;
mod consequences;
mod order;
mod planning;
mod rename;
mod rows;
mod testing;
mod texts;

pub use call::{calls_apply, described, with_answer};
