//! Estimates the disk space that a build needs.

use crate::{
    fs::free_space::Space,
    lock::{Input, Kind},
};

/// Assumed ratio of unpacked to packed size: xz compresses programs to a quarter, gzip to a third.
const UNPACKED: u64 = 3;

/// The space for a build of `inputs`. `cached` returns whether one is in the cache.
pub(crate) fn needed(inputs: &[Input], cached: impl Fn(&Input) -> bool) -> Space {
    let size = |input: &Input| input.size.unwrap_or_default();
    let all: u64 = inputs.iter().map(size).sum();
    let cache = inputs.iter().filter(|input| !cached(input)).map(size).sum();
    let packages = inputs.iter().filter(|input| input.kind != Kind::Wheel);
    let unpacked = packages.map(size).sum::<u64>().saturating_mul(UNPACKED);
    Space { cache, out: unpacked.saturating_add(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::Checksum;

    #[test]
    fn cached_inputs_need_no_download_and_wheels_no_unpacking() {
        let input = |kind, name: &str, size| {
            let sha256 = Checksum::from_digest([0; 32]);
            Input { kind, name: name.to_owned(), size, sha256 }
        };
        let inputs = [
            input(Kind::Deb, "debian/pool/a", Some(10)),
            input(Kind::Wheel, "w", Some(100)),
            input(Kind::Tar, "https://x/t", None),
        ];
        assert_eq!(needed(&inputs, |_| false), Space { cache: 110, out: 140 });
        let space = needed(&inputs, |input| input.kind == Kind::Wheel);
        assert_eq!(space, Space { cache: 10, out: 140 });
        assert_eq!(needed(&[], |_| false), Space { cache: 0, out: 0 });
    }
}
