//! Makes Rust of the protocol's messages, without a compiler of another language.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["inference.proto", "health.proto"], ["proto"])?;
    // Tensors are not copied out of the message that they came in.
    tonic_prost_build::configure().bytes(".inference").compile_fds(files)?;
    Ok(())
}
