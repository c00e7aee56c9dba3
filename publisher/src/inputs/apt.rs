//! Resolves Debian packages to inputs, by apt in a private root, independent of the host's packages.

use crate::{
    env,
    error::{Error, shown},
    fs::paths,
    inputs::debian_mirror::Mirrors,
    lock::{Input, Kind},
};
use joblet_format::{Arch, Checksum, nearest};
use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output},
};

/// The public keys that sign Debian; see `keyrings/README.md`.
const KEYRING: &[u8] = include_bytes!("../../keyrings/debian-archive-keyring.gpg");

/// Resolves `packages` of `suite` for `arch` to the whole closure of debs.
///
/// Works as an ordinary user and for a foreign architecture. Package lists are verified with the
/// keyring of this program, or with the one that the environment names.
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
    let keyring = env::var(env::DEBIAN_KEYRING).map(|file| paths::read(Path::new(&file)));
    let keyring = keyring.transpose()?;
    paths::write(&dir.join("keyring.gpg"), keyring.as_deref().unwrap_or(KEYRING))?;
    paths::write(&dir.join("x.sources"), sources(mirrors, suite, arch, dir).as_bytes())?;
    paths::write(&dir.join("apt.conf"), configuration(dir, arch).as_bytes())?;
    let updated = apt_get(dir, &["update", "-qq", "--error-on=any"])?;
    if !updated.status.success() {
        if let Some(reason) = no_suite(mirrors, suite, &complaint(&updated)) {
            return Err(Error::NotFound(reason));
        }
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
    let cache = |words: &[&str]| {
        let output = run("apt-cache", dir, words)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if !resolved.status.success() {
        let complaint = complaint(&resolved);
        if let Some(package) = reported_unknown(packages, &complaint) {
            return Err(Error::NotFound(explain(package, suite, arch, cache)?));
        }
        return Err(Error::NotFound(format!(
            "cannot resolve the packages in {suite} for {arch}: {complaint}"
        )));
    }
    let inputs = parse(&String::from_utf8_lossy(&resolved.stdout), mirrors)
        .map_err(|reason| Error::Tool { tool: "apt-get".into(), reason })?;
    match not_resolved(packages, &inputs) {
        None => Ok(inputs),
        Some(package) => Err(Error::NotFound(explain(package, suite, arch, cache)?)),
    }
}

/// Code names of Debian's releases, for suggestions.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "forky"];

/// Explains which part of `suite` does not exist, if that is apt's `complaint`: it has no other sign of it.
fn no_suite(mirrors: &Mirrors, suite: &str, complaint: &str) -> Option<String> {
    let parts =
        [("", &mirrors.debian), ("-updates", &mirrors.debian), ("-security", &mirrors.security)];
    let is_absent = |part: &str| {
        complaint.contains(&format!(" {suite}{part} Release' does not have a Release file"))
    };
    let (part, mirror) = parts.into_iter().find(|(part, _)| is_absent(part))?;
    let hint = match nearest(suite, SUITES) {
        Some(near) if near == suite => "name another mirror with --mirror".to_owned(),
        Some(near) => format!("did you mean `{near}`?"),
        None => "name one such as bookworm (12) or trixie (13)".to_owned(),
    };
    let mirror = shown::address(mirror);
    Some(format!("debian.suite: no Debian suite `{suite}{part}` at {mirror}; {hint}"))
}

/// The first of `packages` that is not among the resolved inputs: apt also accepts virtual packages,
/// patterns and packages to remove.
fn not_resolved<'p>(packages: &[&'p str], inputs: &[Input]) -> Option<&'p str> {
    let locked: BTreeSet<String> =
        inputs.iter().map(|input| package_name(input.file_name())).collect();
    let names = packages.iter().map(|package| package.split('=').next().unwrap_or(package));
    names.into_iter().find(|name| !locked.contains(*name))
}

/// The one of `packages` that apt reports as unknown.
fn reported_unknown<'p>(packages: &[&'p str], complaint: &str) -> Option<&'p str> {
    let named = |package: &&&str| {
        complaint.contains(&format!("'{package}' has no installation candidate"))
            || complaint.lines().any(|line| {
                line.split("; ").any(|it| it.ends_with(&format!("locate package {package}")))
            })
    };
    packages.iter().find(named).copied()
}

/// Explains why `suite` has no `package`: packages that provide it, or a similar name. `cache` runs
/// apt-cache.
fn explain(
    package: &str,
    suite: &str,
    arch: Arch,
    cache: impl Fn(&[&str]) -> Result<String, Error>,
) -> Result<String, Error> {
    // apt-cache also matches the name as a pattern.
    let shown = cache(&["showpkg", "--", package])?;
    let its = shown.split("Package: ").find(|text| text.lines().next() == Some(package));
    let provided = its.and_then(|text| text.split("Reverse Provides:").nth(1)).unwrap_or_default();
    let names = provided.lines().filter_map(|line| line.split_whitespace().next());
    let providers: BTreeSet<&str> = names.collect();
    if !providers.is_empty() {
        let providers = providers.into_iter().collect::<Vec<_>>().join(", ");
        return Ok(format!(
            "`{package}` is a virtual package in {suite} for {arch}; name one that provides it: {providers}"
        ));
    }
    let all = cache(&["pkgnames"])?;
    let near = nearest(package, all.lines().map(str::trim));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Ok(format!("no package `{package}` in {suite} for {arch}{hint}"))
}

