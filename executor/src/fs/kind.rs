//! Which kind of file system a directory is on, and whether other machines may see it, too.
//!
//! There, processes that use a file are not all seen from here, and a lock may be this machine's alone.

use super::trust::user;
use rustix::fd::AsFd;
use rustix::fs::{fstatfs, major, minor};

/// File systems that machines share, by the number of statfs(2). FUSE may be any.
const SHARED: [(u32, &str); 13] = [
    (0x0000_6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x00c3_6400, "ceph"),
    (0x1983_0326, "beegfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0xaad7_aaea, "panfs"),
];

/// The name of the file system of `file`, if machines share it.
pub(crate) fn shared(file: impl AsFd) -> Option<&'static str> {
    let found = fstatfs(file).ok()?.f_type;
    // The number has 32 bits, in a type of another width and sign elsewhere.
    SHARED.iter().find(|(number, _)| i64::from(*number) == found & 0xffff_ffff).map(|it| it.1)
}

/// Why the owners that the file system of `file`, with this device number, reports are not those of the kernel: a FUSE file
/// system of a user who is neither root nor the caller.
pub(crate) fn mounted_by_another(file: impl AsFd, device: u64) -> Option<String> {
    // FUSE has no device, as few others: most starts save a call here.
    if major(device) != 0 || shared(file) != Some("fuse") {
        return None;
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounter = mounter(&table, &format!("{}:{}", major(device), minor(device)))?;
    let other = ![0, user()].contains(&mounter);
    other.then(|| format!("its file system was mounted by user {mounter}"))
}

/// The user who mounted the FUSE file system `device` (`0:55`), by proc_pid_mountinfo(5); `None` for one of root's
/// kind that does not say so, as virtiofs.
fn mounter(table: &str, device: &str) -> Option<u32> {
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    line.split([' ', ',']).find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounter_of_a_fuse_file_system() {
        let table = "22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
                     90 22 0:55 / /mnt/b rw,nosuid,nodev - fuse.x x rw,user_id=1001,group_id=100,allow_other\n\
                     91 22 0:56 / /mnt/c rw - virtiofs share rw\n";
        for (device, want) in [("0:55", Some(1001)), ("0:56", None), ("0:5", None)] {
            assert_eq!(mounter(table, device), want, "{device}");
        }
    }
}
