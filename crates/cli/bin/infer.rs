#![recursion_limit = "256"]
//! `infer`: a layout in, a corrected mask out.

use clap::Parser;
use lithoburn_cli::infer::{InferArgs, infer};

/// Correct a layout: find the mask whose print is the design.
#[derive(Parser)]
#[command(name = "infer", version)]
struct Cli {
    #[command(flatten)]
    args: InferArgs,
}

fn main() {
    lithoburn_pool::prepare_graphics();
    lithoburn_pool::answer_probes();
    lithoburn_engine::answer_ahead();
    let cli = Cli::parse();
    cli.args.hide_other_cards();
    lithoburn_cli::run(|| infer(&cli.args));
}
