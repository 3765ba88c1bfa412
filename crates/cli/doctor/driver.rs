//! NVIDIA's driver: the card, its kernel module, its device files and its library.

use super::Finding;
use super::host::Host;

const ABOUT: &str = "driver";
const PCI: &str = "/sys/bus/pci/devices";
const VERSION: &str = "/proc/driver/nvidia/version";
const CONTROL: &str = "/dev/nvidiactl";

/// NVIDIA's cards on the PCI bus.
pub(super) fn cards(host: &dyn Host) -> usize {
    let is = |device: &String, file: &str, start: &str| {
        let text = host.read(&format!("{PCI}/{device}/{file}"));
        text.is_some_and(|text| text.trim().starts_with(start))
    };
    // Class 0x03 is what draws or computes; a card's sound and USB are devices of their own.
    let card = |device: &&String| is(device, "vendor", "0x10de") && is(device, "class", "0x03");
    let on_bus = host.list(PCI).iter().filter(card).count();
    // In a container the bus may be hidden, but not the driver's own folder.
    on_bus.max(host.list("/proc/driver/nvidia/gpus").len())
}

/// The kernel module's version.
pub(super) fn version(host: &dyn Host) -> Option<String> {
    let text = host.read(VERSION)?;
    let line = text.lines().next()?;
    let mut words = line.split_whitespace();
    let number = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    words.find(number).map(String::from)
}

/// Looks at the card and its driver; stops at the first thing that the next one needs.
pub(super) fn check(host: &dyn Host) -> Vec<Finding> {
    let count = cards(host);
    if count == 0 {
        return vec![Finding::note(ABOUT, "no NVIDIA card on the PCI bus", &[])];
    }
    let Some(version) = version(host) else { return vec![no_module(host, count)] };
    if let Some(problem) = files(host) {
        return vec![problem];
    }
    let mut findings = vec![library(host, &version, count)];
    findings.extend(hidden(host));
    findings
}

fn no_module(host: &dyn Host, count: usize) -> Finding {
    let found = format!("{count} NVIDIA cards, but their kernel module is not loaded");
    let modules = host.read("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.starts_with("nouveau ")) {
        let remedy = [
            "nouveau holds the card: echo 'blacklist nouveau' | sudo tee /etc/modprobe.d/nouveau.conf",
            "sudo update-initramfs -u && sudo reboot",
        ];
        return Finding::problem(ABOUT, found, &remedy);
    }
    if host.contained() {
        let remedy =
            ["install the driver on the host; a container brings its own of everything but that"];
        return Finding::problem(ABOUT, found, &remedy);
    }
    let remedy = [
        "sudo modprobe nvidia; if there is no such module: sudo apt install nvidia-driver (Debian), \
         sudo ubuntu-drivers install (Ubuntu)",
        "if it is refused as unsigned: Secure Boot is on; enrol its key (mokutil --import) or switch it off",
    ];
    Finding::problem(ABOUT, found, &remedy)
}

/// The driver's device files.
fn files(host: &dyn Host) -> Option<Finding> {
    let problem = |found: &str, remedy: &[&str]| Some(Finding::problem(ABOUT, found, remedy));
    match (host.exists(CONTROL), host.opens(CONTROL)) {
        (false, _) if host.contained() => problem(
            "the driver is loaded, but this container has no /dev/nvidiactl",
            &["start it with the card: docker run --gpus all … (needs nvidia-container-toolkit)"],
        ),
        (false, _) => problem(
            "the driver is loaded, but there is no /dev/nvidiactl",
            &["sudo nvidia-modprobe -u -c=0"],
        ),
        (true, false) => problem(
            "/dev/nvidiactl may not be opened by this user",
            &["sudo usermod -aG video,render $USER, then log in again"],
        ),
        (true, true) => None,
    }
}

/// The driver's library, whose version is the module's.
fn library(host: &dyn Host, module: &str, count: usize) -> Finding {
    const NAME: &str = "libcuda.so.1";
    let found = host.libraries(NAME);
    let Some((_, path)) = found.first() else {
        let remedy: &[&str] = match host.contained() {
            true => &["docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …"],
            false => &["sudo apt install libcuda1 (Debian), or the driver's package anew"],
        };
        return Finding::problem(ABOUT, format!("{NAME} is not found by the loader"), remedy);
    };
    let file = host.resolved(path).unwrap_or_default();
    match file.rsplit_once(".so.").map(|(_, version)| version) {
        Some(other) if other.contains('.') && other != module => Finding::problem(
            ABOUT,
            format!("the kernel module is {module}, but {NAME} is {other}"),
            &["the driver was updated while it ran: sudo reboot"],
        ),
        _ => Finding::good(ABOUT, format!("NVIDIA {module}, cards: {count}")),
    }
}

