//! A card's own identity, by which its driver's other interfaces know it whatever order they count cards in.

#[cfg(feature = "cuda")]
use cudarc::driver::result;

#[cfg(feature = "cuda")]
use super::guard::guarded;
#[cfg(feature = "cuda")]
use super::name::DeviceName;
#[cfg(feature = "cuda")]
use super::visible;

/// The identity of a CUDA card, `GPU-…`, as `nvidia-smi -L` prints it; none of other devices.
pub fn identity(device: &str) -> Option<String> {
    #[cfg(feature = "cuda")]
    if let Ok(DeviceName::Cuda(card)) = device.parse() {
        let place = visible::place(card.unwrap_or(0))?;
        return guarded(move || card_identity(place as i32)).ok()?;
    }
    let _ = device;
    None
}

#[cfg(feature = "cuda")]
fn card_identity(card: i32) -> Option<String> {
    result::init().ok()?;
    let device = result::device::get(card).ok()?;
    let uuid = result::device::get_uuid(device).ok()?;
    Some(written(&uuid.bytes.map(|byte| byte as u8)))
}

/// Groups of hexadecimal digits.
#[cfg(any(feature = "cuda", test))]
fn written(bytes: &[u8; 16]) -> String {
    /// Bytes before which a group begins.
    const GROUPS: [usize; 4] = [4, 6, 8, 10];
    let mut text = String::from("GPU-");
    for (index, byte) in bytes.iter().enumerate() {
        if GROUPS.contains(&index) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_the_driver_writes_it() {
        let bytes = std::array::from_fn(|i| 17 * i as u8);
        assert_eq!(written(&bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn only_cuda_cards_have_one() {
        assert_eq!((identity("cpu"), identity("gl"), identity("nonsense")), (None, None, None));
    }
}
