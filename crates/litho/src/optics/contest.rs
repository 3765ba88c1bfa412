//! The kernels of the ICCAD 2013 contest, as its archive holds them.
//!
//! Folders `focus` and `defocus`, each with `scales.txt` (one weight a line) and `fh0.bin`, `fh1.bin`, … A
//! file has a header of 24 bytes, then 35 × 35 pairs of re and im (big-endian f32), column frequency first:
//! the transpose of a [`Kernels`] tensor.
//!
//! Most published code skips only 20 bytes. It then takes the header's last four for the first number and
//! drops the last one; their results can be had with [`Header::Short`].

use std::path::Path;

use super::kernels::{KernelSet, Kernels};
use crate::LithoError;

/// Frequencies on a side.
const SIDE: usize = 35;
/// Bytes of the true header.
const HEADER: usize = 24;
/// Bytes of a file.
const BYTES: usize = HEADER + SIDE * SIDE * 2 * 4;
/// The contest's tile, in nm.
const PERIOD_NM: f64 = 2048.0;

/// How many bytes are skipped at the start of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// All 24 of the header.
    Whole,
    /// 20, as most published code does.
    Short,
}

impl Header {
    fn bytes(self) -> usize {
        match self {
            Self::Whole => HEADER,
            Self::Short => HEADER - 4,
        }
    }
}

/// Reads the kernels in focus and in defocus.
///
/// # Errors
///
/// [`LithoError::Read`] or [`LithoError::Kernels`], naming the file, what was expected and what came.
pub fn read(folder: &Path, header: Header) -> Result<KernelSet, LithoError> {
    let set = KernelSet {
        period_nm: PERIOD_NM,
        focus: read_focus(&folder.join("focus"), header)?,
        defocus: read_focus(&folder.join("defocus"), header)?,
        recipe: None,
        ambit_nm: None,
    };
    set.check().map_err(|problem| wrong(folder, problem))?;
    Ok(set)
}

fn read_focus(folder: &Path, header: Header) -> Result<Kernels, LithoError> {
    let scales = read_scales(&folder.join("scales.txt"))?;
    let mut kernels = Kernels { side: SIDE, re: Vec::new(), im: Vec::new(), scales, kept: None };
    for k in 0..kernels.count() {
        let values = read_kernel(&folder.join(format!("fh{k}.bin")), header)?;
        let transposed = || (0..SIDE * SIDE).map(|i| values[i % SIDE * SIDE + i / SIDE]);
        kernels.re.extend(transposed().map(|[re, _]| re));
        kernels.im.extend(transposed().map(|[_, im]| im));
    }
    Ok(kernels)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, LithoError> {
    std::fs::read(path).map_err(|error| LithoError::Read(path.to_path_buf(), error))
}

fn wrong(path: &Path, problem: String) -> LithoError {
    LithoError::Kernels { path: path.to_path_buf(), problem }
}

fn read_scales(path: &Path) -> Result<Vec<f32>, LithoError> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let weight = |word: &str| match word.parse::<f32>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        _ => Err(wrong(path, format!("expected a weight of 0 or more a line, got {word:?}"))),
    };
    let scales: Vec<f32> = text.split_whitespace().map(weight).collect::<Result<_, _>>()?;
    match scales.is_empty() {
        true => Err(wrong(path, "expected one weight a line, got none".into())),
        false => Ok(scales),
    }
}

/// The pairs of re and im in the file's order.
fn read_kernel(path: &Path, header: Header) -> Result<Vec<[f32; 2]>, LithoError> {
    let bytes = read_bytes(path)?;
    if bytes.len() != BYTES {
        return Err(wrong(path, format!("expected {BYTES} bytes, got {}", bytes.len())));
    }
    let float = |b: &[u8]| f32::from_be_bytes([b[0], b[1], b[2], b[3]]);
    let pairs = bytes[header.bytes()..].chunks_exact(8).map(|b| [float(&b[..4]), float(&b[4..])]);
    let values: Vec<[f32; 2]> = pairs.take(SIDE * SIDE).collect();
    match values.as_flattened().iter().position(|v| !v.is_finite()) {
        Some(at) => Err(wrong(path, format!("expected finite numbers, but number {at} is not"))),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A power of two, so that the values are exact; it leaves a clear field of about 1.
    const UNIT: f32 = 8192.0;

    /// Kernel k has re = (10000 k + 100 i + j) / 8192 and im = −re at the file's [i, j]; the header ends in 7.
    fn write(name: &str) -> std::io::Result<PathBuf> {
        let root = std::env::temp_dir().join(format!("lithoburn-{name}-{}", std::process::id()));
        for focus in ["focus", "defocus"] {
            let folder = root.join(focus);
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("scales.txt"), "0.5\n0.0625\n")?;
            for k in 0..2 {
                let mut bytes = vec![0; HEADER - 4];
                bytes.extend(7.0_f32.to_be_bytes());
                for at in 0..SIDE * SIDE {
                    let re = (10_000 * k + 100 * (at / SIDE) + at % SIDE) as f32 / UNIT;
                    bytes.extend([re, -re].iter().flat_map(|v| v.to_be_bytes()));
                }
                std::fs::write(folder.join(format!("fh{k}.bin")), bytes)?;
            }
        }
        Ok(root)
    }

    #[test]
    fn kernels_are_the_transpose_of_the_files() -> Result<(), Box<dyn std::error::Error>> {
        let root = write("whole")?;
        let set = read(&root, Header::Whole)?;
        assert_eq!((set.period_nm, &set.focus), (2048.0, &set.defocus));
        assert_eq!(set.focus.scales, [0.5, 0.0625]);
        let at = |k: usize, j: usize, i: usize| (k * SIDE + j) * SIDE + i;
        assert_eq!(set.focus.re[at(1, 3, 20)], 12_003.0 / UNIT);
        assert_eq!(set.focus.im[at(0, 34, 0)], -34.0 / UNIT);
        assert_eq!(KernelSet::from_bytes(&set.to_bytes()), Ok(set));
        Ok(std::fs::remove_dir_all(root)?)
    }

    #[test]
    fn a_short_header_reads_four_bytes_early() -> Result<(), Box<dyn std::error::Error>> {
        let root = write("short")?;
        let set = read(&root, Header::Short)?;
        // In file order: header's 7, re 0 | im 0, re 1 | im 1, re 2 …
        assert_eq!([set.focus.re[0], set.focus.im[0]], [7.0, 0.0]);
        assert_eq!([set.focus.re[SIDE], set.focus.im[SIDE]], [0.0, 1.0 / UNIT]);
        assert_eq!([set.focus.re[2 * SIDE], set.focus.im[2 * SIDE]], [-1.0 / UNIT, 2.0 / UNIT]);
        Ok(std::fs::remove_dir_all(root)?)
    }

    #[test]
    fn a_missing_or_cut_file_is_named() -> Result<(), Box<dyn std::error::Error>> {
        let root = write("cut")?;
        let problem = || read(&root, Header::Whole).expect_err("a damaged folder").to_string();
        std::fs::write(root.join("defocus/fh1.bin"), [0; 9000])?;
        assert!(
            problem().contains("fh1.bin") && problem().contains("expected 9824 bytes, got 9000")
        );
        std::fs::remove_file(root.join("defocus/fh0.bin"))?;
        assert!(problem().contains("fh0.bin"), "{}", problem());
        std::fs::write(root.join("focus/scales.txt"), "1.0\nmany\n")?;
        assert!(problem().contains("scales.txt") && problem().contains("\"many\""));
        Ok(std::fs::remove_dir_all(root)?)
    }
}
