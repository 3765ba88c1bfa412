//! A tile's numbers: simulated once for each pair of target and mask.

use lithoburn_layout::{Bits, Bounds, Raster, TileGrid, Violation, fracture};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::info_span;

use super::Chip;
use super::picture::{Scale, shades};
use crate::EngineError;
use crate::evaluate::{Design, Evaluation, Evaluator, Exposed, Metrics};
use crate::report::{Place, Seams};
use crate::tiles::Flow;
use crate::tiles::journal::{Key, Kind};
use crate::tiles::packed::Packed;

/// Sites this near to a core's border are its seam's, in nm.
const SEAM_NM: f64 = 100.0;

/// A tile's numbers, as the journal keeps them. Places are from the core's first corner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub before: Metrics,
    pub after: Metrics,
    pub violations: Vec<Violation>,
    pub unprinted: Vec<Place>,
    pub seams: Seams,
    /// The core's nominal print on the pixels of the whole's picture, as [`shades`] writes it.
    pub print: String,
}

/// What tiles are measured with.
pub(super) struct Measurer<'a> {
    pub flow: &'a Flow<'a>,
    pub chip: &'a Chip<'a>,
    pub evaluator: Evaluator,
}

impl Measurer<'_> {
    /// The numbers of a tile with the mask around it, a square as large as the tile's field: known already, or simulated.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask does not fit the field, or the journal cannot be written.
    pub(super) fn measured(
        &self,
        index: usize,
        window: &Bits,
        packed: &Packed,
    ) -> Result<Measured, EngineError> {
        let _span = info_span!("measure").entered();
        let target = info_span!("draw").in_scope(|| self.flow.source.bits(index))?;
        let mut hash = Sha256::new();
        hash.update(&Packed::of(&target).runs);
        hash.update(&packed.runs);
        let key: Key = hash.finalize().into();
        let known = self.flow.journal().read(Kind::Measured, &key)?;
        if let Some(known) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let measured = self.simulated(target, window)?;
        let text = serde_json::to_vec(&measured)
            .map_err(|e| EngineError::Setting(format!("a tile's numbers have no JSON: {e}")))?;
        self.flow.journal().append(Kind::Measured, &key, &text)?;
        Ok(measured)
    }

    fn simulated(&self, target: Bits, window: &Bits) -> Result<Measured, EngineError> {
        let TileGrid { halo, field, pixel_nm, .. } = self.flow.source.grid;
        let mask_nm = pixel_nm * field as f64 / window.width() as f64;
        let margin = (halo as f64 * pixel_nm / mask_nm).round() as usize;
        let shots = info_span!("shots").in_scope(|| {
            [(&target, halo, pixel_nm), (window, margin, mask_nm)].map(
                |(mask, margin, pixel_nm)| {
                    fracture::shot_count_of_bits(&mask.unframed(margin), pixel_nm)
                },
            )
        });
        let design = Design::core(target, pixel_nm, halo);
        let before = self.evaluator.metrics(design.exposed(), &design)?;
        let after = self.evaluator.compare(Exposed::of_bits(window, mask_nm), &design)?;
        let halo_nm = halo as f64 * pixel_nm;
        let place = |b: &Bounds| Place {
            min_nm: b.min.map(|v| v - halo_nm),
            max_nm: b.max.map(|v| v - halo_nm),
        };
        Ok(Measured {
            before: Metrics { shots: shots[0], ..before },
            after: Metrics { shots: shots[1], ..after.metrics },
            violations: info_span!("rules").in_scope(|| self.violations(window, mask_nm)),
            unprinted: after.unprinted.iter().map(place).collect(),
            seams: seams(&after, &self.flow.source.grid),
            print: shades(&self.print(&after)),
        })
    }

    /// What prints in the core, on the pixels of the whole's picture.
    fn print(&self, after: &Evaluation) -> Raster {
        let grid = &self.flow.source.grid;
        let print = &after.prints.nominal;
        let seen = Bits::of_words(&print.words, print.side, print.side);
        let core = seen.unframed((print.side - grid.core()) / 2);
        Scale::of(grid).part(&core, grid.pixel_nm)
    }

    /// Where a tile's core breaks the mask's rules. What touches the window's border is not wholly seen, and another tile's.
    fn violations(&self, window: &Bits, mask_nm: f64) -> Vec<Violation> {
        let Some(rules) = self.chip.setup.rules else { return Vec::new() };
        let grid = &self.flow.source.grid;
        let (all, halo) = (grid.field as f64 * grid.pixel_nm, grid.halo as f64 * grid.pixel_nm);
        let ours = |v: &Violation| {
            (0..2).all(|i| {
                let middle = f64::midpoint(v.min_nm[i], v.max_nm[i]);
                let seen = grid.len() == 1 || (v.min_nm[i] > 0.0 && v.max_nm[i] < all);
                seen && middle >= halo && middle < all - halo
            })
        };
        let moved = |v: Violation| Violation {
            min_nm: v.min_nm.map(|x| x - halo),
            max_nm: v.max_nm.map(|x| x - halo),
            ..v
        };
        rules.check_bits(window, mask_nm).into_iter().filter(ours).map(moved).collect()
    }
}

/// What prints along the core's border, and elsewhere.
fn seams(evaluation: &Evaluation, grid: &TileGrid) -> Seams {
    let mut seams = Seams::default();
    let (low, high) = (grid.halo as f64, (grid.field - grid.halo) as f64);
    for (site, finding) in &evaluation.sites {
        let near = site.at.iter().any(|&v| {
            let middle = v as f64 + 0.5;
            (middle - low).min(high - middle) * grid.pixel_nm < SEAM_NM
        });
        let violations = finding.violations();
        let (sites, broken) = match near {
            true => (&mut seams.sites, &mut seams.violations),
            false => (&mut seams.other_sites, &mut seams.other_violations),
        };
        (*sites, *broken) = (*sites + 1, *broken + violations);
    }
    seams
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that was killed sums what the journal gives back, one that was not what it measured: both must be the same to the last
    /// bit. A quick parser is a unit in the last place off at one of these numbers in seven.
    #[test]
    fn numbers_come_out_of_the_journal_as_they_went_in() {
        let number = |i: u32| (f64::from(i) * 0.618_033_988_749_894_9).sqrt() + 1.0 / f64::from(i);
        for i in 1..1000 {
            let after = Metrics {
                l2_nm2: number(i) * 1e5,
                epe_mean_nm: Some(-number(i)),
                epe_three_sigma_nm: Some(number(2 * i)),
                ..Metrics::default()
            };
            let measured = Measured {
                before: Metrics::default(),
                after,
                violations: Vec::new(),
                unprinted: Vec::new(),
                seams: Seams::default(),
                print: String::new(),
            };
            let text = serde_json::to_vec(&measured).expect("numbers have JSON");
            let read: Measured = serde_json::from_slice(&text).expect("its own JSON");
            assert_eq!(read.after, after);
        }
    }
}
