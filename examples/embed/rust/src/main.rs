//! A product written in Rust that upgrades itself through slipway: check, install, progress, outcome.
//!
//! Standard library only, so the few fields that it needs are read by `field`; a real program uses a JSON crate.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{exit, Command, Stdio};

// Exit codes of slipway that a program treats differently; docs/reference/errors.md has all of them.
const UPDATE_AVAILABLE: i32 = 10;
const NOTHING_TO_DO: i32 = 3;
const REFUSED: i32 = 20; // a signature or a hash is wrong; nothing was touched
const ROLLED_BACK: i32 = 40; // the old version is back and proven healthy
const HUMAN_NEEDED: i32 = 41; // neither version is healthy
const LATER: [i32; 3] = [42, 43, 75]; // approve again; not now; try again

/// The value of the first `"name":` of a JSON line: a string without its quotes, or a number. Slipway escapes quotes inside of strings.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\":");
    let rest = &line[line.find(&key)? + key.len()..];
    if let Some(text) = rest.strip_prefix('"') {
        let mut is_escaped = false;
        let end = text.char_indices().find_map(|(at, letter)| {
            let is_end = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end.then_some(at)
        })?;
        return Some(&text[..end]);
    }
    rest.split([',', '}', ']']).next()
}

/// Runs one command, shows its events, and returns the last line, which is the result, with the exit code.
fn slipway(arguments: &[&str]) -> io::Result<(String, i32)> {
    let program = env::var("SLIPWAY").unwrap_or_else(|_| "slipway".into());
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut result = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line.starts_with("{\"event\":") {
            show(&line);
        } else {
            result = line;
        }
    }
    Ok((result, child.wait()?.code().unwrap_or(1)))
}

fn show(line: &str) {
    let of = |name| field(line, name).unwrap_or("");
    match of("event") {
        "progress" => println!("{}: {} of {} bytes", of("label"), of("done"), of("total")),
        "phase" => println!("now {} {}", of("phase"), of("step")),
        _ => {}
    }
}

fn reason(result: &str) -> String {
    let of = |name| field(result, name).unwrap_or("?");
    format!("{}: {} ({})", of("code"), of("message"), of("hint"))
}

fn upgrade(installation: &str) -> io::Result<i32> {
    let (offered, code) = slipway(&["upgrade", "check", "--detailed-exitcode", "--installation", installation])?;
    if code == NOTHING_TO_DO {
        println!("nothing newer");
        return Ok(0);
    }
    if code != UPDATE_AVAILABLE {
        println!("the check failed: {}", reason(&offered));
        return Ok(code);
    }
    let offer = &offered[offered.find("\"offer\":").unwrap_or(0)..];
    let version = field(offer, "version").unwrap_or("").to_string();
    println!("{version} is available");

    let (result, code) = slipway(&["upgrade", "install", "--version", &version, "--installation", installation])?;
    match code {
        0 => println!("runs {}", field(&result, "version").unwrap_or("?")),
        REFUSED => println!("refused, nothing was touched: {}", reason(&result)),
        ROLLED_BACK => println!("back on the old version: {}", reason(&result)),
        HUMAN_NEEDED => println!("a human must look: {}", reason(&result)),
        code if LATER.contains(&code) => println!("later: {}", reason(&result)),
        _ => println!("failed: {}", reason(&result)),
    }
    Ok(code)
}

fn main() {
    let installation = env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: upgrade INSTALLATION-FILE");
        exit(2)
    });
    match upgrade(&installation) {
        Ok(code) => exit(code),
        Err(error) => {
            eprintln!("{error}");
            exit(1);
        }
    }
}
