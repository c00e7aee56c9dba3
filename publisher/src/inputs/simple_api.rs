//! Finds the address of a file in a Python package index.
//!
//! By the simple repository API: JSON (PEP 691) if the index supports it, else HTML (PEP 503).

use crate::lock::wheel_tags::normalized;
use crate::{error::shown, net::http};
use serde::Deserialize;
use std::io::Read;
use url::Url;

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";
/// Largest page, in bytes; the largest known ones are 30 MB.
const MAX_PAGE: u64 = 256 << 20;
/// Attempts at one page.
const ATTEMPTS: u32 = 3;

/// The members of PEP 691 that are used here.
#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
}

/// The address of the file `file_name` of `project` in `index`.
///
/// # Errors
/// The page's address, and the reason.
pub(super) fn find(index: &str, project: &str, file_name: &str) -> Result<String, String> {
    let page = format!("{}/{}/", index.trim_end_matches('/'), normalized(project));
    find_on_page(&page, file_name)
}

/// The address of the file `file_name` on `page`.
///
/// # Errors
/// As [`find`].
pub(super) fn find_on_page(page: &str, file_name: &str) -> Result<String, String> {
    let refused = |reason: &str| format!("{}: {reason}", shown::address(page));
    let (address, text) = read(page).map_err(|reason| refused(&reason))?;
    let base = Url::parse(&address).map_err(|error| refused(&error.to_string()))?;
    let found = if text.trim_start().starts_with('{') {
        let page: Page =
            serde_json::from_str(&text).map_err(|error| refused(&error.to_string()))?;
        page.files.into_iter().find(|file| file.filename == file_name).map(|file| file.url)
    } else {
        in_html(&text, file_name)
    };
    let found = found.ok_or_else(|| refused("does not list it"))?;
    let mut url = base.join(&found).map_err(|error| refused(&error.to_string()))?;
    url.set_fragment(None);
    // Credentials for the page are used for files on the same server.
    if let Ok(index) = Url::parse(page) {
        if index.origin() == url.origin() && url.username().is_empty() {
            _ = url.set_username(index.username()); // cannot fail for an address with a host
            _ = url.set_password(index.password());
        }
    }
    Ok(url.into())
}

/// Fetches a page: its address after redirects, and its text.
fn read(page: &str) -> Result<(String, String), String> {
    let mut attempt = 1;
    loop {
        let outcome = http::get(page, ACCEPT, 0).and_then(|answer| {
            let mut bytes = Vec::new();
            let read = answer.body.take(MAX_PAGE + 1).read_to_end(&mut bytes);
            read.map_err(|error| (error.to_string(), true))?;
            if bytes.len() as u64 > MAX_PAGE {
                return Err((format!("is larger than {MAX_PAGE} bytes"), false));
            }
            let text = String::from_utf8(bytes).map_err(|_| ("is not UTF-8".to_owned(), false))?;
            Ok((answer.address, text))
        });
        match outcome {
            Ok(page) => return Ok(page),
            Err((_, true)) if attempt < ATTEMPTS => attempt += 1,
            Err((reason, _)) => return Err(reason),
        }
    }
}

/// The `href` of the anchor for a file of this name.
fn in_html(text: &str, file_name: &str) -> Option<String> {
    let anchors = text.split('<').filter(|tag| {
        tag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("a ") || start == "a\n")
    });
    let links = anchors.filter_map(|tag| {
        let tag = tag.split('>').next()?;
        let at = tag.to_ascii_lowercase().find("href")?;
        let value = tag[at + 4..].trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let value = value[1..].split(quote).next()?;
        Some(value.replace("&#x2B;", "+").replace("&#43;", "+").replace("&amp;", "&"))
    });
    links.into_iter().find(|link| {
        let path = link.split(['#', '?']).next().unwrap_or_default();
        http::percent_decoded(path.rsplit('/').next().unwrap_or_default()) == file_name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_pages_are_read() {
        let page = "<!DOCTYPE html>\n<A HREF='../../x/a-1%2B2-py3-none-any.whl#sha256=00'>a</A>\n\
                    <a data-x=\"1\" href=\"https://example.org/b-1-py3-none-any.whl?x&amp;y#sha256=0\">";
        for (name, want) in [
            ("a-1+2-py3-none-any.whl", Some("../../x/a-1%2B2-py3-none-any.whl#sha256=00")),
            ("b-1-py3-none-any.whl", Some("https://example.org/b-1-py3-none-any.whl?x&y#sha256=0")),
            ("c-1-py3-none-any.whl", None),
        ] {
            assert_eq!(in_html(page, name).as_deref(), want);
        }
    }
}
