//! The numbers and texts that OASIS records are made of, as they are written.

/// Records in the making.
#[derive(Default)]
pub(super) struct Records(pub(super) Vec<u8>);

impl Records {
    pub(super) fn unsigned(&mut self, mut value: u64) {
        while value > 0x7F {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn signed(&mut self, value: i64) {
        self.unsigned(value.unsigned_abs() << 1 | u64::from(value < 0));
    }

    pub(super) fn string(&mut self, text: &[u8]) {
        self.unsigned(text.len() as u64);
        self.0.extend_from_slice(text);
    }

    pub(super) fn real(&mut self, value: f64) {
        if value >= 0.0 && value.fract() == 0.0 && value < 2.0_f64.powi(53) {
            self.unsigned(0);
            self.unsigned(value as u64);
        } else {
            self.unsigned(7);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A step: in one of eight directions if it has one, else x and y.
    pub(super) fn delta(&mut self, [x, y]: [i64; 2]) {
        const DIRECTIONS: [[i64; 2]; 8] =
            [[1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]];
        let length = x.abs().max(y.abs());
        match DIRECTIONS.iter().position(|d| [d[0] * length, d[1] * length] == [x, y]) {
            Some(direction) => self.unsigned((length as u64) << 4 | (direction as u64) << 1),
            None => {
                self.unsigned(x.unsigned_abs() << 2 | u64::from(x < 0) << 1 | 1);
                self.signed(y);
            }
        }
    }
}
