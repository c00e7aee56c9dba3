//! Packs an unpacked runtime again, for measurements: `pack NAME-VERSION/ TARGET.tar.gz`.
//!
//! Every file of the tree is open while it is packed: `ulimit -n` has to allow that.

use joblet_publish::pack;
use joblet_publish::tree::content::Content;
use joblet_publish::tree::{Node, Tree};
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, target] = words.as_slice() else { return Err("needs DIR TARGET".into()) };
    let tree = read(&from.join("isolated"))?;
    let runtime_yml = fs::read_to_string(from.join("runtime.yml"))?;
    let directory = from.file_name().ok_or("DIR has no name")?.to_string_lossy();
    let jobs = std::thread::available_parallelism()?;
    pack::pack(&tree, &runtime_yml, &directory, target, u64::MAX, jobs)?;
    Ok(())
}

/// The tree below `dir`.
fn read(dir: &Path) -> Result<Tree, Box<dyn Error>> {
    let mut tree = Tree::default();
    for entry in walkdir::WalkDir::new(dir).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().strip_prefix(dir)?.to_str().ok_or("a name is not UTF-8")?;
        let node = if entry.file_type().is_dir() {
            Node::Dir
        } else if entry.file_type().is_symlink() {
            Node::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned())
        } else {
            let metadata = entry.metadata()?;
            let file = Arc::new(File::open(entry.path())?);
            let executable = metadata.permissions().mode() & 0o100 != 0;
            Node::File { executable, content: Content::stretch(file, 0, metadata.len()) }
        };
        tree.insert(path, node)?;
    }
    Ok(tree)
}
