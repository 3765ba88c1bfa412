//! Load on a stub that does what closed forms can be told of.

mod stub;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use stub::Stub;

const MODEL: &str = "tile";

fn terms() -> Terms {
    Terms {
        warm_up: Duration::from_millis(200),
        window: Duration::from_millis(400),
        most_windows: 5,
        ..Terms::default()
    }
}

async fn load(stub: &Stub, levels: Vec<Offered>) -> Load {
    let target = Target::find(&stub.address, MODEL, None).await.expect("the stub has the model");
    let cargo = Cargo { sides: [16, 16], ..Cargo::default() };
    Load { target, metrics: None, grpc: None, cargo, levels, terms: terms() }
}

async fn run(load: &Load) -> Findings {
    load.run(&Stop::default(), &mut |_| Ok(())).await.expect("a run")
}

/// A stub that sleeps for 20 ms: each of n in flight is answered 50 times a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_keeps_its_number_in_flight() {
    for count in [1, 8] {
        let stub = Stub::sleeping(Duration::from_millis(20)).await;
        let findings = run(&load(&stub, vec![Offered::Concurrency(count)]).await).await;
        let level = &findings.levels[0];
        assert!(level.failures.is_empty() && level.requests > 0, "{level:?}");
        assert_eq!(stub.most_in_flight(), count as u64);
        // Little's law holds whatever the machine does meanwhile: in flight = rate × latency.
        let mean = level.latency.mean.expect("requests") * 1e-6;
        let in_flight = level.items_per_second.value * mean;
        assert!((in_flight / count as f64 - 1.0).abs() < 0.15, "{in_flight} of {count}");
        assert!(mean >= 0.02 && level.latency.p50.expect("enough").value >= 20e3);
    }
}

/// The stub answers at once, but stands still for s = 600 ms of every period. Who arrives meanwhile waits for what is left of
/// it, so that of all that arrive in a window of length w with one stall the share (s − t)/w waits for longer than t.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_charges_a_stall_to_all_who_would_have_waited() {
    let stub = Stub::stalling(Duration::from_millis(1200), Duration::from_millis(600)).await;
    let rate = Offered::Rate { per_second: 250.0, arrivals: Arrivals::Constant };
    let mut open = load(&stub, vec![rate]).await;
    // Whole periods; few connections, so that most of who waits is not even sent.
    open.terms = Terms {
        window: Duration::from_millis(2400),
        most_windows: 1,
        most_in_flight: 4,
        warm_up: Duration::from_millis(100),
        ..terms()
    };
    let level = run(&open).await.levels.remove(0);
    assert!(level.failures.is_empty(), "{:?}", level.failures);
    assert!((level.requests as f64 - 600.0).abs() < 160.0, "{}", level.requests);
    // Half of the time nothing is answered: the quarter that waits longest waits for 300 ms and more.
    let p90 = level.latency.p90.expect("enough").value * 1e-3;
    assert!(
        (420.0..760.0).contains(&p90),
        "{p90} ms; a client that waits for its answers would say 0"
    );
    // A closed loop of the same connections sees the stall once a connection: this is the omission.
    let mut closed = load(&stub, vec![Offered::Concurrency(4)]).await;
    closed.terms = open.terms;
    let level = run(&closed).await.levels.remove(0);
    assert!(level.latency.p90.expect("enough").value < 100e3, "{:?}", level.latency);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_too_fast_is_seen_in_what_is_left() {
    let stub = Stub::sleeping(Duration::from_millis(50)).await;
    let rate = Offered::Rate { per_second: 200.0, arrivals: Arrivals::Poisson };
    let mut open = load(&stub, vec![rate]).await;
    // Two in flight are answered 40 times a second.
    open.terms.most_in_flight = 2;
    let level = run(&open).await.levels.remove(0);
    assert!(level.items_per_second.value < 45.0, "{:?}", level.items_per_second);
    assert!(level.unfinished > 50 && level.client.late_us > 50e3, "{level:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_is_reported_with_what_failed_and_why() {
    let stub = Stub::refusing(Duration::from_millis(2), 3).await;
    let load = load(&stub, vec![Offered::Concurrency(1), Offered::Concurrency(4)]).await;
    let findings = run(&load).await;
    assert_eq!(findings.levels.len(), 2);
    for level in &findings.levels {
        let reasons: BTreeMap<_, _> = level.failures.iter().collect();
        let [(reason, refused)] = reasons.into_iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", level.failures)
        };
        assert_eq!(reason, "503: the queue is full");
        // Every third request is refused.
        let share = *refused as f64 / (*refused + level.requests) as f64;
        assert!((share - 1.0 / 3.0).abs() < 0.05, "{share}");
    }
    let csv = findings.csv();
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.starts_with("Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,"));
    let width = csv.lines().next().expect("a head").split(',').count();
    assert!(csv.lines().skip(1).all(|line| line.split(',').count() == width), "{csv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_keeps_the_level_it_was_at() {
    let stub = Stub::sleeping(Duration::from_millis(5)).await;
    let mut load = load(&stub, vec![Offered::Concurrency(2); 3]).await;
    load.terms.window = Duration::from_secs(30);
    let stop = Stop::default();
    let later = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        later.ask();
    });
    let findings = load.run(&stop, &mut |_| Ok(())).await.expect("a part of a level");
    let [level] = &findings.levels[..] else { panic!("{} levels", findings.levels.len()) };
    assert!(level.interrupted && !level.stable && level.requests > 0, "{level:?}");
    let read: Findings = serde_json::from_slice(&findings.json().expect("JSON")).expect("JSON");
    assert_eq!(read.levels[0].requests, level.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_stages_are_those_of_the_level() {
    let stub = Stub::sleeping(Duration::from_millis(4)).await;
    let findings = run(&load(&stub, vec![Offered::Concurrency(2)]).await).await;
    let level = &findings.levels[0];
    let server = level.server.expect("the stub tells");
    // The stub says of each request: 1 ms in the queue, 3 ms of computing.
    assert_eq!((server.queue_us, server.compute_infer_us), (1000.0, 3000.0));
    let mean = level.latency.mean.expect("requests");
    let parts = 4000.0 + level.client.send_us + level.client.receive_us + level.client.late_us;
    assert!((level.network_us().expect("told") + parts - mean).abs() < 1.0);
}

/// The whole server, asked over both protocols; a sleeping device of 5 ms a batch answers no sooner.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_loaded_over_http_and_over_grpc() {
    let (base, item) = (Duration::from_millis(5), Duration::ZERO);
    let server = crate::Server::builder()
        .devices([crate::model::Device::new("sleeping:0")])
        .model(Arc::new(crate::sleeping::Sleeping::new(MODEL, base, item, 4)))
        .start()
        .expect("it starts");
    server.settled().await;
    let mut addresses = Vec::new();
    for routes in [server.http(), server.grpc(), server.metrics()] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port").to_string();
        addresses.push(Address::parse(&address).expect("an address"));
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }
    let [http, grpc, metrics] = &addresses[..] else { panic!("three ports") };
    let target = Target::find(http, MODEL, None).await.expect("the model is there");
    let cargo = Cargo { sides: [16, 16], datatype: Some("UINT8".into()), ..Cargo::default() };
    let levels = vec![Offered::Concurrency(4)];
    let terms = Terms { window: Duration::from_millis(1500), ..terms() };
    let metrics = Some(metrics.clone());
    let load = Load { target, metrics, grpc: None, cargo, levels, terms };
    for grpc in [None, Some(grpc.clone())] {
        let level = run(&Load { grpc, ..load.clone() }).await.levels.remove(0);
        assert!(level.failures.is_empty() && level.requests > 0, "{:?}", level.failures);
        assert!(level.latency.p50.expect("enough").value >= 5e3);
        let server = level.server.expect("told");
        assert!(
            server.compute_infer_us >= 5e3 && server.batch.expect("batches") <= 4.0,
            "{server:?}"
        );
        let device = level.machine.devices["sleeping:0"];
        assert!((0.1..=1.1).contains(&device.computing.expect("told")), "{device:?}");
    }
}

