//! The site of a registry: its files and their text.

use joblet_format::{Record, Registry};
use joblet_publish::error::Error;
use joblet_publish::site::{self, Summary};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Path and content of every file below a directory.
type Tree = BTreeMap<String, String>;

/// A published version with harmless texts.
fn record(name: &str, version: &str, day: &str) -> Record {
    let archive = |arch: &str, digit: &str| {
        json!({
            "download_url": format!("https://example.org/{name}-{version}-{arch}.tar.gz"),
            "checksum": format!("sha256:{}", digit.repeat(64)),
            "size": 129_400_000, "unpacked_size": 410_000_000, "entries": 8674,
        })
    };
    let amd64 = archive("amd64", "a");
    serde_json::from_value(json!({
        "name": name,
        "published_at": format!("{day}T10:20:30Z"),
        "release": {
            "version": version, "description": format!("About {name}"),
            "download_url": amd64["download_url"], "checksum": amd64["checksum"],
            "size": amd64["size"], "platforms": ["ubuntu-amd64", "rhel-arm64"],
            "artifacts": { "amd64": amd64, "arm64": archive("arm64", "b") },
        },
    }))
    .unwrap()
}

fn yanked(mut record: Record, reason: &str) -> Record {
    record.release.yanked = Some(reason.to_owned());
    record
}

/// Sets every address of `record`.
fn at(mut record: Record, url: &str) -> Record {
    url.clone_into(&mut record.release.download_url);
    for artifact in record.release.artifacts.values_mut() {
        url.clone_into(&mut artifact.download_url);
    }
    record
}

fn registry(records: &[Record]) -> Registry {
    let mut registry = Registry::default();
    for Record { name, published_at, release, .. } in records {
        registry.updated_at = registry.updated_at.max(published_at.clone());
        let releases = registry.runtimes.entry(name.clone()).or_default();
        releases.insert(release.version.clone(), release.clone());
    }
    registry
}

fn sample() -> Vec<Record> {
    vec![
        record("python-3.11-ml", "1.9.0", "2025-08-02"),
        record("python-3.11-ml", "1.10.0", "2025-09-14"),
        yanked(record("python-3.11-ml", "1.11.0", "2025-10-20"), "built without AVX2"),
        record("python-3.11-ml", "2.0.0-rc.1", "2025-11-03"),
        record("openjdk-21", "2.0.0", "2025-11-03"),
        record("node-20", "1.0.0", "2025-11-03"),
        yanked(record("legacy", "0.1.0", "2025-08-02"), ""),
    ]
}

/// Writes the site of `records` with the built-in templates.
fn write(records: &[Record], out: &Path) -> Summary {
    site::write(&registry(records), records, out, &out.join("no-templates-here"), out).unwrap()
}

/// The files of the site of `records`.
fn site_of(records: &[Record]) -> Tree {
    let out = tempfile::tempdir().unwrap();
    write(records, out.path());
    tree(out.path())
}

fn tree(directory: &Path) -> Tree {
    let files = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let path = |path: &Path| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
    files.map(|file| (path(file.path()), fs::read_to_string(file.path()).unwrap())).collect()
}

/// Everything between `<` and `>`, in order, which must not contain text of the registry.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|tag| tag.split_once('>').expect("a tag ends").0).collect()
}

/// The values of `href` and `src`, unescaped.
fn links(page: &str) -> Vec<String> {
    let attribute = |tag: &'_ str| {
        let (_, rest) = tag.split_once(" href=\"").or_else(|| tag.split_once(" src=\""))?;
        rest.split('"').next().map(|value| value.replace("&amp;", "&"))
    };
    tags(page).into_iter().filter_map(attribute).collect()
}

/// Where `link` leads from the file `path`, below the root of the site.
fn resolve(path: &str, link: &str) -> String {
    let mut parts: Vec<_> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => assert!(parts.pop().is_some(), "{path}: {link} leaves the site"),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn the_same_registry_gives_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let first = write(&sample(), out.path());
    assert_eq!(first, Summary { files: 44, written: 44, removed: 0 });
    let before = tree(out.path());
    assert_eq!(write(&sample(), out.path()), Summary { files: 44, written: 0, removed: 0 });
    assert_eq!(tree(out.path()), before);
    let mut shuffled = sample();
    shuffled.reverse();
    assert_eq!(site_of(&shuffled), before);
}

#[test]
fn home_lists_every_runtime_with_its_latest_release() {
    let site = site_of(&sample());
    let home = &site["index.html"];
    for name in ["python-3.11-ml", "openjdk-21", "node-20", "legacy"] {
        assert!(home.contains(&format!("runtimes/{name}/index.html\">{name}</a>")), "{name}");
        assert!(home.contains(&format!("About {name}")), "{name}");
    }
    assert!(home.contains("runtimes/python-3.11-ml/1.10.0.html\">1.10.0</a>"));
    for not_latest in ["1.11.0", "2.0.0-rc.1"] {
        assert!(!home.contains(not_latest), "{not_latest}");
    }
    assert!(home.contains("all versions yanked"));
    assert!(home.contains("129.4 MB") && home.contains(">arm64</span>"));
}

