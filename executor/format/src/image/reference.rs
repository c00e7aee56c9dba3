//! Selection of an image in a layout: by `PATH` or `PATH:TAG`, and the architecture.

use crate::Arch;

/// Prefixes of paths in other tools, which are ignored: the form is detected.
const TRANSPORTS: [&[u8]; 3] = [b"oci:", b"oci-archive:", b"docker-archive:"];

/// The possible splits of `text` into path and tag, beginning with the whole as a path. Since both may contain colons, the
/// caller uses the first path that exists.
pub fn places(text: &[u8]) -> Vec<(&[u8], Option<&[u8]>)> {
    let mut places = Vec::new();
    part(text, &mut places);
    for transport in TRANSPORTS {
        if let Some(rest) = text.strip_prefix(transport) {
            part(rest, &mut places);
        }
    }
    places
}

fn part<'t>(text: &'t [u8], places: &mut Vec<(&'t [u8], Option<&'t [u8]>)>) {
    places.push((text, None));
    for (at, byte) in text.iter().enumerate() {
        if *byte == b':' {
            places.push((&text[..at], Some(&text[at + 1..])));
        }
    }
}

/// Whether `tag` selects the image `name`, such as `example.org/tool:1.0`: by the whole name or its tag.
pub fn is_called(name: &str, tag: &str) -> bool {
    name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
}

/// An image in an index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offer<'d> {
    /// Its name or tag; empty if it has none.
    pub tag: &'d str,
    /// Its operating system; empty if not stated.
    pub os: &'d str,
    /// Its architecture; empty if not stated.
    pub architecture: &'d str,
    /// Variant of the processor; empty for any.
    pub variant: &'d str,
    /// Type of an artifact; empty for an image.
    pub artifact_type: &'d str,
}

/// The index of the image in `offers` with the name `tag` and for `arch`; the lowest of several processor
/// variants.
///
/// # Errors
/// The available images, for a message.
pub fn select(offers: &[Offer<'_>], tag: Option<&str>, arch: Arch) -> Result<usize, String> {
    let (mut found, mut several, mut there) = (None, false, String::new());
    for (number, offer) in offers.iter().enumerate() {
        if !offer.artifact_type.is_empty() {
            continue;
        }
        for word in [if there.is_empty() { "" } else { ", " }, offer.tag, " ", offer.architecture] {
            there += word;
        }
        let runs = offer.architecture.is_empty()
            || offer.os == "linux" && offer.architecture == arch.as_str();
        if runs && tag.is_none_or(|tag| is_called(offer.tag, tag)) {
            // A whole name takes precedence over a tag, a processor's lowest variant over others.
            let rank = (tag != Some(offer.tag), offer.variant);
            match found {
                Some((_, best)) if best < rank => {}
                Some((_, best)) if best == rank => several = true,
                _ => (found, several) = (Some((number, rank)), false),
            }
        }
    }
    match found {
        Some((number, _)) if !several => Ok(number),
        _ => Err(format!(
            "has {} image of this tag for {arch}; add :TAG, one of: {there}",
            if several { "more than one" } else { "no" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image<'d>(tag: &'d str, architecture: &'d str) -> Offer<'d> {
        let os = if architecture.is_empty() { "" } else { "linux" };
        Offer { tag, os, architecture, variant: "", artifact_type: "" }
    }

    /// SEC-G11: variants of a processor
    #[test]
    fn an_image_is_named_by_tag_and_architecture() {
        let artifact = Offer { artifact_type: "x", ..image("1", "") };
        let windows = Offer { os: "windows", ..image("2", "amd64") };
        let all = [
            image("1", "amd64"),
            image("1", "arm64"),
            image("2", "arm64"),
            image("3", ""),
            artifact,
            windows,
        ];
        let found = |tag, arch| select(&all, tag, arch);
        assert_eq!(found(Some("1"), Arch::Arm64), Ok(1));
        assert_eq!(found(Some("3"), Arch::Amd64), Ok(3));
        let refused = |tag, arch| found(tag, arch).unwrap_err();
        let there = "1 amd64, 1 arm64, 2 arm64, 3 , 2 amd64";
        let want = format!("has no image of this tag for amd64; add :TAG, one of: {there}");
        assert_eq!(refused(Some("2"), Arch::Amd64), want);
        let want =
            format!("has more than one image of this tag for arm64; add :TAG, one of: {there}");
        assert_eq!(refused(None, Arch::Arm64), want);
        assert_eq!(select(&all[..2], None, Arch::Arm64), Ok(1));
        let long =
            [image("example.org/x:1.0", "amd64"), image("y:2", "amd64"), image("2", "amd64")];
        assert_eq!(select(&long, Some("1.0"), Arch::Amd64), Ok(0));
        assert_eq!(select(&long, Some("example.org/x:1.0"), Arch::Amd64), Ok(0));
        assert_eq!(select(&long, Some("2"), Arch::Amd64), Ok(2));
        assert_eq!(select(&long, Some("y:2"), Arch::Amd64), Ok(1));
        let variant = |variant| Offer { variant, ..image("", "amd64") };
        let all = [variant("v3"), variant("v2"), variant("v4")];
        assert_eq!(select(&all, None, Arch::Amd64), Ok(1));
        assert_eq!(select(&[variant("v3"), variant(""), variant("v2")], None, Arch::Amd64), Ok(1));
        assert!(select(&[variant("v2"), variant("v2")], None, Arch::Amd64).is_err());
    }

    #[test]
    fn a_path_may_contain_colons() {
        let all = places(b"a:b:c");
        let want: [(&[u8], Option<&[u8]>); 3] =
            [(b"a:b:c", None), (b"a", Some(b"b:c")), (b"a:b", Some(b"c"))];
        assert_eq!(all, want);
        assert_eq!(places(b"/x"), [(&b"/x"[..], None)]);
        assert_eq!(places(b"oci-archive:/x")[2], (&b"/x"[..], None));
        assert!(places(b"oci:a:b").contains(&(b"a", Some(b"b"))));
    }
}
