#![recursion_limit = "256"]
//! `lithoburn`: every job as a subcommand.

use clap::{Parser, Subcommand};
use lithoburn_cli::programs::{Program, Rest};
use lithoburn_cli::{
    bench, devices, doctor, export, generate, import, infer, kernels, layout, scaling, score,
    simulate, train, window,
};

/// Computational lithography: masks whose print is the design.
#[derive(Parser)]
#[command(name = "lithoburn", version)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Find the mask whose print is the design.
    Infer(infer::InferArgs),
    /// Show what is in a layout file: cells, layers, sizes, what fits one field.
    Layout(layout::LayoutArgs),
    /// Simulate a mask: aerial images and prints at three corners.
    Simulate(simulate::SimulateArgs),
    /// Measure anybody's mask against a target.
    Score(score::ScoreArgs),
    /// Look at a mask through dose and focus.
    Window(window::WindowArgs),
    /// Run a benchmark.
    #[command(subcommand)]
    Bench(bench::BenchJob),
    /// Make or check optical kernels.
    #[command(subcommand)]
    Kernels(kernels::KernelsJob),
    /// Write synthetic metal clips.
    Generate(generate::GenerateArgs),
    /// Train a network through the simulator, or a surrogate of it.
    Train(train::TrainArgs),
    /// Write a network as an ONNX file.
    Export(export::ExportArgs),
    /// Make a published PyTorch checkpoint a weights folder.
    Import(import::ImportArgs),
    /// Measure how a network scales over devices.
    Scaling(scaling::ScalingArgs),
    /// Solve a flow and differentiate it (the program lithoburn-cfd).
    Cfd(Rest),
    /// Serve layouts and tensors over HTTP and gRPC (the program lithoburn-server).
    Serve(Rest),
    /// Load a server and measure what it does (the program lithoburn-server).
    Load(Rest),
    /// Study what each card brings to a server (the program lithoburn-server).
    Study(Rest),
    /// Watch a server on the terminal (the program lithoburn-server).
    Top(Rest),
    /// Share work among machines (the program lithoburn-farm).
    Farm(Rest),
    /// Show what computes here, what would be chosen, and what is missing.
    Devices,
    /// Find out why there is no GPU, or what does not fit, and what to type.
    Doctor(doctor::DoctorArgs),
}

fn main() {
    lithoburn_pool::prepare_graphics();
    lithoburn_pool::answer_probes();
    lithoburn_engine::answer_ahead();
    let cli = Cli::parse();
    match &cli.job {
        Job::Infer(args) => args.hide_other_cards(),
        Job::Simulate(args) => args.hide_other_cards(),
        _ => (),
    }
    lithoburn_cli::run(|| match &cli.job {
        Job::Infer(args) => infer::infer(args),
        Job::Layout(args) => layout::layout(args),
        Job::Simulate(args) => simulate::simulate(args),
        Job::Score(args) => score::score(args),
        Job::Window(args) => window::window(args),
        Job::Bench(job) => bench::bench(job),
        Job::Kernels(job) => kernels::kernels(job),
        Job::Generate(args) => generate::generate(args),
        Job::Train(args) => train::train(args),
        Job::Export(args) => export::export(args),
        Job::Import(args) => import::import(args),
        Job::Scaling(args) => scaling::scaling(args),
        Job::Cfd(rest) => Program::CFD.run(rest),
        Job::Serve(rest) => Program::server("serve").run(rest),
        Job::Load(rest) => Program::server("load").run(rest),
        Job::Study(rest) => Program::server("study").run(rest),
        Job::Top(rest) => Program::server("top").run(rest),
        Job::Farm(rest) => Program::farm(None).run(rest),
        Job::Devices => devices::devices(),
        Job::Doctor(args) => doctor::doctor(args),
    })
}
