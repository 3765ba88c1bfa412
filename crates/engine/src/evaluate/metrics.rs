//! The numbers of a mask, and how people read them.

use lithoburn_layout::{Bits, Raster, fracture, shapes};
use lithoburn_litho::window::EdgeErrors;
use serde::{Deserialize, Serialize};

/// Rasters with more pixels than this are not searched for the smallest shape and gap.
const MOST_SHAPE_PIXELS: usize = 100_000_000;
/// Areas from here on are in µm² for people.
const MOST_NM2: f64 = 1e7;
/// Of so many sites, violations are a share for people.
const MOST_SITES: usize = 10_000;

/// The numbers of a mask. Areas are in nm².
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Area where the nominal print is not the target.
    pub l2_nm2: f64,
    /// Area between the outer and the inner print.
    pub pvb_nm2: f64,
    /// EPE violations; a site can count twice.
    pub epe_violations: usize,
    /// The same with probes at 1 nm instead of 15; none where pixels are larger.
    pub epe_violations_1nm: Option<usize>,
    /// With probes at 3 nm.
    pub epe_violations_3nm: Option<usize>,
    /// With probes at 5 nm.
    pub epe_violations_5nm: Option<usize>,
    /// EPE sites.
    pub epe_sites: usize,
    /// Sites near which no edge prints.
    pub epe_missing: usize,
    /// Mean distance of the nominal contour from the design's edge at the sites, in nm, positive outwards; none if no edge was
    /// found at any.
    pub epe_mean_nm: Option<f64>,
    /// Three standard deviations of it.
    pub epe_three_sigma_nm: Option<f64>,
    /// The largest, without its sign.
    pub epe_max_nm: Option<f64>,
    /// Rectangles of the mask on a 4 nm grid, fractured deterministically.
    pub shots: usize,
    /// Rectangles the way adabox counts them (random, seed 0), for comparison with published counts; none of a layout of many
    /// tiles.
    pub shots_adabox: Option<usize>,
    /// Area of the mask's smallest shape; none if the mask is empty, too large to search, or of many tiles.
    pub min_shape_area_nm2: Option<f64>,
    /// Gap between the mask's two nearest shapes; none if it has fewer than two.
    pub min_shape_distance_nm: Option<f64>,
}

impl Metrics {
    /// The same with the errors at its sites' edges.
    pub(super) fn with_edges(self, edges: &EdgeErrors) -> Self {
        let some = |nm: f64| (edges.found > 0).then_some(nm);
        Self {
            epe_missing: edges.missing,
            epe_mean_nm: some(edges.mean_nm),
            epe_three_sigma_nm: some(edges.three_sigma_nm),
            epe_max_nm: some(edges.max_nm),
            ..self
        }
    }

    /// Adds the counts of another field.
    pub(crate) fn add(&mut self, other: &Self) {
        self.l2_nm2 += other.l2_nm2;
        self.pvb_nm2 += other.pvb_nm2;
        let tight = self.tight_with(other);
        [self.epe_violations_1nm, self.epe_violations_3nm, self.epe_violations_5nm] = tight;
        self.epe_violations += other.epe_violations;
        let edges = [&*self, other].map(Self::moments);
        let [count, sum, squares] = [0, 1, 2].map(|i| edges[0][i] + edges[1][i]);
        let some = |nm: f64| (count > 0.0).then_some(nm);
        let mean = sum / count;
        let variance = squares / count - mean * mean;
        self.epe_mean_nm = some(mean);
        self.epe_three_sigma_nm = some(3.0 * variance.max(0.0).sqrt());
        self.epe_max_nm = match (self.epe_max_nm, other.epe_max_nm) {
            (Some(a), Some(b)) => Some(if a >= b { a } else { b }),
            (a, b) => a.or(b),
        };
        self.epe_sites += other.epe_sites;
        self.epe_missing += other.epe_missing;
    }

    /// Violations at 1, 3 and 5 nm.
    fn tight(&self) -> [Option<usize>; 3] {
        [self.epe_violations_1nm, self.epe_violations_3nm, self.epe_violations_5nm]
    }

    /// Those of two fields; one without sites has none to add.
    fn tight_with(&self, other: &Self) -> [Option<usize>; 3] {
        match [self.epe_sites, other.epe_sites] {
            [0, _] => other.tight(),
            [_, 0] => self.tight(),
            _ => {
                let both = |i: usize| Some(self.tight()[i]? + other.tight()[i]?);
                std::array::from_fn(both)
            }
        }
    }

