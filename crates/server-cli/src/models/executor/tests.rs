use lithoburn_engine::{Model as Method, ModelSettings};
use lithoburn_layout::{Layout, Polygon};
use lithoburn_pool::{Chosen, DeviceName, choose};

use super::super::catalogue::described;
use super::*;

/// A field of 1024 nm and two steps, for tests that are quick on a CPU.
const FIELD_NM: f64 = 1024.0;

fn cpu() -> Chosen {
    choose(DeviceName::Cpu).expect("always there")
}

fn on(device: Chosen) -> Vec<Arc<Runner>> {
    vec![Runner::start(device).expect("a thread")]
}

fn model() -> Described {
    let settings = ModelSettings { correct: 2, ..Method::NeuralIltFast.into() };
    described("small", 1, lithoburn_engine::Part::Method, settings, Some(FIELD_NM))
        .expect("a model")
}

fn layout(x: f64) -> Layout {
    Layout::new("bar", vec![Polygon::rectangle(x, 200.0, x + 80.0, 800.0)])
}

/// A bar that ends within a pixel, and one on whole pixels, around whose middle fields lie.
fn between_pixels() -> Layout {
    let bars = [[300.0, 381.0], [420.0, 500.0]];
    Layout::new("bars", bars.map(|[a, b]| Polygon::rectangle(a, 200.0, b, 800.0)).into())
}

/// Items of one request, whose answer is wanted in the same datatype.
fn request(fields: &[&Raster], datatype: Datatype) -> Arc<Request> {
    let side = fields[0].width;
    let values: Vec<f32> = fields.iter().flat_map(|field| field.data.iter().copied()).collect();
    let target =
        Tensor::from_f32(datatype, vec![fields.len(), side, side], &values).expect("a tensor");
    let outputs = vec![Wanted { output: 0, datatype }];
    Arc::new(Request { inputs: vec![target], outputs, ..Request::default() })
}

fn answers(executor: &mut dyn Executor, requests: Vec<Arc<Request>>) -> Result<Vec<Answer>, Fault> {
    let mut work = executor.prepare(&Batch { requests, stop: Stop::default() })?;
    work.launch()?;
    work.finish()?;
    work.collect()
}

/// A mask as `infer` finds it.
fn inferred(model: &Described, layout: &Layout, on: &Chosen) -> lithoburn_engine::Mask {
    model.correction.clone().with_design(layout).on(vec![on.clone()]).run().expect("a mask")
}

/// One batch of four requests in four datatypes, one of two fields: each gets what `infer` gives for its field.
#[test]
fn a_served_mask_is_what_infer_gives_to_the_last_bit_in_every_datatype_and_batch() {
    let (cpu, model) = (cpu(), model());
    let masks = [300.0, 640.0].map(|x| inferred(&model, &layout(x), &cpu));
    let targets: Vec<&Raster> = masks.iter().map(|mask| mask.target()).collect();
    let served = Served::new(model, on(cpu));
    let device = Device::new("cpu");
    assert!(served.runs_on(&device) && !served.runs_on(&Device::new("cuda:0")));
    let mut executor = served.executor(&device).expect("the CPU has it");
    executor.warm_up().expect("it computes");
    assert_eq!(executor.pixels(), 512 * 512);
    let requests = vec![
        request(&targets[..1], Datatype::Fp32),
        request(&targets, Datatype::Uint8),
        request(&targets[1..], Datatype::Bool),
        request(&targets[..1], Datatype::Bytes),
    ];
    requests.iter().for_each(|request| served.signature().check(request).expect("it fits"));
    let answers = answers(executor.as_mut(), requests).expect("answers");
    let wanted = [vec![0], vec![0, 1], vec![1], vec![0]];
    for (answer, fields) in answers.iter().zip(wanted) {
        let expected: Vec<f32> =
            fields.iter().flat_map(|&i| masks[i].raster().data.iter().copied()).collect();
        assert!(expected.contains(&1.0) && expected.contains(&0.0));
        assert_eq!(answer[0].shape, [fields.len(), 512, 512]);
        assert_eq!(answer[0].to_f32().expect("pixels"), expected, "{}", answer[0].datatype);
    }
}

