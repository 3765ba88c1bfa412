//! Masks through dose and focus: the focus-exposure matrix and the process window.

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::Raster;
use lithoburn_litho::metrics::{EPE_REACH_NM, check_epe, epe_sites};
use lithoburn_litho::window::{DoseRange, EdgeErrors, Image, depth_at, latitude_by_depth};
use lithoburn_litho::{KernelSet, Kernels, LithoError, PackedImages, Process, Simulator};
use serde::Serialize;

use crate::EngineError;
use lithoburn_pictures::PictureError;
use lithoburn_pictures::chart::{Chart, Series};

/// Exposure latitude at which the depth of focus is reported.
const LATITUDE: f64 = 0.05;

/// What to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSettings {
    /// Distances from best focus, in nm, in rising order.
    pub foci_nm: Vec<f64>,
    /// Factors on the intensity.
    pub doses: Vec<f64>,
    /// How far an edge may be off, in nm.
    pub tolerance_nm: f64,
}

/// A print at one focus and dose.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Exposed {
    /// Distance from best focus, in nm.
    pub focus_nm: f64,
    /// Factor on the intensity.
    pub dose: f64,
    /// Area that differs from the target, in nm².
    pub l2_nm2: f64,
    /// EPE violations (±15 nm).
    pub epe_violations: usize,
    /// Edges on the contour.
    pub edges: EdgeErrors,
}

/// The process window of a mask.
#[derive(Clone, Debug, Serialize)]
pub struct WindowReport {
    /// The layout's name.
    pub layout: String,
    /// How far an edge may be off, in nm.
    pub tolerance_nm: f64,
    /// Sites whose edges count.
    pub sites: usize,
    /// Focus by focus and dose by dose.
    pub matrix: Vec<Exposed>,
    /// Doses allowed at each focus.
    pub ranges: Vec<DoseRange>,
    /// Depth of focus in nm, and the exposure latitude over it.
    pub latitude: Vec<[f64; 2]>,
    /// Exposure latitude at the focus that has most.
    pub best_latitude: f64,
    /// Depth of focus at 5 % latitude, in nm; 0 if there is none.
    pub depth_nm: f64,
}

/// Kernels at distances from best focus, from the recipe that a set was made with.
///
/// # Errors
///
/// [`EngineError::Setting`] if the set has no recipe and a distance is not 0.
pub fn kernels_at(set: &KernelSet, foci_nm: &[f64]) -> Result<Vec<Kernels>, EngineError> {
    let at = |&focus_nm: &f64| {
        match (&set.recipe, focus_nm == 0.0) {
        (_, true) => Ok(set.focus.clone()),
        (Some(recipe), false) => Ok(recipe.optics.at_focus(focus_nm)?),
        (None, false) => Err(EngineError::Setting(
            "these kernels hold no recipe, so there are none for other foci: use the built-in ones, or make \
             a set with `lithoburn kernels make`"
                .into(),
        )),
    }
    };
    foci_nm.iter().map(at).collect()
}

/// Images of a field's mask at distances from best focus, on a grid of `pixel_nm`.
///
/// # Errors
///
/// As [`kernels_at`], or if the mask is not one field.
pub fn through_focus(
    set: &KernelSet,
    process: &Process,
    mask: &Raster,
    foci_nm: &[f64],
    pixel_nm: f64,
) -> Result<Vec<Raster>, EngineError> {
    let kernels = kernels_at(set, foci_nm)?;
    let mut images = Vec::new();
    // A simulator takes two foci at once.
    for pair in kernels.chunks(2) {
        let (focus, defocus) = (pair[0].clone(), pair[pair.len() - 1].clone());
        let pair_set =
            KernelSet { period_nm: set.period_nm, focus, defocus, recipe: None, ambit_nm: None };
        let simulator =
            Simulator::new(&pair_set, &Device::flex()).with_diffusion(process.diffusion_nm);
        let points = (mask.pixel_nm / pixel_nm).round().max(1.0) as usize;
        let grid = simulator.sampling(mask.pixel_nm, points)?;
        if [mask.width, mask.height] != [grid.size; 2] {
            return Err(EngineError::Setting(format!(
                "the mask is {} x {} pixels; expected {} x {} for the kernels' field",
                mask.width, mask.height, grid.size, grid.size
            )));
        }
        let image = simulator.sampling(pixel_nm, 1)?;
        let data = TensorData::new(mask.data.clone(), [1, mask.height, mask.width]);
        let aerial = simulator.aerial(Tensor::from_data(data, simulator.device()), &grid, &image);
        let both = [aerial.best, aerial.defocus];
        for tensor in both.into_iter().take(pair.len()) {
            let data = tensor.try_into_vec_as::<f32>().map_err(|e| LithoError::Device {
                doing: "read the aerial image",
                problem: e.to_string(),
            })?;
            images.push(Raster { width: image.size, height: image.size, pixel_nm, data });
        }
    }
    Ok(images)
}

