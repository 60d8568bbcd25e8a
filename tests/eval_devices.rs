//! `cargo xtask eval devices`: labelled captures of single devices through the whole engine; what each device was taken for, how often that
//! was right, how often nothing was decided, how well the confidence says so, and what the address's maker alone would have said.
//!
//! With `--leave-one-out` the rules that were learnt from a device do not count when it is looked at. `--runs N` takes the first N captures
//! of each device.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use auscult::{
    config::Config,
    device::{Attribute, Category},
    identify::{
        DECIDED, oui,
        rules::{Facts, Rules},
    },
    observation::Field,
    pipeline::devices::{Reasons, why},
};
use harness::replay::{Replayed, on_two_threads};

/// What the corpus calls its devices, and what the taxonomy does.
const KINDS: [(&str, Category); 6] = [
    ("camera", Category::IpCamera),
    ("plug", Category::SmartPlug),
    ("hub", Category::IotHub),
    ("sensor", Category::Sensor),
    ("appliance", Category::SmartAppliance),
    ("health-scale", Category::HealthScale),
];
/// Bins of confidence.
const BINS: usize = 5;

struct Run {
    path: PathBuf,
    device: String,
    truth: Category,
    mac: String,
}

/// What one run came to.
struct Verdict {
    said: Category,
    confidence: f32,
    /// By the maker of the address alone.
    by_maker: Category,
}

fn main() -> Result<ExitCode> {
    let corpus = std::env::var_os("AUSCULT_CORPUS").map(PathBuf::from).context("set AUSCULT_CORPUS to a folder of captures")?;
    let mut arguments = std::env::args().skip(1);
    let (mut leave_out, mut most) = (false, usize::MAX);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--leave-one-out" => leave_out = true,
            "--runs" => most = arguments.next().context("--runs wants a number")?.parse().context("--runs wants a number")?,
            other => bail!("{other} is not known; there are --leave-one-out and --runs N"),
        }
    }
    let runs = runs(&corpus, most)?;
    let verdicts = on_two_threads(&runs, |run| look(run, leave_out)).into_iter().collect::<Result<Vec<_>>>()?;
    report(&runs, &verdicts);
    Ok(ExitCode::SUCCESS)
}

/// Labelled captures of the manifest.
fn runs(corpus: &Path, most: usize) -> Result<Vec<Run>> {
    let manifest = std::fs::read_to_string(corpus.join("manifest.tsv")).context("the corpus has no manifest.tsv")?;
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut runs = Vec::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, "devices", label, mac, ..] = columns[..] else { continue };
        let (device, kind) = label.split_once('|').with_context(|| format!("{label} is no label"))?;
        let truth = KINDS.iter().find(|(name, _)| *name == kind).with_context(|| format!("{kind} is no kind"))?.1;
        let count = taken.entry(device.to_owned()).or_default();
        *count += 1;
        if *count <= most {
            runs.push(Run { path: corpus.join(path), device: device.to_owned(), truth, mac: mac.to_owned() });
        }
    }
    Ok(runs)
}

fn look(run: &Run, leave_out: bool) -> Result<Verdict> {
    let config = Config { left_out: leave_out.then(|| run.device.as_str().into()), ..Config::default() };
    let replayed = Replayed::of(std::slice::from_ref(&run.path), &config)?;
    let Reasons { device, .. } = why(replayed.data.path(), &run.mac).with_context(|| run.path.display().to_string())?;
    let confidence = device.known(Attribute::Category).map_or(0.0, |known| known.confidence);
    Ok(Verdict { said: device.category(), confidence, by_maker: by_maker(&run.mac)? })
}

/// The one fact.
struct Maker(&'static str);

impl Facts for Maker {
    fn any(&self, field: Field, test: &mut dyn FnMut(&str) -> bool) -> bool {
        field == Field::Oui && test(self.0)
    }
}

/// The likeliest category by the maker of the address, whether that would decide or not.
fn by_maker(mac: &str) -> Result<Category> {
    let mut octets = [0; 6];
    for (octet, digits) in octets.iter_mut().zip(mac.split(':')) {
        *octet = u8::from_str_radix(digits, 16).context("a MAC in the manifest")?;
    }
    let Some(maker) = oui::lookup(octets) else { return Ok(Category::Unknown) };
    let rules = Rules::embedded()?;
    let claims = rules.matches(Field::Oui, maker, &Maker(maker), None).into_iter().flat_map(|(_, claims)| claims);
    let categories = claims.filter(|claim| claim.attribute == Attribute::Category);
    let best = categories.max_by(|a, b| a.weight.total_cmp(&b.weight));
    Ok(best.and_then(|claim| Category::named(&claim.value)).unwrap_or(Category::Unknown))
}

fn report(runs: &[Run], verdicts: &[Verdict]) {
    let mut by_device: BTreeMap<(&str, Category), BTreeMap<Category, usize>> = BTreeMap::new();
    let mut bins = [(0usize, 0usize, 0.0f32); BINS];
    let (mut decided, mut right, mut by_maker, mut by_maker_right) = (0usize, 0usize, 0usize, 0usize);
    for (run, verdict) in runs.iter().zip(verdicts) {
        *by_device.entry((&run.device, run.truth)).or_default().entry(verdict.said).or_default() += 1;
        by_maker += usize::from(verdict.by_maker != Category::Unknown);
        by_maker_right += usize::from(verdict.by_maker == run.truth);
        if verdict.said == Category::Unknown {
            continue;
        }
        let is_right = verdict.said == run.truth;
        decided += 1;
        right += usize::from(is_right);
        let place = ((verdict.confidence - DECIDED) / (1.0 - DECIDED) * BINS as f32) as usize;
        let bin = &mut bins[place.min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + usize::from(is_right), bin.2 + verdict.confidence);
    }
    for ((device, truth), said) in &by_device {
        let said: Vec<String> = said.iter().map(|(category, count)| format!("{} {count}", category.name())).collect();
        println!("{device:<20} {:<16} {}", truth.name(), said.join(", "));
    }
    let part = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    println!("runs {}, decided {:.1} %, right of these {:.1} %", runs.len(), part(decided, runs.len()), part(right, decided));
    println!(
        "by the maker alone: said {:.1} %, right of these {:.1} %",
        part(by_maker, runs.len()),
        part(by_maker_right, by_maker)
    );
    for (runs, right, confidence) in bins.iter().filter(|(runs, ..)| *runs > 0) {
        println!("said with {:.2} on average: {:.2} right of {runs}", confidence / *runs as f32, *right as f64 / *runs as f64);
    }
}
