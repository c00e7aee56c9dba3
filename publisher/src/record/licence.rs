//! SPDX licence expressions from the licence declarations of packages.

use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a licence; anything longer is a licence text.
const MAX_NAME: usize = 40;

/// The licence that a package declares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Licence {
    /// An SPDX licence expression; `None` if the package declares none.
    pub expression: Option<String>,
    /// The `LicenseRef-…` in the expression, each with the name in the package.
    pub references: BTreeMap<String, String>,
    /// Further information, as a comment.
    pub comment: Option<String>,
}

/// Licences of a Debian package, from its copyright file.
///
/// In the machine-readable format (DEP-5) the licences of all stanzas are combined with AND. Any other file
/// becomes a reference to the whole file.
pub(crate) fn of_debian(package: &str, copyright: &str) -> Licence {
    if copyright.is_empty() {
        return Licence::default();
    }
    let whole = || format!("{package}-copyright");
    let machine_readable = copyright.lines().next().is_some_and(|line| line.starts_with("Format"));
    if !machine_readable {
        let mut licence = Licence::default();
        licence.expression = Some(licence.refer(&whole()));
        licence.comment = Some(mentioned(copyright));
        return licence;
    }
    let mut licence = Licence::default();
    let mut terms = BTreeSet::new();
    let names = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        match licence.synopsis(name) {
            Some(all) => terms.extend(all),
            None => _ = terms.insert(licence.refer(&whole())),
        }
    }
    let several = terms.len() > 1;
    let in_brackets = |term: String| {
        if several && term.contains(" OR ") { format!("({term})") } else { term }
    };
    let terms: Vec<_> = terms.into_iter().map(in_brackets).collect();
    licence.expression = Some(terms.join(" AND ")).filter(|terms| !terms.is_empty());
    licence
}

/// Licences of a Python package, from the header of its METADATA: the expression if there is one, else the
/// field `License`, else the classifiers.
pub(crate) fn of_python(package: &str, metadata: &str) -> Licence {
    let values = |name: &str| {
        let fields = metadata.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.filter(|(key, _)| *key == name).map(|(_, value)| value.trim());
        fields.filter(|value| !value.is_empty()).collect::<Vec<_>>()
    };
    let mut licence = Licence::default();
    if let Some(expression) = values("License-Expression").first() {
        licence.expression = Some((*expression).to_owned());
        return licence;
    }
    let classifiers: Vec<_> = values("Classifier")
        .iter()
        .filter_map(|text| text.strip_prefix("License :: "))
        .map(|text| text.rsplit(" :: ").next().unwrap_or(text))
        .filter(|text| *text != "OSI Approved")
        .collect();
    let named = values("License");
    let known = |name: &&str| spdx(name).or_else(|| spdx(name.strip_suffix(" License")?));
    let all = |names: &[&str]| names.iter().map(known).collect::<Option<Vec<_>>>();
    let all = [&named, &classifiers].into_iter().filter_map(|names| all(names));
    licence.expression = all.map(|names| names.join(" AND ")).find(|names| !names.is_empty());
    if licence.expression.is_none() && !(named.is_empty() && classifiers.is_empty()) {
        licence.expression = Some(licence.refer(&format!("{package}-metadata")));
        let named: Vec<_> = named.into_iter().chain(classifiers).collect();
        licence.comment = Some(format!("The package names: {}.", named.join(", ")));
    }
    licence
}

/// Licences of a package of apk or rpm, which contain expressions of varying syntax.
pub(crate) fn of_words(package: &str, text: &str) -> Licence {
    let mut licence = Licence::default();
    if text.trim().is_empty() {
        return licence;
    }
    licence.expression = licence.expression_of(text);
    if licence.expression.is_none() {
        licence = Licence::default();
        licence.expression = Some(licence.refer(&format!("{package}-licence")));
        licence.comment = Some(format!("The package names: {}.", text.trim()));
    }
    licence
}

