//! Splits tables of the kernel, such as `/proc/self/mountinfo`, as bytes: users choose names in them, which need not be UTF-8.

/// The parts of `text` between the bytes `at`: its lines, or the fields of a line.
pub(crate) fn split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    text.split(move |&byte| byte == at)
}
