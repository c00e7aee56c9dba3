//! Parsers of options' values.

use super::{BindArg, Color, Terminal, TmpfsArg};
use crate::gpu::Wanted;
use joblet_format::{Arch, Spec};
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

/// `K=V`, or `K` for the caller's value.
pub(super) fn variable(word: &OsStr) -> Result<(OsString, Option<OsString>), String> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=');
    let (name, value) = at.map_or((bytes, None), |at| (&bytes[..at], Some(&bytes[at + 1..])));
    if name.is_empty() {
        return Err(format!("{word:?} has no name before `=`"));
    }
    let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Ok((own(name), value.map(own)))
}

/// A line of an environment file: a variable, or nothing if it is blank or begins with `#`.
pub(crate) fn env_line(line: &OsStr) -> Result<Option<(OsString, Option<OsString>)>, String> {
    use std::os::unix::ffi::OsStrExt;
    let line = line.as_bytes().trim_ascii_start();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if matches!(line, [] | [b'#', ..]) {
        return Ok(None);
    }
    let name = line.split(|&byte| byte == b'=').next().unwrap_or_default();
    if name.iter().any(u8::is_ascii_whitespace) {
        let name = String::from_utf8_lossy(name);
        return Err(format!("the name {name:?} contains a blank; a line is K=V, without export"));
    }
    variable(OsStr::from_bytes(line)).map(Some)
}

/// `SRC:DST`, `SRC:DST:rw` or `SRC:DST:ro`, of any bytes. DST begins at the last `:/`; `\:` is a colon in
/// a path.
pub(super) fn bind(word: &OsStr) -> Result<BindArg, String> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = word.as_bytes();
    let colons = || {
        let all = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
        all.filter(|at| at.checked_sub(1).is_none_or(|before| bytes[before] != b'\\'))
    };
    let (end, writable) = match colons().next_back().map(|at| (at, &bytes[at + 1..])) {
        Some((at, b"rw")) => (at, true),
        Some((at, b"ro")) => (at, false),
        _ => (bytes.len(), false),
    };
    let mut before = colons().filter(|at| *at < end);
    let at = before.rfind(|at| bytes[at + 1..end].starts_with(b"/"));
    let at = at.ok_or_else(|| {
        format!("{word:?} is not SRC:DST with an absolute DST, a path of the job")
    })?;
    if at == 0 || colons().any(|colon| colon > at && colon < end) {
        return Err(format!(
            "{word:?}: SRC is a path of the host, DST an absolute one of the job; a colon in DST is \
             written \\:"
        ));
    }
    let path = |bytes: &[u8]| {
        let mut path = bytes.to_vec();
        let mut index = 0;
        // A backslash before a colon is not part of the path.
        path.retain(|byte| {
            index += 1;
            *byte != b'\\' || bytes.get(index) != Some(&b':')
        });
        PathBuf::from(OsString::from_vec(path))
    };
    let source = joblet_cli::path(path(&bytes[..at]).as_os_str())?;
    Ok(BindArg { source, target: path(&bytes[at + 1..end]), writable })
}

/// The same for `--volume`, which another tool has made writable unless `ro` is among the options at its end.
/// Options for labels and caches are ignored: a job is a process of its caller.
pub(super) fn volume(word: &OsStr) -> Result<BindArg, String> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    let at = bytes.iter().rposition(|&byte| byte == b':').unwrap_or(bytes.len());
    let options = || bytes[(at + 1).min(bytes.len())..].split(|&byte| byte == b',');
    let ends = options().all(|option| VOLUME_OPTIONS.contains(&option));
    let read_only = ends && options().any(|option| option == b"ro");
    let word = if ends { OsStr::from_bytes(&bytes[..at]) } else { word };
    bind(word).map(|bind| BindArg { writable: !read_only, ..bind })
}

/// Options at the end of another tool's `-v SRC:DST`.
const VOLUME_OPTIONS: [&[u8]; 7] =
    [b"ro", b"rw", b"z", b"Z", b"cached", b"delegated", b"consistent"];

/// Whether a word is `SRC:DST`, and not the first word of a command.
pub(super) fn is_volume(word: &OsStr) -> bool {
    word.to_str().is_some_and(|text| {
        let path = text.starts_with(['/', '.', '~']);
        !text.contains("://") && (text.contains(":/") || (path && text.contains(':')))
    })
}

/// `DST` or `DST:SIZE`.
pub(super) fn tmpfs(word: &OsStr) -> Result<TmpfsArg, String> {
    let text = utf8(word)?;
    let (target, size) = match text.rsplit_once(':') {
        None => (text, None),
        Some((target, size)) => (target, Some(bytes(size)?)),
    };
    Ok(TmpfsArg { target: target.into(), size })
}