    /// Edges that were found, the sum of their errors and of the errors' squares.
    fn moments(&self) -> [f64; 3] {
        let (Some(mean), Some(three_sigma)) = (self.epe_mean_nm, self.epe_three_sigma_nm) else {
            return [0.0; 3];
        };
        let count = (self.epe_sites - self.epe_missing) as f64;
        [count, count * mean, count * ((three_sigma / 3.0).powi(2) + mean * mean)]
    }

    /// What concerns a mask alone.
    pub(crate) fn of_mask(mask: &Raster) -> Self {
        let mut metrics = Self::default();
        metrics.measure_mask(mask);
        metrics
    }

    /// The same with what another's mask is by itself.
    pub(crate) fn with_mask(self, other: &Self) -> Self {
        Self {
            shots: other.shots,
            shots_adabox: other.shots_adabox,
            min_shape_area_nm2: other.min_shape_area_nm2,
            min_shape_distance_nm: other.min_shape_distance_nm,
            ..self
        }
    }

    /// Fills in what concerns the mask alone.
    pub fn measure_mask(&mut self, mask: &Raster) {
        let bits = Bits::of_raster(mask);
        let adabox = || fracture::adabox_count(mask, 0);
        let shots = || fracture::shot_count_of_bits(&bits, mask.pixel_nm);
        let smallest = || match mask.data.len() <= MOST_SHAPE_PIXELS {
            true => shapes::smallest_nm(&bits, mask.pixel_nm),
            false => (None, None),
        };
        let (adabox, (shots, smallest)) = rayon::join(adabox, || rayon::join(shots, smallest));
        (self.shots, self.shots_adabox) = (shots, Some(adabox));
        (self.min_shape_area_nm2, self.min_shape_distance_nm) = smallest;
    }

    /// Rows of name, before and after, as people read them. A dash stands for what there is not.
    pub fn table(&self, after: &Self) -> Vec<[String; 3]> {
        let some =
            |v: Option<f64>, unit: &str| v.map_or("–".into(), |v| format!("{v:.0} {unit}"));
        let row =
            |name: &str, value: &dyn Fn(&Self) -> String| [name.into(), value(self), value(after)];
        vec![
            row("L2", &|m| area(m.l2_nm2)),
            row("PV band", &|m| area(m.pvb_nm2)),
            row("EPE violations", &violations),
            row("EPE at 5, 3, 1 nm", &tight_violations),
            row("EPE mean ± 3σ", &|m| match (m.epe_mean_nm, m.epe_three_sigma_nm) {
                (Some(mean), Some(three_sigma)) => format!("{mean:.1} ± {three_sigma:.1} nm"),
                _ => "–".into(),
            }),
            row("Shots", &|m| m.shots.to_string()),
            row("Smallest shape", &|m| some(m.min_shape_area_nm2, "nm²")),
            row("Smallest gap", &|m| some(m.min_shape_distance_nm, "nm")),
        ]
    }
}

/// Numbers of whole layouts are too long for a column.
fn area(nm2: f64) -> String {
    match nm2 < MOST_NM2 {
        true => format!("{nm2:.0} nm²"),
        false => format!("{:.2} µm²", nm2 * 1e-6),
    }
}

fn violations(m: &Metrics) -> String {
    if m.epe_sites < MOST_SITES {
        return format!("{} of {} sites", m.epe_violations, m.epe_sites);
    }
    let share = 100.0 * m.epe_violations as f64 / m.epe_sites as f64;
    let digits = if share < 10.0 { 2 } else { 0 };
    format!("{} ({share:.digits$} %)", m.epe_violations)
}

