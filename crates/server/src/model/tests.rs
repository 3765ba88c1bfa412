use super::*;
use crate::tensor::{Datatype, Tensor};

fn signature(max_batch: usize) -> Signature {
    let shape = vec![Some(1), None, None];
    Signature {
        name: "tile".into(),
        version: 1,
        platform: "test".into(),
        max_batch,
        inputs: vec![Port::pixels("target", shape.clone())],
        outputs: vec![Port::pixels("mask", shape)],
    }
}

fn request(shape: &[usize]) -> Request {
    let bytes = Datatype::Uint8.bytes_of(shape).expect("small");
    let tensor = Tensor::new(Datatype::Uint8, shape.to_vec(), vec![0; bytes]).expect("fits");
    let outputs = vec![Wanted { output: 0, datatype: Datatype::Uint8 }];
    Request { inputs: vec![tensor], outputs, parameters: Parameters::new() }
}

#[test]
fn a_request_has_to_fit_the_signature_and_is_told_where_it_does_not() {
    let signature = signature(4);
    assert_eq!(signature.check(&request(&[4, 1, 8, 8])), Ok(()));
    let said = |shape: &[usize]| signature.check(&request(shape)).expect_err("no fit").to_string();
    assert!(said(&[4, 4]).contains("Expected [-1,1,-1,-1], got [4,4]"), "{}", said(&[4, 4]));
    assert!(said(&[1, 2, 4, 2]).contains("got [1,2,4,2]"));
    assert!(said(&[5, 1, 8, 8]).contains("batch-size must be <= 4 for 'tile', got 5"));
    assert!(said(&[0, 1, 8, 8]).contains("every axis must be at least 1"));
    assert!(matches!(signature.check(&Request::default()), Err(RequestError::Count { .. })));
    let wanted = Wanted { output: 1, datatype: Datatype::Fp32 };
    let other = Request { outputs: vec![wanted], ..request(&[1, 1, 2, 2]) };
    assert!(matches!(signature.check(&other), Err(RequestError::Output { output: 1, .. })));
}

#[test]
fn without_an_axis_of_items_the_shape_is_the_whole() {
    let signature = signature(0);
    assert_eq!(signature.check(&request(&[1, 8, 8])), Ok(()));
    assert!(signature.check(&request(&[1, 1, 8, 8])).is_err());
    assert_eq!(signature.items(&request(&[1, 8, 8])), 1);
}

#[test]
fn requests_share_a_batch_if_their_items_have_one_shape() {
    let (one, three, wide) =
        (request(&[1, 1, 8, 8]), request(&[3, 1, 8, 8]), request(&[1, 1, 8, 16]));
    assert!(one.fits_with(&three, true) && !one.fits_with(&three, false));
    assert!(!one.fits_with(&wide, true));
    let mut dosed = one.clone();
    dosed.parameters.insert("dose".into(), Parameter::Float(1.02));
    assert!(!one.fits_with(&dosed, true));
}

#[test]
fn a_panic_is_read_as_the_fault_it_carries_or_as_broken() {
    let lost = Fault::Lost("cable".into());
    assert_eq!(Fault::of_panic(&lost.clone()), lost);
    assert_eq!(
        Fault::of_panic(&"index out of bounds"),
        Fault::Broken("index out of bounds".into())
    );
    assert!(matches!(Fault::of_panic(&7_u8), Fault::Broken(_)));
}
