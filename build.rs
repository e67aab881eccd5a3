//! Takes the comments out of the shaders, which are part of what a visitor downloads.
//!
//! Lines stay where they are, so that a compiler's complaints lead to the right one.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=shaders");
    let out = env::var_os("OUT_DIR").expect("Cargo says where to write");
    strip(Path::new("shaders"), &Path::new(&out).join("shaders"))
}

/// Strips a folder of shaders.
fn strip(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            strip(&path, &target)?;
        } else {
            let lines: Vec<String> = fs::read_to_string(&path)?.lines().map(stripped).collect();
            fs::write(target, lines.join("\n") + "\n")?;
        }
    }
    Ok(())
}

/// A line without its comment and indentation; `//#` is no comment but for `src/template.rs`.
fn stripped(line: &str) -> String {
    let line = line.trim();
    match line.find("//") {
        Some(at) if !line[at..].starts_with("//#") => line[..at].trim_end().into(),
        _ => line.into(),
    }
}
