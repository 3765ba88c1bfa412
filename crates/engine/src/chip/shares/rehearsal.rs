//! A rehearsal: the design in the mask's place, so that a farm can be tried out, with all that comes after the devices, where there are
//! none. What comes of it is no mask, and meets no results of a true run: its fingerprint is another one.

use lithoburn_layout::Bits;
use sha2::{Digest, Sha256};

use super::{Shares, packed};
use crate::EngineError;
use crate::chip::cores::Core;
use crate::tiles::journal::Key;
use crate::tiles::packed::Packed;

impl Shares<'_> {
    /// The same tiles for a rehearsal.
    #[must_use]
    pub fn rehearsal(self) -> Self {
        Self { is_rehearsal: true, ..self }
    }

    /// What [`super::Solver::solve`] would give of a list of tiles, were each one's design its mask.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a tile holds too much.
    pub fn rehearse(&self, tiles: &[u64]) -> Result<Vec<u8>, EngineError> {
        let (source, grid) = (self.source(), &self.chip.grid);
        let core = |&tile: &u64| -> Result<(Key, Vec<u8>), EngineError> {
            let tile = source.tile(tile as usize)?;
            let design: Bits = tile.drawing.bits();
            let pixel_nm = grid.field as f64 * grid.pixel_nm / design.width() as f64;
            let margin = (grid.halo as f64 * grid.pixel_nm / pixel_nm).round() as usize;
            let pixels = Packed::of(&design.unframed(margin));
            Ok((tile.key, Core { pixel_nm, pixels }.to_bytes()))
        };
        let cores: Result<Vec<(Key, Vec<u8>)>, EngineError> = tiles.iter().map(core).collect();
        Ok(packed(cores?.iter().map(|(key, core)| (key, &core[..]))))
    }
}

/// A rehearsal's fingerprint.
pub(super) fn fingerprint(of: &Key) -> Key {
    Sha256::new_with_prefix(b"rehearsal").chain_update(of).finalize().into()
}
