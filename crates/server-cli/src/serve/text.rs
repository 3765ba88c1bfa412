//! What a server says when it starts: what is served, where, on what.

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use lithoburn_engine::Part;

use super::Planned;
use super::ports::Ports;

/// Ports, models with their placement, and who may come in.
pub(super) fn begin(planned: &Planned, ports: &Ports) -> String {
    let settings = &planned.settings;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let mut lines = vec![format!("lithoburn {}", env!("CARGO_PKG_VERSION"))];
    for (name, address) in ports.each() {
        lines.push(match name {
            "http" => format!(
                "  http     {scheme}://{address}  (page at /, layouts at /v1, tensors at /v2)"
            ),
            "grpc" => format!("  grpc     {address}"),
            _ => format!("  metrics  {scheme}://{address}/metrics"),
        });
    }
    lines.push(format!("  clients  {}", clients(planned)));
    lines.push(format!("  data     {}", settings.data.display()));
    for device in &planned.devices {
        lines.push(format!("  device   {} ({}): {}", device.name, device.card, device.reason));
    }
    lines.push(placement(planned));
    lines.join("\n")
}

fn clients(planned: &Planned) -> String {
    let settings = &planned.settings;
    match (&settings.tokens, settings.bind.is_loopback(), settings.insecure) {
        (Some(_), ..) => "those with a token".into(),
        (None, true, _) => "this machine's".into(),
        (None, false, _) => "everybody who reaches the address, unasked (--insecure)".into(),
    }
}

/// Each model with what goes in and comes out, and one executor on each device.
fn placement(planned: &Planned) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "model",
        "version",
        "in",
        "out",
        "executors",
    ]);
    if let Some(count) = planned.sleepers {
        let each = format!("1 on each of sleeping:0 to sleeping:{}", count - 1);
        table.add_row(["sleeping", "1", "target [n, 1, h, w]", "mask", each.as_str()]);
    }
    let names: Vec<&str> = planned.devices.iter().map(|device| device.name.as_str()).collect();
    let executors = match names.len() {
        1 => format!("1 on {}", names[0]),
        n => format!("{n}, 1 on each of {}", names.join(", ")),
    };
    for model in &planned.described {
        let side = model.side;
        table.add_row([
            model.name.clone(),
            model.version.to_string(),
            format!("{} [n, {side}, {side}]", model.part.input()),
            match model.part {
                Part::Simulator => "aerial images, prints".into(),
                part => part.outputs().join(", "),
            },
            executors.clone(),
        ]);
    }
    table.to_string()
}