/// A variable that hides cards.
fn hidden(host: &dyn Host) -> Option<Finding> {
    const NAME: &str = "CUDA_VISIBLE_DEVICES";
    let value = host.variable(NAME)?;
    let none = value.trim().is_empty() || value.trim().starts_with('-');
    let found = format!("{NAME}={value:?} hides cards");
    let remedy = [format!("unset {NAME}")];
    let remedy: Vec<&str> = remedy.iter().map(String::as_str).collect();
    Some(match none {
        true => Finding::problem(ABOUT, format!("{found}: all of them"), &remedy),
        false => Finding::note(ABOUT, format!("{found} that it does not name"), &remedy),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Weight;
    use super::super::host::Fake;
    use super::*;

    const MODULE: &str =
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n";

    /// A machine with a card, whose driver is as it should be.
    pub(in super::super) fn healthy() -> Fake {
        let mut host = Fake::default()
            .file("/sys/bus/pci/devices/0000:41:00.0/vendor", "0x10de\n")
            .file("/sys/bus/pci/devices/0000:41:00.0/class", "0x030200\n")
            .file("/sys/bus/pci/devices/0000:41:00.1/vendor", "0x10de\n")
            .file("/sys/bus/pci/devices/0000:41:00.1/class", "0x040300\n")
            .file(VERSION, MODULE)
            .file(CONTROL, "")
            .loader(&["/usr/lib/libcuda.so.1", "/usr/lib/libnvrtc.so.12"]);
        host.links.insert("/usr/lib/libcuda.so.1".into(), "/usr/lib/libcuda.so.550.54.15".into());
        host
    }

    fn only(host: &Fake) -> Finding {
        let findings = check(host);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().expect("one")
    }

    #[test]
    fn a_card_with_its_driver_is_good_and_its_sound_is_no_card() {
        let found = only(&healthy());
        assert_eq!(
            (found.weight, found.found.as_str()),
            (Weight::Good, "NVIDIA 550.54.15, cards: 1")
        );
    }

    #[test]
    fn a_machine_without_a_card_says_so() {
        assert!(only(&Fake::default()).found.contains("no NVIDIA card"));
    }

    #[test]
    fn a_card_without_its_module_names_who_holds_it() {
        let bare = healthy().without(VERSION);
        let text = |host: &Fake| {
            let found = only(host);
            assert_eq!(found.weight, Weight::Problem);
            found.remedy.join("\n")
        };
        assert!(text(&bare).contains("modprobe nvidia") && text(&bare).contains("Secure Boot"));
        let nouveau = bare.clone().file("/proc/modules", "drm 1\nnouveau 2 0 - Live\n");
        assert!(text(&nouveau).contains("blacklist nouveau"));
        assert!(text(&bare.file("/.dockerenv", "")).contains("on the host"));
    }

    #[test]
    fn device_files_may_be_missing_or_closed() {
        let missing = healthy().without(CONTROL);
        assert!(only(&missing).remedy[0].contains("nvidia-modprobe"));
        assert!(only(&missing.file("/.dockerenv", "")).remedy[0].contains("--gpus all"));
        let mut closed = healthy();
        closed.closed.push(CONTROL.into());
        assert!(only(&closed).remedy[0].contains("usermod -aG video,render"));
    }

    #[test]
    fn the_drivers_library_may_be_missing_or_another_version() {
        let missing = healthy().loader(&["/usr/lib/libz.so.1"]);
        assert!(only(&missing).found.contains("libcuda.so.1 is not found"));
        let contained = missing.file("/run/.containerenv", "");
        assert!(only(&contained).remedy[0].contains("NVIDIA_DRIVER_CAPABILITIES"));
        let mut stale = healthy();
        stale.links.insert("/usr/lib/libcuda.so.1".into(), "/usr/lib/libcuda.so.555.42".into());
        let found = only(&stale);
        assert!(found.found.contains("550.54.15") && found.found.contains("555.42"), "{found:?}");
    }

    #[test]
    fn a_variable_that_hides_cards_is_named() {
        for (value, weight) in [("", Weight::Problem), ("-1", Weight::Problem), ("0", Weight::Note)]
        {
            let findings = check(&healthy().set("CUDA_VISIBLE_DEVICES", value));
            assert_eq!((findings.len(), findings[1].weight), (2, weight), "{value:?}");
            assert_eq!(findings[1].remedy, ["unset CUDA_VISIBLE_DEVICES"]);
        }
    }
}