/// The common licences of Debian that a free-form copyright file refers to.
fn mentioned(copyright: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let names = copyright.split("/common-licenses/").skip(1).filter_map(|rest| {
        let name = rest.split(|c| !plain(c)).next()?.trim_end_matches('.');
        Some(name).filter(|name| !name.is_empty())
    });
    let names: Vec<_> = names.collect::<BTreeSet<_>>().into_iter().collect();
    match names.as_slice() {
        [] => "The copyright file is not machine-readable.".to_owned(),
        names => {
            format!("The copyright file is not machine-readable; it names {}.", names.join(", "))
        }
    }
}

impl Licence {
    /// Makes `LicenseRef-NAME` and records it.
    fn refer(&mut self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '-' };
        let reference = format!("LicenseRef-{}", name.chars().map(plain).collect::<String>());
        self.references.insert(reference.clone(), name.to_owned());
        reference
    }

    /// Parses an expression whose operators may be in lower case, with names of older lists; `None` if it is not an
    /// expression.
    fn expression_of(&mut self, text: &str) -> Option<String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let (mut out, mut depth, mut operand) = (String::new(), 0_usize, false);
        for word in spaced.split_whitespace() {
            let operator = word.to_ascii_uppercase();
            match (word, operator.as_str(), operand) {
                ("(", _, false) => {
                    depth += 1;
                    out.push('(');
                }
                (")", _, true) => {
                    depth = depth.checked_sub(1)?;
                    out.push(')');
                }
                (_, "AND" | "OR" | "WITH", true) => {
                    out.extend([" ", &operator, " "]);
                    operand = false;
                }
                (_, "AND" | "OR" | "WITH", false) | ("(" | ")", ..) | (_, _, true) => return None,
                (exception, ..) if out.ends_with(" WITH ") => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
                    out.extend(exception.chars().all(plain).then_some(exception));
                    operand = out.ends_with(exception);
                }
                (name, _, false) => {
                    out += &spdx(name).unwrap_or_else(|| self.refer(name));
                    operand = true;
                }
            }
        }
        (operand && depth == 0).then_some(out)
    }

    /// Parses a synopsis such as `GPL-2+ or Artistic, and MIT` to terms for AND. `None` if it is prose.
    ///
    /// `and` binds tighter than `or`, unless there is a comma before it.
    fn synopsis(&mut self, text: &str) -> Option<Vec<String>> {
        let mut terms = Vec::new();
        for part in text.split(", and ") {
            let mut choices = Vec::new();
            for choice in part.replace(", or ", " or ").split(" or ") {
                let names = choice.split(" and ").map(|name| self.single(name.trim()));
                choices.push(names.collect::<Option<Vec<_>>>()?);
            }
            match choices.as_mut_slice() {
                [all] => terms.append(all),
                _ => terms.push(
                    choices.iter().map(|all| all.join(" AND ")).collect::<Vec<_>>().join(" OR "),
                ),
            }
        }
        Some(terms)
    }

    /// One name, with its exception.
    fn single(&mut self, name: &str) -> Option<String> {
        let prose = name.contains(',') || name.split(' ').count() > 4;
        if name.is_empty() || name.len() > MAX_NAME || prose {
            return None;
        }
        if let Some((base, exception)) = name.split_once(" with ") {
            if let Some(known) = spdx(base).zip(exception_of(base, exception)) {
                return Some(format!("{} WITH {}", known.0, known.1));
            }
        }
        Some(spdx(name).unwrap_or_else(|| self.refer(name)))
    }
}

/// The SPDX identifier of an exception to a licence of the GPL family.
fn exception_of(base: &str, exception: &str) -> Option<&'static str> {
    let exception = exception.to_ascii_lowercase();
    let exception = exception.strip_suffix(" exception").unwrap_or(&exception);
    Some(match (exception.strip_suffix("-data").unwrap_or(exception), base.contains('3')) {
        ("autoconf", false) => "Autoconf-exception-2.0",
        ("autoconf", true) => "Autoconf-exception-3.0",
        ("libtool", _) => "Libtool-exception",
        ("bison", _) => "Bison-exception-2.2",
        ("font", _) => "Font-exception-2.0",
        ("classpath", _) => "Classpath-exception-2.0",
        _ => return None,
    })
}