/// A registry of somebody else need not have what ours has.
#[test]
fn the_first_steps_are_of_this_registry() {
    let page = |records: &[Record]| site_of(records)["get-started.html"].clone();
    let own = page(&[
        yanked(record("a-1", "1.0.0", "2025-08-02"), "broken"),
        record("jq-1", "2.3.4", "2025-08-02"),
    ]);
    for text in [
        "</span> jq-1</code>",
        "joblet-exec run jq-1 sh -c &#39;echo hello&#39;</code>",
        "mkdir -p results\njoblet-exec run --bind ./results:/results:rw --timeout 10m jq-1 \\\n  sh -c ",
        "<code>jq-1@2</code>, <code>jq-1@2.3</code></td><td>the highest 2.x or 2.3.x",
        "<code>jq-1@2.3.4</code>",
    ] {
        assert!(own.contains(text), "{text}: {own}");
    }
    assert!(!own.contains("python") && !own.contains("a-1"), "{own}");
    // One of Python is preferred, as on the home page; an empty registry has an example.
    assert!(page(&sample()).contains("joblet-exec run python-3.11-ml python3 analyze.py<"));
    assert!(page(&[]).contains("joblet-exec run python-3.11 python3 analyze.py<"));
}

#[test]
fn pages_say_what_is_latest_yanked_and_a_pre_release() {
    let site = site_of(&sample());
    for (version, want) in [
        ("1.9.0", [false, false, false]),
        ("1.10.0", [true, false, false]),
        ("1.11.0", [false, true, false]),
        ("2.0.0-rc.1", [false, false, true]),
    ] {
        let page = &site[&format!("runtimes/python-3.11-ml/{version}.html")];
        let marks = ["good\">latest<", "bad\">yanked<", "\"tag\">pre-release<"];
        assert_eq!(marks.map(|mark| page.contains(mark)), want, "{version}");
    }
    let yanked = &site["runtimes/python-3.11-ml/1.11.0.html"];
    assert!(yanked.contains("Reason: built without AVX2"));
    assert!(yanked.contains("<a href=\"1.10.0.html\">python-3.11-ml 1.10.0</a> instead"));
    let runtime = &site["runtimes/python-3.11-ml/index.html"];
    let order = ["2.0.0-rc.1", "1.11.0", "1.10.0", "1.9.0"]
        .map(|version| runtime.rfind(&format!(">{version}</a>")).unwrap());
    assert!(order.is_sorted(), "{order:?}");
    assert!(site["runtimes/legacy/index.html"].contains("Every version is yanked"));
    assert!(site["runtimes/legacy/0.1.0.html"].contains("Reason: no reason given"));
}

