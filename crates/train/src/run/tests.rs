use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lithoburn_litho::optics::Optics;
use lithoburn_models::{
    EncoderDecoderConfig, GanOpc, GanOpcConfig, NeuralIlt, NeuralIltConfig, weights,
};

use super::*;
use crate::Adversarial;

fn tiny() -> TrainConfig {
    let network = NeuralIltConfig { width: 2, pixel_nm: 32.0, upsample: 8, ..Default::default() };
    TrainConfig {
        network: Network::NeuralIlt(network),
        batch: 4,
        steps: 4,
        warm_up: 1,
        bf16: false,
        validate_every: 2,
        validation_clips: 2,
        ..Default::default()
    }
}

fn tiny_gan() -> TrainConfig {
    let generator = EncoderDecoderConfig::new(vec![2, 3], true, 0);
    let network =
        GanOpcConfig { generator, pixel_nm: 32.0, upsample: 8, ..GanOpcConfig::default() };
    let adversarial = Adversarial {
        labels: 3,
        label_steps: [2, 2],
        discriminator: vec![2, 2],
        ..Default::default()
    };
    TrainConfig { network: Network::GanOpc(network), adversarial: Some(adversarial), ..tiny() }
}

fn kernels() -> KernelSet {
    Optics { count: 2, source_step: 0.2, ..Optics::default() }.kernels().expect("optics")
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("lithoburn-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("temporary folder");
    folder
}

/// Replicas, too, draw from the device's one random generator, which runs must not share. Tests that make no run have
/// [`alone`](crate::first::alone).
static ALONE: Mutex<()> = Mutex::new(());

/// A run to its end that was stopped after each of these steps' looks.
fn run(config: &TrainConfig, devices: usize, stops: &[usize], out: &Path) -> Trained {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let devices = vec![Device::flex(); devices];
    for &stop in stops {
        let mut watch = |news: News| !matches!(news, News::Look(r, _) if r.step == stop);
        let trained = train(config, &kernels(), &devices, out, &mut watch).expect("stops");
        assert_eq!(trained.end, End::Stopped);
        assert!(out.join(checkpoint::FILE).exists());
    }
    let trained = train(config, &kernels(), &devices, out, &mut |_| true).expect("trains");
    assert!(!out.join(checkpoint::FILE).exists());
    trained
}

mod cards;

#[test]
fn a_short_run_leaves_weights_that_load() {
    let out = folder("train");
    let trained = run(&tiny(), 1, &[], &out);
    assert!(trained.best_l2_nm2.is_finite() && trained.end == End::Done);
    assert_eq!(weights::Stored::read(&out).expect("weights").sha256, trained.hash);
    NeuralIlt::load(&out, &Device::flex()).expect("loads");
}

#[test]
fn a_run_that_was_stopped_ends_as_one_that_was_not() {
    let whole = run(&tiny(), 1, &[], &folder("whole"));
    let parts = run(&tiny(), 1, &[1, 2], &folder("parts"));
    assert_eq!(whole.hash, parts.hash);
    // Numbers read from text may be off by their last bit.
    let same = |a: &Record, b: &Record| {
        a.step == b.step && (a.loss_nm2 - b.loss_nm2).abs() < 1e-9 * a.loss_nm2
    };
    assert!(whole.records.iter().all(|a| parts.records.iter().any(|b| same(a, b))));
}

/// The adversarial phase begins at half time, and its discriminator is resumed too.
#[test]
fn an_adversarial_run_resumes_and_its_generator_loads() {
    let (first, second) = (folder("gan"), folder("gan-parts"));
    let whole = run(&tiny_gan(), 1, &[], &first);
    let parts = run(&tiny_gan(), 1, &[1, 2], &second);
    assert_eq!(whole.hash, parts.hash);
    let told: Vec<bool> = whole.records.iter().map(|r| r.told_apart.is_some()).collect();
    assert_eq!((told.first(), told.last()), (Some(&false), Some(&true)));
    GanOpc::load(&first, &Device::flex()).expect("loads");
    assert!(first.join("labels/labels-00000.safetensors").exists());
}

/// All numbers of the weights that a run left.
fn weights_in(out: &Path) -> Vec<f32> {
    let bytes = std::fs::read(out.join(weights::FILE)).expect("weights");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a file of tensors");
    let mut names: Vec<_> = tensors.names().into_iter().map(String::from).collect();
    names.sort_unstable();
    let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let own = |name: &String| tensors.tensor(name).expect("is there").data().to_vec();
    names.iter().map(own).flat_map(|d| d.chunks_exact(4).map(number).collect::<Vec<_>>()).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut a.iter().copied())).sqrt()
}

