//! The type of a file system, and whether several machines may use it.
//!
//! On such a file system `/proc` does not show all processes that use a file, and a lock may be this machine's alone.

use super::split::split;
use crate::env::weaken;
use rustix::fd::AsFd;
use rustix::fs::{fstatfs, major, minor};

/// The number and name of FUSE.
const FUSE: (u32, &str) = (0x6573_5546, "fuse");

/// File systems that machines share, by the number of statfs(2). FUSE may be any.
const SHARED: [(u32, &str); 13] = [
    (0x0000_6969, "nfs"),
    FUSE,
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

/// The user who mounted the FUSE file system of `file`, with this device number; its server determines the owners of files.
/// `None` for any other file system, `u32::MAX` if the user is not known.
pub(crate) fn mounter(file: impl AsFd, device: u64) -> Option<u32> {
    // FUSE has no device, as few others: most starts save a call here.
    if major(device) != 0 || weaken::without("mounters") {
        return None;
    }
    // The server of the files can let the call fail.
    let fuse = |kind| i64::from(FUSE.0) == kind & 0xffff_ffff;
    if fstatfs(file).is_ok_and(|found| !fuse(found.f_type)) {
        return None;
    }
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let device = format!("{}:{}", major(device), minor(device));
    Some(mounter_in(&table, device.as_bytes()).unwrap_or(u32::MAX))
}

/// The user who mounted the file system `device` (`0:55`), by proc_pid_mountinfo(5): root for anything but FUSE, and for
/// virtiofs, whose options have no user. `None` if `table` has no such mount or user.
fn mounter_in(table: &[u8], device: &[u8]) -> Option<u32> {
    let line = split(table, b'\n').find(|line| split(line, b' ').nth(2) == Some(device))?;
    // Users name the mount point and the source; spaces in them are escaped. The fields before the hyphen vary in number.
    let mut last = split(line, b' ').skip(6).skip_while(|field| *field != b"-");
    let (kind, options) = (last.nth(1)?, last.nth(1)?);
    if kind == b"virtiofs" || !kind.starts_with(b"fuse") {
        return Some(0);
    }
    let user = split(options, b',').find_map(|option| option.strip_prefix(b"user_id="))?;
    std::str::from_utf8(user).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-B23: of a file system that a user named.
    #[test]
    fn the_mounter_of_a_fuse_file_system() {
        let table = "22 1 0:20 / /proc rw,nosuid - proc proc rw\n\
                     90 22 0:55 / /mnt/b rw,nosuid,nodev - fuse.x x rw,user_id=1001,group_id=100,allow_other\n\
                     91 22 0:56 / /mnt/c rw - virtiofs share rw\n";
        let mut table = table.as_bytes().to_vec();
        // Everything that a user can name.
        table.extend(
            b"92 22 0:57 /user_id=0 /mnt/\xff,user_id=0,\\040-\\040fuse rw,nosuid shared:7 user_id=0 - fuse.a,user_id=0 \
              user_id=0,user_id=0 rw,user_id=1002,group_id=0\n\
              93 22 0:58 / /mnt/d rw - fuse - rw,group_id=0\n94 22 0:59 / /mnt/e rw - nfs4 a:/user_id=7 rw\n\
              95 22 0:60 / /mnt/f rw - fuse  rw,user_id=1003\n",
        );
        for (device, want) in [
            ("0:55", Some(1001)),
            ("0:56", Some(0)),
            ("0:57", Some(1002)),
            ("0:58", None),
            ("0:59", Some(0)),
            ("0:60", Some(1003)),
            ("0:5", None),
        ] {
            assert_eq!(mounter_in(&table, device.as_bytes()), want, "{device}");
        }
    }
}
