//! What is saved is loaded, and what is wrong is named.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};

use super::*;
use crate::gan_opc::{GanOpc, GanOpcConfig};
use crate::neural_ilt::{NeuralIlt, NeuralIltConfig};
use crate::unet::UNetConfig;

/// `config.json` and tensors of a small network.
type Files = (Vec<u8>, Vec<u8>);

fn small(width: usize) -> Files {
    let config = NeuralIltConfig { width, ..NeuralIltConfig::default() };
    let tensors = encode(&config.init(&Device::flex())).expect("encodes");
    (serde_json::to_vec(&config).expect("JSON"), tensors)
}

fn folder(name: &str, (config, tensors): &Files) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("lithoburn-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("temporary folder");
    std::fs::write(folder.join(CONFIG), config).expect("temporary file");
    std::fs::write(folder.join(FILE), tensors).expect("temporary file");
    folder
}

/// The last folder that was read is the process's own: tests of folders take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_is_saved_is_loaded() {
    let device = Device::flex();
    let config = UNetConfig::new().with_width(2);
    let net = config.init(&device);
    let bytes = encode(&net).expect("encodes");
    assert_eq!(encode(&net).expect("encodes"), bytes);
    let mut other = config.init(&device);
    load_bytes(&mut other, Path::new("saved"), bytes).expect("loads");
    let x = Tensor::ones([1, 1, 16, 16], &device);
    let off: f32 = (net.forward(x.clone()) - other.forward(x)).abs().max().into_scalar();
    assert!(off < 1e-2, "{off}"); // f16 has 11 bits
}

#[test]
fn a_file_that_is_not_the_listed_one_is_refused() {
    let _turn = turn();
    let files = small(2);
    let directory = folder("sum", &files);
    let read_with = |sum: &str| {
        std::fs::write(directory.join(SUMS), format!("{sum}  {FILE}\n")).expect("sums");
        Stored::read(&directory).map(|stored| stored.sha256.clone()).map_err(|e| e.to_string())
    };
    let own = hash_of(&files.1);
    assert_eq!(read_with(&own), Ok(own));
    let error = read_with(&hash_of(b"other")).expect_err("another sum");
    assert!(error.contains(SUMS) && error.contains(FILE), "{error}");
    std::fs::write(directory.join(SUMS), [0xff, 0xfe]).expect("sums");
    let error = Stored::read(&directory).expect_err("no text").to_string();
    assert!(error.contains(SUMS), "{error}");
}

/// Workers load one after the other; a folder that is trained into is another one then.
#[test]
fn a_folder_is_read_again_only_when_it_has_changed() {
    let _turn = turn();
    let directory = folder("again", &small(2));
    let read = || Stored::read(&directory).expect("reads");
    let first = read();
    // What is on disk is damaged, but as long and as old as before.
    let path = directory.join(FILE);
    let about = std::fs::metadata(&path).expect("is there");
    std::fs::write(&path, vec![0; about.len() as usize]).expect("damaged");
    let file = std::fs::File::options().append(true).open(&path).expect("opens");
    file.set_modified(about.modified().expect("a time")).expect("sets the time");
    assert!(Arc::ptr_eq(&first, &read()));
    std::fs::write(&path, small(3).1).expect("other weights");
    assert_ne!(read().sha256, first.sha256);
}

