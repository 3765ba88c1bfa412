//! Verdicts on levels that are made up, so that each can be told of by hand.

use std::collections::BTreeMap;

use super::*;
use crate::load::{Client, Estimate, Latency, Stages, Window, watch::Machine};

/// A level with a rate, a p99 in ms, and a share of computing.
fn level(concurrency: usize, rate: f64, p99_ms: f64, computing: f64) -> Level {
    let exact = |value: f64| Some(Estimate { value, interval: None });
    let mean = 1e6 * concurrency as f64 / rate;
    let device = watch::Device { computing: Some(computing), ..Default::default() };
    Level {
        offered: Offered::Concurrency(concurrency),
        batch: 1,
        seconds: 10.0,
        windows: vec![Window { requests_per_second: rate, mean_us: Some(mean) }; 3],
        stable: true,
        interrupted: false,
        requests: (10.0 * rate) as u64,
        items_per_second: Estimate { value: rate, interval: Some([0.99 * rate, 1.01 * rate]) },
        latency: Latency {
            mean: Some(mean),
            p50: exact(mean),
            p90: exact(mean),
            p95: exact(mean),
            p99: exact(1e3 * p99_ms),
            p999: None,
            most: Some(mean),
        },
        client: Client { cores: Some(0.2), ..Client::default() },
        failures: BTreeMap::new(),
        unfinished: 0,
        server: Some(Stages {
            requests: 100,
            failures: 0,
            batches: 20,
            batch: Some(7.5),
            request_us: 0.95 * mean,
            queue_us: 0.4 * mean,
            compute_input_us: 0.01 * mean,
            compute_infer_us: 0.5 * mean,
            compute_output_us: 0.01 * mean,
        }),
        machine: Machine {
            devices: BTreeMap::from([("a".into(), device)]),
            cores: Some(0.5),
            resident_bytes: None,
        },
    }
}

fn findings(levels: Vec<Level>) -> Findings {
    Findings {
        lithoburn: "0".into(),
        url: "http://localhost:1".into(),
        model: "tile".into(),
        datatype: None,
        sides: [64, 64],
        window_seconds: 5.0,
        within: 0.1,
        levels,
    }
}

/// A configuration whose throughput saturates at `most` by 1/(1 + 8/N), with 8 in flight for each device.
fn configuration(devices: usize, most: f64, price: Option<f64>) -> Configuration {
    let half = 4.0 * devices as f64;
    let one = |n: usize| {
        let rate = most * n as f64 / (n as f64 + half);
        level(n, rate, 2e3 * n as f64 / rate, rate / most)
    };
    Configuration {
        devices,
        closed: findings((0..10).map(|power| one(1 << power)).collect()),
        open: findings(Vec::new()),
        price_per_hour: price,
        most_batch: 8,
        metrics: Some("a 1\n".into()),
    }
}

fn results(prices: Option<[f64; 3]>) -> Results {
    let price = |i: usize| prices.map(|prices| prices[i]);
    Results {
        what: "made-up devices".into(),
        command: "study".into(),
        cores: 2,
        limit_ms: None,
        configurations: vec![
            configuration(1, 200.0, price(0)),
            configuration(4, 780.0, price(1)),
            configuration(8, 1200.0, price(2)),
        ],
    }
}

/// N/(N + 4) is 0.95 · 512/516 and more from N = 66 on: of powers of two, at 128.
#[test]
fn a_configuration_saturates_at_the_smallest_concurrency_of_095_of_its_law() {
    let c = configuration(1, 200.0, None);
    let law = c.law().expect("a law");
    assert!(law.worst < 1e-9, "the throughput follows the law: {law:?}");
    let found = c.saturation(None).expect("saturated");
    assert_eq!(found.concurrency, 128.0);
    assert!((found.most - 200.0 * 512.0 / 516.0).abs() < 1e-6);
    // p99 there is 2 · 132/200 s; with a limit below it, no level is both fast and short.
    assert_eq!(c.saturation(Some(1_400.0)).map(|s| s.concurrency), Some(128.0));
    assert_eq!(c.saturation(Some(1_000.0)), None);
}

/// 1.5 an hour at 200 a second: 1.5 ÷ 3600 ÷ 200 × 1000.
#[test]
fn a_thousand_items_cost_the_price_over_what_is_done_for_it() {
    let c = configuration(1, 1.0, Some(1.5));
    let cost = c.cost_per_1000(&level(8, 200.0, 1.0, 1.0)).expect("a price");
    assert!((cost - 0.002_083_333).abs() < 1e-8, "{cost}");
    assert_eq!(configuration(1, 1.0, None).cost_per_1000(&level(8, 200.0, 1.0, 1.0)), None);
}