/// Looks at a mask through focus and dose. `mask` is binarised; both rasters cover one field.
///
/// # Errors
///
/// As [`through_focus`].
pub fn process_window(
    layout: &str,
    set: &KernelSet,
    process: &Process,
    mask: &Raster,
    target: &Raster,
    settings: &WindowSettings,
) -> Result<WindowReport, EngineError> {
    let pixel_nm = target.pixel_nm;
    let images = through_focus(set, process, &mask.binarized(), &settings.foci_nm, pixel_nm)?;
    let inside = PackedImages::at_least(&target.data, target.width, 0.5);
    if let Some(image) =
        images.iter().find(|i| [i.width, i.height] != [target.width, target.height])
    {
        return Err(EngineError::Setting(format!(
            "the target is {} x {} pixels of {pixel_nm} nm; expected {} x {} for the kernels' field",
            target.width, target.height, image.width, image.height
        )));
    }
    let sites = epe_sites(inside.bitmap(0), pixel_nm);
    let resist = process.resist;
    let (mut matrix, mut ranges) = (Vec::new(), Vec::new());
    for (&focus_nm, raster) in settings.foci_nm.iter().zip(&images) {
        let image = Image { data: &raster.data, width: raster.width, pixel_nm };
        ranges.push(DoseRange::of(
            image,
            focus_nm,
            &sites,
            settings.tolerance_nm,
            resist.threshold,
        ));
        for &dose in &settings.doses {
            let printed = resist.print(&raster.data, raster.width, dose);
            let printed = printed.bitmap(0);
            let off = printed.differing(inside.bitmap(0), 0);
            let found = check_epe(printed, &sites, EPE_REACH_NM, pixel_nm);
            matrix.push(Exposed {
                focus_nm,
                dose,
                l2_nm2: off as f64 * pixel_nm * pixel_nm,
                epe_violations: found.iter().map(|f| f.violations()).sum(),
                edges: EdgeErrors::measure(image, resist.threshold / dose, &sites),
            });
        }
    }
    let latitude = latitude_by_depth(&ranges);
    Ok(WindowReport {
        layout: layout.into(),
        tolerance_nm: settings.tolerance_nm,
        sites: sites.len(),
        best_latitude: latitude.first().map_or(0.0, |p| p[1]),
        depth_nm: depth_at(&latitude, LATITUDE),
        matrix,
        ranges,
        latitude,
    })
}

impl WindowReport {
    /// The window, the latitude over depth, and the edges through focus, as PNG.
    ///
    /// # Errors
    ///
    /// [`PictureError`] if memory does not hold it.
    pub fn picture(&self) -> Result<Vec<u8>, PictureError> {
        let line = |name: &str, points: Vec<[f64; 2]>| Series {
            name: name.into(),
            points,
            labels: Vec::new(),
            joined: true,
        };
        let bound = |pick: fn(&DoseRange) -> f64| {
            let open = |r: &DoseRange| if r.low < r.high { pick(r) } else { f64::NAN };
            self.ranges.iter().map(|r| [r.focus_nm, open(r)]).collect::<Vec<_>>()
        };
        let window = Chart {
            title: format!(
                "{}: doses with all edges within ±{} nm",
                self.layout, self.tolerance_nm
            ),
            x: "focus, nm".into(),
            y: "dose, relative".into(),
            series: vec![line("least", bound(|r| r.low)), line("largest", bound(|r| r.high))],
        };
        let percent = self.latitude.iter().map(|p| [p[0], 100.0 * p[1]]).collect();
        let latitude = Chart {
            title: format!("5 % latitude over {:.0} nm of focus", self.depth_nm),
            x: "depth of focus, nm".into(),
            y: "exposure latitude, %".into(),
            series: vec![line("latitude", percent)],
        };
        let mut doses: Vec<f64> = self.matrix.iter().map(|e| e.dose).collect();
        doses.sort_by(f64::total_cmp);
        doses.dedup();
        let edges = doses.iter().map(|&dose| {
            let own = self.matrix.iter().filter(|e| e.dose == dose);
            line(&format!("dose {dose:.2}"), own.map(|e| [e.focus_nm, e.edges.mean_nm]).collect())
        });
        let bossung = Chart {
            title: "mean edge error through focus".into(),
            x: "focus, nm".into(),
            y: "mean edge error, nm".into(),
            series: edges.collect(),
        };
        lithoburn_pictures::chart::draw(&[window, latitude, bossung])
    }
}
