//! File names of wheels, and their compatibility tags.
//!
//! A wheel is called `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl`; the last three may be several
//! tags joined by dots. (Python Packaging User Guide, "Binary distribution format" and "Platform
//! compatibility tags".)

use joblet_format::Arch;

/// The newest glibc that a wheel may require, 2.N: that of Debian bookworm.
const GLIBC: u32 = 36;
/// The older names of manylinux, and the N of their glibc 2.N.
const LEGACY: [(&str, u32); 3] = [("manylinux1", 5), ("manylinux2010", 12), ("manylinux2014", 17)];

/// The parts of a wheel's file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelName<'n> {
    /// The project's name, not normalized.
    pub name: &'n str,
    /// Its version.
    pub version: &'n str,
    build: &'n str,
    python: &'n str,
    abi: &'n str,
    platform: &'n str,
}

/// The preference of a compatible wheel, by interpreter, platform and build as in pip; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    interpreter: (u8, u32),
    glibc: u32,
    build: u64,
}

impl<'n> WheelName<'n> {
    /// Parses a file name; `None` if it is not a wheel's.
    pub fn parse(file_name: &'n str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+!".contains(&byte);
        let stem = file_name.strip_suffix(".whl").filter(|stem| stem.bytes().all(plain))?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, build, [python, abi, platform]) = match parts[..] {
            [name, version, python, abi, platform] => (name, version, "", [python, abi, platform]),
            [name, version, build, python, abi, platform] => {
                (name, version, build, [python, abi, platform])
            }
            _ => return None,
        };
        let whole = parts.iter().all(|part| !part.is_empty()) && !name.starts_with('.');
        whole.then_some(Self { name, version, build, python, abi, platform })
    }

    /// Its preference for CPython 3.`minor` on Linux; `None` if it is not compatible.
    pub(crate) fn fit(&self, minor: u32, arch: Arch) -> Option<Fit> {
        let pythons = self.python.split('.');
        let tags = pythons.flat_map(|python| self.abi.split('.').map(move |abi| (python, abi)));
        let interpreter = tags.filter_map(|(python, abi)| interpreter(python, abi, minor)).max()?;
        let glibc = self.platform.split('.').filter_map(|it| glibc(it, arch)).max()?;
        let digits = self.build.bytes().take_while(u8::is_ascii_digit).count();
        let build = self.build[..digits].parse().unwrap_or_default();
        Some(Fit { interpreter, glibc, build })
    }
}

/// Normalizes a project's name (PEP 503): lower case, runs of `-`, `_` and `.` as one `-`.
pub(crate) fn normalized(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The preference of a wheel for `python` and `abi` with CPython 3.`minor`.
fn interpreter(python: &str, abi: &str, minor: u32) -> Option<(u8, u32)> {
    let number = |prefix: &str| -> Option<u32> { python.strip_prefix(prefix)?.parse().ok() };
    match (number("cp3"), abi) {
        (Some(it), "abi3") if it == minor => Some((4, it)),
        (Some(it), "abi3") if (2..minor).contains(&it) => Some((3, it)),
        (Some(it), "none") if it == minor => Some((4, 0)),
        (Some(it), abi) if it == minor && abi == format!("cp3{minor}") => Some((5, it)),
        (None, "none") if python == "py3" => Some((1, 0)),
        (None, "none") => number("py3")
            .filter(|it| *it <= minor)
            .map(|it| if it == minor { (2, it) } else { (0, it) }),
        _ => None,
    }
}

/// N + 1 for a wheel for `platform` that requires glibc 2.N; 0 for any platform.
fn glibc(platform: &str, arch: Arch) -> Option<u32> {
    let machine = match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
    };
    if platform == "any" {
        return Some(0);
    }
    let system = platform.strip_suffix(machine)?.strip_suffix('_')?;
    if system == "linux" {
        return Some(1); // states no glibc version
    }
    let legacy = LEGACY.iter().find(|(name, _)| *name == system).map(|(_, glibc)| *glibc);
    let glibc = legacy.or_else(|| system.strip_prefix("manylinux_2_")?.parse().ok())?;
    (glibc <= GLIBC).then_some(glibc + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(name: &str, arch: Arch) -> Option<Fit> {
        WheelName::parse(name).unwrap().fit(11, arch)
    }

    #[test]
    fn file_names_are_parsed() {
        let name =
            "scikit_learn-1.3.2-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
        let wheel = WheelName::parse(name).unwrap();
        assert_eq!((wheel.name, wheel.version, wheel.build), ("scikit_learn", "1.3.2", "1"));
        assert_eq!(wheel.platform, "manylinux_2_17_x86_64.manylinux2014_x86_64");
        for name in [
            "a-1-py3-none.whl", "a-1-py3-none-any.zip", "a-1-py3--any.whl",
            "../a-1-py3-none-any.whl", "..-1-py3-none-any.whl", "a-1-2-3-py3-none-any.whl",
            "a b-1-py3-none-any.whl",
        ] {
            assert_eq!(WheelName::parse(name), None, "{name}");
        }
        for (name, want) in [("Scikit_Learn", "scikit-learn"), ("a.-_B", "a-b")] {
            assert_eq!(normalized(name), want);
        }
    }

    #[test]
    fn wheels_for_other_platforms_are_incompatible() {
        for (tags, amd64, arm64) in [
            ("cp311-cp311-manylinux_2_17_x86_64", true, false),
            ("cp311-cp311-manylinux_2_17_aarch64", false, true),
            ("cp36-abi3-manylinux2014_x86_64", true, false),
            ("cp312-abi3-manylinux2014_x86_64", false, false),
            ("cp310-cp310-manylinux2014_x86_64", false, false),
            ("cp311-cp311-manylinux_2_39_x86_64", false, false),
            ("cp311-cp311-musllinux_1_2_x86_64", false, false),
            ("cp311-cp311-macosx_11_0_arm64", false, false),
            ("cp311-cp311-win_amd64", false, false),
            ("pp39-pypy39_pp73-manylinux2014_x86_64", false, false),
            ("py2.py3-none-any", true, true),
            ("py2-none-any", false, false),
            ("py39-none-any", true, true),
            ("py312-none-any", false, false),
            ("py3-none-manylinux1_x86_64", true, false),
            ("py3-none-linux_aarch64", false, true),
        ] {
            let name = format!("a-1.0-{tags}.whl");
            let fits = (fit(&name, Arch::Amd64).is_some(), fit(&name, Arch::Arm64).is_some());
            assert_eq!(fits, (amd64, arm64), "{tags}");
        }
    }

    #[test]
    fn the_most_specific_wheel_is_best() {
        let order = [
            "a-1-py2.py3-none-any.whl",
            "a-1-py3-none-manylinux2014_x86_64.whl",
            "a-1-py311-none-any.whl",
            "a-1-cp38-abi3-manylinux_2_28_x86_64.whl",
            "a-1-cp311-abi3-manylinux1_x86_64.whl",
            "a-1-cp311-cp311-linux_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-2-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-10b-cp311-cp311-manylinux_2_28_x86_64.whl",
        ];
        let fits: Vec<_> = order.iter().map(|name| fit(name, Arch::Amd64).unwrap()).collect();
        assert!(fits.is_sorted(), "{fits:?}");
    }
}
