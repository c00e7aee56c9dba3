//! Limits that a workload manager such as Slurm has already set for this process.
//!
//! It owns its control groups, of cgroup v1 or v2, and users cannot make groups there. Requested limits are met
//! if its own are at least as strict.

use super::hierarchy::{groups, own_groups};
use crate::sandbox::plan::job::Limits;
use rustix::thread::sched_getaffinity;
use std::fs;
use std::path::Path;

/// Mount point of the hierarchies.
const ROOT: &str = "/sys/fs/cgroup";

/// Whether all of `limits` apply to this process, and so to its children.
pub(crate) fn meets(limits: Limits) -> bool {
    let own = own_groups();
    let pids = || least(&own, ROOT, "pids", ["pids.max"; 2]);
    let affinity = || sched_getaffinity(None).map_or(u64::MAX, |set| u64::from(set.count()) * 1000);
    // Of cgroup v2 alone: in cgroup v1 it takes two files.
    let cpu = || affinity().min(least(&own, ROOT, "", ["", "cpu.max"]));
    let memory = || least(&own, ROOT, "memory", ["memory.limit_in_bytes", "memory.max"]);
    limits.memory.is_none_or(|wanted| memory() <= wanted)
        && limits.pids.is_none_or(|wanted| pids() <= u64::from(wanted))
        && limits.cpu.is_none_or(|wanted| cpu() <= u64::from(wanted))
}

/// The lowest value of a process's groups and their ancestors in a file of a controller, which is named `v1` in
/// cgroup v1 and `v2` in cgroup v2. `own` is the content of `/proc/self/cgroup`, cgroups(7).
fn least(own: &[u8], root: &str, controller: &str, [v1, v2]: [&str; 2]) -> u64 {
    let mut least = u64::MAX;
    for (names, path) in groups(own) {
        let (base, file) = if names.is_empty() {
            (root.to_owned(), v2)
        } else if names.split(',').any(|name| name == controller) {
            (format!("{root}/{controller}"), v1)
        } else {
            continue;
        };
        for group in path.strip_prefix("/").unwrap_or(path).ancestors() {
            let text = fs::read_to_string(Path::new(&base).join(group).join(file));
            least = least.min(text.ok().and_then(|text| value(&text)).unwrap_or(u64::MAX));
        }
    }
    least
}

/// The number in a group's file; of a quota and its period, thousandths. `None` without a limit.
fn value(text: &str) -> Option<u64> {
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    match (numbers.next()??, numbers.next()) {
        (quota, Some(period)) => (quota.saturating_mul(1000)).checked_div(period?),
        (number, None) => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_parent_groups_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("memory/slurm/job_7/memory.limit_in_bytes", "100\n");
        put("memory/slurm/job_7/step_0/memory.limit_in_bytes", "9223372036854771712\n");
        put("pids/pids.max", "max\n");
        put("slurm/memory.max", "50\n");
        put("slurm/job/memory.max", "max\n");
        let root = dir.path().to_str().unwrap();
        let files = ["memory.limit_in_bytes", "memory.max"];
        for (own, want) in [
            ("4:memory:/slurm/job_7/step_0\n0::/\n", 100),
            ("4:cpu,memory:/slurm/job_7/step_0\n", 100),
            ("4:memory:/\n", u64::MAX),
            ("0::/slurm/job\n", 50),
            ("", u64::MAX),
        ] {
            assert_eq!(least(own.as_bytes(), root, "memory", files), want, "{own}");
        }
        put("slurm/cpu.max", "150000 100000\n");
        put("slurm/job/cpu.max", "max 100000\n");
        assert_eq!(least(b"0::/slurm/job\n", root, "", ["", "cpu.max"]), 1500);
        assert_eq!(least(b"3:pids:/\n", root, "pids", ["pids.max"; 2]), u64::MAX);
        assert!(meets(Limits { cpu: Some(1 << 30), ..Limits::default() }));
        assert!(!meets(Limits { cpu: Some(1), ..Limits::default() }));
    }
}