#[test]
fn a_folder_without_one_of_its_files_is_refused_by_that_files_name() {
    let _turn = turn();
    for missing in [CONFIG, FILE] {
        let directory = folder("part", &small(2));
        std::fs::remove_file(directory.join(missing)).expect("removes");
        let error = Stored::read(&directory).expect_err("a file is missing").to_string();
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn a_wrong_shape_a_missing_tensor_and_nan_are_named() {
    let net = |width| UNetConfig::new().with_width(width).init(&Device::flex());
    let bytes = encode(&net(2)).expect("encodes");
    let refused = |width, bytes: Vec<u8>| {
        let mut net = net(width);
        load_bytes(&mut net, Path::new("file"), bytes).expect_err("refused").to_string()
    };
    let shape = refused(4, bytes.clone());
    assert!(shape.contains("down1"), "{shape}");
    let mut nan = bytes.clone();
    let last = bytes.len();
    nan[last - 2..].copy_from_slice(&[0x00, 0x7e]);
    let problem = refused(2, nan);
    assert!(problem.contains("not finite") && problem.contains('"'), "{problem}");
    refused(2, bytes[..200].to_vec());
    let parts = SafeTensors::deserialize(&bytes).expect("safetensors");
    let with = |change: fn(&str) -> Option<String>| {
        let parts = parts.tensors().into_iter();
        let parts = parts.filter_map(|(name, view)| Some((change(&name)?, view)));
        refused(2, safetensors::serialize(parts, None).expect("serializes"))
    };
    let missing = with(|name| (name != "last.bias").then(|| name.to_string()));
    assert!(missing.contains("\"last.bias\" is missing"), "{missing}");
    let stray = ("stray".to_string(), parts.tensor("last.bias").expect("a tensor"));
    let more = parts.tensors().into_iter().chain([stray]);
    let more = refused(2, safetensors::serialize(more, None).expect("serializes"));
    assert!(more.contains("\"stray\" has no place"), "{more}");
}

/// A header may promise anything: what it promises must be there.
#[test]
fn a_header_that_promises_more_than_the_file_holds_is_refused() {
    let mut net = UNetConfig::new().with_width(2).init(&Device::flex());
    let huge = [usize::MAX >> 1, 4, 3, 3].map(|n| n.to_string()).join(",");
    let headers = [
        format!(r#"{{"last.bias":{{"dtype":"F32","shape":[{huge}],"data_offsets":[0,4]}}}}"#),
        r#"{"last.bias":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#
            .into(),
        r#"{"last.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} "#.repeat(2),
    ];
    for header in headers {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
        load_bytes(&mut net, Path::new("file"), bytes).expect_err("refused");
    }
    let bytes = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    load_bytes(&mut net, Path::new("file"), bytes).expect_err("refused");
}

/// The store turns f16 into f32 and f32 into f16: of a file with both, half would be wrong.
#[test]
fn a_file_of_two_precisions_is_refused() {
    let mut net = UNetConfig::new().with_width(2).init(&Device::flex());
    let (half, full) = (encode(&net).expect("encodes"), encode_f32(&net).expect("encodes"));
    let half = SafeTensors::deserialize(&half).expect("safetensors");
    let full = SafeTensors::deserialize(&full).expect("safetensors");
    let pick = |(i, name): (usize, String)| {
        let from = if i % 2 == 0 { &half } else { &full };
        (name.clone(), from.tensor(&name).expect("a tensor"))
    };
    let names = half.names().into_iter().map(ToString::to_string).enumerate();
    let mixed = safetensors::serialize(names.map(pick), None).expect("serializes");
    let error = load_bytes(&mut net, Path::new("file"), mixed).expect_err("refused").to_string();
    assert!(error.contains("F16") && error.contains("F32"), "{error}");
}

#[test]
fn a_network_with_values_that_are_no_numbers_is_not_written() {
    let mut net = UNetConfig::new().with_width(2).init(&Device::flex());
    let bytes = encode_f32(&net).expect("encodes");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let large: Vec<u8> = [1e6_f32, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &large).expect("fits");
    let swap =
        |(name, old)| if name == "up1.conv2.bias" { (name, view.clone()) } else { (name, old) };
    let parts = tensors.tensors().into_iter().map(swap);
    let bytes = safetensors::serialize(parts, None).expect("serializes");
    load_bytes(&mut net, Path::new("file"), bytes).expect("loads");
    // f16 ends at 65,504.
    let error = encode(&net).expect_err("not finite");
    assert!(error.contains("up1.conv2.bias"), "{error}");
    encode_f32(&net).expect("f32 holds it");
}

/// Each field out of its range, of the wrong type, and missing: the error names file, field and value.
#[test]
fn a_configuration_that_makes_no_network_is_refused_by_field_and_value() {
    let unet = NeuralIltConfig { width: 2, ..NeuralIltConfig::default() };
    let unet = serde_json::to_value(&unet).expect("JSON");
    let fast = serde_json::to_value(NeuralIltConfig::fast()).expect("JSON");
    let gan = serde_json::to_value(GanOpcConfig::default()).expect("JSON");
    let cases: [(&Value, &str, Value); 19] = [
        (&unet, "/pixel_nm", json!(-8.0)),
        (&unet, "/pixel_nm", json!(1e300)),
        (&unet, "/pixel_nm", json!(0)),
        (&unet, "/pixel_nm", json!("8")),
        (&unet, "/pixel_nm", json!(null)),
        (&unet, "/upsample", json!(0)),
        (&unet, "/upsample", json!(1_u64 << 60)),
        (&unet, "/width", json!(0)),
        (&unet, "/width", json!(-3)),
        (&unet, "/width", json!(1_u64 << 40)),
        (&unet, "/last_side", json!(2)),
        (&unet, "/last_side", json!(99)),
        (&unet, "/target_logit", json!(-1.0)),
        (&unet, "/logit_scale", json!(0.0)),
        (&fast, "/fast/widths", json!([])),
        (&fast, "/fast/widths", json!(vec![8; 64])),
        (&gan, "/generator/widths", json!([8, 0])),
        (&gan, "/generator/refine", json!(1_u64 << 50)),
        (&gan, "/pixel_nm", json!(1e-9)),
    ];
    for (config, pointer, value) in cases {
        let mut changed = config.clone();
        *changed.pointer_mut(pointer).expect("a field") = value.clone();
        let stored = Stored::of(&serde_json::to_vec(&changed).expect("JSON"), &[]);
        let error = match config["architecture"].as_str() {
            Some("gan-opc") => GanOpc::of(&stored, &Device::flex()).map(drop),
            _ => NeuralIlt::of(&stored, &Device::flex()).map(drop),
        };
        let error = error.expect_err("refused");
        assert!(matches!(error, WeightsError::Config { .. }), "{pointer} {value}: {error}");
        let field = pointer.rsplit('/').next().expect("a name");
        assert!(error.to_string().contains(field), "{pointer} {value}: {error}");
    }
}
