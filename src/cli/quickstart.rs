//! `granary quickstart`.

use clap::Args;

use crate::error::{Error, Result};

#[derive(Debug, Args)]
pub struct QuickstartArguments {}

pub async fn quickstart(_arguments: QuickstartArguments) -> Result<()> {
    Err(Error::not_supported("quickstart"))
}
