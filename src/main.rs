//! The program: a runtime, a log, and the command line.

use std::io::IsTerminal;
use std::process::ExitCode;

use granary::priority::STACK_BYTES;

/// The system's gives memory back and takes it anew so often that threads wait for each other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::new(granary::config::log_filter());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        // where nobody reads the log any more, to say so there would end who says it
        .log_internal_errors(false)
        .init();
    // for listeners and HTTP; queries, and clients of the Postgres port, have threads of their own
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("granary: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(granary::cli::run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("granary: {error}");
            if let Some(detail) = error.detail() {
                eprintln!("  {detail}");
            }
            if let Some(hint) = error.hint() {
                eprintln!("  hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