/// Violations where the print must be nearer to the design's edge, the widest tolerance first.
fn tight_violations(m: &Metrics) -> String {
    let count = |count: Option<usize>| count.map_or("–".into(), |count| count.to_string());
    let [nm1, nm3, nm5] = m.tight().map(count);
    format!("{nm5}, {nm3}, {nm1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of 1, 3 and 5 nm at one field, 7 nm at another, none found at a third: mean 4 nm, variance 5 nm².
    #[test]
    fn fields_add_up_to_the_edges_of_all_their_sites() {
        let field = |epe_sites, epe_missing, mean: f64, variance: f64, max| Metrics {
            epe_sites,
            epe_missing,
            epe_mean_nm: Some(mean),
            epe_three_sigma_nm: Some(3.0 * variance.sqrt()),
            epe_max_nm: Some(max),
            ..Metrics::default()
        };
        let mut sum = Metrics::default();
        sum.add(&field(4, 1, 3.0, 8.0 / 3.0, 5.0));
        sum.add(&field(1, 0, 7.0, 0.0, 7.0));
        sum.add(&Metrics { epe_sites: 2, epe_missing: 2, ..Metrics::default() });
        assert_eq!((sum.epe_sites, sum.epe_missing), (7, 3));
        let near =
            |found: Option<f64>, nm: f64| found.is_some_and(|found| (found - nm).abs() < 1e-9);
        assert!(near(sum.epe_mean_nm, 4.0) && near(sum.epe_max_nm, 7.0), "{sum:?}");
        assert!(near(sum.epe_three_sigma_nm, 3.0 * 5.0_f64.sqrt()), "{sum:?}");
    }

    #[test]
    fn tight_violations_add_up_and_are_none_where_one_field_has_none() {
        let field = |epe_sites, nm3: Option<usize>| Metrics {
            epe_sites,
            epe_violations_1nm: Some(9),
            epe_violations_3nm: nm3,
            ..Metrics::default()
        };
        let mut sum = Metrics::default();
        sum.add(&field(5, Some(2)));
        sum.add(&field(7, Some(3)));
        assert_eq!(sum.tight(), [Some(18), Some(5), None]);
        sum.add(&field(7, None));
        assert_eq!(sum.tight(), [Some(27), None, None]);
        sum.add(&Metrics::default());
        assert_eq!(sum.tight(), [Some(27), None, None]);
        assert_eq!(sum.table(&sum)[3][2], "–, –, 27");
    }

    /// Each number by itself, as it is without other processors, is the second way.
    #[test]
    fn what_a_mask_is_by_itself_does_not_depend_on_who_counts() {
        let mut mask = Raster::new(300, 260, 2.0);
        for [x, y, side] in [[20, 30, 50], [90, 31, 12], [200, 100, 40], [110, 210, 33]] {
            for row in mask.data.chunks_exact_mut(300).skip(y).take(side) {
                row[x..x + side].fill(1.0);
            }
        }
        let found = Metrics::of_mask(&mask);
        assert_eq!(found.shots, fracture::shot_count(&mask));
        assert_eq!(found.shots_adabox, Some(fracture::adabox_count(&mask, 0)));
        assert_eq!(found.min_shape_area_nm2, shapes::smallest_area_nm2(&mask));
        assert_eq!(found.min_shape_distance_nm, shapes::smallest_distance_nm(&mask));
        assert_eq!((found.min_shape_area_nm2, found.shots), (Some(576.0), 4));
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(alone.install(|| Metrics::of_mask(&mask)), found);
        let printed = Metrics { l2_nm2: 7.0, shots: 9, ..Metrics::default() };
        assert_eq!(printed.with_mask(&found), Metrics { l2_nm2: 7.0, ..found });
    }

    /// `0.0 ± 0.0 nm` is what a perfect mask has.
    #[test]
    fn a_print_without_edges_has_a_dash_and_null_instead_of_no_error() {
        let mut nothing = Metrics::default();
        nothing.add(&Metrics { epe_sites: 96, epe_missing: 96, ..Metrics::default() });
        assert_eq!(nothing.table(&nothing)[4][2], "–");
        let json = serde_json::to_value(nothing).expect("numbers");
        assert!(json["epe_mean_nm"].is_null() && json["epe_max_nm"].is_null(), "{json}");
    }

    #[test]
    fn numbers_of_a_clip_and_of_a_chip_fit_their_columns() {
        let metrics = |l2_nm2, epe_violations, epe_sites| Metrics {
            l2_nm2,
            epe_violations,
            epe_sites,
            ..Metrics::default()
        };
        let cells = |m: Metrics| {
            let table = m.table(&m);
            [table[0][1].clone(), table[2][2].clone()]
        };
        assert_eq!(cells(metrics(24_542.4, 2, 85)), ["24542 nm²", "2 of 85 sites"]);
        assert_eq!(cells(metrics(95_539_486.0, 66_990, 135_786)), ["95.54 µm²", "66990 (49 %)"]);
        assert_eq!(cells(metrics(2.2e7, 237, 135_786)), ["22.00 µm²", "237 (0.17 %)"]);
    }
}