/// `1000` or `1000:1000`; the default group ID is the user ID.
pub(super) fn user(word: &OsStr) -> Result<(u32, u32), String> {
    let text = utf8(word)?;
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| {
        text.parse().map_err(|_| format!("{text:?} is not a number, as $(id -u {text}) prints it"))
    };
    Ok((number(uid)?, number(gid)?))
}

/// The number of a file descriptor that can be written to.
pub(super) fn descriptor(word: &OsStr) -> Result<i32, String> {
    let number = utf8(word)?.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{word:?} is not a descriptor to write to, such as 3"))
}

/// `4096`, `64K`, `64M`, `2G`: a size in bytes, units of 1024; `2g`, `2GB` and `2GiB` are the same.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let small = text.to_ascii_lowercase();
    let short = small.strip_suffix('b').unwrap_or(&small);
    let short = short.strip_suffix('i').unwrap_or(short);
    let unit = units.into_iter().find_map(|(unit, shift)| Some((short.strip_suffix(unit)?, shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.filter(|&number| number > 0).ok_or_else(|| format!("{text:?} is not a size like 64M"))
}

/// `8192` in MiB, or a size with its unit.
pub(super) fn memory(word: &OsStr) -> Result<u64, String> {
    let text = utf8(word)?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let read = if plain { bytes(&format!("{text}M")) } else { bytes(text) };
    read.map_err(|_| format!("{text:?} is not a number of MiB, or a size like 8G"))
}

/// `1.5` processors, in thousandths; the kernel takes no less than a hundredth.
pub(super) fn processors(word: &OsStr) -> Result<u32, String> {
    let text = utf8(word)?;
    let refuse = || format!("{text:?} is not a number of processors like 2 or 1.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 3 || !digits(whole) || !digits(part) {
        return Err(refuse());
    }
    let number = format!("{whole}{part:0<3}").parse::<u32>().map_err(|_| refuse())?;
    if (10..1_000_000_000).contains(&number) { Ok(number) } else { Err(refuse()) }
}

/// `1`, or `all`.
pub(super) fn gpus(word: &OsStr) -> Result<Wanted, String> {
    if word == "all" {
        return Ok(Wanted::All);
    }
    positive(word).map(Wanted::Count).map_err(|reason| reason + ", or all")
}

/// A number above zero.
pub(super) fn positive(word: &OsStr) -> Result<u32, String> {
    joblet_cli::positive::<NonZero<u32>>(word).map(NonZero::get)
}

/// `amd64` or `arm64`, or as uname(1) calls them.
pub(super) fn arch(word: &OsStr) -> Result<Arch, String> {
    let word = match word.to_str() {
        Some("x86_64") => "amd64".as_ref(),
        Some("aarch64") => "arm64".as_ref(),
        _ => word,
    };
    one_of(word, &Arch::ALL.map(|arch| (arch.as_str(), arch)))
}

/// `--color`
pub(super) fn color(word: &OsStr) -> Result<Color, String> {
    let words = [("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)];
    one_of(word, &words)
}

/// `--tty`, which without a value is `always`.
pub(super) fn terminal(word: &OsStr) -> Result<Terminal, String> {
    let words =
        [("auto", Terminal::Auto), ("always", Terminal::Always), ("never", Terminal::Never)];
    if word.is_empty() { Ok(Terminal::Always) } else { one_of(word, &words) }
}

/// `--network`, `--ipc`: whether to share the host's.
pub(super) fn shares_host(word: &OsStr) -> Result<bool, String> {
    one_of(word, &[("none", false), ("host", true)])
}

/// Looks up the word in a list of alternatives.
fn one_of<T: Copy>(word: &OsStr, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(known, _)| word == *known);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(known, _)| *known).collect();
        format!("{word:?} is not one of {}", all.join(", "))
    })
}

/// `NAME` or `NAME@VERSION`.
pub(super) fn spec(word: &OsStr) -> Result<Spec, String> {
    utf8(word)?.parse().map_err(|error| format!("{error}"))
}

/// `90`, `1.5s`, `5m`, `2h`, `30d`: a time.
pub(super) fn duration(word: &OsStr) -> Result<Duration, String> {
    let text = utf8(word)?;
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86_400.0)];
    let unit = units.into_iter().find_map(|(unit, one)| Some((text.strip_suffix(unit)?, one)));
    let (digits, one) = unit.unwrap_or((text, 1.0));
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = digits.parse::<f64>().ok().filter(|_| plain).map(|number| number * one);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is not a time like 90s"))
}

