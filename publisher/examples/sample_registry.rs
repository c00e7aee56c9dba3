//! Writes records of a made-up registry, to look at its site and to measure it.
//!
//! ```text
//! cargo run --release -p joblet-publish --example sample_registry -- OUT [RUNTIMES VERSIONS]
//! joblet-publish site --records OUT --out OUT/site && joblet-publish serve OUT/site
//! ```
//!
//! Without numbers: a dozen runtimes as they could be, with versions that are yanked, too large for
//! one file, or not released yet. With numbers: so many runtimes of so many versions each. The same
//! arguments give the same bytes.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{env, fs, io, path::Path, process::ExitCode};

/// Name, description, size of the first version in MB, architectures, number of versions.
const RUNTIMES: [(&str, &str, u64, &str, u64); 12] = [
    (
        "python-3.11",
        "Python 3.11 with the standard library and the usual command-line tools",
        38,
        "both",
        6,
    ),
    (
        "python-3.11-ml",
        "Python 3.11 with NumPy, SciPy, pandas, scikit-learn and Matplotlib",
        124,
        "both",
        9,
    ),
    (
        "python-3.11-pytorch-cuda",
        "Python 3.11 with PyTorch and the CUDA 12.4 libraries, for hosts with an NVIDIA driver",
        2610,
        "amd64",
        4,
    ),
    (
        "python-3.13",
        "Python 3.13 with the standard library, free of everything that it deprecates",
        41,
        "both",
        2,
    ),
    (
        "openjdk-21",
        "OpenJDK 21, the long-term release, with its keystore and fonts for headless work",
        118,
        "both",
        5,
    ),
    ("openjdk-25", "OpenJDK 25, the long-term release", 126, "both", 1),
    ("graalvmjdk-21", "GraalVM for JDK 21 with native-image", 302, "both", 3),
    ("node-20", "Node.js 20 with npm", 52, "both", 4),
    ("node-22", "Node.js 22 with npm and corepack", 56, "both", 3),
    ("go-1.24", "The Go 1.24 toolchain: compiler, linker, vet, gofmt", 71, "both", 2),
    ("r-4.4", "R 4.4 with the recommended packages", 143, "amd64", 2),
    (
        "tools-1",
        "Shell, coreutils, curl, jq, git: what a pipeline needs between two jobs",
        19,
        "both",
        3,
    ),
];