/// The gradients of a batch's parts, averaged, are the gradient of the batch: all that is left between the weights is rounding.
#[test]
fn several_devices_train_as_one() {
    for (config, count) in [(tiny(), 2), (tiny(), 4), (tiny_gan(), 2)] {
        let (first, second) = (folder("one"), folder("several"));
        let one = run(&config, 1, &[], &first);
        let several = run(&config, count, &[], &second);
        for (a, b) in one.records.iter().zip(&several.records) {
            let off = (a.loss_nm2 - b.loss_nm2).abs();
            assert!(off < 1e-3 * a.loss_nm2, "step {}: {} vs {}", a.step, a.loss_nm2, b.loss_nm2);
        }
        let off = distance(&weights_in(&first), &weights_in(&second));
        assert!(off < 1e-4, "{count} devices: {off}");
    }
}

/// What is computed when does not matter, nor where a run was stopped.
#[test]
fn several_devices_leave_the_same_bits_each_time() {
    let whole = run(&tiny_gan(), 2, &[], &folder("two"));
    assert_eq!(whole.hash, run(&tiny_gan(), 2, &[], &folder("two-again")).hash);
    assert_eq!(whole.hash, run(&tiny_gan(), 2, &[1, 2], &folder("two-parts")).hash);
}

/// Replicas of the tiny network, on the CPU.
fn replicas(count: usize) -> Replicas<NeuralIlt> {
    let (config, kernels) = (tiny(), kernels());
    let Network::NeuralIlt(network) = config.network.clone() else { unreachable!("it is one") };
    let lesson = Lesson {
        source: ClipSource::open(&config.clips, None, kernels.period_nm).expect("clips"),
        config: Arc::new(config),
        kernels: Arc::new(kernels),
        trainees: Arc::new(vec![fresh(&network.init(&Device::flex())).expect("weights")]),
        step: 0,
    };
    let make = move |device: &Device| network.init(device);
    Replicas::new(&lesson, make, &vec![Device::flex(); count], Sums::Fastest).expect("starts")
}

const ORDER: StepOrder =
    StepOrder { share: 0.0, rate: 1e-3, fights: false, looked_at: true, ends: false };

#[test]
fn a_device_that_fails_ends_the_step_of_all_with_its_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let replicas = replicas(2);
    replicas.all(|replica| replica.step(ORDER)).expect("both are well");
    let step = |replica: &mut crate::replica::Replica<NeuralIlt>| match replica.rank() {
        1 => Err(TrainError::Config("it is on fire".into())),
        _ => replica.step(ORDER),
    };
    let error = replicas.all(step).expect_err("one fails").to_string();
    assert!(error.contains("device 2 of 2: it is on fire"), "{error}");
    assert!(error.contains("goes on from the last validation"), "{error}");
    assert!(replicas.all(|replica| replica.step(ORDER)).is_err(), "it is over");
}

/// Devices of several kinds round apart. These are made to.
#[test]
fn devices_that_are_apart_take_the_first_ones_weights() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let replicas = replicas(2);
    let prints = || replicas.all(|replica| replica.fingerprint()).expect("hashes");
    replicas.all(|replica| replica.step(ORDER)).expect("a step");
    let before = prints();
    assert_eq!(before[0], before[1]);
    let mut other = replicas.first(|replica| replica.trainees()).expect("reads");
    other[0].values[0][0] += 1.0;
    let away = move |replica: &mut crate::replica::Replica<NeuralIlt>| match replica.rank() {
        1 => replica.restore(&other).map_err(TrainError::Config),
        _ => Ok(()),
    };
    replicas.all(away).expect("takes them");
    assert_ne!(prints()[0], prints()[1]);
    replicas.agree().expect("agrees");
    assert_eq!(prints(), before);
}

