//! Vulkan: its loader, the drivers that it is told of, and the files that they open.

use super::Finding;
use super::host::Host;

const ABOUT: &str = "Vulkan";
/// Where drivers register.
const FOLDERS: [&str; 3] =
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
/// Variables that name registrations instead; the first one is the newer.
const VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Looks at Vulkan; a machine without a graphics card needs none.
pub(super) fn check(host: &dyn Host) -> Vec<Finding> {
    let nodes = host.list("/dev/dri");
    let node = nodes.iter().find(|name| name.starts_with("renderD"));
    let loader = !host.libraries("libvulkan.so.1").is_empty();
    if node.is_none() && !loader {
        return vec![Finding::note(
            ABOUT,
            "no graphics card that this system knows (/dev/dri)",
            &[],
        )];
    }
    if !loader {
        let remedy = ["sudo apt install libvulkan1"];
        return vec![Finding::problem(
            ABOUT,
            "a graphics card, but no loader (libvulkan.so.1)",
            &remedy,
        )];
    }
    let mut findings = vec![drivers(host)];
    if let Some(node) = node.map(|name| format!("/dev/dri/{name}"))
        && !host.opens(&node)
    {
        let remedy = ["sudo usermod -aG render,video $USER, then log in again"];
        findings.push(Finding::problem(
            ABOUT,
            format!("{node} may not be opened by this user"),
            &remedy,
        ));
    }
    findings
}

/// The registrations that the loader reads.
fn registrations(host: &dyn Host) -> Vec<String> {
    if let Some(list) = VARIABLES.iter().find_map(|name| host.variable(name)) {
        return list.split(':').filter(|path| !path.is_empty()).map(String::from).collect();
    }
    let all = FOLDERS.iter().flat_map(|folder| {
        host.list(folder).into_iter().map(move |name| format!("{folder}/{name}"))
    });
    all.filter(|path| path.ends_with(".json")).collect()
}

fn drivers(host: &dyn Host) -> Finding {
    let registered = registrations(host);
    if let Some(path) = registered.iter().find(|path| !host.exists(path)) {
        let name = VARIABLES.iter().find(|name| host.variable(name).is_some());
        let unset = format!("unset {}", name.unwrap_or(&VARIABLES[0]));
        return Finding::problem(
            ABOUT,
            format!("a driver is registered as {path}, which is not here"),
            &[&unset],
        );
    }
    let broken = registered.iter().find_map(|path| {
        let library = library(&host.read(path)?)?;
        let found = host.exists(&library) || !host.libraries(&library).is_empty();
        (!found).then(|| format!("{path} names {library}, which is not here"))
    });
    if let Some(found) = broken {
        let remedy = ["install the driver that brings it anew, or remove the file"];
        return Finding::problem(ABOUT, found, &remedy);
    }
    // Mesa's drivers that compute on the CPU.
    let software = |path: &String| path.contains("lvp_icd") || path.contains("swrast");
    match (registered.is_empty(), registered.iter().all(software)) {
        (true, _) => Finding::problem(
            ABOUT,
            "a loader, but no driver is registered",
            &["sudo apt install mesa-vulkan-drivers (AMD, Intel), or NVIDIA's driver"],
        ),
        (_, true) => Finding::note(
            ABOUT,
            "only a driver that computes on the CPU",
            &["install the card's driver, if there is a card: mesa-vulkan-drivers or NVIDIA's"],
        ),
        _ => Finding::good(ABOUT, registered.join(", ")),
    }
}

/// The library that a registration names.
fn library(json: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(json["ICD"]["library_path"].as_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::super::host::Fake;
    use super::*;

    const FILE: &str = "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json";

    fn healthy() -> Fake {
        let json = r#"{"ICD": {"library_path": "/usr/lib/libvulkan_radeon.so"}}"#;
        Fake::default()
            .file("/dev/dri/renderD128", "")
            .file(FILE, json)
            .file("/usr/lib/libvulkan_radeon.so", "")
            .loader(&["/usr/lib/libvulkan.so.1"])
    }

    fn first(host: &Fake) -> Finding {
        check(host).into_iter().next().expect("a finding")
    }

    #[test]
    fn a_card_with_loader_and_driver_is_good() {
        assert_eq!(first(&healthy()), Finding::good(ABOUT, FILE));
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        assert_eq!(first(&Fake::default()).weight, Weight::Note);
        let loader = healthy().loader(&[]);
        assert_eq!(first(&loader).remedy, ["sudo apt install libvulkan1"]);
        assert!(first(&healthy().without(FILE)).remedy[0].contains("mesa-vulkan-drivers"));
        let library = first(&healthy().without("/usr/lib/libvulkan_radeon.so"));
        assert!(library.found.contains("libvulkan_radeon.so"), "{library:?}");
    }

    #[test]
    fn a_variable_may_name_what_is_not_here() {
        for name in VARIABLES {
            let found = first(&healthy().set(name, "/old/icd.json"));
            assert_eq!(found.remedy, [format!("unset {name}")]);
            assert_eq!(first(&healthy().set(name, FILE)).weight, Weight::Good);
        }
    }

    #[test]
    fn a_card_that_may_not_be_opened_and_one_that_is_software_are_told() {
        let mut closed = healthy();
        closed.closed.push("/dev/dri/renderD128".into());
        assert!(check(&closed)[1].remedy[0].contains("render,video"));
        let json = r#"{"ICD": {"library_path": "/usr/lib/libvulkan_radeon.so"}}"#;
        let software = healthy().without(FILE).file("/etc/vulkan/icd.d/lvp_icd.x86_64.json", json);
        assert_eq!(first(&software).weight, Weight::Note);
    }
}
