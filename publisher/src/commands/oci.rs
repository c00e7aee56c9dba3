//! `oci`: converts a published or built version to an OCI image.

use super::published::{find, wanted};
use crate::error::{Error, Note};
use crate::pack::image::{self, About, Arched, Layout};
use crate::record::{self, contents, files::Files};
use crate::registry::remote::Place;
use crate::{cli::args, env, lock};
use joblet_format::{Arch, Record, Timestamp, text, ustar};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Maximum length of the licence expression in an annotation, in bytes.
const MAX_LICENCES: usize = 1024;

pub(crate) fn oci(options: &args::Oci, note: Note) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let record = find(&records, &options.spec, &options.records)?;
    let arches = wanted(record, &options.arches)?;
    let archive = options.out.extension().is_some_and(|it| it == "tar");
    if !archive && std::fs::symlink_metadata(&options.out).is_ok() {
        let out = options.out.display();
        return Err(Error::Usage(format!("{out} exists; remove it, or name another --out")));
    }
    let files = described(&options.records, record)?;
    let about = about(options, record, &arches, &files);
    let mut layout = Layout::new();
    let (mut images, mut report) = (Vec::new(), String::new());
    let spool = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
    for arch in arches {
        let object = format!("{}@{} {arch}", record.name, record.release.version);
        let step = |step: &str| note(&format!("oci {object}: {step}"));
        let image = arched(options, record, arch, &files, spool.path(), &step)?;
        let sizes: Vec<_> =
            image.layers.blobs.iter().map(|(blob, _)| text::size(blob.size)).collect();
        let made = image::image(&mut layout, &about, image, options.compression)?;
        let digest = made[0].digest;
        _ = writeln!(report, "  {arch}: {digest}, layers of {}", sizes.join(" and ")); // never fails
        images.extend(made);
    }
    let named = image::index(&mut layout, &about, images)?;
    note(&format!("oci {}: writing {}", record.name, options.out.display()));
    let (out, tag) = (options.out.display(), format!("{}:{}", about.name, about.version));
    let next = if archive {
        layout.write_archive(&options.out)?;
        format!("podman load -i {out}, or skopeo copy --all oci-archive:{out}:{tag} docker://…")
    } else {
        layout.write_directory(&options.out)?;
        format!("skopeo copy --all oci:{out}:{tag} docker://REGISTRY/{tag}")
    };
    let carried = "a container engine makes the root writable and starts as root unless options change that \
                   (--read-only, --user); all users may write in /work and /tmp";
    Ok(format!("{out}\n  {}\n{report}note: {carried}\nnext: {next}\n", named.digest))
}

/// The files beside the record that describe the image.
fn described(records: &Path, record: &Record) -> Result<Files, Error> {
    let mut files = Files::new();
    for name in record.files.keys() {
        if let Some(bytes) = record::files::read(records, record, name)? {
            files.insert(name.clone(), bytes);
        }
    }
    Ok(files)
}

fn about(options: &args::Oci, record: &Record, arches: &[Arch], files: &Files) -> About {
    let lock = files.get("versions.lock").and_then(|bytes| lock::parse(bytes).ok());
    let constant = || Timestamp::from_seconds(ustar::MTIME).to_string();
    let sboms = arches.iter().filter_map(|arch| files.get(&record::files::sbom(*arch)));
    let licences: BTreeSet<String> = sboms.flat_map(|sbom| licences(sbom)).collect();
    let licences = licences.into_iter().collect::<Vec<_>>().join(" AND ");
    // For a whole distribution they would be too long: the bill of materials lists them.
    let licences = if licences.len() > MAX_LICENCES { String::new() } else { licences };
    About {
        name: record.name.to_string(),
        version: record.release.version.to_string(),
        description: record.release.description.clone(),
        created: lock.map_or_else(constant, |lock| lock.timestamp),
        licences,
        source: options.source.clone(),
        revision: options.revision.clone(),
        user: options.user.clone(),
        base: None,
    }
}

/// The licences that a bill of materials declares, each as an operand of `AND`.
fn licences(sbom: &[u8]) -> BTreeSet<String> {
    let document: serde_json::Value = serde_json::from_slice(sbom).unwrap_or_default();
    let packages = document["packages"].as_array().into_iter().flatten();
    let declared = packages.filter_map(|package| package["licenseDeclared"].as_str());
    let known = declared.filter(|it| !matches!(*it, "NOASSERTION" | "NONE"));
    known.map(|it| if it.contains(' ') { format!("({it})") } else { it.to_owned() }).collect()
}

