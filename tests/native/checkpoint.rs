//! Checkpoints: whole or not there, whatever happens.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use denoise::checkpoint::{find, newest, write};
use denoise::random::Generator;

use crate::cli::Folder;

const NAMES: [&str; 4] = ["unet/weights", "unet/deeper/ema", "state", "empty"];

/// The files of a step: each the step again and again.
fn files(step: u64) -> Vec<Vec<u8>> {
    [3000, 70_000, 8, 0].map(|len| step.to_le_bytes().repeat(len / 8)).to_vec()
}

fn save(folder: &Path, step: u64) -> denoise::Result<()> {
    let bytes = files(step);
    let files: Vec<(&str, &[u8])> = NAMES.into_iter().zip(bytes.iter().map(Vec::as_slice)).collect();
    write(folder, &files)
}

/// The step of a checkpoint, of which everything must be there and nothing else.
fn step_of(folder: &Path) -> u64 {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let step = u64::from_le_bytes(read("state").try_into().unwrap());
    for (name, expected) in NAMES.into_iter().zip(files(step)) {
        assert!(read(name) == expected, "{name} is not whole");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
    step
}

fn listed(folder: &Folder) -> Vec<String> {
    let names = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn a_folder_replaces_the_one_before() {
    let run = Folder::new("checkpoint");
    let folder = run.0.join("run").join("last"); // neither is there yet
    assert_eq!(find(&folder), None);
    for step in [5, 6, 7] {
        save(&folder, step).unwrap();
        assert_eq!((find(&folder), step_of(&folder)), (Some(folder.clone()), step));
    }
    assert_eq!(fs::read_dir(run.0.join("run")).unwrap().count(), 1);
}

#[test]
fn wherever_a_process_was_killed_there_is_a_whole_one() {
    // Which steps are in place, aside and beside, None for what is not there; the one beside may be unfinished.
    type State = [Option<u64>; 3];
    let cases: [(State, bool, Option<u64>); 8] = [
        ([None, None, None], true, None),
        ([None, None, Some(1)], false, None),
        ([Some(1), None, Some(2)], false, Some(1)),
        ([Some(1), None, Some(2)], true, Some(1)),
        ([None, Some(1), Some(2)], true, Some(2)),
        ([Some(2), Some(1), None], true, Some(2)),
        ([None, Some(1), None], true, Some(1)),
        ([Some(2), Some(1), Some(3)], false, Some(2)),
    ];
    for (i, (state, is_whole, expected)) in cases.into_iter().enumerate() {
        let run = Folder::new(&format!("killed-{i}"));
        let folder = run.0.join("last");
        for (name, step) in ["last", ".last.old", ".last.part"].iter().zip(state) {
            if let Some(step) = step {
                let place = run.0.join(name);
                save(&place, step).unwrap();
                if *name == ".last.part" && !is_whole {
                    fs::remove_file(place.join("unet/deeper/ema")).unwrap();
                }
            }
        }
        assert_eq!(find(&folder).map(|found| step_of(&found)), expected, "{state:?}");
        save(&folder, 9).unwrap();
        assert_eq!((step_of(&folder), listed(&run)), (9, vec!["last".to_string()]), "{state:?}");
    }
}

#[test]
fn the_newest_checkpoint_of_a_run_is_found() {
    let run = Folder::new("newest");
    assert_eq!(newest(&run.0).unwrap(), None);
    for step in [90, 100, 110] {
        save(&run.0.join(format!("checkpoint-{step}")), step).unwrap();
    }
    save(&run.0.join("checkpoint-last"), 1).unwrap();
    save(&run.0.join(".checkpoint-120.part"), 120).unwrap(); // it was not finished
    fs::rename(run.0.join("checkpoint-110"), run.0.join(".checkpoint-110.old")).unwrap();
    assert_eq!(newest(&run.0).unwrap(), Some((110, run.0.join(".checkpoint-110.old"))));
    fs::remove_dir_all(run.0.join(".checkpoint-110.old")).unwrap();
    assert_eq!(newest(&run.0).unwrap(), Some((100, run.0.join("checkpoint-100"))));
    assert!(newest(&run.0.join("nowhere")).unwrap_err().to_string().contains("nowhere: could not be read"));
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let run = Folder::new("unwritable");
    let folder = run.0.join("last");
    save(&folder, 1).unwrap();
    // The same file twice.
    let error = write(&folder, &[("a", b"1"), ("a", b"2")]).unwrap_err().to_string();
    assert!(error.contains("last: could not be written"), "{error}");
    assert_eq!((step_of(&folder), listed(&run)), (1, vec!["last".to_string()]));
    // A file where a folder should be.
    fs::write(run.0.join("file"), b"").unwrap();
    let error = save(&run.0.join("file").join("last"), 1).unwrap_err().to_string();
    assert!(error.contains("last: could not be written"), "{error}");
    assert!(save(Path::new("/"), 1).unwrap_err().to_string().contains("not the name of a folder"));
    assert_eq!(step_of(&folder), 1);
}

/// A process that saves one step after another is killed at a hundred random moments. It is this test, told by a variable.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
    const CHILD: &str = "DENOISE_TEST_SAVES_IN";
    if let Some(folder) = env::var_os(CHILD) {
        let folder = Path::new(&folder);
        for step in find(folder).map_or(0, |found| step_of(&found)) + 1.. {
            save(folder, step).unwrap();
            println!("{step}");
        }
    }
    let run = Folder::new("kills");
    let folder = run.0.join("last");
    let mut generator = Generator::new(1);
    let (mut last, mut between) = (0, 0);
    for _ in 0..100 {
        let test = "checkpoint::a_kill_at_any_moment_leaves_a_whole_checkpoint";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(CHILD, &folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // It has begun when it says the first step; after that, it saves all the time.
        let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        let first = lines.by_ref().map_while(Result::ok).find(|line| line.parse::<u64>().is_ok());
        assert!(first.is_some(), "the child ended by itself");
        thread::sleep(Duration::from_micros(u64::from(generator.randint(30_000.try_into().unwrap(), 1)[0])));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(0);
        let found = find(&folder).expect("a checkpoint");
        let step = step_of(&found);
        assert!(step > last && step >= said, "step {step} after {last}, though {said} was saved");
        last = step;
        between += usize::from(found != folder);
    }
    println!("{last} saves; {between} of 100 kills came between the two renames");
}