/// A text as an attacker would choose it.
const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(1)\
                       ' onfocus='alert(1) \u{202e}\u{1b}[31m {{ 7 * 7 }} averyveryverylongwordthatmustbe\
                       brokensomewhereornothingfitsonthescreenofasmalltelephone";

/// Where archives are published.
const RELEASES: &str = "https://github.com/ehsaniara/joblet-runtimes/releases/download/";

/// Largest file of a release on GitHub, in bytes.
const PART: u64 = (1 << 31) - 1;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let numbers: Vec<u64> = args.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let done = match (args.first(), numbers.as_slice()) {
        (Some(out), [runtimes, versions]) => many(Path::new(out), *runtimes, *versions),
        (Some(out), []) if args.len() == 1 => few(Path::new(out)),
        _ => Err(io::Error::other("usage: sample_registry OUT [RUNTIMES VERSIONS]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = io::Write::write_fmt(&mut io::stderr(), format_args!("sample_registry: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The dozen of [`RUNTIMES`].
fn few(out: &Path) -> io::Result<()> {
    for (row, (name, description, megabytes, arches, versions)) in RUNTIMES.into_iter().enumerate()
    {
        for number in 0..versions {
            let version = match (name, number) {
                ("openjdk-25", 0) => "1.0.0-rc.1".to_owned(),
                ("python-3.11-ml", 8) => "2.0.0-beta.1".to_owned(),
                _ => format!("1.{number}.{}", if number % 3 == 1 { 2 } else { 0 }),
            };
            let mut record = record(
                name,
                &version,
                description,
                arches,
                Build {
                    day: 11 * row as u64 + 41 * number,
                    bytes: megabytes * 1_000_000
                        + number * megabytes * 31_007
                        + 77_003 * row as u64,
                },
            );
            match (name, number) {
                ("python-3.11-ml", 5) => {
                    record["release"]["yanked"] =
                        "built without AVX2 dispatch, three times slower; take 1.6.0".into();
                }
                ("tools-1", 0) => {
                    record["release"]["yanked"] =
                        "curl of this version is open to CVE-2025-0725".into();
                }
                _ => {}
            }
            let inside = if number == 0 && row > 8 { None } else { Some(inside(name, number)) };
            write_with(out, &mut record, inside.as_ref())?;
        }
    }
    let build = Build { day: 400, bytes: 1_000_000 };
    let mut hostile = record("hostile", "1.0.0", HOSTILE, "both", build);
    hostile["release"]["artifacts"]["arm64"]["download_url"] = "javascript:alert(1)".into();
    write(out, &hostile)?;
    let mut yanked = record("hostile", "1.1.0", HOSTILE, "both", build);
    yanked["release"]["yanked"] = HOSTILE.into();
    write(out, &yanked)
}

/// `runtimes` × `versions` of them, a day apart.
fn many(out: &Path, runtimes: u64, versions: u64) -> io::Result<()> {
    for (at, (name, description, megabytes, arches, _)) in
        (0..runtimes).zip(RUNTIMES.iter().cycle())
    {
        let name = format!("{name}-n{at:04}");
        for number in 0..versions {
            let build = Build {
                day: (at + 7 * number) % 3000,
                bytes: megabytes * 1_000_000 + number * 1_003_007 + at * 1009,
            };
            write(out, &record(&name, &format!("1.{number}.0"), description, arches, build))?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Build {
    /// Days since the beginning of 2025.
    day: u64,
    /// Length of the amd64 archive.
    bytes: u64,
}

fn record(name: &str, version: &str, description: &str, arches: &str, build: Build) -> Value {
    let artifact = |arch: &str, bytes: u64| {
        let file = format!("{name}-{version}-{arch}.tar.gz");
        let mut artifact = json!({
            "download_url": format!("{RELEASES}{name}%40{version}/{file}"),
            "checksum": checksum(&file),
            "size": bytes,
            "unpacked_size": bytes * 317 / 100,
            "entries": bytes / 47_000 + 800,
            "index": { "checksum": checksum(&format!("{file}.index")), "size": bytes / 260 + 9_000 },
        });
        let frames = file.replace(".tar.gz", ".tar.zst");
        artifact["zstd"] = json!({
            "download_url": format!("{RELEASES}{name}%40{version}/{frames}"),
            "checksum": checksum(&frames),
            "size": bytes * 73 / 100,
            "table": { "checksum": checksum(&format!("{frames} table")), "size": bytes / 155_000 + 300 },
        });
        in_parts(&mut artifact);
        in_parts(&mut artifact["zstd"]);
        artifact
    };
    let amd64 = artifact("amd64", build.bytes);
    let mut artifacts = json!({ "amd64": amd64 });
    let mut platforms = vec!["ubuntu-amd64", "rhel-amd64", "amzn-amd64"];
    if arches == "both" {
        artifacts["arm64"] = artifact("arm64", build.bytes * 97 / 100);
        platforms.extend(["ubuntu-arm64", "rhel-arm64", "amzn-arm64"]);
    }
    json!({
        "name": name,
        "published_at": format!("{}T{:02}:{:02}:00Z", day(build.day), build.bytes % 24, build.bytes % 59),
        "release": {
            "version": version, "description": description, "download_url": amd64["download_url"],
            "checksum": amd64["checksum"], "size": amd64["size"], "platforms": platforms,
            "artifacts": artifacts,
        },
    })
}

/// Adds the parts of a file that is too large for one.
fn in_parts(file: &mut Value) {
    let bytes = file["size"].as_u64().unwrap_or_default();
    if bytes <= PART {
        return;
    }
    let url = file["download_url"].as_str().unwrap_or_default().to_owned();
    let part = |number: u64| {
        let url = format!("{url}.{:03}", number + 1);
        let size = PART.min(bytes - number * PART);
        json!({ "download_url": url, "size": size, "checksum": checksum(&url) })
    };
    file["parts"] = (0..bytes.div_ceil(PART)).map(part).collect();
}

/// Package, first version, licence as Debian 12 declares it, and size in kB.
const PACKAGES: [(&str, &str, &str, u64); 12] = [
    ("libc6", "2.36-9+deb12u14", "LicenseRef-libc6-copyright", 13_000),
    (
        "coreutils",
        "9.1-1",
        "BSD-4-Clause-UC AND FSFULLR AND GFDL-1.3-only AND GPL-3.0-or-later AND ISC",
        17_900,
    ),
    (
        "libssl3",
        "3.0.22-1~deb12u2",
        "Apache-2.0 AND Artistic-1.0-Perl AND (Artistic-1.0-Perl OR GPL-1.0-or-later) AND \
         GPL-1.0-or-later",
        6_000,
    ),
    (
        "bash",
        "5.2.15-2+b13",
        "BSD-4-Clause-UC AND GFDL-1.3-only AND GPL-2.0-or-later AND GPL-3.0-or-later AND \
         GPL-3.0-or-later WITH Bison-exception-2.2 AND LicenseRef-Latex2e AND LicenseRef-MIT-like \
         AND LicenseRef-permissive",
        7_100,
    ),
    (
        "perl-base",
        "5.36.0-7+deb12u4",
        "Artistic-1.0-Perl AND (Artistic-1.0-Perl OR GPL-1.0-or-later OR \
         LicenseRef-Artistic-dist) AND Artistic-2.0 AND BSD-3-Clause AND CC0-1.0 AND \
         GPL-1.0-or-later AND (GPL-1.0-or-later OR Artistic-1.0-Perl) AND (GPL-1.0-or-later OR \
         Artistic-1.0-Perl OR LicenseRef-Artistic-dist) AND GPL-2.0-or-later AND \
         (GPL-2.0-or-later OR Artistic-1.0-Perl) AND LGPL-2.1-only AND LicenseRef-Artistic-dist \
         AND LicenseRef-BSD-3-clause-GENERIC AND LicenseRef-BSD-3-clause-with-weird-numbering AND \
         LicenseRef-BSD-4-clause-POWERDOG AND LicenseRef-BZIP AND LicenseRef-DONT-CHANGE-THE-GPL \
         AND LicenseRef-GPL-3--WITH-BISON-EXCEPTION AND LicenseRef-HSIEH-BSD AND \
         LicenseRef-HSIEH-DERIVATIVE AND LicenseRef-REGCOMP AND LicenseRef-RRA-KEEP-THIS-NOTICE \
         AND LicenseRef-SDBM-PUBLIC-DOMAIN AND LicenseRef-TEXT-TABS AND LicenseRef-Unicode AND \
         MIT AND (MIT OR GPL-1.0-or-later OR Artistic-1.0-Perl) AND Zlib",
        7_600,
    ),
    ("tzdata", "2026f-0+deb12u1", "LicenseRef-public-domain", 3_300),
    (
        "curl",
        "7.88.1-10+deb12u15",
        "BSD-3-Clause AND BSD-4-Clause-UC AND FSFULLR AND GPL-2.0-or-later WITH \
         Autoconf-exception-2.0 AND GPL-2.0-or-later WITH Libtool-exception AND GPL-3.0-or-later \
         WITH Autoconf-exception-3.0 AND ISC AND OLDAP-2.8 AND X11 AND curl",
        500,
    ),
    (
        "libcurl4",
        "7.88.1-10+deb12u15",
        "BSD-3-Clause AND BSD-4-Clause-UC AND FSFULLR AND GPL-2.0-or-later WITH \
         Autoconf-exception-2.0 AND GPL-2.0-or-later WITH Libtool-exception AND GPL-3.0-or-later \
         WITH Autoconf-exception-3.0 AND ISC AND OLDAP-2.8 AND X11 AND curl",
        830,
    ),
    ("ca-certificates", "20250419~deb12u2", "GPL-2.0-or-later AND MPL-2.0", 380),
    ("zlib1g", "1:1.2.13.dfsg-1", "Zlib", 160),
    ("libstdc++6", "12.2.0-14+deb12u1", "LicenseRef-libstdc--6-copyright", 2_700),
    (
        "sed",
        "4.9-1+deb12u1",
        "BSD-4-Clause-UC AND GFDL-1.3-or-later AND GPL-3.0-or-later AND ISC AND LicenseRef-BSL-1 \
         AND LicenseRef-pcre AND X11",
        900,
    ),
];

/// Bill of materials and list of contents of the `number`th version of `name`.
fn inside(name: &str, number: u64) -> (String, String) {
    let main = (name, "1.0", "PSF-2.0", 31_000);
    let newest = (number % 2 == 0).then_some(("jq", "1.6-2.1", "MIT", 90));
    let mut packages = vec![json!({ "SPDXID": "SPDXRef-Runtime", "name": name, "checksums": [] })];
    let mut contents = String::new();
    let program = match name.split_once('-').map_or(name, |(stem, _)| stem) {
        "python" => "python3",
        "node" => "npm",
        "openjdk" | "graalvmjdk" => "javac",
        _ => "git",
    };
    contents += &["exec\t9000\t-\tusr/bin/", program, "\n"].concat();
    for (at, (name, version, licence, size)) in
        [main].into_iter().chain(PACKAGES).chain(newest).enumerate()
    {
        // One of three packages is a new one in each version.
        let patch = (number + at as u64) / 3;
        let version = if patch == 0 { version.to_owned() } else { format!("{version}.{patch}") };
        packages.push(json!({
            "SPDXID": format!("SPDXRef-deb-{name}"), "name": name, "versionInfo": version,
            "licenseDeclared": if licence.is_empty() { "NOASSERTION" } else { licence },
            "checksums": [{ "algorithm": "SHA256", "checksumValue": hex(&Sha256::digest(&version)) }],
        }));
        contents +=
            &["file\t", &(size * 1000 + patch).to_string(), "\t", name, "\tusr/lib/", name, "\n"]
                .concat();
    }
    (format!("{:#}\n", json!({ "spdxVersion": "SPDX-2.3", "packages": packages })), contents)
}

/// Writes a record and what is inside beside it.
fn write_with(out: &Path, record: &mut Value, inside: Option<&(String, String)>) -> io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&record["release"]["version"]);
    let beside = out.join(text(&record["name"])).join(format!("{version}.files"));
    if let Some((sbom, contents)) = inside {
        fs::create_dir_all(&beside)?;
        for (name, text) in [("amd64.spdx.json", sbom), ("amd64.contents.txt", contents)] {
            fs::write(beside.join(name), text)?;
            record["files"][name] = json!({ "checksum": checksum(text), "size": text.len() });
        }
    }
    write(out, record)
}

fn checksum(text: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(text)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The day so many days after the first of 2025, in a calendar of twelve months of 28 days.
fn day(after: u64) -> String {
    format!("{}-{:02}-{:02}", 2025 + after / 336, after / 28 % 12 + 1, after % 28 + 1)
}

fn write(out: &Path, record: &Value) -> io::Result<()> {
    let directory = out.join(record["name"].as_str().unwrap_or_default());
    fs::create_dir_all(&directory)?;
    let version = record["release"]["version"].as_str().unwrap_or_default();
    let text = serde_json::to_string_pretty(record)?;
    fs::write(directory.join(format!("{version}.json")), text + "\n")
}
