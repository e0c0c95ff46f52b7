//! The program: a runtime, a log, and the command line.

use std::process::ExitCode;

use granary::priority::STACK_BYTES;

/// The system's gives memory back and takes it anew so often that threads wait for each other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // for listeners and HTTP; queries, and clients of the Postgres port, have threads of their own
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("granary: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _in_runtime = runtime.enter();
    let logging = granary::logging::begin();
    match logging.and_then(|_logging| runtime.block_on(granary::cli::run())) {
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
