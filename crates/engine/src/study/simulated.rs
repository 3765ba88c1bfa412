//! The scheduler alone, on devices that sleep.

use std::time::Duration;

use lithoburn_pool::simulated;

use super::{Growth, Kind, Measurement, Study};

/// Time of a task, and of a batch whatever its size.
const PER_TASK: Duration = Duration::from_millis(5);
const PER_BATCH: Duration = Duration::from_millis(10);

/// What more the scheduler is asked: few requests over idle devices, and devices of different speed.
pub(super) fn notes() -> Vec<String> {
    let ms = Duration::from_millis;
    let spread = |devices| {
        let found = simulated::spread(devices, 8, ms(100), ms(50));
        format!(
            "8 requests at once over {devices} idle devices took {:.3} times the best spread",
            found.seconds / found.ideal_seconds
        )
    };
    let device = |per_task| simulated::SimulatedDevice {
        per_task,
        per_batch: PER_BATCH,
        ..Default::default()
    };
    let uneven = simulated::uneven(&[(device(PER_TASK), 16), (device(4 * PER_TASK), 4)], 1000);
    let sum = format!(
        "a device and one of a quarter of its speed did {:.3} of the sum of what each does alone",
        uneven.efficiency
    );
    vec![spread(4), spread(8), sum]
}

pub(super) fn measure(study: &Study, growth: Growth, devices: usize) -> Measurement {
    let most = study.counts.iter().copied().max().unwrap_or(devices);
    let each = (study.seconds / PER_TASK.as_secs_f64()).ceil() as usize;
    // So many that every number of devices has whole batches.
    let each = each.next_multiple_of(study.batch * most);
    let tasks = if growth == Growth::Weak { each * devices } else { each };
    let found = simulated::scaling(devices, tasks, study.batch, PER_TASK, PER_BATCH);
    let latency = found.report.members.iter().map(|m| m.latency);
    let worst = latency.fold([0.0_f64; 3], |worst, l| {
        [worst[0].max(l.p50), worst[1].max(l.p95), worst[2].max(l.p99)]
    });
    Measurement {
        kind: Kind::Simulated,
        growth,
        devices,
        batch: study.batch,
        images: tasks,
        seconds: found.seconds,
        rate: tasks as f64 / found.seconds,
        // One device alone is arithmetic: it sleeps.
        speedup: Some(found.speedup),
        predicted: devices as f64,
        efficiency: Some(found.efficiency),
        latency: worst,
        utilisation: found.report.members.iter().map(|m| m.utilisation).collect(),
        memory: vec![None; devices],
        bubble: None,
        traffic: None,
        bottleneck: format!(
            "the scheduler takes {:.2} % of the devices' time",
            100.0 * (1.0 - found.efficiency)
        ),
        price_per_1000: None,
    }
}
