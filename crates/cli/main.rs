#![recursion_limit = "256"]
//! temporary trial binary
use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_litho::*;
use std::time::Instant;
fn sync(t: Tensor<3>) -> f32 {
    t.narrow(1, 0, 1).narrow(2, 0, 1).sum().into_scalar()
}
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let t0 = Instant::now();
    let chosen = lithoburn_pool::choose(args[1].parse().map_err(anyhow::Error::msg)?)?;
    println!(
        "{} {} {} in {:.2}s cache {:?}",
        chosen.name,
        chosen.card,
        chosen.reason,
        t0.elapsed().as_secs_f64(),
        lithoburn_pool::cache::file()
    );
    let device: Device = chosen.device;
    let t0 = Instant::now();
    let set = tcc::Optics::default().kernels()?;
    println!(
        "kernels {:.2}s kept {:?} clear {} {}",
        t0.elapsed().as_secs_f64(),
        set.focus.kept,
        set.focus.clear_field(),
        set.defocus.clear_field()
    );
    let mode = args[2].as_str();
    if mode == "sim" {
        let b: usize = args[3].parse()?;
        let sim = Simulator::new(&set, &device);
        let g = sim.sampling(1.0, 1)?;
        let clip = lithoburn_layout::generate::ClipRules::default().clip(3);
        let frame = lithoburn_layout::Frame::centred(&clip, 2048.0, 1.0)?;
        let r = clip.rasterize(&frame, lithoburn_layout::Coverage::Exact);
        let one = Tensor::<3>::from_data(TensorData::new(r.data, [1, 2048, 2048]), &device);
        let mask = one.repeat_dim(0, b);
        for i in 0..6 {
            let t = Instant::now();
            let reps = if i < 2 { 1 } else { 20.min(160 / b.max(8)) };
            let mut s = 0.0;
            for _ in 0..reps {
                let a = sim.aerial(mask.clone(), &g, &g);
                let outer = a.best.clone() * 1.0404;
                s = sync(a.best) + sync(a.defocus) + sync(outer);
            }
            println!(
                "sim b{b} {:.3} ms per mask ({s})",
                t.elapsed().as_secs_f64() * 1e3 / (reps * b) as f64
            );
        }
    } else if mode == "ilt" {
        let sim = Simulator::new(&set, &device);
        let clip = lithoburn_layout::generate::ClipRules::default().clip(3);
        let frame = lithoburn_layout::Frame::centred(&clip, 2048.0, 2.0)?;
        let r = clip.rasterize(&frame, lithoburn_layout::Coverage::Exact);
        let target = Tensor::<3>::from_data(TensorData::new(r.data, [1, 1024, 1024]), &device);
        let config = ilt::IltConfig::default();
        for _ in 0..3 {
            let t = Instant::now();
            let m = ilt::Ilt::new(&config, &sim).run(&target, &ilt::Start::Target, &mut |p| {
                if p.done % 40 == 0 {
                    println!("{:?} {:.1}", p, t.elapsed().as_secs_f64());
                }
                true
            })?;
            let s: f32 = m.sum().into_scalar();
            println!("ilt {:.3} s sum {s}", t.elapsed().as_secs_f64());
        }
    } else {
        let mut config = lithoburn_train::TrainConfig::default();
        config.network.width = args[3].parse()?;
        config.batch = args[4].parse()?;
        config.steps = args[5].parse()?;
        config.validate_every = args[6].parse()?;
        config.bf16 = args[7] == "bf16";
        config.warm_up = 50;
        let out = std::path::PathBuf::from(std::env::var("OUT").unwrap_or("/tmp".into())).join("w");
        config.minutes = Some(args[8].parse()?);
        config.learning_rate = args[9].parse()?;
        config.warm_up = 300;
        let t = lithoburn_train::train_neural_ilt(&config, &set, &device, &out, &mut |r| {
            println!("{}", serde_json::to_string(r).unwrap_or_default());
            true
        })?;
        println!("{} {}", t.best_nm2, t.hash);
    }
    Ok(())
}
