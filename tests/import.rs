//! Checkpoints of published networks become weights of ours that compute the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::models::weights::Stored;
use lithoburn::models::{GanOpc, MaskNetwork, NeuralIlt};
use lithoburn_compare::largest_difference;
use lithoburn_exchange::pytorch::Array;
use lithoburn_exchange::{Checkpoint, Imported, Published, import};
use lithoburn_testing::reference;

use crate::reference::npz;

use crate::programs::{folder, lithoburn, text};

/// Small checkpoints that PyTorch wrote, with an input and its output; `make_checkpoints.py` made them.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(format!("{name}.pth"))
}

const NETWORKS: [(&str, Published); 3] = [
    ("neural-ilt", Published::NeuralIlt),
    ("lithobench-neural-ilt", Published::LithobenchNeuralIlt),
    ("gan-opc", Published::GanOpc),
];

fn tensor(array: &Array) -> Tensor<4> {
    let shape: [usize; 4] = array.shape.clone().try_into().expect("four dimensions");
    Tensor::from_data(TensorData::new(array.data.clone(), shape), &Device::flex())
}

/// The imported network's logits.
fn logits(imported: &Imported, x: Tensor<4>) -> Tensor<4> {
    let (stored, device) = (Stored::of(&imported.config, &imported.tensors), Device::flex());
    match imported.architecture.as_str() {
        "gan-opc" => GanOpc::of(&stored, &device).expect("loads").logits(x),
        _ => NeuralIlt::of(&stored, &device).expect("loads").logits(x),
    }
}

fn apart(found: Tensor<4>, expected: &Array) -> (f64, f64) {
    let found = found.try_into_vec_as::<f32>().expect("f32");
    let off = largest_difference(&found, &expected.data);
    let [least, most] = [f32::min as fn(f32, f32) -> f32, f32::max]
        .map(|pick| expected.data.iter().copied().reduce(pick).expect("values"));
    (off, f64::from(most - least))
}

#[test]
fn what_pytorch_computes_from_its_checkpoint_we_compute_from_ours() {
    for (name, network) in NETWORKS {
        let checkpoint = Checkpoint::read(&fixture(name)).expect("reads");
        let imported = import(&checkpoint, network).expect("imports");
        assert_eq!(import(&checkpoint, network).expect("imports").tensors, imported.tensors);
        let found = logits(&imported, tensor(&checkpoint.tensors["input"]));
        let (off, range) = apart(found, &checkpoint.tensors["output"]);
        // f32 sums of up to a few hundred products in another order; normalisation is folded in f64.
        assert!(off < 1e-5 * range.max(1.0) && range > 0.01, "{name}: {off:e} of {range}");
    }
}

/// A state dictionary in the making, by the formula that the reference was made with: entry j, element i.
#[derive(Default)]
struct Formula {
    tensors: BTreeMap<String, Array>,
    entries: usize,
}

impl Formula {
    fn add(&mut self, name: String, shape: &[usize], value: impl Fn(f64) -> f64) {
        let wave = |i: usize| (1.0 + 0.37 * self.entries as f64 + 0.7131 * i as f64).sin();
        let data = (0..shape.iter().product()).map(|i| value(wave(i)) as f32).collect();
        self.tensors.insert(name, Array { shape: shape.to_vec(), data });
        self.entries += 1;
    }

    fn conv(&mut self, name: &str, from: usize, to: usize, side: usize) {
        let scale = (2.0 / (from * side * side) as f64).sqrt();
        self.add(format!("{name}.weight"), &[to, from, side, side], |s| scale * s);
        self.add(format!("{name}.bias"), &[to], |s| 0.01 * s);
    }

    fn normalisation(&mut self, name: &str, channels: usize) {
        self.add(format!("{name}.weight"), &[channels], |s| 1.0 + 0.1 * s);
        self.add(format!("{name}.bias"), &[channels], |s| 0.01 * s);
        self.add(format!("{name}.running_mean"), &[channels], |s| 0.01 * s);
        self.add(format!("{name}.running_var"), &[channels], |s| 1.0 + 0.1 * s * s);
        self.add(format!("{name}.num_batches_tracked"), &[], |_| 0.0);
    }

    fn checkpoint(self) -> Checkpoint {
        Checkpoint { path: "formula".into(), tensors: self.tensors }
    }
}

