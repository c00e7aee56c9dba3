//! Resolves Python requirements to wheels, by uv, from metadata only: no wheel is fetched, no code is run.

use crate::{
    env,
    error::{Error, shown},
    fs::paths,
    lock::{Input, Kind},
    source::Python,
};
use crate::{
    inputs::python_index::Indexes,
    lock::wheel_tags::{WheelName, normalized},
};
use joblet_format::{Arch, Checksum};
use serde::Deserialize;
use std::process::Command;

/// Resolves the requirements of `python` for `arch` to one wheel per project.
///
/// # Errors
/// [`Error::Tool`] if `uv` is missing or finds no Python; [`Error::NotFound`] if the requirements cannot be
/// resolved, with uv's reason.
pub(crate) fn resolve(indexes: &Indexes, python: &Python, arch: Arch) -> Result<Vec<Input>, Error> {
    let failed = |reason: String| Error::Tool { tool: "uv".into(), reason };
    let dir = tempfile::Builder::new().prefix("joblet-lock-").tempdir();
    let dir = dir.map_err(Error::file("create below", std::env::temp_dir()))?;
    let (wanted, found) = (dir.path().join("requirements.in"), dir.path().join("pylock.toml"));
    paths::write(&wanted, (python.packages.join("\n") + "\n").as_bytes())?;
    let machine = match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
    };
    let mut command = Command::new("uv");
    command.args(["pip", "compile", "--quiet", "--no-config", "--format", "pylock.toml"]);
    command.args(["--only-binary", ":all:", "--no-header", "--no-annotate"]);
    command.args(["--python-version", &python.version]);
    command.args(["--python-platform", &format!("{machine}-manylinux_2_28")]);
    command.args(["--exclude-newer", &format!("{}T00:00:00Z", python.before)]);
    // In the environment, not in arguments, which every user of this host can read: addresses may contain
    // passwords.
    for name in env::INDEX.iter().chain(&env::MORE_INDEXES).filter(|name| name.starts_with("UV_")) {
        command.env_remove(name);
    }
    if let Some(main) = &indexes.main {
        command.env(env::INDEX[0], main);
    }
    if !indexes.more.is_empty() {
        command.env(env::MORE_INDEXES[0], indexes.more.join(" "));
    }
    if !indexes.links.is_empty() {
        command.env(env::FIND_LINKS[0], indexes.links.join(","));
    }
    command.arg("--output-file").arg(&found).arg(&wanted);
    command.env("UV_PYTHON_DOWNLOADS", "never").env("NO_COLOR", "1").current_dir(dir.path());
    let output = command.output().map_err(|error| {
        failed(format!("{error}; `lock` needs it in PATH (`pipx install uv`, with Debian's package pipx), `build` does not"))
    })?;
    if !output.status.success() {
        // uv exits with 1 if resolution fails, with 2 on other errors.
        if output.status.code() == Some(2) && !has_python() {
            return Err(failed(
                "found no Python on this host, which it needs to resolve packages; install one for `lock` \
                (`apt-get install python3`), `build` needs none"
                    .into(),
            ));
        }
        let text = shown::addresses(&String::from_utf8_lossy(&output.stderr));
        let words: Vec<&str> = text.split_whitespace().collect();
        return Err(Error::NotFound(format!(
            "cannot resolve the Python packages for {arch} with wheels from before {}: {}",
            python.before,
            words.join(" ")
        )));
    }
    let text = paths::read(&found)?;
    parse(&String::from_utf8_lossy(&text), python.minor(), arch).map_err(failed)
}

/// Whether a Python is in `PATH`.
fn has_python() -> bool {
    env::path().iter().any(|dir| ["python3", "python"].iter().any(|name| dir.join(name).is_file()))
}

/// The keys of `pylock.toml` (PEP 751) that are used here.
#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    wheels: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Wheel {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

impl Wheel {
    fn file_name(&self) -> String {
        let place = self.url.as_ref().or(self.path.as_ref()).map_or("", String::as_str);
        let last = place.rsplit('/').next().unwrap_or_default();
        self.name.clone().unwrap_or_else(|| crate::net::http::percent_decoded(last))
    }
}

fn parse(text: &str, minor: u32, arch: Arch) -> Result<Vec<Input>, String> {
    let lock: Lock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let input = |package: &Package| {
        let name = &package.name;
        let fit = |wheel: &&Wheel| {
            let file_name = wheel.file_name();
            let parsed =
                WheelName::parse(&file_name).filter(|it| normalized(it.name) == normalized(name));
            parsed.and_then(|it| it.fit(minor, arch)).map(|fit| (fit, file_name))
        };
        let fitting = package.wheels.iter().filter_map(|wheel| Some((fit(&wheel)?, wheel)));
        let best = fitting.max_by(|(a, _), (b, _)| a.cmp(b));
        let Some(((_, file_name), wheel)) = best else {
            return Err(format!(
                "chose {name}, which has no wheel for CPython 3.{minor} on {arch}"
            ));
        };
        let sum = wheel.hashes.sha256.as_deref().and_then(|sum| Checksum::from_hex(sum).ok());
        let sha256 =
            sum.ok_or_else(|| format!("has no sha256 of {file_name}: its index does not list it"))?;
        Ok(Input { kind: Kind::Wheel, name: file_name, size: wheel.size, sha256 })
    };
    lock.packages.iter().map(input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(wheels: &str) -> String {
        format!(
            "lock-version = '1.0'\n[[packages]]\nname = 'a-b'\nversion = '1'\nwheels = [{wheels}]\n"
        )
    }

    fn wheel(name: &str) -> String {
        format!(
            "{{ url = 'https://example.org/{name}', upload-time = 2023-11-12T22:59:13Z, size = 5, \
             hashes = {{ sha256 = '{}' }} }},",
            "07".repeat(32)
        )
    }

    #[test]
    fn the_best_wheel_of_each_project_is_chosen() {
        let all = [
            "A_B-1-py3-none-any.whl",
            "A_B-1%2Bx-cp311-cp311-manylinux_2_28_x86_64.whl",
            "A_B-1-cp311-cp311-manylinux_2_17_x86_64.whl",
        ];
        let text = lock(&all.map(wheel).concat());
        let sha256 = Checksum::from_digest([7; 32]);
        let name = "A_B-1+x-cp311-cp311-manylinux_2_28_x86_64.whl".to_owned();
        let want = Input { kind: Kind::Wheel, name, size: Some(5), sha256 };
        assert_eq!(parse(&text, 11, Arch::Amd64).unwrap(), [want]);
        assert_eq!(parse(&text, 11, Arch::Arm64).unwrap()[0].name, all[0]);
    }

    #[test]
    fn requirements_that_cannot_be_locked_are_reported() {
        for (wheels, message) in [
            (
                wheel("a_b-1-cp312-cp312-manylinux_2_17_x86_64.whl"),
                "chose a-b, which has no wheel for CPython 3.11 on amd64",
            ),
            (String::new(), "chose a-b, which has no wheel for CPython 3.11 on amd64"),
            (wheel("c-1-py3-none-any.whl"), "chose a-b, which has no wheel for CPython"),
            (
                wheel("a_b-1-py3-none-any.whl").replace("sha256", "sha512"),
                "has no sha256 of a_b-1-py3-none-any.whl: its index does not list it",
            ),
        ] {
            let error = parse(&lock(&wheels), 11, Arch::Amd64).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
