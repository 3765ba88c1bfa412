use super::*;

fn input(bytes: &[u8]) -> Input<'_> {
    Input::new(bytes, 0, 0)
}

/// The examples of SEMI P39, section 7.
#[test]
fn numbers_are_those_of_the_standard() -> Result<(), String> {
    for (value, bytes) in [
        (0, &[0x00][..]),
        (127, &[0x7F]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 0x01]),
    ] {
        assert_eq!(input(bytes).unsigned()?, value);
    }
    for (value, bytes) in [
        (0, &[0x00][..]),
        (1, &[0x02]),
        (-1, &[0x03]),
        (63, &[0x7E]),
        (-64, &[0x81, 0x01]),
        (8191, &[0xFE, 0x7F]),
        (-8192, &[0x81, 0x80, 0x01]),
    ] {
        assert_eq!(input(bytes).signed()?, value);
    }
    for (value, bytes) in [
        (0.0, &[0x00, 0x00][..]),
        (1.0, &[0x00, 0x01]),
        (-0.5, &[0x03, 0x02]),
        (0.3125, &[0x04, 0x05, 0x10]),
        (1.0 / 3.0, &[0x02, 0x03]),
        (-2.0 / 13.0, &[0x05, 0x02, 0x0D]),
        (0.5, &[0x06, 0, 0, 0, 0x3F]),
        (-0.5, &[0x07, 0, 0, 0, 0, 0, 0, 0xE0, 0xBF]),
    ] {
        assert_eq!(input(bytes).real()?, value);
    }
    Ok(())
}

/// The examples of SEMI P39, section 7.5.
#[test]
fn deltas_are_those_of_the_standard() -> Result<(), String> {
    assert_eq!(input(&[0x98, 0x2A]).delta2()?, [1350, 0]);
    assert_eq!(input(&[0x9B, 0x2A]).delta2()?, [0, -1350]);
    assert_eq!(input(&[0xCD, 0x01]).delta3()?, [-25, 25]);
    assert_eq!(input(&[0xE9, 0x03, 0x7A]).delta()?, [122, 61]);
    assert_eq!(input(&[0xEC, 0x05]).delta()?, [-46, -46]);
    assert_eq!(input(&[0xBB, 0x01, 0xB7, 0x0F]).delta()?, [-46, -987]);
    Ok(())
}

#[test]
fn numbers_that_are_too_large_are_refused() {
    assert_eq!(
        input(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]).unsigned(),
        Ok(u64::MAX)
    );
    assert!(input(&[0xFF; 30]).unsigned().is_err());
    let padded = [[0x85].as_slice(), &[0x80; 30], &[0]].concat();
    assert_eq!(input(&padded).unsigned(), Ok(5));
    assert!(input(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]).signed().is_err());
    assert!(input(&[0x84]).unsigned().expect_err("cut").contains("cut short"));
}
