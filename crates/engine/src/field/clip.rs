//! A layout on its field, and what is known of it without a mask or a device.

use lithoburn_layout::{Frame, Layout, Raster};
use rayon::join;
use tracing::info_span;

use crate::EngineError;
use crate::evaluate::{Design, Evaluator, Metrics};
use crate::setup::Setup;

/// A layout on its field.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    /// The layout's name.
    pub name: String,
    /// Where its pixels lie.
    pub frame: Frame,
    /// What shall print.
    pub target: Raster,
}

impl Clip {
    /// Draws a layout.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if it does not fit the field, or the pixels do not.
    pub(crate) fn of(setup: &Setup, layout: &Layout) -> Result<Self, EngineError> {
        let frame = Frame::centred(layout, setup.kernels.period_nm, setup.pixel_nm)?;
        let _span = info_span!("draw").entered();
        let target = layout.rasterize(&frame, setup.coverage);
        Ok(Self { name: layout.name.clone(), frame, target })
    }
}

/// A design as masks are compared with it, and what it would be as a mask.
pub(crate) struct Before {
    /// Its sites and pixels.
    pub design: Design,
    /// Its numbers: of the shapes alone, until it [was imaged](Before::imaged).
    pub metrics: Metrics,
}

impl Before {
    /// What needs no images.
    pub(crate) fn of(target: &Raster) -> Self {
        let shapes = || info_span!("shapes").in_scope(|| Metrics::of_mask(target));
        let (design, metrics) = join(|| Design::whole(target), shapes);
        Self { design, metrics }
    }

    /// The same with all numbers.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::evaluate`].
    pub(crate) fn imaged(self, evaluator: &Evaluator) -> Result<Self, EngineError> {
        let printed = evaluator.metrics(self.design.exposed(), &self.design)?;
        Ok(Self { metrics: printed.with_mask(&self.metrics), ..self })
    }
}