/// Replicas of which some have a weight that is none.
fn with_a_lost_weight(
    count: usize,
    of: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> Replicas<NeuralIlt> {
    let replicas = replicas(count);
    let mut lost = replicas.first(|replica| replica.trainees()).expect("reads");
    // The last layer's bias: a ReLU after it could hide what is no number.
    lost[0].values.last_mut().expect("has weights")[0] = f32::NAN;
    let take = move |replica: &mut crate::replica::Replica<NeuralIlt>| match of(replica.rank()) {
        true => replica.restore(&lost).map_err(TrainError::Config),
        false => Ok(()),
    };
    replicas.all(take).expect("takes them");
    replicas
}

/// Hard masks of such a network are masks, with finite errors: a validation alone would not notice.
#[test]
fn weights_that_are_no_numbers_are_never_written() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = || with_a_lost_weight(2, |_| true);
    let errors = [
        lost().first(|replica| replica.encoded()).map(|_| ()),
        lost().first(|replica| replica.trainees()).map(|_| ()),
    ];
    for error in errors {
        let error = error.expect_err("is refused").to_string();
        assert!(error.contains("device 1 of 2: weight unet"), "{error}");
        assert!(error.contains("is no number at step 0"), "{error}");
    }
}

/// The first step sums what one device lost into the weights of both.
#[test]
fn a_look_tells_on_which_device_a_number_was_lost() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let replicas = with_a_lost_weight(2, |rank| rank == 1);
    replicas.all(|replica| replica.step(ORDER)).expect("a step");
    let looks = replicas.all(|replica| replica.look()).expect("looks");
    let lost = looks.iter().filter_map(|look| look.lost.as_ref());
    let lost = Lost::of_all(lost).expect("is found");
    assert_eq!((lost.step, &lost.devices[..], lost.of), (1, &[2][..], 2), "{lost}");
    assert!(lost.what.starts_with("weight unet"), "{lost}");
}

#[test]
fn a_run_without_progress_stops_early() {
    let config = TrainConfig { patience: Some(2), learning_rate: 0.0, steps: 20, ..tiny() };
    let trained = run(&config, 1, &[], &folder("patience"));
    // The first of the validations at steps 2, 4 and 6 is the best for ever.
    assert_eq!((trained.end, trained.best_step), (End::EarlyStop, 2));
    assert_eq!(trained.records.last().map(|r| r.step), Some(6));
}

