//! Optics from options: a recipe, and what the command line changes in it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lithoburn_layout::png;
use lithoburn_litho::optics::Optics;
use lithoburn_litho::optics::source::{Axis, Polarization, Source};

/// Finest and coarsest step of source points, in sigma.
const STEPS: [f64; 2] = [1e-3, 0.02];

/// Optics to make kernels of. What is left out keeps the recipe's value; the default recipe is the ICCAD
/// 2013 contest's.
#[derive(Args, Debug)]
pub(crate) struct OpticsOptions {
    /// A JSON file with all optics (as in a set's metadata) instead of the defaults.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Shape of the source: conventional, annular, dipole, quadrupole (poles on the diagonals), cquad (poles
    /// on the axes; the default), or image:FILE, a square grey PNG that covers sigma -1 to 1 in x (to the
    /// right) and y (down); brightness is weight.
    #[arg(long, value_name = "SHAPE")]
    source: Option<String>,
    /// Outer radius of the source, in units of the pupil's radius; above 0, at most 2 [default: 0.8414].
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma: Option<f64>,
    /// Inner radius of the source, in units of the pupil's radius [default: 0.5656].
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_inner: Option<f64>,
    /// Half the opening angle of a pole, in degrees [default: 18.98].
    #[arg(long, value_name = "DEG", allow_negative_numbers = true)]
    half_angle: Option<f64>,
    /// Where a dipole's poles are [default: x].
    #[arg(long, value_enum, value_name = "AXIS")]
    axis: Option<AxisName>,
    /// Distance of source points, in sigma [default: 0.02, finer for small sources].
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    source_step: Option<f64>,
    /// Polarisation of the light [default: cross-poles].
    #[arg(long, value_enum, value_name = "NAME")]
    polarization: Option<PolarizationName>,
    /// Numerical aperture at the wafer [default: 0.8011].
    #[arg(long, value_name = "NA", allow_negative_numbers = true)]
    na: Option<f64>,
    /// Refractive index of the resist, above NA [default: 1.0611].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    index: Option<f64>,
    /// Vacuum wavelength, in nm [default: 193].
    #[arg(long, value_name = "NM", allow_negative_numbers = true)]
    wavelength: Option<f64>,
    /// Phase at the pupil's rim in the defocus corner, in rad [default: -0.583].
    #[arg(long, value_name = "RAD", allow_negative_numbers = true, conflicts_with = "defocus_nm")]
    defocus: Option<f64>,
    /// Distance from focus in the defocus corner, in nm, instead of a phase.
    #[arg(long, value_name = "NM", allow_negative_numbers = true)]
    defocus_nm: Option<f64>,
    /// Wavefront error of the lens: Zernike coefficients in waves, fringe order, Z2 to Z37, such as
    /// Z4=0.01,Z7=-0.02 [default: none].
    #[arg(long, value_name = "TERMS", value_delimiter = ',')]
    aberrations: Vec<String>,
    /// Factor on the intensity, or auto: the clear field in focus is 1. [default: the recipe's, and auto
    /// where source, polarisation, NA, index or wavelength were changed]
    #[arg(long, value_name = "auto|FACTOR", allow_negative_numbers = true)]
    exposure: Option<Exposure>,
    /// Kernels to keep [default: 24].
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Field period, in nm; the number of frequencies follows [default: 2048].
    #[arg(long, value_name = "NM", allow_negative_numbers = true)]
    period: Option<f64>,
}

/// A shape of the source, by name.
#[derive(Clone, Debug, PartialEq)]
enum SourceName {
    Conventional,
    Annular,
    Dipole,
    Quadrupole,
    CrossQuad,
    Image(PathBuf),
}

impl FromStr for SourceName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "conventional" => Self::Conventional,
            "annular" => Self::Annular,
            "dipole" => Self::Dipole,
            "quadrupole" => Self::Quadrupole,
            "cquad" => Self::CrossQuad,
            _ => match name.strip_prefix("image:").filter(|file| !file.is_empty()) {
                Some(file) => Self::Image(file.into()),
                None => bail!(
                    "--source: expected conventional, annular, dipole, quadrupole, cquad or \
                     image:FILE, got {name:?}"
                ),
            },
        })
    }
}

