//! The devices of a server.

use anyhow::{Context, Result, anyhow, bail};
use lithoburn_pool::{Chosen, DeviceName, choose, choose_all};

/// Devices by name, tested: `all` GPUs that work, or a list. A device comes once.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Chosen>> {
    if let [all] = names
        && all == "all"
    {
        return Ok(choose_all());
    }
    let mut devices: Vec<Chosen> = Vec::new();
    for name in names {
        let wanted: DeviceName =
            name.parse().map_err(|e: String| anyhow!(e)).context("--devices")?;
        let device = choose(wanted)?;
        if devices.iter().any(|known| known.name == device.name) {
            bail!("--devices names {} twice: a device is one executor", device.name);
        }
        devices.push(device);
    }
    match devices.is_empty() {
        true => bail!("--devices names none: expected all, or names such as cuda:0,cuda:1 or cpu"),
        false => Ok(devices),
    }
}

/// Devices that only sleep, for measuring everything else: `sleeping:4` is four.
pub(crate) fn sleeping(names: &[String]) -> Result<Option<usize>> {
    let [name] = names else { return Ok(None) };
    let Some(count) = name.strip_prefix("sleeping") else { return Ok(None) };
    let count = match count.strip_prefix(':') {
        None if count.is_empty() => Some(1),
        None => None,
        Some(count) => count.parse().ok().filter(|n| (1..=1024).contains(n)),
    };
    count
        .map(Some)
        .with_context(|| format!("--devices {name}: expected sleeping:N, with N from 1 to 1024"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_once_and_sleeping_ones_are_counted() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let cpu = chosen(&names(&["cpu"])).expect("always there");
        assert_eq!(cpu.len(), 1);
        let twice = chosen(&names(&["cpu", "cpu"])).expect_err("twice").to_string();
        assert!(twice.contains("cpu twice"), "{twice}");
        assert!(format!("{:#}", chosen(&names(&["gpu"])).expect_err("no such")).contains("cuda:N"));
        assert_eq!(sleeping(&names(&["sleeping:4"])).expect("four"), Some(4));
        assert_eq!(sleeping(&names(&["sleeping"])).expect("one"), Some(1));
        assert_eq!(sleeping(&names(&["cpu"])).expect("none"), None);
        for wrong in ["sleeping:", "sleeping:0", "sleeping:x", "sleepings", "sleeping:100000"] {
            assert!(sleeping(&names(&[wrong])).is_err(), "{wrong}");
        }
    }
}
