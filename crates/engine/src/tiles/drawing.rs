//! What a tile looks like: the edges of its polygons, or its pixels where edges do not serve.

use std::borrow::Cow;

use lithoburn_layout::{Bits, Coverage, Edges, Frame, Layout, Polygon, Raster};
use sha2::{Digest, Sha256};

use super::journal::Key;
use crate::proposer::Target;

/// A target before it is drawn, or after.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drawing {
    /// What its pixels are drawn from, where they are needed.
    Edges(Edges),
    /// Its pixels: of polygons that cross themselves, or of a coverage that is no area.
    Raster(Raster),
}

impl Drawing {
    /// Of polygons in a frame.
    pub(crate) fn of(polygons: Vec<Polygon>, frame: &Frame, coverage: Coverage) -> Self {
        let edges = match coverage {
            Coverage::Exact => Edges::of(&polygons, frame),
            Coverage::Inclusive => None,
        };
        let drawn = || Layout::new("tile", polygons).rasterize(frame, coverage);
        edges.map_or_else(|| Self::Raster(drawn()), Self::Edges)
    }

    /// As devices take it.
    pub(crate) fn target(&self) -> Target<'_> {
        match self {
            Self::Edges(edges) => Target::Edges(edges),
            Self::Raster(raster) => Target::Raster(raster),
        }
    }

    /// The pixels.
    pub(crate) fn raster(&self) -> Cow<'_, Raster> {
        match self {
            Self::Edges(edges) => Cow::Owned(edges.rasterize()),
            Self::Raster(raster) => Cow::Borrowed(raster),
        }
    }

    /// The pixels that are at least half covered.
    pub(crate) fn bits(&self) -> Bits {
        match self {
            Self::Edges(edges) => edges.bits(),
            Self::Raster(raster) => Bits::of_raster(raster),
        }
    }

    /// A SHA-256: what has an equal one has equal pixels.
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Edges(edges) => edges.key(),
            Self::Raster(raster) => digest(raster),
        }
    }
}

/// The SHA-256 of a raster's pixels, row by row, so that no second copy of them is made.
fn digest(raster: &Raster) -> Key {
    let mut hash = Sha256::new();
    hash.update(b"pixels of a window");
    let mut bytes = Vec::with_capacity(4 * raster.width);
    for row in raster.data.chunks_exact(raster.width) {
        bytes.clear();
        row.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { origin_nm: [0.0; 2], pixel_nm: 2.0, width: 32, height: 32 };

    #[test]
    fn edges_serve_where_they_give_the_exact_coverage() {
        let bar = Polygon::rectangle(3.0, 5.0, 40.0, 50.0);
        let bow_tie = Polygon::new(vec![[0.0, 0.0], [40.0, 40.0], [40.0, 0.0], [0.0, 40.0]]);
        let of = |polygon: &Polygon, coverage| Drawing::of(vec![polygon.clone()], &FRAME, coverage);
        let is_edges = |drawing: &Drawing| matches!(drawing, Drawing::Edges(_));
        assert!(is_edges(&of(&bar, Coverage::Exact)));
        for (polygon, coverage) in
            [(&bar, Coverage::Exact), (&bar, Coverage::Inclusive), (&bow_tie, Coverage::Exact)]
        {
            let drawn = Layout::new("tile", vec![polygon.clone()]).rasterize(&FRAME, coverage);
            assert_eq!(of(polygon, coverage).raster().as_ref(), &drawn);
            assert_eq!(of(polygon, coverage).bits(), Bits::of_raster(&drawn));
        }
        assert!(
            !is_edges(&of(&bar, Coverage::Inclusive)) && !is_edges(&of(&bow_tie, Coverage::Exact))
        );
        assert_ne!(of(&bar, Coverage::Exact).key(), of(&bar, Coverage::Inclusive).key());
    }
}