/// Its model `bare` has no page of its configuration, which is Triton's own and no part of the protocol.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_the_protocol_alone_is_loaded_too() {
    let stub = Stub::sleeping(Duration::from_millis(2)).await;
    let target = Target::find(&stub.address, "bare", None).await.expect("the model is there");
    assert_eq!((target.batched, target.most_batch), (true, None));
    let cargo = Cargo { sides: [16, 16], batch: 3, ..Cargo::default() };
    let levels = vec![Offered::Concurrency(2)];
    let load = Load { target, metrics: None, grpc: None, cargo, levels, terms: terms() };
    let level = run(&load).await.levels.remove(0);
    assert!(level.failures.is_empty() && level.requests > 0, "{:?}", level.failures);
    // Its statistics are Triton's as well.
    assert_eq!((level.server, level.network_us()), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_said_before_anything_is_sent() {
    let stub = Stub::sleeping(Duration::from_millis(1)).await;
    let said = |load: Load| async move {
        let result = load.run(&Stop::default(), &mut |_| Ok(())).await;
        result.expect_err("it cannot be meant").to_string()
    };
    let none = said(load(&stub, vec![]).await).await;
    assert!(none.contains("--concurrency"), "{none}");
    let zero = said(load(&stub, vec![Offered::Concurrency(0)]).await).await;
    assert!(zero.contains("--concurrency 0"), "{zero}");
    let rate = Offered::Rate { per_second: f64::NAN, arrivals: Arrivals::Poisson };
    assert!(said(load(&stub, vec![rate]).await).await.contains("--rate NaN"));
    let mut odd = load(&stub, vec![Offered::Concurrency(1)]).await;
    odd.cargo.datatype = Some("FP64".into());
    assert!(said(odd).await.contains("--datatype FP64"));
    assert_eq!(stub.requests(), 0);
    let unknown = Target::find(&stub.address, "nope", None).await.expect_err("no such model");
    assert!(unknown.to_string().contains("404"), "{unknown}");
    let gone = Address::parse("127.0.0.1:1").expect("an address");
    let gone = Target::find(&gone, MODEL, None).await.expect_err("nobody is there").to_string();
    assert!(gone.contains("does not answer") && gone.contains("is the server running?"), "{gone}");
}
