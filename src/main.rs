//! The engine on the command line.

// A browser has no files: for wasm this is an empty program.
#![cfg_attr(target_arch = "wasm32", no_main)]
#![cfg(not(target_arch = "wasm32"))]

mod cli;

fn main() -> std::process::ExitCode {
    kernels::parallel::use_this_thread();
    cli::main()
}
