//! A client for D-Bus (D-Bus Specification): method calls and their replies. All numbers are little-endian, the byte
//! order of all supported architectures.

use rustix::process::geteuid;
use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Timeout of each read and write, the default of other clients.
const TIMEOUT: Duration = Duration::from_secs(25);

/// Maximum length of a message that is read, in bytes.
const LONGEST: usize = 1 << 16;

/// Message type ERROR; its first argument is the reason.
pub(super) const ERROR: u8 = 3;
/// Message type SIGNAL.
pub(super) const SIGNAL: u8 = 4;

/// Bus name, object path, interface.
pub(super) type Object = [&'static str; 3];

/// A message, or part of one, with the alignment of its values.
#[derive(Default)]
pub(super) struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Pads to a multiple of `size`, the alignment of the next value.
    fn align(&mut self, size: usize) {
        self.0.resize(self.0.len().next_multiple_of(size), 0);
    }

    /// `u` or `b`.
    pub(super) fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    /// `s` or `o`.
    pub(super) fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or_default());
        self.0.extend(text.bytes().chain([0]));
    }

    /// `g`, shorter than 256 bytes.
    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or_default());
        self.0.extend(signature.bytes().chain([0]));
    }

    /// An array of structures, which `add` appends.
    pub(super) fn structures(&mut self, add: impl FnOnce(&mut Self)) {
        self.number(0);
        let length = self.0.len() - 4;
        self.align(8);
        let start = self.0.len();
        add(self);
        let bytes = u32::try_from(self.0.len() - start).unwrap_or_default().to_le_bytes();
        for (to, byte) in self.0.iter_mut().skip(length).zip(bytes) {
            *to = byte;
        }
    }

    /// The beginning of a header field: code and variant, whose value follows.
    fn field(&mut self, code: u8, signature: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
    }

    /// The beginning of a `(sv)`, whose value follows.
    pub(super) fn property(&mut self, name: &str, signature: &str) {
        self.align(8);
        self.text(name);
        self.signature(signature);
    }

    /// A call of `method` with arguments of this `signature`.
    pub(super) fn call(
        serial: u32,
        [destination, path, interface]: Object,
        method: &str,
        (signature, arguments): (&str, &Self),
    ) -> Self {
        let mut all = Self(b"l\x01\0\x01".to_vec()); // little-endian, METHOD_CALL, no flags, version 1
        all.number(u32::try_from(arguments.0.len()).unwrap_or_default());
        all.number(serial);
        all.structures(|fields| {
            for (code, kind, value) in
                [(1, "o", path), (3, "s", method), (2, "s", interface), (6, "s", destination)]
            {
                fields.field(code, kind);
                fields.text(value);
            }
            if !signature.is_empty() {
                fields.field(8, "g");
                fields.signature(signature);
            }
        });
        all.align(8);
        all.0.extend(&arguments.0);
        all
    }
}

/// Takes a number, aligned to 4, from the front of `body`.
pub(super) fn number(body: &mut &[u8]) -> Option<u32> {
    let (number, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(u32::from_le_bytes(*number))
}

/// Takes a string from the front of `body`, with its padding to 4.
pub(super) fn text<'b>(body: &mut &'b [u8]) -> Option<&'b str> {
    let length = number(body)? as usize;
    let text = body.get(..length)?;
    *body = body.get((length + 1).next_multiple_of(4)..).unwrap_or_default();
    std::str::from_utf8(text).ok()
}

/// A connection to a bus.
pub(super) struct Bus(pub UnixStream);

impl Bus {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(stream))
    }

    /// Authenticates as this user, by the mechanism EXTERNAL: the bus compares with the socket's credentials.
    pub(super) fn authenticate(&mut self) -> Result<()> {
        let user = hex::encode(geteuid().as_raw().to_string());
        self.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            answer.extend(byte);
            if answer.len() > LONGEST {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        if !answer.starts_with(b"OK ") {
            return Err(Error::other("the bus does not accept this user"));
        }
        self.send(b"BEGIN\r\n")
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)
    }

    /// The type and the arguments of the next message.
    pub(super) fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 16];
        self.0.read_exact(&mut head)?;
        let [order, kind, ..] = head;
        let of = |at: usize| head.get(at..).and_then(|mut from| number(&mut from));
        let length = |at| of(at).map_or(LONGEST, |length| length as usize).min(LONGEST);
        let (fields, body) = (length(12).next_multiple_of(8), length(4));
        if order != b'l' || fields + body >= LONGEST {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; fields + body];
        self.0.read_exact(&mut rest)?;
        Ok((kind, rest.split_off(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sent by `busctl call a.b /a a.c M 'sa(sv)' x 1 B b 1` of systemd 252, except for its flags.
    #[test]
    fn a_call_equals_that_of_busctl() {
        let mut arguments = Bytes::default();
        arguments.text("x");
        arguments.structures(|all| {
            all.property("B", "b");
            all.number(1);
        });
        let call = Bytes::call(2, ["a.b", "/a", "a.c"], "M", ("sa(sv)", &arguments));
        let want = [
            &b"l\x01\0\x01 \0\0\0\x02\0\0\0L\0\0\0"[..],
            b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0",
            b"\x02\x01s\0\x03\0\0\0a.c\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x08\x01g\0\x06sa(sv)\0\0\0\0\0",
            b"\x01\0\0\0x\0\0\0\x10\0\0\0\0\0\0\0",
            b"\x01\0\0\0B\0\x01b\0\0\0\0\x01\0\0\0",
        ];
        assert_eq!(call.0, want.concat());
    }

    #[test]
    fn strings_end_within_the_message() {
        for (body, want) in [
            (&b"\x02\0\0\0ab\0"[..], Some("ab")),
            (b"\x02\0\0\0ab\0\0rest", Some("ab")),
            (b"\x03\0\0\0ab", None),
            (b"\xff\xff\xff\xffab", None),
            (b"\x01\0\0\0\xff\0", None),
            (b"\x01\0", None),
            (b"", None),
        ] {
            assert_eq!(text(&mut &*body), want, "{body:?}");
        }
        let mut two = &b"\x02\0\0\0ab\0\0\x01\0\0\0c\0"[..];
        assert_eq!((text(&mut two), text(&mut two), text(&mut two)), (Some("ab"), Some("c"), None));
    }
}
