//! Debian packages → inputs, by apt in a private root: the host's own packages do not matter.

use crate::{
    error::{Error, shown},
    fs::paths,
    inputs::debian_mirror::Mirrors,
    lock::{Input, Kind},
};
use joblet_format::{Arch, Checksum};
use std::{
    path::Path,
    process::{Command, Output},
};

/// The public keys that sign Debian; see `keyrings/README.md`.
const KEYRING: &[u8] = include_bytes!("../../keyrings/debian-archive-keyring.gpg");

/// Resolves `packages` of `suite` for `arch` to the whole closure of debs.
///
/// Works as an ordinary user and for a foreign architecture. Package lists are verified with the
/// keyring of this program.
///
/// # Errors
/// [`Error::Tool`] without `apt-get`; [`Error::Net`] if package lists cannot be fetched or verified;
/// [`Error::NotFound`] for packages that the suite does not have.
pub(crate) fn resolve(
    mirrors: &Mirrors,
    suite: &str,
    packages: &[&str],
    arch: Arch,
) -> Result<Vec<Input>, Error> {
    let root = tempfile::Builder::new()
        .prefix("joblet-lock-")
        .tempdir()
        .map_err(Error::file("create below", std::env::temp_dir()))?;
    let dir = root.path();
    for sub in ["lists/partial", "archives/partial", "log"] {
        paths::create_dirs(&dir.join(sub))?;
    }
    paths::write(&dir.join("status"), b"")?;
    paths::write(&dir.join("keyring.gpg"), KEYRING)?;
    paths::write(&dir.join("x.sources"), sources(mirrors, suite, arch, dir).as_bytes())?;
    paths::write(&dir.join("apt.conf"), configuration(dir, arch).as_bytes())?;
    let updated = apt_get(dir, &["update", "-qq", "--error-on=any"])?;
    if !updated.status.success() {
        return Err(Error::Net {
            what: format!(
                "package lists of {suite} for {arch} at {}",
                shown::address(&mirrors.debian)
            ),
            reason: format!("apt-get update failed: {}", complaint(&updated)),
        });
    }
    let mut words = vec!["install", "-qq", "-y", "--no-install-recommends", "--print-uris"];
    words.extend(["-o", "Acquire::ForceHash=SHA256", "--"]);
    words.extend(packages);
    let resolved = apt_get(dir, &words)?;
    if !resolved.status.success() {
        return Err(Error::NotFound(format!(
            "cannot resolve the packages in {suite} for {arch}: {}",
            complaint(&resolved)
        )));
    }
    parse(&String::from_utf8_lossy(&resolved.stdout), mirrors)
        .map_err(|reason| Error::Tool { tool: "apt-get".into(), reason })
}

fn apt_get(dir: &Path, words: &[&str]) -> Result<Output, Error> {
    Command::new("apt-get")
        .args(words)
        .env("APT_CONFIG", dir.join("apt.conf"))
        .env("LC_ALL", "C")
        .current_dir(dir)
        .output()
        .map_err(|error| Error::Tool {
            tool: "apt-get".into(),
            reason: format!("{error}; `lock` needs apt, `build` does not"),
        })
}

/// apt's errors on one line.
fn complaint(output: &Output) -> String {
    let text = shown::addresses(&String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().map(|line| line.trim_start_matches("E: ").trim());
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join("; ") }
}

/// apt's whole configuration: nothing of the host's is read, nothing outside `dir` is written.
fn configuration(dir: &Path, arch: Arch) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{dir}/x.sources"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null"; Dir::Etc::trustedparts "/dev/null";
Dir::State "{dir}"; Dir::State::lists "{dir}/lists"; Dir::State::status "{dir}/status";
Dir::Cache "{dir}"; Dir::Cache::archives "{dir}/archives"; Dir::Log "{dir}/log";
APT::Architecture "{arch}"; APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false"; APT::Sandbox::User ""; Debug::NoLocking "true";
Acquire::Languages "none"; Acquire::Retries "3"; Acquire::Check-Valid-Until "false";
"#
    )
}

/// The suite, its updates and its security updates.
fn sources(mirrors: &Mirrors, suite: &str, arch: Arch, dir: &Path) -> String {
    let stanza = |address: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: {address}\nSuites: {suites}\nComponents: main\n\
             Architectures: {arch}\nSigned-By: {}/keyring.gpg\n\n",
            dir.display()
        )
    };
    let main = stanza(&mirrors.debian, &format!("{suite} {suite}-updates"));
    main + &stanza(&mirrors.security, &format!("{suite}-security"))
}

/// Parses `'ADDRESS' FILE SIZE SHA256:HEX` lines.
fn parse(text: &str, mirrors: &Mirrors) -> Result<Vec<Input>, String> {
    let input = |line: &str| {
        let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split_whitespace().skip(1);
        let size = Some(words.next()?.parse().ok()?);
        let sha256 = Checksum::from_hex(words.next()?.strip_prefix("SHA256:")?).ok()?;
        Some(Input { kind: Kind::Deb, name: mirrors.name_of(address)?, size, sha256 })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let inputs = lines.map(|line| {
        let refused = || {
            let line = shown::quoted(&shown::addresses(line));
            format!("printed {line}, which names no deb with a SHA256")
        };
        input(line).ok_or_else(refused)
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if inputs.is_empty() { Err("printed no package at all".into()) } else { Ok(inputs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::debian_mirror;

    #[test]
    fn what_apt_prints_becomes_inputs() {
        let mirrors = debian_mirror::find(Some("https://example.org")).unwrap();
        let sum = "ab".repeat(32);
        let good = format!(
            "'https://example.org/debian/pool/main/b/b/b_1%2b1_amd64.deb' b_1+1_amd64.deb 10 \
             SHA256:{sum}\n\
             'https://example.org/debian-security/pool/a_1_all.deb' a_1_all.deb 7 SHA256:{sum}\n"
        );
        let inputs = parse(&good, &mirrors).unwrap();
        assert_eq!(inputs[0].name, "debian/pool/main/b/b/b_1%2b1_amd64.deb");
        assert_eq!(
            (inputs[1].name.as_str(), inputs[1].size),
            ("debian-security/pool/a_1_all.deb", Some(7))
        );
        for (from, to) in [
            ("SHA256:", "MD5Sum:"),
            ("example.org", "example.com"),
            (" 10 ", " x "),
            ("'https", "https"),
        ] {
            let error = parse(&good.replace(from, to), &mirrors).unwrap_err();
            assert!(error.contains("which names no deb with a SHA256"), "{error}");
        }
        assert_eq!(parse("\n", &mirrors).unwrap_err(), "printed no package at all");
    }

    #[test]
    fn apt_reads_nothing_of_the_host() {
        let text = configuration(Path::new("/d"), Arch::Arm64);
        for setting in ["Dir::Etc::parts \"/dev/null\"", "Dir::State::status \"/d/status\""] {
            assert!(text.contains(setting), "{setting}");
        }
        let mirrors = debian_mirror::find(Some("https://example.org")).unwrap();
        let text = sources(&mirrors, "bookworm", Arch::Arm64, Path::new("/d"));
        assert!(
            text.contains("URIs: https://example.org/debian-security\nSuites: bookworm-security")
        );
        assert_eq!(text.matches("Signed-By: /d/keyring.gpg").count(), 2);
    }
}