#[test]
fn a_version_can_be_installed_in_three_ways() {
    let site = site_of(&sample());
    let page = &site["runtimes/openjdk-21/2.0.0.html"];
    let (amd64, arm64) = ("a".repeat(64), "b".repeat(64));
    for text in [
        "joblet-exec install<span data-registry></span> openjdk-21@2.0.0\n",
        "<code>rnx</code>, takes registries that are called OWNER/REPO alone",
        "curl -fL --proto '=https' \\\n  &#39;https://example.org/openjdk-21-2.0.0-arm64.tar.gz&#39; \\\n",
        "  &gt; openjdk-21-2.0.0-arm64.tar.gz &amp;&amp;\n",
        &format!("echo '{amd64}  openjdk-21-2.0.0-amd64.tar.gz' | sha256sum -c - &amp;&amp;\n"),
        "sudo tar -xzf openjdk-21-2.0.0-arm64.tar.gz -C /opt/joblet/runtimes<",
        "129.4 MB <span class=\"muted\">129,400,000 bytes</span>",
        "410.0 MB <span class=\"muted\">410,000,000 bytes</span>",
        "<td>8,674</td>",
        &format!("<code>{arm64}</code>"),
        "<li>rhel-arm64</li>",
        "<time datetime=\"2025-11-03\">",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_relative_address_leads_to_the_root_of_the_site() {
    let records = [at(record("demo", "1.0.0", "2025-11-03"), "demo/demo-1.0.0.tar.gz")];
    let page = &site_of(&records)["runtimes/demo/1.0.0.html"];
    assert!(page.contains("<a href=\"../../demo/demo-1.0.0.tar.gz\" rel=\"nofollow\">demo-1.0.0"));
    assert!(page.contains("  &quot;$SITE&quot;/&#39;demo/demo-1.0.0.tar.gz&#39;"));
}

#[test]
fn every_link_leads_somewhere() {
    let site = site_of(&sample());
    let elsewhere = |link: &str| link.starts_with("https://") || link.ends_with("registry.json");
    for (path, page) in site.iter().filter(|(path, _)| !path.starts_with("assets/")) {
        for link in links(page).into_iter().filter(|link| !elsewhere(link)) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { resolve(path, file) };
            let target = site.get(&target).unwrap_or_else(|| panic!("{path}: {link}"));
            let id = format!(" id=\"{anchor}\"");
            assert!(anchor.is_empty() || target.contains(&id), "{path}: {link}");
        }
    }
}

#[test]
fn nothing_is_fetched_from_anywhere_else() {
    let html = |path: &str| Path::new(path).extension().is_some_and(|end| end == "html");
    for (path, page) in site_of(&sample()).iter().filter(|(path, _)| html(path)) {
        assert!(page.contains("content=\"default-src 'none'; style-src 's"), "{path}");
        assert!(page.contains("base-uri 'none'; form-action 'none'\">"), "{path}");
        assert!(!page.contains("unsafe-"), "{path}");
        let fetching = ["script ", "link ", "img ", "iframe", "object", "form"];
        for tag in tags(page).iter().filter(|tag| fetching.iter().any(|f| tag.starts_with(f))) {
            assert!(!tag.contains("//"), "{path}: {tag}");
        }
    }
}

/// SEC-C11
#[test]
fn hostile_text_stays_text() {
    let hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\
        \" onmouseover=\"alert(1) ' onfocus='alert(1) & &lt; --> ]]> {{ 7 * 7 }} {% raw %}\
        \u{2028}\u{202e}\u{2066}\u{200b}\u{1b}[31m\u{0}\u{7}\u{9b}\u{ffff}";
    let records = |text: &str, url: &str, time: &str| {
        let mut plain = at(record("demo", "1.0.0", "2025-11-03"), url);
        plain.release.description = text.to_owned();
        let mut undated = plain.clone();
        undated.name = "undated".parse().unwrap();
        undated.published_at = time.to_owned();
        let mut back = yanked(plain.clone(), text);
        back.release.version = "1.1.0".parse().unwrap();
        vec![plain, back, undated]
    };
    let harmless = site_of(&records("x", "ftp://example.org/x", "yesterday"));
    let describes = |tag: &&str| {
        tag.starts_with("meta name=\"description\"") || tag.starts_with("meta property")
    };
    let shown = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x \
        onerror=alert(1)&gt;&quot; onmouseover=&quot;alert(1) &#39; onfocus=&#39;alert(1) &amp; \
        &amp;lt; --&gt; ]]&gt; {{ 7 * 7 }} {% raw %}\
        \\u{2028}\\u{202e}\\u{2066}\\u{200b}\\u{1b}[31m\\u{0}\\u{7}\\u{9b}\\u{ffff}";
    for url in [
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "https://example.org/\" onclick=\"alert(1)",
        "https://example.org/'; touch owned; '",
        "https://example.org/\u{202e}",
        "//example.org/x",
        "http://example.org/x",
        "../../../x",
        hostile,
    ] {
        let site = site_of(&records(hostile, url, hostile));
        assert_eq!(site.keys().collect::<Vec<_>>(), harmless.keys().collect::<Vec<_>>());
        let for_programs = |path: &str| path == ".site-manifest" || path.contains(".json");
        for (path, page) in site.iter().filter(|(path, _)| !for_programs(path)) {
            // A description is one attribute with one quoted value, whatever its text.
            let (shown, other): (Vec<_>, Vec<_>) = tags(page).into_iter().partition(describes);
            let (harmless, want): (Vec<_>, _) =
                tags(&harmless[path]).into_iter().partition::<Vec<_>, _>(describes);
            assert_eq!(other, want, "{path}: {url}");
            assert_eq!(shown.len(), harmless.len(), "{path}: {url}");
            for tag in shown {
                assert_eq!(tag.matches('"').count(), 4, "{path}: {tag}");
            }
            let control = |char: char| (char.is_control() && char != '\n') || char == '\u{ffff}';
            let reorders = |char| matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!page.contains(|char| control(char) || reorders(char)), "{path}: {url}");
        }
        for path in ["index.html", "changelog.html", "feed.xml", "runtimes/demo/1.1.0.html"] {
            assert!(site[path].contains(shown), "{path}");
        }
        let page = &site["runtimes/demo/1.0.0.html"];
        assert!(page.contains("(not an https address)") && !page.contains("curl"), "{url}");
    }
}

#[test]
fn a_shell_takes_an_address_as_one_word() {
    let url = "https://example.org/$(touch${IFS}owned);a&b*!~";
    let records = [at(record("demo", "1.0.0", "2025-11-03"), url)];
    let page = &site_of(&records)["runtimes/demo/1.0.0.html"];
    assert!(!page.contains("curl"), "braces are not part of an address");
    let url = "https://example.org/$(id);a&b*!~#c";
    let records = [at(record("demo", "1.0.0", "2025-11-03"), url)];
    let page = &site_of(&records)["runtimes/demo/1.0.0.html"];
    assert!(page.contains("  &#39;https://example.org/$(id);a&amp;b*!~#c&#39; \\\n"));
}

#[test]
fn an_archive_in_parts_is_joined_by_hand_and_not_offered_to_rnx() {
    let mut large = record("demo", "1.0.0", "2025-11-03");
    let amd64 = large.release.artifacts.get_mut(&joblet_format::Arch::Amd64).unwrap();
    let part = |number: u64| joblet_format::Part {
        download_url: format!("https://example.org/demo.{number}"),
        size: amd64.size / 2,
        checksum: amd64.checksum,
    };
    amd64.parts = vec![part(1), part(2)];
    let site = site_of(&[large]);
    let page = &site["runtimes/demo/1.0.0.html"];
    let joined = "curl -fL --proto '=https' \\\n  &#39;https://example.org/demo.1&#39; \\\n  \
        &#39;https://example.org/demo.2&#39; \\\n  &gt; demo-1.0.0-amd64.tar.gz &amp;&amp;\n";
    assert!(page.contains(joined), "{page}");
    assert!(
        page.contains("<th scope=\"row\">Parts</th><td><a href=\"https://example.org/demo.1\"")
    );
    for path in ["runtimes/demo/1.0.0.html", "runtimes/demo/index.html"] {
        assert!(!site[path].contains("rnx runtime install"), "{path}");
        assert!(site[path].contains("<code>rnx</code>, cannot install it"), "{path}");
    }
}

