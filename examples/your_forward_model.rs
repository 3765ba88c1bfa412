#![recursion_limit = "256"]
//! A forward model of your own: the thin mask with stray light. The descent knows only that a model makes images of masks.
//!
//! `cargo run --release --example your_forward_model`

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::litho::forward::{ForwardModel, Imager, ThinMask};
use lithoburn::litho::ilt::{Ilt, IltConfig, Start};
use lithoburn::litho::{CornerImages, LithoError, ProcessWindow, Simulator};
use lithoburn::prelude::*;

/// Optics of which a share of the light is spread evenly over the field.
struct Flare(ThinMask, f64);

struct FlareImager<'a>(Box<dyn Imager + 'a>, f64);

impl ForwardModel for Flare {
    fn period_nm(&self) -> f64 {
        self.0.period_nm()
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        Ok(Box::new(FlareImager(self.0.on(pixel_nm, points)?, self.1)))
    }
}

impl Imager for FlareImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.0.images(mask).map(|i| i.clone() * (1.0 - self.1) + i.mean_dim(2).mean_dim(1) * self.1)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
    let (kernels, device) = (default_kernels()?, Device::flex());
    let frame = Frame::centred(&design, kernels.period_nm, 8.0)?;
    let target = design.rasterize(&frame, Coverage::Exact);
    let data = TensorData::new(target.data, [1, target.height, target.width]);
    let target = Tensor::<3>::from_data(data, &device);
    let thin = ThinMask::new(Simulator::new(&kernels, &device), ProcessWindow::default());

    let mut descent = IltConfig::default();
    descent.levels.truncate(1);
    descent.levels[0].iterations = 8;
    let model = Flare(thin, 0.02);
    let found = Ilt::new(&descent, &model).run(&target, &Start::Target, &mut |_| true)?;
    println!("{} pixels of the mask are open", found.masks.counts()?[0]);
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
