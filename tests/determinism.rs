//! The same captures give the same rows: for any number of shards, on every run, at any speed, and once only.

use std::{
    collections::BTreeSet,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::Result;
use auscult::{
    config::Config,
    scene::{Scene, SceneSize},
};
use harness::{compare::lines, stage};

/// Captures of the corpus beside the scene.
const CAPTURES: usize = 30;
/// Most packets of one of them.
const PACKETS_MAX: u64 = 5000;

fn config(shards: usize) -> Config {
    let mut config = Config { listen: None, ..Config::default() };
    config.biflow.shards = shards;
    config
}

fn scene(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("scene.pcap");
    Scene::new(3, SceneSize::default()).write_pcap(BufWriter::new(File::create(&path)?))?;
    Ok(path)
}

/// Captures evenly spread over the manifest's sets whose files are whole.
fn captures(corpus: &Path) -> Result<Vec<PathBuf>> {
    let manifest = std::fs::read_to_string(corpus.join("manifest.tsv"))?;
    let wanted = |line: &&str| {
        let mut fields = line.split('\t');
        let set = fields.nth(1).unwrap_or_default();
        let packets = fields.nth(2).and_then(|packets| packets.parse::<u64>().ok()).unwrap_or(0);
        matches!(set, "attacks" | "building" | "devices" | "enterprise" | "medical") && (1..=PACKETS_MAX).contains(&packets)
    };
    let lines: Vec<&str> = manifest.lines().filter(wanted).collect();
    let step = (lines.len() / CAPTURES).max(1);
    let paths = lines.iter().step_by(step).take(CAPTURES).filter_map(|line| line.split('\t').next());
    Ok(paths.map(|path| corpus.join(path)).collect())
}

/// Replays into a lake of its own; its rows as sorted lines.
fn replayed(config: &Config, inputs: &[PathBuf], speed: Option<f64>) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let outcome = stage::replay(config, inputs, folder.path(), speed)?;
    stage::closes(&outcome, folder.path())?;
    Ok(lines(&stage::rows(folder.path())?))
}

fn assert_same(one: &[String], other: &[String], what: &str) {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    assert_eq!(differs, None, "{what}");
    assert_eq!(one.len(), other.len(), "{what}");
}

#[test]
fn shards_and_runs_give_the_same_rows() -> Result<()> {
    let Some(corpus) = harness::corpus() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let mut inputs = captures(&corpus)?;
    assert_eq!(inputs.len(), CAPTURES);
    inputs.push(scene(folder.path())?);
    let one = replayed(&config(1), &inputs, None)?;
    println!("{} rows", one.len());
    assert!(one.len() > 1000);
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), one.len(), "no row twice");
    for (shards, what) in [(1, "a second run"), (2, "two shards"), (4, "four shards")] {
        assert_same(&one, &replayed(&config(shards), &inputs, None)?, what);
    }
    Ok(())
}

/// Files of a lake, with their lengths.
fn files(folder: &Path, found: &mut BTreeSet<(PathBuf, u64)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.insert((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

#[test]
fn replaying_twice_into_one_lake_adds_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inputs = [scene(folder.path())?];
    let data = folder.path().join("data");
    let mut seen = Vec::new();
    for shards in [2, 2, 1] {
        stage::replay(&config(shards), &inputs, &data, None)?;
        let mut found = BTreeSet::new();
        files(&data.join("lake"), &mut found)?;
        seen.push((lines(&stage::rows(&data)?), found));
    }
    assert!(seen[0].0.len() > 300 && !seen[0].1.is_empty());
    assert_same(&seen[0].0, &seen[1].0, "rows of a second replay");
    assert_eq!(seen[0].1, seen[1].1, "files of a second replay");
    assert_same(&seen[0].0, &seen[2].0, "rows of a replay with another number of shards");
    assert_eq!(seen[0].1, seen[2].1, "files of a replay with another number of shards");
    Ok(())
}

#[test]
fn a_paced_replay_gives_the_same_rows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inputs = [scene(folder.path())?];
    assert_same(&replayed(&config(2), &inputs, None)?, &replayed(&config(2), &inputs, Some(100.0))?, "paced");
    Ok(())
}