fn utf8(word: &OsStr) -> Result<&str, String> {
    word.to_str().ok_or_else(|| format!("{word:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn binds() {
        let read = |text| bind(OsStr::new(text));
        let want = BindArg { source: "a b".into(), target: "/data".into(), writable: false };
        assert_eq!(read("a b:/data").unwrap(), want);
        assert_eq!(read("a b:/data:ro").unwrap(), want);
        assert!(read("a:/data:rw").unwrap().writable);
        let as_volume = |text| volume(OsStr::new(text)).unwrap().writable;
        assert!(as_volume("a:/data") && as_volume("a:/data:rw") && !as_volume("a:/data:ro"));
        assert!(as_volume("a:/data:z") && !as_volume("a:/data:ro,Z") && !as_volume("a:/data:Z,ro"));
        assert_eq!(volume(OsStr::new("a:/data:Z")).unwrap().target, Path::new("/data"));
        assert!(
            ["a", "z", "a:/b:x", "a:/b:ro,x", "a:z"]
                .iter()
                .all(|bad| volume(OsStr::new(bad)).is_err())
        );
        for (text, source, target) in [
            ("a:b:/data", "a:b", "/data"),
            (r"a\:/x:/data\:rw", "a:/x", "/data:rw"),
            (r"c\d:/e\f:ro", r"c\d", r"/e\f"),
            ("a:/b:/c", "a:/b", "/c"),
        ] {
            let want = BindArg { source: source.into(), target: target.into(), writable: false };
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
        for bad in ["a", "a:b", ":/b", "a:/b:rx", "", ":rw", r"a\:/b", "~/a:/b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let bytes = bind(OsStr::from_bytes(b"\xff:/\xfe:rw")).unwrap();
        assert_eq!(bytes.source.as_os_str().as_bytes(), b"\xff");
        assert_eq!((bytes.target.as_os_str().as_bytes(), bytes.writable), (&b"/\xfe"[..], true));
    }

    #[test]
    fn lines_of_an_environment_file() {
        let read = |text| env_line(OsStr::new(text));
        let variable = |k: &str, v: Option<&str>| Ok(Some((k.into(), v.map(Into::into))));
        for blank in ["", "  ", "# A=b", "\r"] {
            assert_eq!(read(blank), Ok(None), "{blank:?}");
        }
        assert_eq!(read("A=b # \"c\" "), variable("A", Some("b # \"c\" ")));
        assert_eq!(read("  A=b\r"), variable("A", Some("b")));
        assert_eq!(read("HOME"), variable("HOME", None));
        for bad in ["=b", "export A=1", "A =1", "A B"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_times_and_users() {
        for (text, want) in [
            ("1", Some(1)),
            ("64K", Some(65536)),
            ("2G", Some(2 << 30)),
            ("64m", Some(64 << 20)),
            ("2gb", Some(2 << 30)),
            ("2GiB", Some(2 << 30)),
        ] {
            assert_eq!(bytes(text).ok(), want, "{text}");
        }
        for bad in ["", "0", "-1", "1.5G", "G", "b", "64b", "64i", "64x", "99999999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for (text, want) in
            [("90", 90_000), ("0.3s", 300), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(OsStr::new(text)), Ok(Duration::from_millis(want)), "{text}");
        }
        for bad in ["", "0", "s", ".", "1y", "1e3", "-1", "99999999999999999999"] {
            assert!(duration(OsStr::new(bad)).is_err(), "{bad}");
        }
        for (text, want) in [("8192", 8 << 30), ("512M", 512 << 20), ("8G", 8 << 30)] {
            assert_eq!(memory(OsStr::new(text)), Ok(want), "{text}");
        }
        for (text, want) in [("2", 2000), ("1.5", 1500), ("0.25", 250), (".5", 500), ("0.01", 10)] {
            assert_eq!(processors(OsStr::new(text)), Ok(want), "{text}");
        }
        for bad in ["", ".", "0", "0.001", "1.5.5", "-1", "x", "1e3", "99999999"] {
            assert!(processors(OsStr::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(gpus(OsStr::new("all")), Ok(Wanted::All));
        assert_eq!(gpus(OsStr::new("2")), Ok(Wanted::Count(2)));
        assert!(gpus(OsStr::new("0")).is_err());
        assert_eq!(positive(OsStr::new("100")), Ok(100));
        assert!(memory(OsStr::new("0")).is_err() && positive(OsStr::new("0")).is_err());
        assert_eq!(user(OsStr::new("7")), Ok((7, 7)));
        assert_eq!(user(OsStr::new("7:8")), Ok((7, 8)));
        assert!(user(OsStr::new("root")).is_err());
        let sized = tmpfs(OsStr::new("/x:1M")).unwrap();
        assert_eq!((sized.target, sized.size), ("/x".into(), Some(1 << 20)));
    }
}
