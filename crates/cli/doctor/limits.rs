//! What a system allows a process that serves many: open files, and shared memory.

use super::Finding;
use super::host::Host;

/// Connections are open files; a server under load has thousands.
const FILES: u64 = 4096;
/// What a container is given without being asked, in 1 KiB blocks.
const SHARED: u64 = 65_536;

/// Looks at the limits; where the system does not tell, there is nothing to find.
pub(super) fn check(host: &dyn Host) -> Vec<Finding> {
    files(host).into_iter().chain(shared(host)).collect()
}

fn files(host: &dyn Host) -> Option<Finding> {
    let text = host.read("/proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: u64 = line.split_whitespace().next()?.parse().ok()?;
    let found = format!("{soft} files and sockets may be open");
    Some(match soft < FILES {
        true => {
            Finding::note("limits", format!("{found}: too few to serve many"), &["ulimit -n 65536"])
        }
        false => Finding::good("limits", found),
    })
}

/// Shared memory, by which clients on the same machine send tensors.
fn shared(host: &dyn Host) -> Option<Finding> {
    let text = host.output("df", &["-k", "--output=size", "/dev/shm"])?;
    let blocks: u64 = text.lines().nth(1)?.trim().parse().ok()?;
    let found = format!("/dev/shm holds {} MiB", blocks >> 10);
    (blocks <= SHARED).then(|| {
        let remedy = "docker run --shm-size=2g …, if clients send tensors by shared memory";
        Finding::note("limits", found, &[remedy])
    })
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::super::host::Fake;
    use super::*;

    #[test]
    fn few_files_and_a_containers_shared_memory_are_told() {
        let limits = |soft: u32| {
            format!(
                "Limit  Soft  Hard  Units\nMax open files            {soft}        1048576  files\n"
            )
        };
        let shm = |kib: u32| format!("1K-blocks\n {kib}\n");
        let host = |soft: u32, kib: u32| {
            Fake::default()
                .file("/proc/self/limits", &limits(soft))
                .program("df -k --output=size /dev/shm", &shm(kib))
        };
        let poor = check(&host(1024, 65_536));
        assert_eq!(poor[0].remedy, ["ulimit -n 65536"]);
        assert!(poor[1].found.contains("64 MiB") && poor[1].weight == Weight::Note);
        let rich = check(&host(65_536, 1 << 21));
        assert_eq!((rich.len(), rich[0].weight), (1, Weight::Good));
        assert_eq!(check(&Fake::default()), []);
    }
}
