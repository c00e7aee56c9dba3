//! Tables of the kernel, such as `/proc/self/mountinfo`: users name what is in them, by any bytes.

/// The parts of `text` between the bytes `at`: its lines, or the fields of a line.
pub(crate) fn split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    text.split(move |&byte| byte == at)
}
