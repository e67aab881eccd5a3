//! Puts into each shader the others that it includes, and takes the comments out of it: shaders are part of what a visitor
//! downloads.
//!
//! `//#include NAME` on a line of its own stands for `shaders/NAME.wgsl`.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=shaders");
    let out = env::var_os("OUT_DIR").expect("Cargo says where to write");
    write(Path::new("shaders"), &Path::new(&out).join("shaders"))
}

/// Writes the shaders of a folder to another.
fn write(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        match path.is_dir() {
            true => write(&path, &target)?,
            false => fs::write(target, whole(&path)?)?,
        }
    }
    Ok(())
}

/// A shader with what it includes, stripped.
fn whole(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let missing = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    for line in fs::read_to_string(path).map_err(missing)?.lines().map(stripped) {
        match line.strip_prefix("//#include ") {
            Some(name) => text += &whole(&Path::new("shaders").join(format!("{name}.wgsl")))?,
            None => text += &(line + "\n"),
        }
    }
    Ok(text)
}

/// A line without its comment and indentation; `//#` is no comment but for `src/template.rs`.
fn stripped(line: &str) -> String {
    let line = line.trim();
    match line.find("//") {
        Some(at) if !line[at..].starts_with("//#") => line[..at].trim_end().into(),
        _ => line.into(),
    }
}