/// `git_2.39_amd64.deb` → `git`. Mirrors write `+` as `%2b`.
fn package_name(file_name: &str) -> String {
    file_name.split('_').next().unwrap_or(file_name).replace("%2b", "+")
}

fn apt_get(dir: &Path, words: &[&str]) -> Result<Output, Error> {
    run("apt-get", dir, words)
}

fn run(program: &str, dir: &Path, words: &[&str]) -> Result<Output, Error> {
    Command::new(program)
        .args(words)
        .env("APT_CONFIG", dir.join("apt.conf"))
        .env("LC_ALL", "C")
        .current_dir(dir)
        .output()
        .map_err(|error| Error::Tool {
            tool: program.into(),
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

/// apt's complete configuration: nothing of the host's is read, nothing outside `dir` is written.
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
            format!("printed {line}, which is not a deb with a SHA256")
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
    fn output_of_apt_is_parsed() {
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
            assert!(error.contains("which is not a deb with a SHA256"), "{error}");
        }
        assert_eq!(parse("\n", &mirrors).unwrap_err(), "printed no package at all");
    }

    #[test]
    fn every_requested_package_is_locked() {
        let input = |name: &str| {
            let (name, sha256) =
                (format!("debian/pool/main/x/{name}"), Checksum::from_digest([1; 32]));
            Input { kind: Kind::Deb, name, size: Some(1), sha256 }
        };
        let inputs = ["bash_5.2_amd64.deb", "g%2b%2b_12_amd64.deb", "node-js_1_all.deb"].map(input);
        for (packages, want) in [
            (&["bash", "g++"][..], None),
            (&["bash=5.2", "g++"][..], None),
            (&["bash", "node.js"][..], Some("node.js")),
            (&["awk"][..], Some("awk")),
        ] {
            assert_eq!(not_resolved(packages, &inputs), want);
        }
        for (complaint, want) in [
            ("Package 'awk' has no installation candidate", Some("awk")),
            ("Unable to locate package awk; x", Some("awk")),
            ("Unable to locate package awkward", None),
        ] {
            assert_eq!(reported_unknown(&["bash", "awk"], complaint), want, "{complaint}");
        }
        let cache = |words: &[&str]| {
            Ok(match words {
                ["showpkg", "--", "awk"] => {
                    "Package: awk\nReverse Depends: \n  x,awk\nReverse Provides: \nmawk 1 (= )\ngawk 5 (= )\n"
                }
                ["showpkg", "--", "node.js"] => "Package: node-js\nReverse Provides: \nx 1 (= )\n",
                ["showpkg", ..] => "",
                _ => "bash\nphp8.2\n",
            }
            .to_owned())
        };
        for (package, want) in [
            (
                "awk",
                "`awk` is a virtual package in bookworm for amd64; name one that provides it: gawk, mawk",
            ),
            ("php8.1", "no package `php8.1` in bookworm for amd64; did you mean `php8.2`?"),
            ("node.js", "no package `node.js` in bookworm for amd64"),
            ("zzzzzzzz", "no package `zzzzzzzz` in bookworm for amd64"),
        ] {
            assert_eq!(explain(package, "bookworm", Arch::Amd64, cache).unwrap(), want);
        }
    }

    #[test]
    fn a_suite_that_does_not_exist_is_answered_with_the_nearest() {
        let mirrors = debian_mirror::find(Some("https://x")).unwrap();
        let said = |address: &str, suite: &str| {
            format!(
                "The repository 'https://x/{address} {suite} Release' does not have a Release file."
            )
        };
        let other = "name one such as bookworm (12) or trixie (13)";
        for (suite, address, part, hint) in [
            ("bokworm", "debian", "", "did you mean `bookworm`?"),
            ("trixe", "debian", "", "did you mean `trixie`?"),
            ("jammy", "debian", "", other),
            ("sid", "debian", "-updates", other),
            ("bookworm", "debian-security", "-security", "name another mirror with --mirror"),
        ] {
            let absent = format!("{suite}{part}");
            let want =
                format!("debian.suite: no Debian suite `{absent}` at https://x/{address}; {hint}");
            assert_eq!(no_suite(&mirrors, suite, &said(address, &absent)), Some(want));
        }
        assert_eq!(no_suite(&mirrors, "trixie", &said("debian", "bookworm")), None);
        assert_eq!(no_suite(&mirrors, "trixie", "Could not resolve 'x'"), None);
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
