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
//! | [`engine`] | the main job, for one field or a layout of any size; prints, process windows, scaling studies |
//! | [`train`] | training through the simulator |
//!
//! From a design to a mask, with defaults for all that is not said ([`engine::Correction`]):
//!
//! ```
//! use lithoburn::prelude::*;
//!
//! # fn main() -> Result<(), EngineError> {
//! let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
//! # let (correct, pixel_nm) = (0, 8.0);
//! let correction = Correction::of(&design).model(Model::NeuralIltFast).device("cpu");
//! # let correction = correction.correct(correct).pixel_nm(pixel_nm);
//! let mask = correction.run()?;
//! assert!(mask.metrics().l2_nm2 < mask.metrics_before().l2_nm2);
//! assert_eq!(mask.polygons().is_empty(), mask.report().mask_is_empty);
//! // mask.write("out")?; leaves mask.gds, mask.png, overview.png and report.json
//! # Ok(())
//! # }
//! ```
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

/// What a program that corrects or measures masks needs.
///
/// ```
/// use lithoburn::prelude::*;
/// ```
pub mod prelude {
    pub use lithoburn_engine::{
        Correction, Design, EngineError, Evaluator, Mask, MaskFormat, MaskStyle, Metrics, Model,
        ModelSettings, Report, default_kernels, load_kernels,
    };
    pub use lithoburn_layout::{
        Coverage, Frame, Layer, Layout, Library, MaskRules, Polygon, PolygonWriter, Raster,
        ReadOptions,
    };
    pub use lithoburn_litho::{KernelSet, Process, ProcessWindow, Resist};
}
