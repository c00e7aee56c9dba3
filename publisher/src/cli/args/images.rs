//! `oci`, which makes images.

use super::Command as Parsed;
use super::options::{JOBS, RECORDED, RECORDS, arch};
use crate::pack::image::Compression;
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, Usage, utf8};
use joblet_format::{Arch, Spec};
use std::ffi::OsStr;
use std::num::NonZero;
use std::path::PathBuf;

/// `oci`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oci {
    /// The version; the latest if none is given.
    pub spec: Spec,
    /// The layout to write: a directory, or a file that ends in `.tar`.
    pub out: PathBuf,
    /// Only these architectures; all that were published if empty.
    pub arches: Vec<Arch>,
    /// The directory of records.
    pub records: PathBuf,
    /// The registry with the archives, an address or a directory; default beside the records.
    pub registry: Option<String>,
    /// Compression of the layers.
    pub compression: Compression,
    /// Number of threads; default the number of processors.
    pub jobs: Option<NonZero<usize>>,
    /// `UID[:GID]` of its processes.
    pub user: Option<String>,
    /// The address of its source.
    pub source: Option<String>,
    /// The revision of its source.
    pub revision: Option<String>,
}

static OUT: Opt<PathBuf> =
    Opt::path("--out", "DIR|FILE.tar", "the OCI layout to write: a directory, or one file");
static PUBLISHED: Opt<Vec<Arch>> = arch("which of the published architectures");
static REGISTRY: Opt<String> = Opt::value(
    "--registry",
    "REGISTRY",
    Complete::Files,
    utf8,
    "registry with the archives, instead of the addresses in the records",
);
static COMPRESS: Opt<Compression> =
    Opt::choice("--compress", "gzip|zstd", compression, "compression of the layers")
        .or("gzip")
        .about("zstd is smaller; about 2.5 MB/s per processor.");
static USER: Opt<String> = Opt::value(
    "--user",
    "UID[:GID]",
    Complete::Nothing,
    user,
    "user of its processes; default: the container engine's, root",
);
static SOURCE: Opt<String> =
    Opt::value("--source", "URL", Complete::Nothing, utf8, "annotation: address of the source");
static REVISION: Opt<String> =
    Opt::value("--revision", "REV", Complete::Nothing, utf8, "annotation: revision of the source");

pub(super) static OCI: Command<Parsed> = Command {
    name: "oci",
    also: &[],
    operands: Operands::new("NAME[@VERSION]", RECORDED),
    help: "write a version as an OCI image, for container engines and their registries",
    about: "One image for each architecture, with its bill of materials. The tag is the version; the digest is \
            reproducible. skopeo copies it to a registry.",
    options: &[
        &OUT.row, &PUBLISHED.row, &RECORDS.row, &REGISTRY.row, &COMPRESS.row, &JOBS.row, &USER.row,
        &SOURCE.row, &REVISION.row,
    ],
    examples: &[
        (
            "joblet-publish oci python-3.11@1.0.0 --out python-3.11.tar",
            "for podman load -i python-3.11.tar",
        ),
        (
            "joblet-publish oci python-3.11 --records dist/records --out layout",
            "from a local build; skopeo copy --all oci:layout docker://…",
        ),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let spec = match <[Spec; 1]>::try_from(call.parsed::<Spec>()?) {
            Ok([spec]) if spec.origin.is_none() => spec,
            Ok([spec]) => {
                return Err(Usage(format!("{spec}: a registry is named with --registry here")));
            }
            Err(_) => return Err(Usage("oci needs one NAME or NAME@VERSION".into())),
        };
        let Some(out) = call.value(&OUT)? else {
            return Err(Usage("oci needs --out: a directory, or a file that ends in .tar".into()));
        };
        Ok(Parsed::Oci(Oci {
            spec,
            out,
            arches: call.needed(&PUBLISHED)?,
            records: call.needed(&RECORDS)?,
            registry: call.value(&REGISTRY)?,
            compression: call.needed(&COMPRESS)?,
            jobs: call.value(&JOBS)?,
            user: call.value(&USER)?,
            source: call.value(&SOURCE)?,
            revision: call.value(&REVISION)?,
        }))
    }),
};

fn compression(word: &OsStr) -> Result<Compression, String> {
    match word.to_str() {
        Some("gzip") => Ok(Compression::Gzip),
        Some("zstd") => Ok(Compression::Zstd),
        _ => Err(format!("{word:?} is not one of gzip, zstd")),
    }
}

fn user(word: &OsStr) -> Result<String, String> {
    let user = utf8(word)?;
    let number =
        |text: &str| text.parse::<u32>().is_ok() && text.bytes().all(|it| it.is_ascii_digit());
    if user.split_once(':').map_or(number(&user), |(user, group)| number(user) && number(group)) {
        Ok(user)
    } else {
        Err(format!("{user:?} is not UID or UID:GID, in numbers"))
    }
}
