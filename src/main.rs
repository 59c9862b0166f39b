//! The program: reads its arguments and does what they say.

use passerelle::cli::Cli;
use passerelle::edge::heap::Heap;
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> ExitCode {
    Cli::main()
}