#[test]
fn what_rnx_cannot_use_is_not_offered_to_it() {
    let of = |name: &str| record(name, "1.0.0", "2025-11-03");
    let address = "https://github.com/acme/runtimes/releases/download/x/x-amd64.tar.gz";
    let mut arm = at(of("arm"), address);
    arm.release.artifacts.remove(&joblet_format::Arch::Amd64);
    for (record, why) in [
        (arm, Some("has no archive for amd64")),
        (yanked(at(of("broken"), address), "wrong"), Some("is yanked")),
        (at(of("local"), "local-amd64.tar.gz"), Some("is in a registry of relative addresses")),
        (at(of("offered"), address), None),
    ] {
        let name = record.name.clone();
        let page = &site_of(&[record])[&format!("runtimes/{name}/1.0.0.html")];
        assert_eq!(page.contains("rnx runtime install"), why.is_none(), "{name}");
        assert_eq!(page.contains("on amd64 alone"), why.is_none(), "{name}");
        let why = why.map(|why| format!("It {why}, and so Joblet’s own client"));
        assert!(why.is_none_or(|why| page.contains(&why)), "{name}");
        // The registry names fewer platforms, for rnx; the page lists all of them.
        assert!(page.contains("<li>rhel-arm64</li>"), "{name}");
    }
}

#[test]
fn a_version_lists_changes_since_the_previous_one() {
    let mut next = record("python-3.11-ml", "1.10.1", "2025-12-01");
    let amd64 = next.release.artifacts.get_mut(&joblet_format::Arch::Amd64).unwrap();
    (amd64.size, amd64.entries) = (139_400_000, Some(8_000));
    next.release.platforms = vec!["ubuntu-amd64".parse().unwrap(), "rhel-amd64".parse().unwrap()];
    next.release.description = "Something else".into();
    let site = site_of(&[sample(), vec![next]].concat());
    let page = |version: &str| &site[&format!("runtimes/python-3.11-ml/{version}.html")];
    for text in [
        "Changed since <a href=\"1.10.0.html\">1.10.0</a>",
        "<td class=\"number\">129.4 MB</td><td class=\"number\">139.4 MB</td>\
            <td class=\"number\">+10.0 MB, +7.7 %</td>",
        "<td class=\"number\">8,674</td><td class=\"number\">8,000</td>\
            <td class=\"number\">−674, −7.8 %</td>",
        "<td class=\"number\"><span class=\"muted\">none</span></td>",
        "New platforms: <code>rhel-amd64</code>.",
        "No longer for: <code>rhel-arm64</code>.",
        "<q>About python-3.11-ml</q>",
    ] {
        assert!(page("1.10.1").contains(text), "{text}");
    }
    assert!(!page("1.9.0").contains("Changed since"), "the first has none before it");
    assert!(page("2.0.0-rc.1").contains("Changed since <a href=\"1.11.0.html\">"));
}

/// Writes files beside `record` and names them in it: a package `base`, and those of `packages`.
fn with_contents(records: &Path, record: &mut Record, packages: &[(&str, &str, u64)]) {
    let entry = |&(name, version, _): &(&str, &str, u64)| {
        json!({ "SPDXID": format!("SPDXRef-deb-{name}"), "name": name, "versionInfo": version,
                "licenseDeclared": "MIT", "checksums": [{ "checksumValue": version }] })
    };
    let runtime = json!({ "SPDXID": "SPDXRef-Runtime", "name": "demo", "checksums": [] });
    let all: Vec<_> = [runtime].into_iter().chain(packages.iter().map(entry)).collect();
    let line = |&(name, _, size): &(&str, &str, u64)| format!("file\t{size}\t{name}\tusr/{name}\n");
    let files = BTreeMap::from([
        ("amd64.spdx.json".to_owned(), json!({ "packages": all }).to_string().into_bytes()),
        (
            "amd64.contents.txt".to_owned(),
            packages.iter().map(line).collect::<String>().into_bytes(),
        ),
    ]);
    let describe = |bytes: &Vec<u8>| joblet_format::IndexFile {
        checksum: joblet_format::Checksum::of_bytes(bytes),
        size: bytes.len() as u64,
    };
    record.files = files.iter().map(|(name, bytes)| (name.clone(), describe(bytes))).collect();
    joblet_publish::record::files::write(records, record, &files, None).unwrap();
}

