//! Rules as a JSON file has them.

use std::path::Path;

use serde_json::{Map, Value};

use super::MaskRules;
use crate::{LayoutError, names};

/// The largest width, space and distance that can be asked for, in nm: no field is as wide.
const WIDEST_NM: f64 = 10_000.0;
/// The largest area, in nm².
const LARGEST_NM2: f64 = WIDEST_NM * WIDEST_NM;

impl MaskRules {
    /// Reads rules from a JSON file: an object; what it leaves out keeps its default, and 0 is no rule.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Read`]; [`LayoutError::Damaged`] that says which value is wrong and what it may be.
    pub fn read(path: &Path) -> Result<Self, LayoutError> {
        let bytes = std::fs::read(path).map_err(|e| LayoutError::Read(path.to_path_buf(), e))?;
        Self::parse(&bytes).map_err(|problem| LayoutError::Damaged {
            path: path.to_path_buf(),
            format: "JSON mask rules",
            problem,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // Some editors begin a file with the mark of its encoding.
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let value: Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let Value::Object(fields) = value else {
            return Err(format!("expected an object with any of {}", Self::names()));
        };
        let mut rules = Self::default();
        rules.set(&fields)?;
        rules.validate()?;
        Ok(rules)
    }

    fn set(&mut self, fields: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in fields {
            let field = match name.as_str() {
                "min_width_nm" => &mut self.min_width_nm,
                "min_space_nm" => &mut self.min_space_nm,
                "min_area_nm2" => &mut self.min_area_nm2,
                "min_distance_nm" => &mut self.min_distance_nm,
                other => {
                    let (other, known) = (names::shown(other), Self::names());
                    return Err(format!("there is no rule {other:?}; expected any of {known}"));
                }
            };
            *field = value.as_f64().ok_or_else(|| {
                format!("{name} is {}; expected a number", names::shown(&value.to_string()))
            })?;
        }
        Ok(())
    }

    /// Whether each rule is a number that a mask can be asked for.
    ///
    /// # Errors
    ///
    /// The rule, its value and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let limits = [WIDEST_NM, WIDEST_NM, LARGEST_NM2, WIDEST_NM];
        for ((name, value), limit) in self.named().into_iter().zip(limits) {
            if !(0.0..=limit).contains(&value) {
                return Err(format!("{name} is {value}; expected 0 (no rule) to {limit}"));
            }
        }
        Ok(())
    }

    fn names() -> String {
        Self::default().named().map(|(name, _)| name).join(", ")
    }

    fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("min_width_nm", self.min_width_nm),
            ("min_space_nm", self.min_space_nm),
            ("min_area_nm2", self.min_area_nm2),
            ("min_distance_nm", self.min_distance_nm),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        MaskRules::parse(text.as_bytes()).expect_err("wrong")
    }

    #[test]
    fn what_is_left_out_keeps_its_default_and_a_byte_order_mark_is_no_damage() {
        let rules = MaskRules::parse("\u{FEFF}{\"min_width_nm\": 24}".as_bytes()).expect("rules");
        assert_eq!(rules, MaskRules { min_width_nm: 24.0, ..MaskRules::default() });
        assert_eq!(MaskRules::parse(b"{}").expect("rules"), MaskRules::default());
    }

    #[test]
    fn what_is_no_object_of_numbers_is_refused_by_name() {
        assert!(refused("[]").contains("expected an object with any of min_width_nm"));
        assert!(refused("[30, 20, 1700, 20]").contains("expected an object"));
        assert!(refused("{\"min_width_nm\": \"30\"}").contains("min_width_nm is \"30\""));
        assert!(refused("{\"min_width\": 30}").contains("no rule \"min_width\""));
        assert!(refused("{").contains("EOF"));
    }

    #[test]
    fn rules_beyond_every_mask_are_refused_by_name() {
        assert!(
            refused("{\"min_width_nm\": 1e9}").contains("min_width_nm is 1000000000; expected 0")
        );
        assert!(refused("{\"min_area_nm2\": 1e12}").contains("min_area_nm2"));
        assert!(refused("{\"min_distance_nm\": -1}").contains("min_distance_nm is -1"));
        let rules = MaskRules { min_space_nm: f64::NAN, ..MaskRules::default() };
        assert!(rules.validate().expect_err("no number").contains("min_space_nm is NaN"));
    }

    /// A program can ask for what no file can.
    #[test]
    fn a_rule_wider_than_the_mask_leaves_nothing_and_takes_no_memory() {
        let rules = MaskRules { min_width_nm: 1e9, ..MaskRules::default() };
        let mut mask = crate::Raster::new(20, 10, 2.0);
        mask.data[30..36].fill(1.0);
        assert!(rules.enforce(&mask.binary(), 20, 2.0).iter().all(|inside| !inside));
        assert!(!rules.check(&mask).is_empty());
    }
}
