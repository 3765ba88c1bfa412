//! What may be asked of a layout.

use axum::extract::Query;
use axum::http::Uri;
use serde::{Deserialize, Serialize};

use super::Refused;

/// Longest name of a layer or a cell.
const LONGEST: usize = 1024;

/// What a client asks of a layout, in a request's query. What it leaves out has the defaults of `lithoburn infer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// Method that finds the mask.
    pub model: Option<String>,
    /// Steps of correction after a network.
    pub correct: Option<usize>,
    /// Side of a tile, in nm.
    pub tile: Option<f64>,
    /// What neighbouring tiles share on each side, in nm.
    pub halo: Option<f64>,
    /// Layer and datatype, as `1/0`, if the file has several.
    pub layer: Option<String>,
    /// Cell, if the file has several top cells.
    pub cell: Option<String>,
    /// Side of a pixel of targets and images, in nm; of a PNG's pixels too.
    pub pixel: Option<f64>,
    /// What comes back.
    pub format: Option<Format>,
    /// Whether the mask is simulated and measured; it is unless this is false.
    pub measure: Option<bool>,
}

/// What comes back of a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Polygons in GDSII.
    #[default]
    Gds,
    /// Polygons in OASIS.
    Oas,
    /// Its pixels.
    Png,
    /// Its numbers: the report.
    Json,
}

impl Format {
    /// The file of a run that holds it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Gds => "mask.gds",
            Self::Oas => "mask.oas",
            Self::Png => "mask.png",
            Self::Json => "report.json",
        }
    }

    /// Of HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Gds => "application/vnd.gds",
            Self::Oas => "application/vnd.oasis.layout",
            Self::Png => "image/png",
            Self::Json => "application/json",
        }
    }
}

impl Ask {
    /// What a request's query asks for.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the field's name.
    pub fn of(uri: &Uri) -> Result<Self, Refused> {
        let query = Query::<Self>::try_from_uri(uri);
        let Query(ask) = query.map_err(|error| Refused::bad(error.body_text()))?;
        ask.checked().map_err(Refused::bad)
    }

    fn checked(self) -> Result<Self, String> {
        let positive = |name: &str, value: Option<f64>, least: bool| match value {
            Some(nm) if !(nm.is_finite() && (nm > 0.0 || (nm == 0.0 && least))) => {
                let wanted = if least { "0 nm or more" } else { "more than 0 nm" };
                Err(format!("{name} must be {wanted}, got {nm}"))
            }
            _ => Ok(()),
        };
        positive("tile", self.tile, false)?;
        positive("pixel", self.pixel, false)?;
        positive("halo", self.halo, true)?;
        if self.halo.is_some() && self.tile.is_none() {
            return Err("halo is what tiles share: give a tile too".into());
        }
        for (name, text) in [("layer", &self.layer), ("cell", &self.cell), ("model", &self.model)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > LONGEST) {
                return Err(format!("{name} must be a name of 1 to {LONGEST} bytes"));
            }
        }
        Ok(self)
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing.
    pub phase: String,
    /// Steps of that which are done.
    pub done: usize,
    /// Steps of that.
    pub total: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<Ask, String> {
        let uri: Uri = format!("/v1/masks?{query}").parse().expect("a path");
        Ask::of(&uri).map_err(|refused| refused.error)
    }

    #[test]
    fn a_query_is_read_and_what_is_wrong_with_it_is_named() {
        let full =
            ask("model=ilt&tile=2048&halo=640&layer=1%2F0&cell=TOP&format=oas&measure=false");
        let wanted = Ask {
            model: Some("ilt".into()),
            tile: Some(2048.0),
            halo: Some(640.0),
            layer: Some("1/0".into()),
            cell: Some("TOP".into()),
            format: Some(Format::Oas),
            measure: Some(false),
            ..Ask::default()
        };
        assert_eq!(full, Ok(wanted));
        assert_eq!(ask(""), Ok(Ask::default()));
        for (query, named) in [
            ("tiel=2048", "tiel"),
            ("tile=wide", "tile"),
            ("tile=-1", "tile must be more than 0"),
            ("tile=NaN", "tile must be more than 0"),
            ("tile=0", "tile"),
            ("tile=2048&halo=-5", "halo must be 0 nm or more"),
            ("halo=100", "give a tile"),
            ("pixel=inf", "pixel"),
            ("cell=", "cell"),
            ("format=svg", "format"),
            ("correct=1.5", "correct"),
        ] {
            let refused = ask(query).expect_err(query);
            assert!(refused.contains(named), "{query}: {refused}");
        }
    }
}
