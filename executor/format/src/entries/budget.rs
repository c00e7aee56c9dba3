//! Limits of an archive's content, against decompression bombs.

use super::Kind;

/// Maximum number of entries.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// If no size is stated: maximum ratio of unpacked to packed bytes, after an allowance.
const MAX_RATIO: u64 = 100;
const RATIO_ALLOWANCE: u64 = 64 << 20;

/// Limits of an archive's content.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Remaining bytes of file content.
    pub bytes: u64,
    /// Remaining entries.
    pub entries: u64,
}

impl Budget {
    /// Limits for an archive of `size` bytes without stated figures.
    pub fn for_size(size: u64, entries: u64) -> Self {
        Self { bytes: size.saturating_mul(MAX_RATIO).saturating_add(RATIO_ALLOWANCE), entries }
    }

    /// Subtracts an entry.
    ///
    /// # Errors
    /// If the limits are exceeded.
    pub fn spend(&mut self, kind: &Kind) -> Result<(), &'static str> {
        let size = if let Kind::File(size) = *kind { size } else { 0 };
        let entries = self.entries.checked_sub(1);
        self.entries = entries.ok_or("more entries than the registry states, or than the limit")?;
        let bytes = self.bytes.checked_sub(size);
        self.bytes = bytes.ok_or("more bytes than the registry states, or than the limit")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-G09: one entry and one byte too many.
    #[test]
    fn a_budget_is_spent() {
        let mut budget = Budget::for_size(10, MAX_ENTRIES);
        assert_eq!(budget.bytes, 1000 + (64 << 20));
        assert_eq!(budget.spend(&Kind::File(budget.bytes - 1)), Ok(()));
        assert_eq!(budget.spend(&Kind::File(1)), Ok(()));
        for _ in 2..MAX_ENTRIES - 1 {
            budget.spend(&Kind::Directory).unwrap();
        }
        assert!(budget.spend(&Kind::File(1)).unwrap_err().starts_with("more bytes than"));
        assert!(budget.spend(&Kind::Fifo).unwrap_err().starts_with("more entries than"));
        assert_eq!(Budget::for_size(u64::MAX, 1).bytes, u64::MAX);
    }
}
