//! What kernels are compiled with: NVRTC, its headers; and NCCL, by which cards talk to each other.

use super::host::Host;
use super::{Finding, driver};

/// What the driver's own program says of a card.
const SMI: [&str; 2] = ["--query-gpu=compute_cap", "--format=csv,noheader"];
/// What compute capability CUDA 13 begins with.
const CUDA_13: f64 = 7.5;

/// Looks at the toolkit.
pub(super) fn check(host: &dyn Host) -> Vec<Finding> {
    let mut findings = vec![compiler(host), headers(host)];
    if driver::cards(host) > 1 {
        findings.push(collective(host));
    }
    findings
}

/// NVRTC's major version, of a library's name or the file that it leads to.
fn major(host: &dyn Host, (name, path): &(String, String)) -> Option<u32> {
    let of = |name: &str| name.rsplit_once(".so.")?.1.split('.').next()?.parse().ok();
    of(name).or_else(|| of(&host.resolved(path)?))
}

/// The CUDA version that the driver is good for, as `nvidia-smi` prints it.
fn supported(host: &dyn Host) -> Option<u32> {
    let text = host.output("nvidia-smi", &[])?;
    let (_, after) = text.split_once("CUDA Version:")?;
    after.trim_start().split('.').next()?.parse().ok()
}

fn compiler(host: &dyn Host) -> Finding {
    const ABOUT: &str = "NVRTC";
    let all = host.libraries("libnvrtc.so");
    let Some(found) = all.first() else { return not_loaded(host) };
    let version = major(host, found);
    if let (Some(version), Some(most)) = (version, supported(host))
        && version > most
    {
        let text =
            format!("NVRTC is CUDA {version}, but the driver is good for CUDA {most} at most");
        let older =
            format!("or install NVRTC of CUDA {most}: pip install nvidia-cuda-nvrtc-cu{most}");
        return Finding::problem(ABOUT, text, &["install a newer driver", &older]);
    }
    if let (Some(13..), Some(card)) = (version, oldest(host))
        && card < CUDA_13
    {
        let text =
            format!("CUDA 13 knows no card of compute capability {card}; it begins with {CUDA_13}");
        return Finding::problem(
            ABOUT,
            text,
            &["install NVRTC of CUDA 12: pip install nvidia-cuda-nvrtc-cu12"],
        );
    }
    let folder = found.1.rsplit_once('/').map_or("", |(folder, _)| folder);
    let builtins = !host.libraries("libnvrtc-builtins").is_empty()
        || host.list(folder).iter().any(|name| name.starts_with("libnvrtc-builtins"));
    match builtins {
        true => Finding::good(ABOUT, found.1.clone()),
        false => Finding::problem(
            ABOUT,
            format!("{} is here, but not libnvrtc-builtins, which it loads", found.1),
            &["install the whole package: sudo apt install cuda-nvrtc-12-4 (NVIDIA's repository)"],
        ),
    }
}

/// The least compute capability of the cards.
fn oldest(host: &dyn Host) -> Option<f64> {
    let text = host.output("nvidia-smi", &SMI)?;
    text.lines().filter_map(|line| line.trim().parse().ok()).reduce(f64::min)
}

/// NVRTC is not found by the loader; it may be on the disk.
fn not_loaded(host: &dyn Host) -> Finding {
    const ABOUT: &str = "NVRTC";
    let folders = toolkits(host).into_iter().flat_map(|root| {
        ["lib64", "lib", "targets/x86_64-linux/lib"].map(|sub| format!("{root}/{sub}"))
    });
    let holds =
        |folder: &String| host.list(folder).iter().any(|name| name.starts_with("libnvrtc.so"));
    match folders.into_iter().find(holds) {
        Some(folder) => {
            let export = format!("export LD_LIBRARY_PATH={folder}:$LD_LIBRARY_PATH");
            let text = format!("libnvrtc.so is in {folder}, where the loader does not look");
            Finding::problem(ABOUT, text, &[&export])
        }
        None => Finding::problem(
            ABOUT,
            "libnvrtc.so is not here: kernels cannot be compiled",
            &[
                "sudo apt install cuda-nvrtc-12-4 (NVIDIA's repository), or nvidia-cuda-toolkit (Debian)",
                "or: pip install nvidia-cuda-nvrtc-cu12, and add its lib folder to LD_LIBRARY_PATH",
            ],
        ),
    }
}

/// Where the toolkit may be.
const USUAL: [&str; 3] = ["/usr/local/cuda", "/opt/cuda", "/usr"];

fn toolkits(host: &dyn Host) -> Vec<String> {
    host.variable("CUDA_PATH").into_iter().chain(USUAL.map(String::from)).collect()
}

/// The folder in which kernels' headers are looked for: the first that is here, whatever is in it.
fn looked_at(host: &dyn Host) -> Option<String> {
    let [local, opt, usr] = USUAL;
    let usual = [(local, local), (opt, opt), (usr, "/usr/bin/nvcc")];
    let here =
        || usual.into_iter().find(|(_, sign)| host.exists(sign)).map(|(root, _)| root.into());
    host.variable("CUDA_PATH").or_else(here)
}