#[test]
fn a_version_tells_what_is_inside_and_which_packages_changed() {
    let (records_dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut records = ["1.0.0", "1.1.0"].map(|version| record("demo", version, "2025-11-03"));
    let hostile = "<script>alert(1)</script>";
    let first = [("libc6", "2.36", 3_000_000), ("old", "1", 10), ("same", "1", 1_000_000)];
    let second = [("libc6", "2.37", 3_000_000), ("same", "1", 1_000_000), (hostile, hostile, 5)];
    with_contents(records_dir.path(), &mut records[0], &first);
    with_contents(records_dir.path(), &mut records[1], &second);
    let write = || {
        let (place, theme) = (records_dir.path(), Path::new("none"));
        site::write(&registry(&records), &records, place, theme, out.path())
    };
    write().unwrap();
    let site = tree(out.path());
    let page = &site["runtimes/demo/1.1.0.html"];
    for text in [
        "<summary>3 packages on amd64, largest first, with their licences</summary>",
        "<tr><th scope=\"row\">libc6</th><td class=\"code\">2.37</td><td>\n\
         <a href=\"https://spdx.org/licenses/MIT.html\" rel=\"nofollow\">MIT</a>\n\
         </td><td class=\"number\">3.0 MB</td></tr>",
        "<span class=\"code\">libc6</span> 2.37 <span class=\"muted\">3.0 MB</span>",
        "<title>libc6: 3.0 MB, 75.0 %</title>",
        "<span class=\"code\">libc6</span> 2.36 → 2.37</li>",
        "<li class=\"removed\"><span class=\"hush\">removed: </span><span class=\"code\">old</span>",
        "<span class=\"code\">&lt;script&gt;alert(1)&lt;/script&gt;</span>",
        "<p class=\"muted\">1 unchanged.</p>",
        "<a href=\"1.1.0.files/amd64.spdx.json\">",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains(hostile));
    let runtime = &site["runtimes/demo/index.html"];
    assert!(runtime.contains("<a href=\"1.1.0.html#inside\">All 3 packages of 1.1.0</a>"));
    assert!(runtime.contains("<dt>Licences</dt><dd><a href=\"1.1.0.html#inside\">MIT</a></dd>"));
    let hidden = "&lt;script&gt;alert(1)&lt;/script&gt;";
    let changes =
        ["libc6 2.36 → 2.37".into(), "old 1 removed".into(), format!("{hidden} {hidden} added")];
    assert!(site["feed.xml"].contains(&format!("<summary>{}. About demo", changes.join(", "))));
    let shown = changes.join(",</span> <span class=\"change\">");
    assert!(
        site["changelog.html"].contains(&format!("<p><span class=\"change\">{shown}</span> </p>"))
    );
    let search = site["search.js"].strip_prefix("globalThis.jobletSearch = ").unwrap();
    let search: serde_json::Value = serde_json::from_str(search.trim_end_matches(";\n")).unwrap();
    let packages = json!([format!("{hostile} {hostile}"), "libc6 2.37", "same 1"]);
    assert_eq!(search["demo"], json!({ "packages": packages, "commands": [] }));
    let list = "runtimes/demo/1.1.0.files/amd64.contents.txt";
    let beside = records_dir.path().join("demo/1.1.0.files/amd64.contents.txt");
    assert_eq!(site[list], fs::read_to_string(&beside).unwrap());
    assert_eq!(write().unwrap().written, 0, "nothing is read again that did not change");

    // Nothing is written if files beside a record do not match it.
    fs::write(&beside, "other").unwrap();
    fs::remove_file(out.path().join(list)).unwrap();
    let error = write().unwrap_err().to_string();
    assert!(error.contains("1.1.0.files/amd64.contents.txt: checksum differs"), "{error}");
}

#[test]
fn a_release_is_compared_with_a_release() {
    let versions = ["1.0.0", "2.0.0-rc.1", "2.0.0-rc.2", "2.0.0"];
    let site = site_of(&versions.map(|version| record("demo", version, "2025-11-03")));
    for (version, before) in [("2.0.0", "1.0.0"), ("2.0.0-rc.2", "2.0.0-rc.1")] {
        let link = format!("Changed since <a href=\"{before}.html\">");
        assert!(site[&format!("runtimes/demo/{version}.html")].contains(&link), "{version}");
    }
}

#[test]
fn sizes_are_drawn_from_two_versions_on() {
    let site = site_of(&sample());
    assert!(!site["runtimes/node-20/index.html"].contains("<svg"));
    let page = &site["runtimes/python-3.11-ml/index.html"];
    assert_eq!(page.matches("<circle").count(), 8, "four versions on two architectures");
    assert_eq!(page.matches("<circle class=\"yanked\"").count(), 2);
    assert!(page.contains("<title>1.11.0 amd64: 129.4 MB, 2025-10-20, yanked</title>"));
    assert!(page.contains("from 2025-08-02 to 2025-11-03</title>"));
    let on_one_day = ["1.0.0", "1.1.0"].map(|version| record("demo", version, "2025-11-03"));
    assert!(site_of(&on_one_day)["runtimes/demo/index.html"].contains("from 1.0.0 to 1.1.0<"));
}

#[test]
fn how_to_rebuild_names_the_repository_that_published_it() {
    let url = "https://github.com/someone/their-runtimes/releases/download/demo%401.0.0/a.tar.gz";
    for (url, clone) in [(url, true), ("https://example.org/a.tar.gz", false)] {
        let site = site_of(&[at(record("demo", "1.0.0", "2025-11-03"), url)]);
        let page = &site["runtimes/demo/1.0.0.html"];
        let line = "git clone https://github.com/someone/their-runtimes.git &amp;&amp; \
            cd their-runtimes\ngit checkout demo@1.0.0\n";
        assert_eq!(page.contains(line), clone, "{url}");
        let sums = format!("{}  rebuilt/demo-1.0.0-amd64.tar.gz\n", "a".repeat(64));
        assert!(page.contains(&sums), "{url}");
        // A registry without a repository has its records beside it.
        let records = if clone { "" } else { " --records records" };
        for line in
            ["<code>joblet-publish verify demo@1.0.0", "<code>joblet-publish oci demo@1.0.0"]
        {
            assert!(page.contains(&format!("{line}{records}")), "{url}: {line}");
            assert_eq!(page.contains(&format!("{line} --records")), !clone, "{url}: {line}");
        }
    }
}

#[test]
fn commands_name_the_registry_that_the_page_belongs_to() {
    let published =
        |by: &str| format!("https://github.com/{by}/releases/download/a%401.0.0/a.tar.gz");
    for (url, option, rnx) in [
        (published("ehsaniara/joblet-runtimes"), "", true),
        (published("someone/their-runtimes"), " --registry=someone/their-runtimes", true),
        // Only the browser knows the address of a registry with relative addresses.
        ("demo/a.tar.gz".into(), "<span data-registry></span>", false),
    ] {
        let site = site_of(&[at(record("demo", "1.0.0", "2025-11-03"), &url)]);
        for (path, spec) in [("index", "demo"), ("1.0.0", "demo@1.0.0")] {
            let page = &site[&format!("runtimes/demo/{path}.html")];
            assert!(
                page.contains(&format!("joblet-exec install{option} {spec}\n")),
                "{path} {option}"
            );
            let line = format!("rnx runtime install {spec}{option}\n");
            assert_eq!(page.contains(&line), rnx, "{path} {option}");
        }
        assert!(site["index.html"].contains(&format!("joblet-exec run{option} demo ")), "{option}");
    }
}

#[test]
fn figures_are_those_of_the_readme() {
    let readme = include_str!("../../README.md");
    let figures = &site_of(&[])["figures.html"];
    for figure in [
        "about half", "1.9 ms", "2.3 ms", "0.4 MiB", "2.4 MB", "1.0 s", "make bench-line",
        "make static",
    ] {
        let in_table = figure.strip_suffix(" s").map(|number| format!("<td>{number}</td>"));
        assert!(readme.contains(figure), "{figure}");
        assert!(figures.contains(in_table.as_deref().unwrap_or(figure)), "{figure}");
    }
}

#[test]
fn yanked_versions_are_listed_with_reason_and_remedy() {
    let site = site_of(&sample());
    let page = &site["yanked.html"];
    for text in [
        "runtimes/python-3.11-ml/1.11.0.html\">python-3.11-ml@1.11.0</a>",
        "<p class=\"reason\">built without AVX2</p>",
        "<a href=\"runtimes/python-3.11-ml/1.10.0.html\">1.10.0</a>",
        "<dd>no other version</dd>",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("openjdk"));
    assert!(site_of(&[])["yanked.html"].contains("No version is yanked."));
}

#[test]
fn programs_find_files_beside_the_pages() {
    let (records, site) = (sample(), site_of(&sample()));
    for record in &records {
        let path = format!("runtimes/{}/{}.json", record.name, record.release.version);
        assert_eq!(&serde_json::from_str::<Record>(&site[&path]).unwrap(), record);
    }
    let list: serde_json::Value =
        serde_json::from_str(&site["runtimes/python-3.11-ml/index.json"]).unwrap();
    assert_eq!((&list["name"], &list["latest"]), (&json!("python-3.11-ml"), &json!("1.10.0")));
    let second = json!({
        "version": "1.11.0", "published_at": "2025-10-20T10:20:30Z", "yanked": "built without AVX2",
        "architectures": ["amd64", "arm64"], "record": "1.11.0.json",
    });
    assert_eq!(list["versions"][1], second);
    let feed = &site["runtimes/python-3.11-ml/feed.xml"];
    assert!(feed.contains("<title>Joblet runtimes: python-3.11-ml</title>"));
    assert_eq!(feed.matches("<entry>").count(), 4);
    assert!(!feed.contains("openjdk"));
}

#[test]
fn an_empty_registry_has_a_site() {
    let site = site_of(&[]);
    assert!(site["index.html"].contains("Nothing published yet"));
    assert!(site["changelog.html"].contains("Nothing has been published yet"));
    assert!(site["feed.xml"].contains("<updated>1970-01-01T00:00:00Z</updated>"));
}

#[test]
fn feed_and_changelog_come_from_the_records_alone() {
    let mut records = sample();
    records[0].published_at = "soon".to_owned();
    let site = site_of(&records);
    let (feed, changelog) = (&site["feed.xml"], &site["changelog.html"]);
    assert!(feed.contains("<updated>2025-11-03T10:20:30Z</updated>\n<author>"));
    assert!(feed.contains("<title>python-3.11-ml 1.11.0 (yanked)</title>"));
    assert_eq!(feed.matches("<entry>").count(), 6);
    assert!(!feed.contains("1.9.0") && !changelog.contains("1.9.0"), "it has no date");
    let ids: BTreeSet<_> = feed.split("<id>").skip(1).map(|rest| &rest[..45]).collect();
    assert_eq!(ids.len(), 7);
    assert!(ids.iter().all(|id| id.starts_with("urn:uuid:") && id.as_bytes()[23] == b'8'));
    let later = [sample(), vec![record("new", "1.0.0", "2026-01-01")]].concat();
    let old = site_of(&sample());
    let id = |feed: &str| feed.split("</id>").next().unwrap().to_owned();
    assert_eq!(id(&site_of(&later)["feed.xml"]), id(&old["feed.xml"]), "the feed stays itself");
}

#[test]
fn a_new_version_changes_only_its_pages() {
    let out = tempfile::tempdir().unwrap();
    write(&sample(), out.path());
    let before = tree(out.path());
    let records = [sample(), vec![record("openjdk-21", "2.1.0", "2025-12-01")]].concat();
    let summary = write(&records, out.path());
    let after = tree(out.path());
    let changed: Vec<_> = after
        .iter()
        .filter(|(path, text)| before.get(*path) != Some(*text))
        .map(|(p, _)| p)
        .collect();
    assert_eq!(
        changed,
        [
            ".site-manifest",
            "changelog.html",
            "feed.xml",
            "index.html",
            "runtimes/openjdk-21/2.0.0.html", // names the newer version
            "runtimes/openjdk-21/2.1.0.html",
            "runtimes/openjdk-21/2.1.0.json",
            "runtimes/openjdk-21/feed.xml",
            "runtimes/openjdk-21/index.html",
            "runtimes/openjdk-21/index.json",
        ]
    );
    assert_eq!(summary, Summary { files: 46, written: 9, removed: 0 });
    assert_eq!(after, site_of(&records));
}

#[test]
fn stale_pages_disappear_and_other_files_stay() {
    let out = tempfile::tempdir().unwrap();
    write(&sample(), out.path());
    let foreign = ["registry.json", "runtimes/legacy/notes.txt", "CNAME"];
    for path in foreign {
        fs::write(out.path().join(path), "mine").unwrap();
    }
    let gone = |record: &Record| !["legacy", "node-20"].contains(&record.name.as_str());
    let records: Vec<_> = sample().into_iter().filter(gone).collect();
    assert_eq!(write(&records, out.path()).removed, 10);
    let mut after = tree(out.path());
    assert!(foreign.iter().all(|path| after.remove(*path).is_some()));
    assert_eq!(after, site_of(&records));
    assert!(!out.path().join("runtimes/node-20").exists());
}

#[test]
fn a_forged_manifest_removes_nothing_outside() {
    let parent = tempfile::tempdir().unwrap();
    let (out, victim) = (parent.path().join("out"), parent.path().join("victim.html"));
    fs::create_dir_all(&out).unwrap();
    fs::create_dir(parent.path().join("elsewhere")).unwrap();
    let linked = parent.path().join("elsewhere/index.html");
    fs::write(&victim, "precious").unwrap();
    fs::write(&linked, "precious").unwrap();
    std::os::unix::fs::symlink("../elsewhere", out.join("link")).unwrap();
    let lines = ["../victim.html", &victim.display().to_string(), "link/index.html", "link", ""];
    let lines = lines.map(|path| format!("k 1 {path}\n")).concat();
    fs::write(out.join(".site-manifest"), format!("joblet-site 1\n{lines}nonsense\n")).unwrap();
    assert_eq!(write(&sample(), &out).removed, 0);
    assert!(victim.exists() && linked.exists() && out.join("link").is_symlink());
}

#[test]
fn damage_and_killed_runs_are_repaired() {
    let out = tempfile::tempdir().unwrap();
    write(&sample(), out.path());
    let whole = tree(out.path());
    fs::write(out.path().join("index.html"), "cut").unwrap();
    fs::remove_file(out.path().join("changelog.html")).unwrap();
    assert_eq!(write(&sample(), out.path()).written, 2);
    assert_eq!(tree(out.path()), whole);

    // A template that fails during a run leaves a manifest that trusts no file.
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("templates")).unwrap();
    fs::write(source.path().join("templates/feed.xml"), "{{ page.nothing }}").unwrap();
    let registry = registry(&sample()[1..]);
    site::write(&registry, &[], out.path(), source.path(), out.path()).unwrap_err();
    write(&sample(), out.path());
    assert_eq!(tree(out.path()), whole);
}