/// Makes the image of one architecture: fetches, verifies and repacks its archive.
fn arched(
    options: &args::Oci,
    record: &Record,
    arch: Arch,
    files: &Files,
    spool: &Path,
    step: &dyn Fn(&str),
) -> Result<Arched, Error> {
    let object = format!("{}@{} {arch}", record.name, record.release.version);
    let artifact = record.release.artifact(arch);
    let artifact =
        artifact.ok_or_else(|| Error::NotFound(format!("{object}: is not in the record")))?;
    // Beside the records of a build are its archives.
    let beside = || Place::File(options.records.join("../registry.json"));
    let place = options.registry.as_deref().map_or_else(beside, Place::new);
    let mut served = artifact.clone();
    if options.registry.is_some() {
        let registry = place.registry()?;
        let release = registry.runtimes.get(&record.name);
        let release = release.and_then(|it| it.get(&record.release.version));
        if let Some(there) = release.and_then(|it| it.artifact(arch)) {
            served = there;
        }
    }
    step("reading the archive");
    let mut archive = tempfile::tempfile_in(spool).map_err(Error::file("write below", spool))?;
    let (_, checksum) = place.copy_archive(&served, &mut archive)?;
    if checksum != artifact.checksum {
        let hint = "its archive is not the one that the record names";
        return Err(Error::checksum(object, artifact.checksum, checksum, hint));
    }
    let list = files.get(&record::files::contents(arch));
    let sbom = files.get(&record::files::sbom(arch)).cloned();
    let base = base(list, sbom.as_deref());
    step("making layers");
    let how = (options.compression, options.jobs.unwrap_or_else(env::cores::available));
    let layers = image::layers(&mut archive, &object, &base, how, spool)?;
    Ok(Arched { arch, artifact, layers, sbom })
}

/// The paths of Debian packages, if there are components of other kinds too.
fn base(list: Option<&Vec<u8>>, sbom: Option<&[u8]>) -> BTreeSet<String> {
    let document: serde_json::Value =
        sbom.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let packages: Vec<_> = document["packages"].as_array().into_iter().flatten().collect();
    let is_deb = |package: &&&serde_json::Value| {
        package["SPDXID"].as_str().is_some_and(|id| id.starts_with("SPDXRef-deb-"))
    };
    let debs: BTreeSet<_> =
        packages.iter().filter(is_deb).filter_map(|package| package["name"].as_str()).collect();
    // One describes the runtime itself.
    if debs.is_empty() || debs.len() + 1 >= packages.len() {
        return BTreeSet::new();
    }
    let text = list.map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let lines = contents::parse(&text).unwrap_or_default();
    let of_deb = lines.iter().filter(|line| line.component.is_some_and(|name| debs.contains(name)));
    // A name that is escaped in the list is in the upper layer: it is rare, and needs no reading of escapes.
    of_deb.filter(|line| !line.path.contains('\\')).map(|line| line.path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_operands() {
        let sbom = br#"{"packages":[{"licenseDeclared":"MIT"},{"licenseDeclared":"NOASSERTION"},
            {"licenseDeclared":"MIT AND Zlib"},{"licenseDeclared":"MIT OR Zlib"},
            {"licenseDeclared":"GPL-2.0-only WITH GCC-exception-2.0"},{}]}"#;
        let want =
            ["(GPL-2.0-only WITH GCC-exception-2.0)", "(MIT AND Zlib)", "(MIT OR Zlib)", "MIT"];
        assert_eq!(licences(sbom).into_iter().collect::<Vec<_>>(), want);
        assert!(licences(b"no").is_empty());
    }

    #[test]
    fn packages_of_debian_are_the_base_layer_below_others() {
        let list = b"file\t1\tbash\tusr/bin/bash\nfile\t1\tnumpy\tusr/lib/numpy\ndir\t0\t-\tusr\n"
            .to_vec();
        let sbom = |more: &str| {
            format!(
                r#"{{"packages":[{{"SPDXID":"SPDXRef-Runtime","name":"r"}},
                {{"SPDXID":"SPDXRef-deb-bash","name":"bash"}}{more}]}}"#
            )
        };
        let wheel = r#",{"SPDXID":"SPDXRef-wheel-numpy","name":"numpy"}"#;
        assert_eq!(
            base(Some(&list), Some(sbom(wheel).as_bytes())),
            ["usr/bin/bash".to_owned()].into()
        );
        assert!(base(Some(&list), Some(sbom("").as_bytes())).is_empty());
        assert!(base(None, None).is_empty());
    }
}