#[test]
fn loud_logits_are_scaled_by_a_power_of_two() {
    assert_eq!([0.0, 5.0, 32.0, f64::NAN].map(logit_scale), [1.0; 4]);
    assert_eq!([33.0, 64.0, 65.0, 2451.0].map(logit_scale), [0.5, 0.5, 0.25, 1.0 / 128.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |config: &TrainConfig, devices: usize, out: &Path| {
        let devices = vec![Device::flex(); devices];
        let result = train(config, &kernels(), &devices, out, &mut |_| true);
        result.expect_err("is refused").to_string()
    };
    let out = folder("refused");
    let network = NeuralIltConfig { width: 2, pixel_nm: 2048.0 / 44.0, ..Default::default() };
    let odd = TrainConfig { network: Network::NeuralIlt(network), ..tiny() };
    assert!(refused(&odd, 1, &out).contains("multiple of 8"));
    assert!(refused(&tiny(), 3, &out).contains("3 devices"));
    assert!(refused(&tiny(), 0, &out).contains("no device"));
    let mut stop = |_: News| false;
    train(&tiny(), &kernels(), &[Device::flex()], &out, &mut stop).expect("stops");
    let other = TrainConfig { seed: 2, ..tiny() };
    let settings = || std::fs::read(out.join("training.json")).expect("settings");
    let before = settings();
    assert!(refused(&other, 1, &out).contains("other settings"));
    // What the former run's options were is still there to be read.
    assert!(settings() == before);
    let empty = folder("refused-odd");
    let odd = TrainConfig { batch: 3, ..tiny_gan() };
    assert!(refused(&odd, 1, &empty).contains("half of them labelled"));
    assert_eq!(std::fs::read_dir(&empty).expect("a folder").count(), 0);
}

/// The clock bounds examples and first steps too: of 2048 clips only a batch has examples, and one step is done.
#[test]
fn a_run_without_time_still_leaves_weights() {
    let limited = |config: TrainConfig| TrainConfig { steps: 1000, minutes: Some(1e-6), ..config };
    let gan = tiny_gan();
    let adversarial = Adversarial { labels: 2048, ..gan.adversarial.clone().expect("has one") };
    let gan = TrainConfig { adversarial: Some(adversarial), ..gan };
    for (config, name) in [(limited(tiny()), "no-time"), (limited(gan), "no-time-gan")] {
        let out = folder(name);
        let mut examples = 0;
        let mut watch = |news: News| {
            if let News::Labels(made, _) = news {
                examples = made;
            }
            true
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let trained =
            train(&config, &kernels(), &[Device::flex()], &out, &mut watch).expect("trains");
        drop(alone);
        assert_eq!((trained.end, trained.best_step), (End::Done, 1), "{name}");
        assert!(examples <= 32, "{examples}");
        assert_eq!(weights::Stored::read(&out).expect("weights").sha256, trained.hash);
    }
}

/// Made in two goes, the examples are those of one.
#[test]
fn examples_that_were_begun_are_gone_on_with() {
    let (config, kernels) = (tiny_gan(), kernels());
    let settings = Adversarial { labels: 40, ..config.adversarial.clone().expect("has one") };
    let source = ClipSource::open(&config.clips, None, kernels.period_nm).expect("clips");
    let device = Device::flex();
    let made = |name: &str, dues: &[bool]| {
        let out = folder(name);
        let maker = LabelMaker::new(&config, &source, &settings, 64, &kernels, &device, &out)
            .expect("fits");
        let ready = |&due: &bool| {
            let labels = Labels::ready(&maker, 40, &|| due, &mut |_| true).expect("solves");
            labels.masks(0..labels.len())
        };
        dues.iter().map(ready).collect::<Vec<_>>()
    };
    let (whole, parts) = (made("whole-labels", &[false]), made("part-labels", &[true, false]));
    let pixels = 64 * 64;
    assert_eq!((parts[0].len(), parts[1].len()), (32 * pixels, 40 * pixels));
    assert!(parts[1] == whole[0] && parts[0] == whole[0][..32 * pixels]);
}

/// As damaged as a file can be that still is one: each is refused by the file's name.
#[test]
fn a_state_that_does_not_fit_the_network_is_refused() {
    let (config, out) = (tiny(), folder("damaged-state"));
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let go = |watch: &mut dyn FnMut(News) -> bool| {
        train(&config, &kernels(), &[Device::flex()], &out, watch)
    };
    go(&mut |news| !matches!(news, News::Look(r, _) if r.step == 2)).expect("stops");
    let (state, trainees) = checkpoint::load(&out).expect("reads").expect("is there");
    type Damage = fn(&mut Trainee);
    let damages: [Damage; 6] = [
        |t| t.values[0][0] = f32::NAN,
        |t| t.adam.moments[1][2][0] = f32::INFINITY,
        |t| drop(t.values.pop()),
        |t| t.values[1].push(0.0),
        |t| t.adam.moments[0][1].push(0.0),
        |t| t.adam.steps = -1,
    ];
    for (i, damage) in damages.into_iter().enumerate() {
        let mut damaged = trainees.clone();
        damage(&mut damaged[0]);
        checkpoint::save(&out, &state, &damaged).expect("writes");
        let error = go(&mut |_| true).expect_err("is refused").to_string();
        assert!(error.contains(checkpoint::FILE), "{i}: {error}");
    }
    checkpoint::save(&out, &state, &trainees).expect("writes");
    go(&mut |_| true).expect("goes on");
}
