//! The corpus of the fuzz targets, with the inputs that found defects, and mutations of it.

use joblet_exec::fuzz::TARGETS;
use std::fs;
use std::path::Path;

/// Mutations of each input. `make fuzz` searches by libFuzzer.
const CHANGES: usize = 1000;

/// A random number generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    /// Overwrites, inserts, removes or repeats some bytes.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(9)).min(bytes.len());
        match self.below(4) {
            0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << self.below(8)),
            1 => drop(bytes.splice(at..at, [0, b'0', 0xff, b'7'].into_iter().take(end - at))),
            2 => drop(bytes.drain(at..end)),
            _ => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        }
    }
}

#[test]
fn no_input_violates_an_invariant() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs: Vec<_> =
            fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name}");
        let mut random = Random(1);
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            // After a panic the last line names the input.
            let tried = std::panic::catch_unwind(|| target(&bytes));
            assert!(tried.is_ok(), "{}", input.display());
            for number in 0..CHANGES {
                let mut changed = bytes.clone();
                for _ in 0..=random.below(3) {
                    random.change(&mut changed);
                }
                let tried = std::panic::catch_unwind(|| target(&changed));
                assert!(tried.is_ok(), "{}, change {number}: {changed:?}", input.display());
            }
        }
    }
}
