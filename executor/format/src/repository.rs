//! GitHub repositories of registries.

use std::str::FromStr;

/// `owner/repo`: two words of letters, digits, `-`, `_` and `.`, neither of which begins with a `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// The one whose registry programs ask where none is named.
    pub const DEFAULT: &str = "ehsaniara/joblet-runtimes";

    /// The repository with the page `address`.
    pub fn of_page(address: &str) -> Option<Self> {
        let path = address.strip_prefix("https://github.com/")?.trim_end_matches('/');
        path.trim_end_matches(".git").parse().ok()
    }

    /// `owner/repo`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `repo`.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// The URL of its registry, the same that Joblet's client reads.
    pub fn registry(&self) -> String {
        format!("https://raw.githubusercontent.com/{}/main/registry.json", self.0)
    }
}

impl FromStr for Repository {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain = |part: &str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal)
        };
        let (owner, name) = text.split_once('/').ok_or(())?;
        if plain(owner) && plain(name) { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_names() {
        let raw = "https://raw.githubusercontent.com/o-w/re.po/main/registry.json";
        let repository = "o-w/re.po".parse::<Repository>().unwrap();
        assert_eq!((repository.name(), repository.registry().as_str()), ("re.po", raw));
        for page in ["", "/", ".git", ".git/"] {
            let repository = Repository::of_page(&format!("https://github.com/o-w/re.po{page}"));
            assert_eq!(repository.unwrap().as_str(), "o-w/re.po", "{page}");
        }
        for bad in ["", "o", "o/", "/r", "o/..", "./r", "o/r/releases", "o/r?x", "h:/r"] {
            assert_eq!(bad.parse::<Repository>(), Err(()), "{bad}");
            assert_eq!(Repository::of_page(&format!("https://github.com/{bad}")), None);
        }
    }
}