/// The reference's input: two bars.
fn bars(n: usize) -> Tensor<4> {
    let bar = |i: usize| {
        let (row, column) = (i / n, i % n);
        let one = (n / 4..n / 4 + n / 8).contains(&row) && (n / 8..n - n / 8).contains(&column);
        let two = (n / 2..n - n / 8).contains(&row) && (n / 3..n / 3 + n / 8).contains(&column);
        f32::from(u8::from(one || two))
    };
    let data: Vec<f32> = (0..n * n).map(bar).collect();
    Tensor::from_data(TensorData::new(data, [1, 1, n, n]), &Device::flex())
}

const CHANNELS: [[usize; 2]; 7] =
    [[1, 64], [64, 128], [128, 256], [256, 512], [768, 256], [384, 128], [192, 64]];

#[test]
fn the_published_networks_compute_their_reference_outputs() {
    let Some(path) = reference("golden/nn/nn_formula_init.npz") else { return };
    let expected = npz(&path);
    let mut authors = Formula::default();
    let downs = ["down1", "down2", "down3", "down4", "up3", "up2", "up1"];
    for (name, [from, to]) in downs.iter().zip(CHANNELS) {
        authors.conv(&format!("dconv_{name}.0"), from, to, 3);
        authors.conv(&format!("dconv_{name}.2"), to, to, 3);
    }
    authors.conv("conv_last", 64, 1, 1);
    let mut lithobench = Formula::default();
    let blocks = ["conv1", "conv2", "conv3", "conv4", "deconv4", "deconv3", "deconv2"];
    for (name, [from, to]) in blocks.iter().zip(CHANNELS) {
        for (place, from) in [(0, from), (3, to)] {
            lithobench.conv(&format!("{name}.{place}"), from, to, 3);
            lithobench.normalisation(&format!("{name}.{}", place + 1), to);
        }
    }
    lithobench.conv("deconv1.0", 64, 1, 3);
    let mut generator = Formula::default();
    let widths = [1, 16, 64, 128, 512, 1024];
    for (i, pair) in widths.windows(2).enumerate() {
        generator.conv(&format!("_seq.{i}.0"), pair[0], pair[1], 5);
        generator.normalisation(&format!("_seq.{i}.1"), pair[1]);
    }
    for (i, pair) in widths.windows(2).rev().enumerate() {
        generator.conv(&format!("_seq.{}.0", 5 + i), pair[1], 4 * pair[0], 3);
        if pair[0] > 1 {
            generator.normalisation(&format!("_seq.{}.2", 5 + i), pair[0]);
        }
    }
    let cases = [
        (authors, Published::NeuralIlt, "neuralilt_unet_logits", false),
        (lithobench, Published::LithobenchNeuralIlt, "lithobench_neuralilt_unet", true),
        (generator, Published::GanOpc, "ganopc_generator", false),
    ];
    for (formula, network, key, sigmoid_inside) in cases {
        let imported = import(&formula.checkpoint(), network).expect("imports");
        let (shape, data) = &expected[key];
        let mut found = logits(&imported, bars(shape[0]));
        if sigmoid_inside {
            found = lithoburn::burn::tensor::activation::sigmoid(found);
        }
        let expected = Array { shape: shape.clone(), data: data.clone() };
        let (off, range) = apart(found, &expected);
        println!("{key}: {off:e} of a range of {range}");
        // Sums of thousands of f32 products in another order; the reference is 8e-6 off the same in f64.
        assert!(off < 2e-5, "{key}: {off:e} of a range of {range}");
    }
}

fn refusal(checkpoint: &Checkpoint, network: Published) -> String {
    import(checkpoint, network).expect_err("refused").to_string()
}