/// A field with a pixel of which half is covered, beside one that is bits.
#[test]
fn a_pixel_that_is_covered_in_part_keeps_its_part_whatever_it_is_computed_with() {
    let (cpu, model) = (cpu(), model());
    let masks = [between_pixels(), layout(640.0)].map(|bars| inferred(&model, &bars, &cpu));
    let targets = masks.each_ref().map(|mask| mask.target());
    assert!(targets[0].data.contains(&0.5));
    let runners = vec![Runner::with_hands(cpu, 2).expect("threads")];
    let served = Served::new(model, runners);
    let mut executor = served.executor(&Device::new("cpu")).expect("the CPU has it");
    assert_eq!(executor.hands(), 1, "a device that holds one field computes one batch");
    let mut grey = Request::clone(&request(&targets[..1], Datatype::Fp32));
    grey.outputs[0].datatype = Datatype::Bytes;
    let requests = vec![Arc::new(grey), request(&targets[1..], Datatype::Bytes)];
    let answers = answers(executor.as_mut(), requests).expect("answers");
    for (answer, mask) in answers.iter().zip(&masks) {
        assert_eq!(answer[0].to_f32().expect("pixels"), mask.raster().data);
    }
}

#[test]
fn a_field_that_is_none_is_its_clients_fault() {
    let model = model();
    let served = Served::new(model, on(cpu()));
    let mut executor = served.executor(&Device::new("cpu")).expect("the CPU has it");
    let mut refused = |value: f32, side: usize| {
        let mut field = Raster::new(side, side, 2.0);
        field.data[side] = value;
        let refused = answers(executor.as_mut(), vec![request(&[&field], Datatype::Fp32)]);
        match refused {
            Err(Fault::Request(text)) => text,
            other => panic!("{value}, {side}: {:?}", other.map(|answers| answers.len())),
        }
    };
    for value in [255.0, -0.1, f32::NAN, f32::INFINITY, 1.5] {
        assert!(refused(value, 512).contains("covered"));
    }
    assert!(refused(1.0, 500).contains("512 x 512"));
}

#[test]
fn a_batch_that_nobody_waits_for_is_left() {
    use std::sync::atomic::AtomicBool;
    let (model, gone) = (model(), Arc::new(AtomicBool::new(true)));
    let served = Served::new(model, on(cpu()));
    let mut executor = served.executor(&Device::new("cpu")).expect("the CPU has it");
    let requests = vec![request(&[&Raster::new(512, 512, 2.0)], Datatype::Fp32)];
    let mut work =
        executor.prepare(&Batch { requests, stop: Stop::when_all(vec![gone]) }).expect("it fits");
    assert_eq!(work.finish(), Err(Fault::Stopped));
}

/// Without being asked, a server answers in the datatype that came, where that holds what is answered.
#[test]
fn images_and_logits_are_no_whole_numbers() {
    let of = |part| {
        described("a", 1, part, Method::NeuralIltFast.into(), Some(FIELD_NM)).expect("a model")
    };
    for part in [lithoburn_engine::Part::Simulator, lithoburn_engine::Part::Network] {
        let signature = signature(&of(part));
        assert!(signature.inputs.iter().all(|port| port.has(Datatype::Bytes)));
        for port in &signature.outputs {
            let is_pixels = port.name == "mask" || port.name.starts_with("print");
            assert_eq!(
                (port.has(Datatype::Uint8), port.has(Datatype::Bytes)),
                (is_pixels, is_pixels),
                "{}",
                port.name
            );
            assert!(port.has(Datatype::Fp32) && port.has(Datatype::Fp16));
        }
    }
}