#[test]
fn the_cheapest_configuration_is_recommended_and_without_prices_the_largest_efficient_one() {
    // By hand: 780/(4 · 200) = 0.975 and 1200/(8 · 200) = 0.75 of ideal.
    let plain = results(None);
    assert!((plain.efficiency(&plain.configurations[1]).expect("a base") - 0.975).abs() < 0.03);
    assert_eq!(plain.recommended().map(|r| r.devices), Some(4));
    let priced = results(Some([1.5, 5.0, 20.0])).recommended().expect("priced");
    assert_eq!(priced.devices, 4);
    assert!(priced.reason.contains("cheapest"), "{}", priced.reason);
    assert_eq!(results(Some([0.5, 5.0, 20.0])).recommended().map(|r| r.devices), Some(1));
    let mut strict = results(None);
    strict.limit_ms = Some(0.001);
    assert_eq!(strict.recommended(), None);
    assert!(strict.markdown().contains("No configuration keeps p99 within"));
}

#[test]
fn each_cause_is_named_when_its_evidence_says_so() {
    let c = configuration(2, 100.0, None);
    let named = |level: &Level| c.bottleneck(level, 2).map(|evidence| evidence.cause);
    let calm = level(8, 100.0, 90.0, 0.5);
    assert_eq!(named(&calm), None);
    assert_eq!(named(&level(8, 100.0, 90.0, 0.93)), Some(Cause::Devices));
    let mut late = calm.clone();
    late.client.late_us = 0.2 * late.latency.mean.expect("some");
    assert_eq!(named(&late), Some(Cause::Client));
    let mut copies = calm.clone();
    copies.server.as_mut().expect("told").compute_input_us = 20_000.0;
    assert_eq!(named(&copies), Some(Cause::Copies));
    let mut full = calm.clone();
    full.machine.cores = Some(1.7);
    assert_eq!(named(&full), Some(Cause::Processor));
    let mut far = calm.clone();
    far.server.as_mut().expect("told").request_us = 50_000.0;
    assert_eq!(named(&far), Some(Cause::Transport));
    let mut small = calm.clone();
    small.server.as_mut().expect("told").batch = Some(3.0);
    assert_eq!(named(&small), Some(Cause::Batching));
    // Who tells nothing is not accused.
    let silent = Level { server: None, machine: Machine::default(), ..calm };
    let evidence = c.evidence(&silent, 2);
    assert_eq!(evidence.iter().filter(|e| e.holds.is_none()).count(), 5, "{evidence:?}");
}

#[test]
fn a_study_is_files_that_can_be_read_again() -> Result<(), LoadError> {
    let results = results(Some([1.5, 5.0, 9.0]));
    let files: BTreeMap<String, Vec<u8>> = results.files()?.into_iter().collect();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "load.png",
            "metrics-1.txt",
            "metrics-4.txt",
            "metrics-8.txt",
            "raw-open.csv",
            "raw.csv",
            "report.md",
            "scaling.png",
            "study.json",
        ]
    );
    let csv = String::from_utf8_lossy(&files["raw.csv"]).into_owned();
    assert_eq!(csv.lines().count(), 1 + 3 * 10);
    assert!(csv.starts_with("Devices,Concurrency,Inferences/Second,"));
    let read: Results = serde_json::from_slice(&files["study.json"]).expect("JSON");
    // JSON's numbers may differ in their last digit.
    let requests = |results: &Results| -> Vec<u64> {
        results.configurations.iter().flat_map(|c| &c.closed.levels).map(|l| l.requests).collect()
    };
    assert_eq!(requests(&read), requests(&results));
    let report = String::from_utf8_lossy(&files["report.md"]).into_owned();
    for part in
        ["| 8 | ", "**Recommended: 4 devices", "devices compute for", "Every level was stable"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    Ok(())
}

#[tokio::test]
async fn options_that_cannot_be_meant_are_said_before_a_server_is_started() {
    let starter = Starter {
        command: vec!["/no/such/program".into()],
        names: Vec::new(),
        what: String::new(),
        shown: String::new(),
        patience: std::time::Duration::from_secs(1),
    };
    let study = Study {
        starter,
        devices: vec![1, 2],
        model: "tile".into(),
        cargo: Cargo::default(),
        concurrency: vec![1],
        terms: Terms::default(),
        prices: None,
        limit_ms: None,
    };
    for (study, part) in [
        (Study { devices: vec![0], ..study.clone() }, "--gpus"),
        (Study { prices: Some(vec![1.0]), ..study.clone() }, "expected 2 prices"),
        (Study { prices: Some(vec![1.0, f64::NAN]), ..study.clone() }, "more than 0"),
        (Study { limit_ms: Some(-1.0), ..study.clone() }, "--p99-limit -1"),
        (study, "/no/such/program"),
    ] {
        let error =
            study.run(&Stop::default(), &mut |_, _| Ok(())).await.expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}