/// The SPDX identifier for a licence name in Debian or Python packages.
fn spdx(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    for family in ["agpl", "lgpl", "gpl", "gfdl"] {
        let Some(rest) = lower.strip_prefix(family) else { continue };
        let rest = rest.trim_start_matches("-niv").trim_start_matches(['-', 'v']);
        let (number, later) =
            match rest.strip_suffix('+').or_else(|| rest.strip_suffix("-or-later")) {
                Some(number) => (number, "or-later"),
                None => (rest.strip_suffix("-only").unwrap_or(rest), "only"),
            };
        let number = if number.contains('.') { number.to_owned() } else { format!("{number}.0") };
        let known: &[&str] = match family {
            "agpl" => &["1.0", "3.0"],
            "lgpl" => &["2.0", "2.1", "3.0"],
            "gpl" => &["1.0", "2.0", "3.0"],
            _ => &["1.1", "1.2", "1.3"],
        };
        let known = known.contains(&number.as_str());
        return known.then(|| format!("{}-{number}-{later}", family.to_uppercase()));
    }
    let known = NAMES.iter().find(|(debian, _)| *debian == lower);
    known.map(|(_, spdx)| (*spdx).to_owned())
}

/// Licence names in lower case, and their SPDX identifiers.
const NAMES: [(&str, &str); 55] = [
    ("apache 2.0", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("curl", "curl"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsfullr", "FSFULLR"),
    ("ftl", "FTL"),
    ("hpnd", "HPND"),
    ("ijg", "IJG"),
    ("isc", "ISC"),
    ("isc license (iscl)", "ISC"),
    ("libpng", "Libpng"),
    ("mit", "MIT"),
    ("mit-cmu", "MIT-CMU"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("ncsa", "NCSA"),
    ("ofl-1.1", "OFL-1.1"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("new bsd", "BSD-3-Clause"),
    ("oldap-2.8", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("psf", "PSF-2.0"),
    ("psf-2", "PSF-2.0"),
    ("psf-2.0", "PSF-2.0"),
    ("python software foundation", "PSF-2.0"),
    ("python-2.0", "Python-2.0"),
    ("the unlicense (unlicense)", "Unlicense"),
    ("qpl-1.0", "QPL-1.0"),
    ("ruby", "Ruby"),
    ("sleepycat", "Sleepycat"),
    ("unlicense", "Unlicense"),
    ("w3c", "W3C"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
    ("zpl-2.1", "ZPL-2.1"),
    ("0bsd", "0BSD"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_apk_and_rpm() {
        for (text, want) in [
            ("MIT", "MIT"),
            (
                "GPL-2.0-or-later AND (MIT OR BSD-3-Clause)",
                "GPL-2.0-or-later AND (MIT OR BSD-3-Clause)",
            ),
            ("GPLv2+ and LGPLv2.1", "GPL-2.0-or-later AND LGPL-2.1-only"),
            ("GPL-3.0-or-later WITH GCC-exception-3.1", "GPL-3.0-or-later WITH GCC-exception-3.1"),
            ("Public Domain", "LicenseRef-p-licence"),
            ("MIT BSD GPL2+", "LicenseRef-p-licence"),
            ("MIT AND", "LicenseRef-p-licence"),
            ("(MIT", "LicenseRef-p-licence"),
            ("MIT)", "LicenseRef-p-licence"),
            ("MIT WITH a/b", "LicenseRef-p-licence"),
            ("Strange", "LicenseRef-Strange"),
        ] {
            let licence = of_words("p", text);
            assert_eq!(licence.expression.as_deref(), Some(want), "{text}");
            assert_eq!(
                licence.references.contains_key(want),
                want.starts_with("LicenseRef"),
                "{text}"
            );
        }
        assert_eq!(of_words("p", " "), Licence::default());
    }

    fn expression(copyright: &str) -> String {
        of_debian("demo", copyright).expression.unwrap_or_default()
    }

    #[test]
    fn machine_readable_files() {
        for (name, want) in [
            ("Expat", "MIT"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-3", "GPL-3.0-only"),
            ("GPLv3+", "GPL-3.0-or-later"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("LGPL-3+ or GPL-2+", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
            ("GPL-3+ with Autoconf-data exception", "GPL-3.0-or-later WITH Autoconf-exception-3.0"),
            ("GPL-2+ with Libtool exception", "GPL-2.0-or-later WITH Libtool-exception"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-or-later"),
            ("GPL-2, and BSD-3-Clause", "BSD-3-Clause AND GPL-2.0-only"),
            ("GPL-2 or MIT, and ISC", "(GPL-2.0-only OR MIT) AND ISC"),
            ("GPL-2 and MIT or ISC", "GPL-2.0-only AND MIT OR ISC"),
            ("GPL-9", "LicenseRef-GPL-9"),
            ("GPL", "LicenseRef-GPL"),
            ("public-domain", "LicenseRef-public-domain"),
            ("LGPLv3+_or_GPLv2+", "LicenseRef-LGPLv3--or-GPLv2-"),
            ("Permission is hereby granted, free of charge, to any", "LicenseRef-demo-copyright"),
        ] {
            assert_eq!(
                expression(&format!("Format: x\n\nFiles: *\nLicense: {name}\n text\n")),
                want
            );
        }
        let several = "Format: x\n\nFiles: a\nLicense: MIT or ISC\n\nFiles: b\nLicense: ISC\n\n\
                       License: ISC\n text\n";
        assert_eq!(expression(several), "ISC AND (MIT OR ISC)");
        assert_eq!(of_debian("demo", ""), Licence::default());
    }

    #[test]
    fn python_packages() {
        for (metadata, want) in [
            (
                "License-Expression: MIT AND (Apache-2.0 OR BSD-2-Clause)",
                "MIT AND (Apache-2.0 OR BSD-2-Clause)",
            ),
            ("License: BSD-3-Clause", "BSD-3-Clause"),
            (
                "License: BSD 3-Clause License\nClassifier: License :: OSI Approved :: BSD License",
                "BSD-3-Clause",
            ),
            ("License: MIT License\nClassifier: License :: OSI Approved :: BSD License", "MIT"),
            ("License: HPND\nClassifier: License :: OSI Approved", "HPND"),
            ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
            ("License: see COPYING\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
            (
                "Classifier: License :: OSI Approved :: Python Software Foundation License",
                "PSF-2.0",
            ),
            ("Classifier: License :: OSI Approved :: BSD License", "LicenseRef-demo-metadata"),
            (
                "License: Apache License, Version 2.0\nClassifier: License :: OSI Approved :: Apache Software License",
                "Apache-2.0",
            ),
            ("License: my own", "LicenseRef-demo-metadata"),
            ("Name: demo", ""),
        ] {
            let licence = of_python("demo", metadata);
            assert_eq!(licence.expression.unwrap_or_default(), want, "{metadata}");
        }
        let licence = of_python("demo", "License: own BSD");
        assert_eq!(licence.comment.unwrap(), "The package names: own BSD.");
    }

    #[test]
    fn free_form_files_become_references() {
        let licence =
            of_debian("demo", "See /usr/share/common-licenses/GPL-2.\nAnd …/common-licenses/GPL");
        assert_eq!(licence.expression.unwrap(), "LicenseRef-demo-copyright");
        assert_eq!(licence.references["LicenseRef-demo-copyright"], "demo-copyright");
        let comment = "The copyright file is not machine-readable; it names GPL, GPL-2.";
        assert_eq!(licence.comment.unwrap(), comment);
    }
}
