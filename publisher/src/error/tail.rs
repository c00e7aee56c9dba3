//! The end of what a program prints, however much that is.

use std::io::Read;

/// How much of it is kept, in bytes.
const KEPT: usize = 64 << 10;

/// Reads `from` to its end, or until it breaks, and returns its last bytes.
pub(crate) fn read_end(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; KEPT]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return kept,
            Ok(read) => {
                kept.extend_from_slice(&buffer[..read]);
                let beyond = kept.len().saturating_sub(KEPT);
                kept.drain(..beyond);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return kept, // the writer has failed, too; its status says why
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E12
    #[test]
    fn the_end_of_much_is_kept() {
        let much = std::io::repeat(b'x').take(10 << 20).chain(&b"the end"[..]);
        let kept = read_end(much);
        assert_eq!((kept.len(), kept.ends_with(b"xthe end")), (KEPT, true));
        assert_eq!(read_end(&b"little"[..]), b"little");
    }
}
