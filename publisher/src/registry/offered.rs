//! The versions that the `registry.json` in an output directory offers already, which no build may overwrite.

use super::document::FILE;
use crate::{
    error::Error,
    fs::paths,
    pack::{self, Packed},
    source::reads::Read,
};
use joblet_format::{Arch, Artifact, Checksum, Registry, RuntimeName, Version};
use std::path::{Path, PathBuf};

/// A version for one architecture.
type Built<'b> = (&'b RuntimeName, &'b Version, Arch);

/// The registry in an output directory.
pub(crate) struct Offered {
    place: PathBuf,
    registry: Registry,
}

impl Offered {
    /// Reads `out/registry.json`; without that file nothing is offered.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not a registry; [`Error::File`].
    pub(crate) fn read(out: &Path) -> Result<Self, Error> {
        let place = out.join(FILE);
        let registry = match paths::read_below(out, &place)? {
            None => Registry::default(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::config(&place, format!("is not a registry: {error}")))?,
        };
        Ok(Self { place, registry })
    }

    /// Whether it offers this archive.
    pub(crate) fn has(&self, version: Built, packed: &Packed) -> bool {
        self.artifact(version).is_some_and(|there| there.checksum == packed.checksum)
    }

    /// Refuses an archive that would replace a different one of the same version.
    ///
    /// # Errors
    /// [`Error::Differs`] with both checksums.
    pub(crate) fn permit(&self, version: Built, packed: &Packed) -> Result<(), Error> {
        match self.artifact(version) {
            Some(there) if there.checksum != packed.checksum => {
                Err(self.differs(version, "checksum", &there.checksum, &packed.checksum))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the reads `read` of `archive` if they would change the published index of this version. The archive itself
    /// is then unchanged, so that [`Self::permit`] accepts it.
    ///
    /// # Errors
    /// [`Error::Differs`] with the checksums of both indexes; [`Error::File`].
    pub(crate) fn permit_reads(
        &self,
        version: Built,
        archive: &Path,
        read: &[Read],
    ) -> Result<(), Error> {
        let Some(there) = self.artifact(version).and_then(|there| there.index) else {
            return Ok(());
        };
        match pack::reads::would_put(archive, there, read)? {
            Some(index) if index != there => {
                Err(self
                    .differs(version, "index (with reads.txt)", &there.checksum, &index.checksum))
            }
            _ => Ok(()),
        }
    }

    fn artifact(&self, (name, version, arch): Built) -> Option<Artifact> {
        self.registry.runtimes.get(name)?.get(version)?.artifact(arch)
    }

    fn differs(
        &self,
        (name, version, arch): Built,
        field: &'static str,
        expected: &Checksum,
        actual: &Checksum,
    ) -> Error {
        Error::Differs {
            object: format!("{name}@{version} {arch}, offered in {}", self.place.display()),
            field,
            expected: expected.to_string(),
            actual: actual.to_string(),
            hint: "nothing was overwritten: raise `version` in the manifest, or remove that registry.json if \
                   it was only a trial",
        }
    }
}