/// The pages of a runtime are skipped together, so all of their inputs must count.
#[test]
fn a_site_does_not_depend_on_earlier_ones() {
    let out = tempfile::tempdir().unwrap();
    let mut later = sample();
    later[0] = yanked(later[0].clone(), "slow");
    let mut beside = sample();
    beside[4].release.artifacts.values_mut().for_each(|it| it.unpacked_size = None);
    let mut moved = sample();
    moved[5].published_at = "2025-11-04T00:00:00Z".to_owned();
    let fewer = sample().split_off(2);
    for records in [sample(), later, fewer, beside, moved, vec![], sample()] {
        write(&records, out.path());
        assert_eq!(tree(out.path()), site_of(&records));
    }
    let without_records = |out: &Path| {
        site::write(&registry(&sample()), &[], out, &out.join("no-templates-here"), out).unwrap();
        tree(out)
    };
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(without_records(out.path()), without_records(fresh.path()));
}

#[test]
fn a_damaged_or_foreign_manifest_costs_time_only() {
    let out = tempfile::tempdir().unwrap();
    write(&sample(), out.path());
    let whole = tree(out.path());
    let manifest = &whole[".site-manifest"];
    let line = manifest.lines().find(|line| line.ends_with(" runtimes/node-20/feed.xml")).unwrap();
    let directory = manifest.lines().find(|line| line.ends_with(" runtimes/node-20/")).unwrap();
    for (name, damaged) in [
        ("none", String::new()),
        ("cut", manifest[..manifest.len() / 2].to_owned()),
        ("a file less", manifest.replace(&format!("{line}\n"), "")),
        ("a key", manifest.replace(directory, &directory.replacen(char::is_numeric, "x", 1))),
        ("a number", manifest.replace(directory, &directory.replace(" 5 ", " 6 "))),
    ] {
        assert_ne!(damaged, *manifest, "{name}");
        fs::write(out.path().join(".site-manifest"), damaged).unwrap();
        assert_eq!(write(&sample(), out.path()), Summary { files: 44, written: 0, removed: 0 });
        assert_eq!(tree(out.path()), whole, "{name}");
    }
    // As written by another version of the program: other keys, and other pages of the same length.
    let keys = |line: &str| match line.split_once(' ') {
        Some((key, rest)) if key.len() == 32 => format!("{} {rest}\n", "0".repeat(32)),
        _ => format!("{line}\n"),
    };
    let pages = whole.iter().filter(|(path, _)| path.as_str() != ".site-manifest");
    for (path, text) in pages.clone() {
        fs::write(out.path().join(path), "x".repeat(text.len())).unwrap();
    }
    let foreign: String = manifest.lines().map(keys).collect();
    fs::write(out.path().join(".site-manifest"), foreign).unwrap();
    assert_eq!(write(&sample(), out.path()).written, pages.count());
    assert_eq!(tree(out.path()), whole);
}