/// An axis, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AxisName {
    /// Poles left and right.
    X,
    /// Poles above and below.
    Y,
}

/// A polarisation, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PolarizationName {
    /// Half along x, half along y.
    Unpolarized,
    /// Poles on the x axis along y, poles on the y axis along x.
    CrossPoles,
    /// Along x.
    X,
    /// Along y.
    Y,
    /// Away from the axis.
    #[value(alias = "tm")]
    Radial,
    /// Around the axis.
    #[value(alias = "te")]
    Azimuthal,
}

/// A Zernike coefficient, such as Z4=0.01.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    index: usize,
    waves: f64,
}

impl FromStr for Term {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let (name, waves) = text.trim().split_once('=')?;
            let index = name.trim().strip_prefix(['Z', 'z'])?.parse().ok()?;
            Some(Self { index, waves: waves.trim().parse().ok()? })
        };
        parts().with_context(|| {
            format!(
                "--aberrations: expected terms such as Z4=0.01 (Z2 to Z37, waves), got {text:?}"
            )
        })
    }
}

/// How bright.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exposure {
    Auto,
    Factor(f64),
}

impl FromStr for Exposure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(factor)) if factor.is_finite() && factor > 0.0 => Ok(Self::Factor(factor)),
            _ => Err("expected auto or a number above 0".into()),
        }
    }
}

impl OpticsOptions {
    /// The recipe with the options' changes.
    pub(crate) fn optics(&self) -> Result<Optics> {
        let base = match &self.recipe {
            Some(path) => read_recipe(path)?,
            None => Optics::default(),
        };
        let mut optics = base.clone();
        self.change_source(&mut optics)?;
        self.change_lens(&mut optics)?;
        optics.count = self.count.unwrap_or(optics.count);
        optics.period_nm = self.period.unwrap_or(optics.period_nm);
        if !(optics.period_nm.is_finite() && optics.period_nm > 0.0) {
            bail!("--period must be positive, got {} nm", optics.period_nm);
        }
        optics.source.check()?;
        let passed = |o: &Optics| (o.pupil.radius_bins(o.period_nm), o.source.outer());
        if passed(&optics) != passed(&base) {
            optics = optics.with_passed_frequencies()?;
        }
        self.exposed(optics, &base)
    }

    fn exposed(&self, optics: Optics, base: &Optics) -> Result<Optics> {
        let light = |o: &Optics| (o.pupil.na, o.pupil.sine, o.pupil.wavelength_nm, o.polarization);
        let same = light(&optics) == light(base) && optics.source == base.source;
        match self.exposure {
            Some(Exposure::Factor(factor)) => Ok(Optics { exposure: [factor; 2], ..optics }),
            None if same => Ok(optics),
            _ => Ok(optics.exposed_to_clear_field()?),
        }
    }

    fn change_source(&self, optics: &mut Optics) -> Result<()> {
        if self.source.is_some() || self.reshapes() {
            optics.source = self.shaped(&optics.source)?;
            optics.source_step = fitting_step(&optics.source);
        }
        optics.source_step = self.source_step.unwrap_or(optics.source_step);
        if let Some(name) = self.polarization {
            optics.polarization = match name {
                PolarizationName::Unpolarized => Polarization::Unpolarized,
                PolarizationName::CrossPoles => Polarization::CrossPoles,
                PolarizationName::X => Polarization::X,
                PolarizationName::Y => Polarization::Y,
                PolarizationName::Radial => Polarization::Radial,
                PolarizationName::Azimuthal => Polarization::Azimuthal,
            };
        }
        Ok(())
    }

    /// Whether an option is about the shape of the source.
    fn reshapes(&self) -> bool {
        [self.sigma, self.sigma_inner, self.half_angle].iter().any(Option::is_some)
            || self.axis.is_some()
    }

