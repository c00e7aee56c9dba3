//! The table of layers that both programs share.

use super::*;

#[allow(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../../../../executor/tests/common/tar.rs"]
mod tar;

#[path = "../../../../executor/tests/common/layers.rs"]
mod layers;

use layers::Case;

fn made(layers: &[tar::Tar]) -> Result<(Tree, Found), Error> {
    let base = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let path = base.path().join(number.to_string());
        std::fs::write(&path, layer.clone().end()).unwrap();
        files.push((format!("layer {number}"), path));
    }
    let files: Vec<_> = files.iter().map(|(name, path)| (name.clone(), &**path)).collect();
    tree(&files, base.path())
}

fn shown(tree: &Tree) -> Vec<String> {
    let what = |node: &Node| match node {
        Node::Dir => "/".to_owned(),
        Node::Link(target) => format!("-> {target}"),
        Node::File { content, .. } => String::from_utf8(content.read().unwrap()).unwrap(),
    };
    tree.iter().map(|(path, node)| format!("{path} {}", what(node))).collect()
}

/// SEC-G02, SEC-G03, SEC-G04, SEC-G05, SEC-G06, SEC-G11: the same trees as made by `joblet-exec`.
#[test]
fn layers_are_merged_in_memory_as_on_disk() {
    for Case { id, layers, want } in layers::joined() {
        let want = want.unwrap();
        let (tree, _) = made(&layers).unwrap_or_else(|error| panic!("{id}: {want}: {error}"));
        let found = shown(&tree);
        for what in want.split(", ") {
            let gone = what.strip_prefix('!');
            let holds = gone.map_or(found.contains(&what.to_owned()), |it| tree.get(it).is_none());
            assert!(holds, "{id}: {what} of {want}: {found:?}");
        }
    }
}

/// SEC-G01, SEC-G02, SEC-G03, SEC-G04, SEC-G05, SEC-G06, SEC-G07, SEC-G09: by the same rules; the
/// message names the manifest's key that drops an entry.
#[test]
fn hostile_layers_make_no_runtime() {
    for Case { id, layers, want } in layers::hostile() {
        let rule = want.unwrap_err();
        let error = made(&layers).map(|(tree, _)| panic!("{id}: {rule}: {:?}", shown(&tree)));
        let error: Error = error.unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{id}: {rule}: {error}");
        assert!(error.to_string().contains(rule), "{id}: {rule}: {error}");
    }
    for (layer, _, key) in layers::dropped() {
        let (tree, found) = made(&[layer]).unwrap();
        assert_eq!(tree.iter().filter(|(_, node)| !matches!(node, Node::Dir)).count(), 0);
        let error = judge(&found, &BTreeSet::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("`drop: [{key}]`")), "{error}");
    }
}
