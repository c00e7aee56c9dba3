//! Rules for the workflows: untrusted text is not part of a script, actions are pinned, and the
//! commands are those of RELEASING.md.

use std::fs;
use std::path::{Path, PathBuf};
use yaml_serde::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every workflow, by file name.
fn workflows() -> Vec<(String, Value)> {
    let dir = root().join(".github/workflows");
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, yaml_serde::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

/// Every value of `key` at any depth.
fn values<'v>(of: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match of {
        Value::Mapping(map) => {
            for (name, value) in map {
                if name.as_str() == Some(key) {
                    found.push(value);
                }
                values(value, key, found);
            }
        }
        Value::Sequence(list) => list.iter().for_each(|value| values(value, key, found)),
        _ => {}
    }
}

fn texts(of: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    values(of, key, &mut found);
    found.iter().filter_map(|value| value.as_str()).map(str::to_owned).collect()
}

/// SEC-C12
#[test]
fn scripts_take_values_from_the_environment_only() {
    let all = workflows();
    assert!(all.len() >= 5, "all workflows are found");
    for (name, workflow) in &all {
        let scripts = texts(workflow, "run");
        for script in scripts.iter().chain(&texts(&workflow["env"], "FETCH")) {
            assert!(!script.contains("${{"), "{name}: {script}");
        }
        let top =
            workflow["permissions"].as_mapping().unwrap_or_else(|| panic!("{name}: permissions"));
        assert!(top.is_empty(), "{name}: nothing is allowed that a job does not ask for");
        for uses in texts(workflow, "uses") {
            let pinned = uses.rsplit_once('@').is_some_and(|(_, commit)| {
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            assert!(pinned || uses.starts_with("$/"), "{name}: {uses} is not pinned by commit");
        }
    }
}

/// The options of each call of joblet-publish in `text`: `verb --option --option`.
fn calls(text: &str) -> Vec<String> {
    let lines = text.replace("\\\n", " ");
    let call = |line: &str| {
        let (_, rest) = line.split_once("joblet-publish ")?;
        let verb = rest.split_whitespace().next()?.to_owned();
        let options = rest.split_whitespace().filter(|word| word.starts_with("--"));
        Some(options.fold(verb, |call, option| call + " " + option.trim_matches('}')))
    };
    lines.lines().filter_map(call).collect()
}

#[test]
fn the_workflow_runs_the_commands_of_releasing() {
    let (_, workflow) =
        workflows().into_iter().find(|(name, _)| name == "release-runtime.yml").unwrap();
    let done: Vec<_> = texts(&workflow, "run").iter().flat_map(|script| calls(script)).collect();
    let text = fs::read_to_string(root().join("RELEASING.md")).unwrap();
    for step in ["plan", "build", "check", "rebuild", "release", "record"] {
        let (_, rest) = text.split_once(&format!("```bash {step}\n")).unwrap();
        let said = calls(rest.split_once("```").unwrap().0);
        assert!(!said.is_empty(), "{step}");
        for call in said {
            // The workflow adds `--out` options in a loop, and may add a key.
            let call = call.replace(" --out", "");
            let same = |done: &String| {
                done.replace(" --out", "").trim_end_matches(" --key").starts_with(&call)
            };
            assert!(done.iter().any(same), "{step}: {call:?} is not among {done:?}");
        }
    }
}

/// Whether `allowed` includes `wanted`.
fn covers(allowed: Option<&str>, wanted: &str) -> bool {
    allowed == Some(wanted) || allowed == Some("write")
}

#[test]
fn one_file_makes_a_registry_of_another_repository() {
    let page = fs::read_to_string(root().join("registry-site/templates/host-your-own.html"));
    let page = page.unwrap();
    let (_, shown) = page.split_once("<code>name: registry").unwrap();
    let shown = format!("name: registry{}", shown.split_once("</code>").unwrap().0);
    let shown: Value = yaml_serde::from_str(&shown).unwrap();
    let all = workflows();
    let workflow = |name: &str| &all.iter().find(|(it, _)| it == name).unwrap().1;
    let names = |map: &Value| -> Vec<String> {
        let names = map.as_mapping().into_iter().flat_map(|it| it.keys());
        names.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let called = [
        ("release", "release-runtime.yml", vec![]),
        ("registry", "reconcile.yml", vec!["pages.yml"]),
    ];
    for (job, name, further) in called {
        let job = &shown["jobs"][job];
        assert!(job["uses"].as_str().unwrap().contains(&format!("/.github/workflows/{name}@")));
        for (given, declared) in [("with", "inputs"), ("secrets", "secrets")] {
            let declared = &workflow(name)["on"]["workflow_call"][declared];
            assert_eq!(names(&job[given]), names(declared), "{name}");
        }
        // A called workflow gets at most its caller's permissions.
        let mut asked = Vec::new();
        for name in further.into_iter().chain([name]) {
            values(&workflow(name)["jobs"], "permissions", &mut asked);
        }
        assert!(asked.len() > 3);
        for (name, wanted) in asked.iter().flat_map(|it| it.as_mapping().unwrap()) {
            let allowed = job["permissions"].get(name).and_then(Value::as_str);
            assert!(covers(allowed, wanted.as_str().unwrap()), "{name:?}: {wanted:?}");
        }
    }
}

/// Jobs that lock runtimes with Python need uv, and jobs that write to a registry its key.
#[test]
fn a_refresh_has_what_its_commands_need() {
    let all = workflows();
    let (_, refresh) = all.iter().find(|(name, _)| name == "refresh.yml").unwrap();
    for (job, script) in [("pull-requests", "pull-requests"), ("freshness", "freshness")] {
        let steps = refresh["jobs"][job]["steps"].as_sequence().unwrap();
        let with = |part: &str| {
            let runs = |step: &Value| step["run"].as_str().is_some_and(|it| it.contains(part));
            steps.iter().position(runs).unwrap_or_else(|| panic!("{job}: no {part}"))
        };
        let at = with(&format!(".ci/refresh {script}"));
        assert!(with("pip install") < at && with("^uv==") < at && with(".ci/deps inputs") < at);
        let key = steps[at]["env"]["JOBLET_PUBLISH_SIGN_KEY"].as_str();
        assert_eq!(key.is_some(), script == "freshness", "{job}: {key:?}");
    }
    let pinned = fs::read_to_string(root().join(".ci/standards.txt")).unwrap();
    assert_eq!(pinned.lines().filter(|line| line.starts_with("uv==")).count(), 1);
    let (_, pages) = all.iter().find(|(name, _)| name == "pages.yml").unwrap();
    let paths = pages["on"]["push"]["paths"].as_sequence().unwrap();
    for shown in ["registry.json", "freshness.json"] {
        assert!(paths.iter().any(|path| path.as_str() == Some(shown)), "{shown}");
    }
}

/// GitHub's defaults: cancel all builds after one failure, keep artifacts for months, deploy none
/// of two of the same name, fail to attest in a private repository, follow the tag of an image,
/// continue after a failure in a pipe or in a command substitution.
#[test]
fn defaults_of_github_are_overridden() {
    for (name, workflow) in workflows() {
        let mut found = Vec::new();
        values(&workflow, "strategy", &mut found);
        for strategy in found {
            assert_eq!(strategy["fail-fast"].as_bool(), Some(false), "{name}");
        }
        let mut steps = Vec::new();
        values(&workflow, "steps", &mut steps);
        for step in steps.iter().flat_map(|steps| steps.as_sequence().unwrap()) {
            if step["uses"].as_str().is_some_and(|uses| uses.contains("/upload-")) {
                assert!(step["with"]["retention-days"].as_u64().is_some(), "{name}: {step:?}");
                // Artifacts of an earlier attempt of the run are replaced, or have another name.
                let new = step["with"]["name"].as_str().unwrap().contains("github.run_attempt");
                assert!(
                    new || step["with"]["overwrite"].as_bool() == Some(true),
                    "{name}: {step:?}"
                );
            }
            if step["uses"].as_str().is_some_and(|uses| uses.contains("/attest@")) {
                let only = step["if"].as_str().unwrap_or_default();
                assert!(only.contains("!github.event.repository.private"), "{name}: {step:?}");
            }
        }
        for image in texts(&workflow, "image") {
            let digest = image.split_once("@sha256:").map_or(0, |(_, digest)| digest.len());
            assert_eq!(digest, 64, "{name}: {image}");
        }
        for script in texts(&workflow, "run") {
            assert!(!script.contains("eval \"$("), "{name}: {script}");
            let fetches = ["git fetch", "$FETCH", "$PROGRAMS"].iter().any(|it| script.contains(it));
            assert!(!fetches || has_token(&steps, &script), "{name}: {script}");
        }
        assert_eq!(workflow["defaults"]["run"]["shell"].as_str(), Some("bash"), "{name}");
    }
}

/// Whether each step with this script gets a token, for a private repository.
fn has_token(steps: &[&Value], script: &str) -> bool {
    let all = steps.iter().flat_map(|steps| steps.as_sequence().unwrap());
    all.filter(|step| step["run"].as_str() == Some(script))
        .all(|step| step["env"]["GH_TOKEN"].as_str().is_some())
}