    /// The source, with numbers that are left out from the one before, else from the default.
    fn shaped(&self, before: &Source) -> Result<Source> {
        let name = match &self.source {
            Some(name) => name.parse()?,
            None => name_of(before),
        };
        self.check_shape(&name)?;
        let default = Optics::default().source;
        let numbers = if matches!(before, Source::Points(_)) { &default } else { before };
        let [inner, angle] = [0, 1].map(|i| numbers.ring()[i].or(default.ring()[i]).unwrap_or(0.0));
        let outer = self.sigma.unwrap_or(numbers.outer());
        let inner = self.sigma_inner.unwrap_or(inner);
        let half_angle_deg = self.half_angle.unwrap_or(angle);
        Ok(match name {
            SourceName::Conventional => Source::Conventional { sigma: outer },
            SourceName::Annular => Source::Annular { inner, outer },
            SourceName::Dipole => {
                Source::Dipole { inner, outer, half_angle_deg, axis: self.axis_or(before) }
            }
            SourceName::Quadrupole => Source::Quadrupole { inner, outer, half_angle_deg },
            SourceName::CrossQuad => Source::CrossQuad { inner, outer, half_angle_deg },
            SourceName::Image(path) => read_source(&path)?,
        })
    }

    fn axis_or(&self, before: &Source) -> Axis {
        match (self.axis, before) {
            (Some(AxisName::X), _) => Axis::X,
            (Some(AxisName::Y), _) => Axis::Y,
            (None, Source::Dipole { axis, .. }) => *axis,
            (None, _) => Axis::X,
        }
    }

    /// Refuses numbers that the shape does not have.
    fn check_shape(&self, name: &SourceName) -> Result<()> {
        use SourceName::{Annular, Conventional, Dipole, Image};
        let ring = !matches!(name, Conventional | Image(_));
        let given = [
            ("--sigma", self.sigma.is_some(), !matches!(name, Image(_))),
            ("--sigma-inner", self.sigma_inner.is_some(), ring),
            ("--half-angle", self.half_angle.is_some(), ring && *name != Annular),
            ("--axis", self.axis.is_some(), *name == Dipole),
        ];
        match given.iter().find(|(_, given, fits)| *given && !fits) {
            Some((option, ..)) => bail!("{option} does not apply to this --source"),
            None => Ok(()),
        }
    }

    fn change_lens(&self, optics: &mut Optics) -> Result<()> {
        let lens = &mut optics.pupil;
        let index = self.index.unwrap_or(lens.na / lens.sine);
        if self.na.is_some() || self.index.is_some() {
            lens.na = self.na.unwrap_or(lens.na);
            if !(lens.na.is_finite() && lens.na > 0.0) {
                bail!("--na must be positive, got {}", lens.na);
            }
            if index.is_nan() || index <= lens.na {
                bail!("--na {} must be below the index, {index:.4}: see --index", lens.na);
            }
            lens.sine = lens.na / index;
        }
        lens.wavelength_nm = self.wavelength.unwrap_or(lens.wavelength_nm);
        if !(lens.wavelength_nm.is_finite() && lens.wavelength_nm > 0.0) {
            bail!("--wavelength must be positive, got {} nm", lens.wavelength_nm);
        }
        for text in &self.aberrations {
            let term: Term = text.parse()?;
            lens.aberrations = lens.aberrations.with(term.index, term.waves)?;
        }
        optics.defocus_rad = match self.defocus_nm {
            Some(defocus_nm) => lens.defocus_rad + lens.rim_phase(defocus_nm),
            None => self.defocus.unwrap_or(optics.defocus_rad),
        };
        Ok(())
    }
}

fn name_of(source: &Source) -> SourceName {
    match source {
        Source::Conventional { .. } => SourceName::Conventional,
        Source::Annular { .. } => SourceName::Annular,
        Source::Dipole { .. } => SourceName::Dipole,
        Source::Quadrupole { .. } => SourceName::Quadrupole,
        Source::CrossQuad { .. } => SourceName::CrossQuad,
        Source::Points(_) => SourceName::Image(PathBuf::new()),
    }
}

