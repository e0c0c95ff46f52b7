//! `granary sql`.

use clap::Args;

use crate::error::{Error, Result};

#[derive(Debug, Args)]
pub struct SqlArguments {}

pub async fn sql(_arguments: SqlArguments) -> Result<()> {
    Err(Error::not_supported("sql"))
}
