//! ARCHITECTURE.md matches the tree.

use std::path::Path;

use crate::golden;

/// The paths between backticks that look like files or folders of the repository.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    const ROOTS: [&str; 10] =
        ["src/", "shaders/", "www/", "tests/", "bench/", "examples/", "scripts/", "build.sh", ".ci/", "docs/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|path| ROOTS.iter().any(|root| path.starts_with(root)) && !path.contains("NAME"))
}

#[test]
fn every_path_in_the_architecture_exists() {
    let text = golden::text("ARCHITECTURE.md");
    assert!(paths(&text).count() > 20);
    for path in paths(&text) {
        assert!(golden::path(path).exists(), "ARCHITECTURE.md names {path}, which does not exist");
    }
}

#[test]
fn every_part_of_the_tree_is_in_the_architecture() {
    let text = golden::text("ARCHITECTURE.md");
    let children = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(golden::path(folder)).unwrap();
        entries.map(|entry| format!("{folder}{}", entry.unwrap().file_name().to_str().unwrap())).collect()
    };
    for path in ["src/", "tests/"].into_iter().flat_map(children) {
        let named = paths(&text).any(|named| Path::new(named) == Path::new(&path));
        assert!(named || path == "src/lib.rs", "{path} is not in ARCHITECTURE.md");
    }
    // The first column of its tables, where a dependency has its reason.
    let reasons: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(first, _)| first.split([',', ' ', '(']))
        .collect();
    let manifest = golden::text("Cargo.toml");
    let mut dependencies = 0;
    let mut section = "";
    for line in manifest.lines() {
        section = if line.starts_with('[') { line } else { section };
        if let (true, Some((name, _))) = (section.contains("dependencies") && line != section, line.split_once(" = ")) {
            dependencies += 1;
            assert!(reasons.contains(&name), "{name} is a dependency without a reason in ARCHITECTURE.md");
        }
    }
    assert!(dependencies > 10);
}