/// Eight points along the radius of a small disc, four across a thin ring.
fn fitting_step(source: &Source) -> f64 {
    let outer = source.outer();
    let across = source.ring()[0].map_or(outer / 8.0, |inner| (outer - inner) / 4.0);
    across.clamp(STEPS[0], STEPS[1])
}

fn read_recipe(path: &Path) -> Result<Optics> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no recipe", path.display()))
}

fn read_source(path: &Path) -> Result<Source> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let image = png::decode(path, &bytes, 1.0)?;
    if image.width != image.height {
        let (width, height) = (image.width, image.height);
        bail!("{}: expected a square image, got {width} x {height} pixels", path.display());
    }
    Source::from_image(&image.data, image.width).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: OpticsOptions,
    }

    fn optics(line: &str) -> Result<Optics> {
        let line = Line::try_parse_from(std::iter::once("make").chain(line.split_whitespace()))?;
        line.options.optics()
    }

    #[test]
    fn without_options_the_optics_are_the_default() -> Result<()> {
        assert_eq!(optics("")?, Optics::default());
        // Kernels kept, defocus and aberrations leave the clear field as it is.
        let changed = optics("--count 8 --defocus -0.8 --aberrations Z4=0.01,Z7=-0.02")?;
        assert_eq!(changed.exposure, Optics::default().exposure);
        let terms: Vec<_> = changed.pupil.aberrations.terms().collect();
        assert_eq!(terms, [(4, 0.01), (7, -0.02)]);
        Ok(())
    }

    #[test]
    fn frequencies_and_exposure_follow_the_options() -> Result<()> {
        let line = "--source dipole --sigma 0.9 --sigma-inner 0.6 --axis y --polarization x \
                    --na 1.35 --index 1.7 --period 300 --source-step 0.1";
        let found = optics(line)?;
        let half_angle_deg = 18.98;
        let source = Source::Dipole { inner: 0.6, outer: 0.9, half_angle_deg, axis: Axis::Y };
        assert_eq!((&found.source, found.polarization), (&source, Polarization::X));
        assert_eq!(found.half, 4); // 1.35 / 193 · 300 · 1.9 = 3.99
        assert!((found.pupil.sine - 1.35 / 1.7).abs() < 1e-12);
        assert!((found.kernels()?.focus.clear_field() - 1.0).abs() < 1e-5); // f32 storage
        assert_eq!(optics(&format!("{line} --exposure 0.5"))?.exposure, [0.5, 0.5]);
        Ok(())
    }

    #[test]
    fn defocus_in_nm_is_a_phase_at_the_rim() -> Result<()> {
        let found = optics("--defocus-nm 30")?;
        assert_eq!(found.defocus_rad, found.pupil.rim_phase(30.0));
        Ok(())
    }

    #[test]
    fn wrong_options_are_named() {
        let cases = [
            ("--na -1", "--na must be positive"),
            ("--na NaN", "--na must be positive"),
            ("--na 1.35", "--index"),
            ("--na 1.35 --index 1.2", "below the index"),
            ("--sigma 3", "at most 2"),
            ("--sigma 0.5", "inner sigma"),
            ("--source conventional --half-angle 10", "--half-angle does not apply"),
            ("--source star", "image:FILE"),
            ("--source image:missing.png", "missing.png"),
            ("--aberrations Z1=0.1", "expected Z2 to Z37"),
            ("--aberrations Z4=inf", "finite"),
            ("--aberrations coma", "Z4=0.01"),
            ("--period inf", "--period"),
            ("--period 1000000", "shorter period"),
            ("--exposure 0", "above 0"),
            ("--wavelength 0", "--wavelength"),
        ];
        for (line, expected) in cases {
            let problem = format!("{:#}", optics(line).expect_err(line));
            assert!(problem.contains(expected), "{line}: {problem}");
        }
    }
}
