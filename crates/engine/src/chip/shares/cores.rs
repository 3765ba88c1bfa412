//! Cores of several targets as bytes: key (32), length (4, little endian), core; again and again.

use crate::EngineError;
use crate::tiles::journal::Key;

/// Cores with their targets' keys, as bytes.
pub fn packed<'a>(cores: impl IntoIterator<Item = (&'a [u8; 32], &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, core) in cores {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&(core.len() as u32).to_le_bytes());
        bytes.extend_from_slice(core);
    }
    bytes
}

/// A target's key, and the core of its mask as bytes.
pub type PackedCore = ([u8; 32], Vec<u8>);

/// What [`packed`] wrote.
///
/// # Errors
///
/// [`EngineError::Setting`] if it is something else.
pub fn unpacked(bytes: &[u8]) -> Result<Vec<PackedCore>, EngineError> {
    let (mut cores, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (key, core, after) = first(rest)
            .ok_or_else(|| EngineError::Setting("a share's bytes are not cores of masks".into()))?;
        cores.push((key, core.to_vec()));
        rest = after;
    }
    Ok(cores)
}

fn first(bytes: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<32>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (core, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((*key, core, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_as_they_are_written_and_what_was_cut_off_is_an_error() {
        let cores = vec![([1; 32], vec![9, 8]), ([2; 32], Vec::new()), ([3; 32], vec![7; 300])];
        let bytes = packed(cores.iter().map(|(key, core)| (key, &core[..])));
        assert_eq!(unpacked(&bytes).expect("whole"), cores);
        let ends = [0, 38, 74, bytes.len()];
        for end in 0..=bytes.len() {
            assert_eq!(unpacked(&bytes[..end]).is_ok(), ends.contains(&end), "cut at {end}");
        }
    }
}
