//! A small runtime that needs neither mirror nor apt, as its package is in the cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Writes the runtime `d`, whose package has these files. Returns the directories of sources and of
/// cached inputs, below `dir`.
pub fn locked(dir: &Path, files: &[(&str, &[u8])]) -> (PathBuf, PathBuf) {
    let (sources, cache) = (dir.join("src"), dir.join("cache"));
    let deb = super::debs::deb("Package: demo\nVersion: 1\n", files);
    let sum = joblet_format::Checksum::of_bytes(&deb).hex();
    fs::create_dir_all(cache.join("sha256")).unwrap();
    fs::write(cache.join("sha256").join(&sum), &deb).unwrap();
    fs::create_dir_all(sources.join("d")).unwrap();
    let manifest = "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n\
                    debian: { suite: bookworm, packages: [demo] }\n";
    fs::write(sources.join("d/manifest.yaml"), manifest).unwrap();
    let source = joblet_publish::source::parse(manifest).unwrap();
    let digest = joblet_publish::lock::digest(&source);
    let input = format!(
        r#"[{{"kind":"deb","name":"debian/pool/demo.deb","size":{},"sha256":"{sum}"}}]"#,
        deb.len()
    );
    let lock = format!(
        r#"{{"format":1,"manifest":"{digest}","timestamp":"2026-01-31T12:00:00Z",
            "inputs":{{"amd64":{input},"arm64":{input}}}}}"#
    );
    fs::write(sources.join("d/versions.lock"), lock).unwrap();
    (sources, cache)
}
