//! A mask in its style, and what is known of it without its image.

use lithoburn_layout::{Frame, MaskRules, Polygon, Raster, Violation, contour, trace};
use rayon::join;
use tracing::info_span;

use crate::evaluate::Metrics;
use crate::style::MaskStyle;

/// A mask in its style.
pub(crate) struct Drawn {
    /// Where its pixels lie.
    pub frame: Frame,
    /// Its pixels, 0 and 1.
    pub mask: Raster,
    /// Its rectangles, if it is made of them.
    pub rectangles: Option<Vec<Polygon>>,
}

/// What a mask is by itself.
pub(crate) struct Judged {
    /// Outlines of its open parts.
    pub polygons: Vec<Polygon>,
    /// Its numbers without those of a print.
    pub metrics: Metrics,
    /// Where it breaks its rules, in nm from its first pixel's corner.
    pub violations: Vec<Violation>,
}

impl Drawn {
    /// A mask of a field, whose pixels may be others than the field's.
    pub(crate) fn new(field: &Frame, mask: Raster, rectangles: Option<Vec<Polygon>>) -> Self {
        let (width, height, pixel_nm) = (mask.width, mask.height, mask.pixel_nm);
        Self { frame: Frame { pixel_nm, width, height, ..*field }, mask, rectangles }
    }

    /// Outlines, counts and rules, each by a processor.
    pub(crate) fn judged(&self, style: MaskStyle, rules: Option<MaskRules>) -> Judged {
        let shapes = || info_span!("shapes").in_scope(|| Metrics::of_mask(&self.mask));
        let check = |rules: MaskRules| info_span!("rules").in_scope(|| rules.check(&self.mask));
        let violations = || rules.map_or(Vec::new(), check);
        let (polygons, (mut metrics, violations)) =
            join(|| self.outlined(style), || join(shapes, violations));
        if let Some(rectangles) = &self.rectangles {
            metrics.shots = rectangles.len();
        }
        Judged { polygons, metrics, violations }
    }

    /// The mask's outlines as polygons.
    fn outlined(&self, style: MaskStyle) -> Vec<Polygon> {
        let _span = info_span!("polygons").entered();
        let origin_nm = self.frame.origin_nm;
        match (&self.rectangles, style) {
            (Some(rectangles), _) => rectangles.clone(),
            (None, MaskStyle::Curvilinear { tolerance_nm }) => {
                contour::polygons(&self.mask, tolerance_nm, origin_nm)
            }
            (None, _) => trace::polygons(&self.mask, origin_nm),
        }
    }
}
