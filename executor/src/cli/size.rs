//! Sizes for people.

/// A number of bytes for people: three digits and a decimal unit.
pub fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let Some((unit, one)) = units.into_iter().find(|&(_, one)| bytes >= one) else {
        return format!("{bytes} B");
    };
    let tenths = bytes.saturating_mul(10) / one;
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (28_123_456, "28 MB"),
            (9_990_000, "9.9 MB"),
            (2_756_000_000, "2.7 GB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
