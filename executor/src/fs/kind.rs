//! Which kind of file system a directory is on, and whether other machines may see it, too.
//!
//! There, processes that use a file are not all seen from here, and a lock may be this machine's alone.

use rustix::fd::AsFd;
use rustix::fs::fstatfs;

/// Those that machines share, by the number of statfs(2). FUSE may be anything.
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

/// What the file system of `file` is called, if machines share it.
pub(crate) fn shared(file: impl AsFd) -> Option<&'static str> {
    let found = fstatfs(file).ok()?.f_type;
    // The number has 32 bits, in a type of another width and sign elsewhere.
    SHARED.iter().find(|(number, _)| i64::from(*number) == found & 0xffff_ffff).map(|it| it.1)
}
