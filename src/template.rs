//! Variants of a shader from one text.
//!
//! WGSL has neither conditional compilation nor loops that are sure to be unrolled into named registers. Shaders that
//! need them say so in lines of their own:
//!
//! - `//#if NAME` … `//#else` … `//#end` keeps the first part if NAME (or what `$NAME` says) is defined and not 0, else
//!   the second;
//! - `//#each v a b c` … `//#end` repeats its lines with `$v` as a, b and c; `//#each v,w a,1 b,2` has two names; of one
//!   word that is defined as n, the values are 0 to n − 1, and of a second name those after them;
//! - `$NAME` is what NAME is defined as;
//! - `@binding(N)` is the next binding: the first gets 0.

use std::borrow::Cow;
use std::fmt::Write;

/// What a shader's names stand for.
pub type Define = (&'static str, u32);

/// The names that are defined somewhere in a shader. They are few, so this is a list.
type Names<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// What a name stands for.
fn get<'n>(names: &'n Names<'_>, name: &str) -> Option<&'n str> {
    names.iter().find(|(defined, _)| *defined == name).map(|(_, value)| &**value)
}

/// The text of the variant with these definitions. A shader that says nothing of this kind is its own only variant.
pub fn expand<'a>(shader: &'a str, defines: &[Define]) -> Cow<'a, str> {
    if !shader.contains("//#") && !shader.contains("@binding(N)") {
        return shader.into();
    }
    let mut names: Names<'a> = defines.iter().map(|&(name, value)| (name, value.to_string().into())).collect();
    let lines: Vec<&str> = shader.lines().collect();
    let mut expanded = String::with_capacity(shader.len());
    block(&lines, &mut names, &mut expanded);
    let mut numbered = String::with_capacity(expanded.len());
    for (i, part) in expanded.split("@binding(N)").enumerate() {
        if i > 0 {
            write!(numbered, "@binding({})", i - 1).expect("writing to a string");
        }
        numbered.push_str(part);
    }
    numbered.into()
}

/// Expands some lines.
fn block<'a>(lines: &[&'a str], names: &mut Names<'a>, out: &mut String) {
    let mut i = 0;
    while i < lines.len() {
        let Some(directive) = lines[i].trim_start().strip_prefix("//#") else {
            substitute(lines[i], names, out);
            i += 1;
            continue;
        };
        let (otherwise, end) = extent(lines, i);
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words[..] {
            ["if", name] => {
                let name = match name.strip_prefix('$') {
                    Some(variable) => get(names, variable).unwrap_or(""),
                    None => name,
                };
                let holds = get(names, name).is_some_and(|value| value != "0");
                let (from, to) = if holds { (i + 1, otherwise) } else { ((otherwise + 1).min(end), end) };
                block(&lines[from..to], names, out);
            }
            ["each", variable, ref values @ ..] => {
                let range = match values {
                    [name] => get(names, name).and_then(|n| n.parse::<u32>().ok()),
                    _ => None,
                };
                let values: Vec<Cow<'a, str>> = match range {
                    Some(n) => (0..n).map(|value| format!("{value},{}", value + 1).into()).collect(),
                    None => values.iter().map(|&value| value.into()).collect(),
                };
                for value in values {
                    for (variable, value) in variable.split(',').zip(value.split(',')) {
                        names.retain(|(name, _)| *name != variable);
                        names.push((variable, value.to_string().into()));
                    }
                    block(&lines[i + 1..end], names, out);
                }
            }
            _ => panic!("a shader says {}", lines[i]),
        }
        i = end + 1;
    }
}

/// Of the directive at `start`, where its `else` is, or its end if it has none, and where its end is.
fn extent(lines: &[&str], start: usize) -> (usize, usize) {
    let (mut depth, mut otherwise) = (0, None);
    for (i, line) in lines.iter().enumerate().skip(start) {
        match line.trim_start().strip_prefix("//#").map(str::trim_end) {
            Some("end") => depth -= 1,
            Some("else") if depth == 1 => otherwise = Some(i),
            Some("else") | None => {}
            Some(_) => depth += 1,
        }
        if depth == 0 {
            return (otherwise.unwrap_or(i), i);
        }
    }
    panic!("a shader never ends {}", lines[start]);
}

/// Writes a line with the names in it replaced.
fn substitute(line: &str, names: &Names<'_>, out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let name = &rest[at + 1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        match get(names, &name[..end]) {
            Some(value) => out.push_str(value),
            None => panic!("a shader says ${}", &name[..end]),
        }
        rest = &name[end..];
    }
    out.push_str(rest);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_choose_lines() {
        let text = "a\n//#if wide\nb\n//#if deep\nc\n//#end\n//#else\nd\n//#end\ne\n";
        assert_eq!(expand(text, &[]), "a\nd\ne\n");
        assert_eq!(expand(text, &[("wide", 0), ("deep", 1)]), "a\nd\ne\n");
        assert_eq!(expand(text, &[("wide", 1)]), "a\nb\ne\n");
        assert_eq!(expand(text, &[("wide", 2), ("deep", 1)]), "a\nb\nc\ne\n");
    }

    #[test]
    fn lines_repeat_for_every_value() {
        let text = "//#each i rows\n//#each c x y\ns$i += p$i.$c;\n//#end\n//#end\n";
        let expected = "s0 += p0.x;\ns0 += p0.y;\ns1 += p1.x;\ns1 += p1.y;\n";
        assert_eq!(expand(text, &[("rows", 2)]), expected);
        assert_eq!(expand("//#each i rows\n$i\n//#end\nconst R = $rows;\n", &[("rows", 0)]), "const R = 0;\n");
    }

    #[test]
    fn two_names_go_along() {
        assert_eq!(expand("//#each i,n 0,1 1,2\np$i = p$n;\n//#end\n", &[]), "p0 = p1;\np1 = p2;\n");
        assert_eq!(expand("//#each i,n rows\np$i = p$n;\n//#end\n", &[("rows", 2)]), "p0 = p1;\np1 = p2;\n");
    }

    #[test]
    fn bindings_are_numbered_in_order() {
        let text = "@binding(N) a\n//#if b\n@binding(N) b\n//#end\n@binding(N) c\n";
        assert_eq!(expand(text, &[]), "@binding(0) a\n@binding(1) c\n");
        assert_eq!(expand(text, &[("b", 1)]), "@binding(0) a\n@binding(1) b\n@binding(2) c\n");
        assert_eq!(expand("plain $text", &[]), "plain $text");
    }
}
