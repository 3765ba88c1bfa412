//! What the page shows of a server.

use lithoburn_pool::Chosen;
use lithoburn_server::page::{DeviceStatus, ModelStatus, Status};
use lithoburn_server::schedule::{DeviceState, Snapshot, VersionState};

/// A snapshot, with the cards' names and what is known beforehand.
pub(super) fn status(
    snapshot: &Snapshot,
    devices: &[Chosen],
    methods: &[String],
    metrics_port: u16,
) -> Status {
    let card = |name: &str| devices.iter().find(|device| device.name == name);
    let device = |device: &lithoburn_server::schedule::DeviceSnapshot| DeviceStatus {
        name: device.device.name.clone(),
        card: card(&device.device.name).map_or(String::new(), |chosen| chosen.card.clone()),
        state: match &device.state {
            DeviceState::Idle => "idle".into(),
            DeviceState::Busy => "busy".into(),
            DeviceState::Lost(why) => format!("lost: {why}"),
        },
        items: device.counts.items,
        busy_seconds: device.counts.infer_ns as f64 * 1e-9,
    };
    let model = |model: &lithoburn_server::schedule::ModelSnapshot| ModelStatus {
        name: match model.signature.version {
            1 => model.signature.name.clone(),
            version => format!("{} ({version})", model.signature.name),
        },
        ready: model.state == VersionState::Ready,
        answered: model.counts.success.count,
        waiting: model.waiting as u64,
    };
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        ready: snapshot.readiness.is_ready(),
        methods: methods.to_vec(),
        models: snapshot.models.iter().map(model).collect(),
        devices: snapshot.devices.iter().map(device).collect(),
        metrics_port,
    }
}
