//! A FUSE file system of another user, which shows a directory of this host as root's: `linux/fuse.h`, version 7.31.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    thread,
};

/// The mount; detached with the value.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts `tree` on the new directory `at`, as fusermount3(1) does for the user `user`. `None` on a host without FUSE.
    pub(crate) fn make(tree: &Path, at: PathBuf, user: u32) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        fs::create_dir(&at).unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id={user},group_id={user},allow_other,default_permissions",
            device.as_raw_fd()
        );
        let source = "user_id=0,user_id=0";
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(source, &at, "fuse.user_id=0", flags, &*options).ok()?;
        let tree = tree.to_owned();
        thread::spawn(move || serve(device, tree));
        Some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Answers until the file system is unmounted. Each path has a number: its place in a list.
fn serve(mut device: File, tree: PathBuf) {
    let mut nodes = vec![PathBuf::new(), tree];
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        // FORGET, INTERRUPT and BATCH_FORGET have no answer.
        if matches!(word(4), 2 | 36 | 42) {
            continue;
        }
        let path = nodes[usize::try_from(long(16)).unwrap()].clone();
        let answer = answer(word(4), &request[40..length], path, &mut nodes);
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error.raw_os_error().unwrap_or(5), Vec::new()),
        };
        let size = u32::try_from(16 + body.len()).unwrap();
        let head = [&size.to_le_bytes()[..], &error.to_le_bytes(), &request[8..16]].concat();
        _ = device.write(&[head, body].concat()); // whoever asked may have been killed
    }
}

fn answer(
    operation: u32,
    body: &[u8],
    path: PathBuf,
    nodes: &mut Vec<PathBuf>,
) -> std::io::Result<Vec<u8>> {
    let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    let size = |at| usize::try_from(long(at) & 0xffff_ffff).unwrap();
    match operation {
        // LOOKUP
        1 => {
            let name = std::ffi::OsStr::from_bytes(&body[..body.len() - 1]);
            let found = path.join(name);
            let attributes = attributes(&found)?;
            let known = nodes.iter().position(|path| *path == found);
            let node = known.unwrap_or_else(|| {
                nodes.push(found);
                nodes.len() - 1
            });
            let node = u64::try_from(node).unwrap();
            Ok([&node.to_le_bytes()[..], &[0; 32], &attributes].concat())
        }
        // GETATTR
        3 => Ok([&[0; 16][..], &attributes(&path)?].concat()),
        // READLINK
        5 => Ok(fs::read_link(path)?.as_os_str().as_bytes().to_vec()),
        // OPEN, OPENDIR
        14 | 27 => Ok(vec![0; 16]),
        // READ
        15 => {
            let mut bytes = vec![0; size(16)];
            let length = File::open(path)?.read_at(&mut bytes, long(8))?;
            bytes.truncate(length);
            Ok(bytes)
        }
        // STATFS, of sources alone: overlays need it.
        17 if path.components().all(|part| part.as_os_str() != "isolated") => {
            Err(rustix::io::Errno::IO.into())
        }
        17 => {
            let words = [4096_u32, 255, 4096];
            let words: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            Ok([vec![0; 40], words, vec![0; 28]].concat())
        }
        // RELEASE, RELEASEDIR
        18 | 29 => Ok(Vec::new()),
        // INIT: version, read-ahead, flags, requests in the background, bytes of a write, granularity of times.
        26 => {
            let words = [7, 31, 0, 0, 0, 4096, 1];
            let words: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            Ok([words, vec![0; 36]].concat())
        }
        // READDIR
        28 => {
            let mut list = Vec::new();
            let mut names: Vec<_> =
                fs::read_dir(path)?.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            for (index, name) in names.iter().enumerate().skip(size(8)) {
                let length = u32::try_from(name.len()).unwrap();
                let entry = [
                    &1_u64.to_le_bytes()[..],
                    &u64::try_from(index + 1).unwrap().to_le_bytes(),
                    &length.to_le_bytes(),
                    &0_u32.to_le_bytes(),
                    name.as_bytes(),
                    &[0; 8][..(8 - name.len() % 8) % 8],
                ]
                .concat();
                if list.len() + entry.len() > size(16) {
                    break;
                }
                list.extend(entry);
            }
            Ok(list)
        }
        _ => Err(rustix::io::Errno::NOSYS.into()),
    }
}

/// `struct fuse_attr`, of root.
fn attributes(path: &Path) -> std::io::Result<Vec<u8>> {
    let found = fs::symlink_metadata(path)?;
    let longs = [found.ino(), found.size(), found.blocks(), 0, 0, 0];
    let words = [0, 0, 0, found.mode(), 1, 0, 0, 0, 4096, 0];
    let longs = longs.into_iter().flat_map(u64::to_le_bytes);
    Ok(longs.chain(words.into_iter().flat_map(u32::to_le_bytes)).collect())
}