#[test]
fn what_does_not_fit_is_named() {
    let read = |name: &str| Checkpoint::read(&fixture(name)).expect("reads");
    let wrong = refusal(&read("neural-ilt"), Published::LithobenchNeuralIlt);
    assert!(wrong.contains("conv1.0.weight") && wrong.contains("missing"), "{wrong}");
    let key = |part: &str| format!("state_dict.{part}");
    let mut missing = read("neural-ilt");
    missing.tensors.remove(&key("dconv_up2.2.bias"));
    let problem = refusal(&missing, Published::NeuralIlt);
    assert!(problem.contains("dconv_up2.2.bias") && problem.contains("missing"), "{problem}");
    let mut shape = read("neural-ilt");
    let last = shape.tensors.get_mut(&key("conv_last.weight")).expect("a tensor");
    last.shape = vec![1, 1, 1];
    let problem = refusal(&shape, Published::NeuralIlt);
    for part in ["conv_last.weight", "[1, 1, 1]", "[1, 1, 1, 1]"] {
        assert!(problem.contains(part), "{problem}");
    }
    let mut more = read("neural-ilt");
    let one = Array { shape: vec![1], data: vec![0.0] };
    more.tensors.insert(key("dconv_down5.0.bias"), one);
    let problem = refusal(&more, Published::NeuralIlt);
    assert!(problem.contains("dconv_down5.0.bias") && problem.contains("no place"), "{problem}");
    let mut nan = read("gan-opc");
    nan.tensors.get_mut(&key("_seq.2.0.bias")).expect("a tensor").data[1] = f32::NAN;
    let problem = refusal(&nan, Published::GanOpc);
    assert!(problem.contains("generator.down.2.first.bias"), "{problem}");
    let mut variance = read("gan-opc");
    let v = variance.tensors.get_mut(&key("_seq.0.1.running_var")).expect("a tensor");
    v.data[0] = -1.0;
    let problem = refusal(&variance, Published::GanOpc);
    assert!(problem.contains("_seq.0.1.running_var") && problem.contains("-1"), "{problem}");
}

/// From a checkpoint to a mask, and to an ONNX file.
#[test]
fn an_imported_network_proposes_masks_and_is_exported() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/layouts/metal_clip.glp");
    let path = |p: &Path| p.to_str().expect("UTF-8").to_string();
    for (name, model) in [
        ("neural-ilt", "neural-ilt"),
        ("lithobench-neural-ilt", "neural-ilt"),
        ("gan-opc", "gan-opc"),
    ] {
        let out = folder(&format!("import-{name}"));
        let (weights, masks) = (path(&out.join("weights")), path(&out.join("masks")));
        let run = lithoburn(&["import", &path(&fixture(name)), "--as", name, "--out", &weights]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert!(text(&run.stdout).contains("parameters"), "{}", text(&run.stdout));
        let line = ["infer", example, "--device", "cpu", "--model", model, "--weights", &weights];
        let run =
            lithoburn(&[&line[..], &["--correct", "0", "--pixel", "4", "--out", &masks]].concat());
        assert!(run.status.code().is_some_and(|code| code < 2), "{name}: {}", text(&run.stderr));
        assert!(out.join("masks/mask.gds").exists());
        let file = path(&out.join("network.onnx"));
        let line = ["export", "--onnx", &file, "--model", model, "--weights", &weights];
        let run = lithoburn(&[&line[..], &["--size", "128", "--samples", "2"]].concat());
        assert!(run.status.success(), "{name}: {}", text(&run.stderr));
        let samples = std::fs::read(out.join("network.samples.safetensors")).expect("samples");
        let samples = safetensors::SafeTensors::deserialize(&samples).expect("safetensors");
        for tensor in ["target", "mask"] {
            assert_eq!(samples.tensor(tensor).expect(tensor).shape(), [2, 1, 128, 128]);
        }
    }
}

#[test]
fn wrong_files_are_one_clear_line() {
    let out = folder("import-wrong");
    let write = |name: &str, bytes: &[u8]| {
        let file = out.join(name);
        std::fs::write(&file, bytes).expect("writes");
        file.to_str().expect("UTF-8").to_string()
    };
    let whole = std::fs::read(fixture("neural-ilt")).expect("fixture");
    let cases = [
        (out.join("missing.pth").to_str().expect("UTF-8").to_string(), "missing.pth"),
        (write("text.pth", b"hello"), "torch.save"),
        (write("cut.pth", &whole[..whole.len() / 2]), "cut short"),
        (fixture("gan-opc").to_str().expect("UTF-8").to_string(), "dconv_down1.0.weight"),
    ];
    let weights = out.join("weights");
    for (file, expected) in cases {
        let target = weights.to_str().expect("UTF-8");
        let run = lithoburn(&["import", &file, "--as", "neural-ilt", "--out", target]);
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{file}: {error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{file}: {error}");
        assert!(!weights.join("model.safetensors").exists());
    }
    let file = out.join("network.onnx");
    let file = file.to_str().expect("UTF-8");
    let run = lithoburn(&["export", "--onnx", file, "--size", "100"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("multiples of 16"), "{}", text(&run.stderr));
}