#[test]
fn damage_below_a_runtime_is_found() {
    let out = tempfile::tempdir().unwrap();
    write(&sample(), out.path());
    let whole = tree(out.path());
    fs::write(out.path().join("runtimes/node-20/1.0.0.html"), "cut").unwrap();
    fs::remove_file(out.path().join("runtimes/legacy/index.json")).unwrap();
    assert_eq!(write(&sample(), out.path()).written, 2);
    assert_eq!(tree(out.path()), whole);
}

#[test]
fn another_template_makes_every_page_again() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-site/templates");
    let base = fs::read_to_string(built_in.join("base.html")).unwrap();
    write(&sample(), out.path());
    let path = source.path().join("templates/base.html");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, base.replace("</body>", "<!-- other --></body>")).unwrap();
    let records = sample();
    site::write(&registry(&records), &records, source.path(), source.path(), out.path()).unwrap();
    for (path, text) in tree(out.path()).iter().filter(|(_, text)| text.contains("</body>")) {
        assert!(text.contains("<!-- other -->"), "{path}");
    }
}

#[test]
fn templates_and_assets_of_the_maintainer_take_precedence() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (path, text) in [
        ("templates/404.html", "{% extends \"base.html\" %}{% block main %}Lost?{% endblock %}"),
        ("assets/joblet.css", "body { color: rebeccapurple }"),
    ] {
        let path = source.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    site::write(&registry(&sample()), &[], out.path(), source.path(), out.path()).unwrap();
    let site = tree(out.path());
    assert!(site["404.html"].contains("Lost?"));
    let style = site
        .keys()
        .find(|path| path.starts_with("assets/joblet.") && !path.contains(".js"))
        .unwrap();
    assert!(site[style].contains("rebeccapurple"));
    assert!(site["index.html"].contains(&format!("href=\"{style}\"")));
}