fn headers(host: &dyn Host) -> Finding {
    const ABOUT: &str = "headers";
    const FILE: &str = "include/cuda_runtime.h";
    let there = |root: &String| host.exists(&format!("{root}/{FILE}"));
    let root = looked_at(host);
    if let Some(root) = root.as_ref().filter(|root| there(root)) {
        return Finding::good(ABOUT, format!("{root}/{FILE}"));
    }
    let other = toolkits(host).into_iter().find(there);
    let found = match (&root, host.variable("CUDA_PATH")) {
        (_, Some(path)) => format!("CUDA_PATH is {path}, which has no {FILE}"),
        (Some(root), None) => {
            format!("kernels' headers are looked for in {root}, which has no {FILE}")
        }
        (None, None) => "CUDA's headers are not here: kernels include them".into(),
    };
    match other {
        Some(other) => Finding::problem(ABOUT, found, &[&format!("export CUDA_PATH={other}")]),
        None => {
            let install = "sudo apt install cuda-cudart-dev-12-4 (NVIDIA's repository)";
            Finding::problem(ABOUT, found, &[install, "export CUDA_PATH=/usr/local/cuda"])
        }
    }
}

/// Between cards.
fn collective(host: &dyn Host) -> Finding {
    const ABOUT: &str = "NCCL";
    let all = host.libraries("libnccl.so");
    if all.iter().any(|(name, _)| name == "libnccl.so") {
        return Finding::good(ABOUT, "libnccl.so");
    }
    match all.first() {
        Some((name, path)) => {
            let link = format!("sudo ln -s {path} {}", path.trim_end_matches(&name[10..]));
            let text = format!(
                "only {name} is here; libnccl.so is what is loaded. Copies go through the host"
            );
            Finding::note(ABOUT, text, &[&link, "sudo ldconfig"])
        }
        None => Finding::note(
            ABOUT,
            "libnccl.so is not here: networks in parts copy through the host",
            &["sudo apt install libnccl2 libnccl-dev (NVIDIA's repository)"],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::super::driver::tests::healthy;
    use super::super::host::Fake;
    use super::*;

    const SAYS: &str = "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |";

    fn equipped() -> Fake {
        let query = format!("nvidia-smi {}", SMI.join(" "));
        healthy()
            .loader(&[
                "/usr/lib/libcuda.so.1",
                "/usr/lib/libnvrtc.so.12",
                "/usr/lib/libnvrtc-builtins.so.12.4",
            ])
            .file("/usr/local/cuda/include/cuda_runtime.h", "")
            .program("nvidia-smi ", SAYS)
            .program(&query, "9.0\n9.0\n")
    }

    fn problem(finding: Finding) -> Finding {
        assert_eq!(finding.weight, Weight::Problem, "{finding:?}");
        finding
    }

    #[test]
    fn a_whole_toolkit_is_good() {
        assert!(
            check(&equipped()).iter().all(|f| f.weight == Weight::Good),
            "{:?}",
            check(&equipped())
        );
    }

    #[test]
    fn a_compiler_that_is_missing_or_not_looked_for_is_told_apart() {
        let none = equipped().loader(&["/usr/lib/libcuda.so.1"]);
        assert!(problem(compiler(&none)).remedy[0].contains("cuda-nvrtc"));
        let hidden = none.file("/usr/local/cuda/lib64/libnvrtc.so.12", "");
        let found = problem(compiler(&hidden));
        assert_eq!(found.remedy, ["export LD_LIBRARY_PATH=/usr/local/cuda/lib64:$LD_LIBRARY_PATH"]);
        let alone = equipped().loader(&["/usr/lib/libnvrtc.so.12"]);
        assert!(problem(compiler(&alone)).found.contains("libnvrtc-builtins"));
    }

    #[test]
    fn a_compiler_newer_than_the_driver_or_the_card_does_not_fit() {
        let newer =
            equipped().loader(&["/usr/lib/libnvrtc.so.13", "/usr/lib/libnvrtc-builtins.so.13.0"]);
        let found = problem(compiler(&newer));
        assert!(
            found.found.contains("CUDA 13") && found.found.contains("CUDA 12 at most"),
            "{found:?}"
        );
        let query = format!("nvidia-smi {}", SMI.join(" "));
        let old = newer
            .program("nvidia-smi ", &SAYS.replace("12.4", "13.0"))
            .program(&query, "9.0\n6.1\n");
        assert!(problem(compiler(&old)).found.contains("compute capability 6.1"));
    }

    #[test]
    fn headers_are_where_the_variable_says_or_nowhere() {
        let bare = equipped().without("/usr/local/cuda/include/cuda_runtime.h");
        assert!(problem(headers(&bare)).remedy[0].contains("cuda-cudart-dev"));
        let other = bare.clone().file("/opt/cuda/include/cuda_runtime.h", "");
        assert_eq!(headers(&other).weight, Weight::Good);
        let debian = bare.file("/usr/include/cuda_runtime.h", "");
        assert_eq!(problem(headers(&debian)).remedy, ["export CUDA_PATH=/usr"]);
        assert_eq!(headers(&debian.file("/usr/bin/nvcc", "")).weight, Weight::Good);
        let wrong = problem(headers(&other.set("CUDA_PATH", "/opt/cuda-11")));
        assert!(wrong.found.contains("/opt/cuda-11"), "{wrong:?}");
        assert_eq!(wrong.remedy, ["export CUDA_PATH=/opt/cuda"]);
    }

    #[test]
    fn two_cards_want_nccl_by_the_name_that_is_loaded() {
        let two = equipped()
            .file("/sys/bus/pci/devices/0000:61:00.0/vendor", "0x10de")
            .file("/sys/bus/pci/devices/0000:61:00.0/class", "0x030200");
        assert_eq!(check(&two).len(), 3);
        assert!(collective(&two).remedy[0].contains("libnccl2"));
        let linked = two.clone().loader(&["/usr/lib/libnccl.so.2"]);
        assert_eq!(
            collective(&linked).remedy[0],
            "sudo ln -s /usr/lib/libnccl.so.2 /usr/lib/libnccl.so"
        );
        assert_eq!(collective(&two.loader(&["/usr/lib/libnccl.so"])).weight, Weight::Good);
    }
}
