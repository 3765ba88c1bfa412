//! lithoburn: computational lithography in Rust. A layout goes in, a corrected mask comes out.
//!
//! The library is the sum of its crates; each has its own page:
//!
//! | crate | what |
//! |---|---|
//! | [`layout`] | polygons, rasters, GDSII, OASIS, GLP, PNG, libraries read by window, fracturing, synthetic clips and chips |
//! | [`litho`] | optics, aerial image, resist, loss, inverse lithography, metrics |
//! | [`pool`] | devices, their kernel cache, plans, tasks shared among many |
//! | [`ranks`] | several devices that compute parts of one network |
//! | [`models`] | networks that propose masks, on one device or several |
//! | [`engine`] | the main job, and its form for layouts of any size ([`engine::chip`]) |
//! | [`train`] | training through the simulator |
//!
//! Simulate a mask:
//!
//! ```
//! use lithoburn::engine::{Evaluator, default_kernels};
//! use lithoburn::layout::{Coverage, Frame, Layout, Polygon};
//! use lithoburn::litho::Process;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
//! let frame = Frame::centred(&design, 2048.0, 4.0)?;
//! let target = design.rasterize(&frame, Coverage::Exact);
//! let evaluator = Evaluator::new(&default_kernels()?, &Process::default());
//! let found = evaluator.evaluate(&target, &target, 0)?;
//! assert!(found.metrics.epe_violations > 0); // a bare design does not print: that is the job
//! # Ok(())
//! # }
//! ```
//!
//! # Depending on it
//!
//! ```toml
//! [dependencies]
//! lithoburn = { path = "LITHOBURN" }    # the CPU and wgpu; default-features = false leaves the CPU alone
//! ```
//!
//! builds from the registry alone. Feature `cuda`, for NVIDIA's cards, needs two stand-ins in *your* `Cargo.toml`, since patches do not
//! travel with a dependency: without them a build script downloads LLVM, and another wants libclang.
//!
//! ```toml
//! [patch.crates-io]
//! cubecl-llvm = { path = "LITHOBURN/vendor/cubecl-llvm" }
//! turso = { path = "LITHOBURN/vendor/turso" }
//! ```

pub use burn;
pub use lithoburn_engine as engine;
pub use lithoburn_layout as layout;
pub use lithoburn_litho as litho;
pub use lithoburn_models as models;
pub use lithoburn_pictures as pictures;
pub use lithoburn_pool as pool;
pub use lithoburn_ranks as ranks;
pub use lithoburn_train as train;