#[test]
fn errors_name_the_template_or_the_file() {
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let templates = source.path().join("templates");
    fs::create_dir(&templates).unwrap();
    let run =
        || site::write(&registry(&[]), &[], out.path(), source.path(), out.path()).unwrap_err();
    for text in ["{% if %}", "{{ page.nothing }}"] {
        fs::write(templates.join("home.html"), text).unwrap();
        let error = run();
        assert!(
            matches!(&error, Error::Config { path, .. } if path.ends_with("home.html")),
            "{error}"
        );
        assert!(error.to_string().starts_with("home.html: template: "), "{error}");
    }
    fs::remove_file(templates.join("home.html")).unwrap();
    let directory = out.path().join("index.html");
    fs::create_dir_all(directory.join("full")).unwrap();
    let error = run().to_string();
    assert!(error.starts_with(&format!("cannot rename {}: ", directory.display())), "{error}");
}

/// A web server that runs as another user can read it.
#[test]
fn a_site_is_readable_under_any_umask() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let record = record("node-20", "1.0.0", "2025-11-03");
    let records = place.path().join("records/node-20");
    fs::create_dir_all(&records).unwrap();
    fs::write(records.join("1.0.0.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    let script = "umask 077 && exec \"$0\" site --records records --theme none --out new/site";
    let program = env!("CARGO_BIN_EXE_joblet-publish");
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", script, program]).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let site = place.path().join("new/site");
    for entry in walkdir::WalkDir::new(&site).into_iter().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let want = if entry.file_type().is_dir() { 0o755 } else { 0o644 };
        assert_eq!(format!("{mode:o}"), format!("{want:o}"), "{}", entry.path().display());
    }
    assert!(site.join("registry.json").is_file());
}
