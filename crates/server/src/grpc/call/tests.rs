//! What is read and written piece by piece, beside what prost reads and writes whole.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::super::wire::inference::model_infer_request::InferInputTensor;
use super::super::wire::inference::model_infer_response::InferOutputTensor;
use super::*;

fn cut(bytes: &[u8], size: usize) -> Pieces {
    let mut pieces = Pieces::default();
    bytes.chunks(size).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
    pieces
}

fn request(id: String, tensors: Vec<Vec<u8>>) -> ModelInferRequest {
    let input = |name: usize| InferInputTensor { name: name.to_string(), ..Default::default() };
    ModelInferRequest {
        model_name: "tile".into(),
        id,
        inputs: (0..tensors.len()).map(input).collect(),
        raw_input_contents: tensors.into_iter().map(Bytes::from).collect(),
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn a_request_is_what_prost_reads_however_it_is_cut(
        id in ".{0,300}",
        tensors in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        size in 1_usize..40,
    ) {
        let whole = request(id, tensors);
        let (head, raw) = message(&mut cut(&whole.encode_to_vec(), size)).expect("reads");
        let raw: Vec<Bytes> = raw.iter().map(|data| data.contiguous().expect("reads")).collect();
        prop_assert_eq!(ModelInferRequest { raw_input_contents: raw, ..head }, whole);
    }

    /// Bytes at random, and messages of which some bytes are others: what prost cannot read, this does not, nor the other way round.
    #[test]
    fn what_is_malformed_for_prost_is_so_here(
        mut bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            Just(request("id".into(), vec![vec![1; 20], vec![2; 9]]).encode_to_vec()),
        ],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        size in 1_usize..40,
    ) {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let whole = ModelInferRequest::decode(&bytes[..]);
        let here = message(&mut cut(&bytes, size));
        prop_assert_eq!(here.is_ok(), whole.is_ok(), "{:?} and {:?}", here.err(), whole.err());
    }

    #[test]
    fn prost_reads_an_answer_as_it_was(
        tensors in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        size in 1_usize..40,
    ) {
        let output = |name: usize| InferOutputTensor {
            name: name.to_string(),
            shape: vec![1, 2],
            ..Default::default()
        };
        let head = ModelInferResponse {
            model_name: "tile".into(),
            parameters: HashMap::from([("a".into(), Default::default())]),
            outputs: (0..tensors.len()).map(output).collect(),
            ..Default::default()
        };
        let data = |tensor: &Vec<u8>| {
            Data::from(tensor.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>())
        };
        let raw: Vec<Data> = tensors.iter().map(data).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let sent = response(&head, &raw).expect("is sent").into_body().collect();
        let sent = runtime.block_on(sent).expect("whole");
        prop_assert_eq!(sent.trailers().expect("follow").get("grpc-status").expect("a status"), "0");
        let bytes = sent.to_bytes();
        let (prefix, message) = bytes.split_at(PREFIX);
        let len = u32::try_from(message.len()).expect("short").to_be_bytes();
        prop_assert_eq!(prefix, &[&[0][..], &len].concat()[..]);
        let raw_output_contents = tensors.into_iter().map(Bytes::from).collect();
        let whole = ModelInferResponse { raw_output_contents, ..head };
        prop_assert_eq!(ModelInferResponse::decode(message).expect("reads"), whole);
    }
}

#[test]
fn one_whole_message_is_expected_within_the_limit() {
    let framed = |flag: u8, len: u32, bytes: usize| {
        let whole = [&[flag][..], &len.to_be_bytes(), &vec![0; bytes]].concat();
        unframed(&mut cut(&whole, 3), 10).map_err(|status| status.code())
    };
    assert_eq!(framed(0, 10, 10), Ok(()));
    assert_eq!(framed(0, 11, 11), Err(tonic::Code::OutOfRange));
    for (flag, len, bytes) in [(1, 4, 4), (2, 4, 4), (0, 5, 4), (0, 4, 5)] {
        assert_eq!(framed(flag, len, bytes), Err(tonic::Code::Internal), "{flag} {len} {bytes}");
    }
    let short = unframed(&mut cut(&[0; 4], 1), 10).expect_err("no prefix");
    assert_eq!(short.message(), "Missing request message.");
}
