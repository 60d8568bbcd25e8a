//! `cargo xtask lab`: a hospital of real programs in network namespaces, the engine at its SPAN port, and how much of the truth it found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::install::{self, Purpose};
use crate::{process, workspace};

/// The hospital that is played, and what is asked of the inventory.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which hospital: the name of a file in tests/lab, or a path
    #[arg(long, default_value = "hospital_a")]
    hospital: String,
    /// How long devices speak
    #[arg(long, default_value_t = 150)]
    seconds: u32,
    /// Seed of the schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where recording, truth and lake go; by default a folder of the hospital's name in the build folder
    #[arg(long)]
    out: Option<PathBuf>,
    /// Installs nothing; what is missing is missing
    #[arg(long)]
    no_install: bool,
    /// What `compare.py` gets, such as `--accuracy-min 0.95`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    thresholds: Vec<String>,
}

/// Prepares, plays with the engine at the tap, reads the inventory and compares it; ends as the comparison ends.
pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(workspace::is_root(), "namespaces and a live tap need root; run it with sudo");
    if !options.no_install {
        install::install(&[Purpose::Demo, Purpose::Lab])?;
    }
    let python = install::lab_python();
    ensure!(python.is_file(), "no {}; run without --no-install", python.display());
    process::run(&mut process::cargo(&["build", "--release", "--locked", "--package", "auscult", "--bin", "auscult"]))?;
    let engine = workspace::target().join("release/auscult");
    let scripts = workspace::root().join("tests/lab");
    let hospital = hospital(&scripts, &options.hospital);
    ensure!(hospital.is_file(), "no hospital {}", hospital.display());
    let name = hospital.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let out = options.out.clone().unwrap_or_else(|| workspace::target().join("lab").join(name));
    let data = out.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    std::fs::create_dir_all(&data)?;
    // The script splits it as a shell would; the paths are quoted for that.
    let beside = format!("'{}' run --interface tap0 --data '{}' --listen off", engine.display(), data.display());
    let mut lab = process::command(&python);
    lab.arg(scripts.join("lab.py")).args(["run", &options.seconds.to_string(), "--seed", &options.seed.to_string()]);
    process::run(lab.arg("--hospital").arg(&hospital).arg("--out").arg(&out).args(["--beside", &beside]))?;
    let inventory = out.join("devices.json");
    std::fs::write(&inventory, process::printed(process::command(engine).args(["devices", "--json", "--data"]).arg(&data))?)?;
    let mut compare = process::command(&python);
    compare.arg(scripts.join("compare.py")).arg(&inventory).arg(out.join("truth.json")).args(&options.thresholds);
    let status = process::status(&mut compare)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file of a hospital by its name, or that path.
fn hospital(scripts: &Path, name: &str) -> PathBuf {
    let own = scripts.join(format!("{name}.toml"));
    if own.is_file() { own } else { PathBuf::from(name) }
}

#[cfg(test)]
mod tests {
    use super::hospital;
    use crate::workspace;

    #[test]
    fn hospitals_are_found_by_name_and_by_path() {
        let scripts = workspace::root().join("tests/lab");
        for name in ["hospital_a", "hospital_b"] {
            assert_eq!(hospital(&scripts, name), scripts.join(format!("{name}.toml")));
        }
        assert_eq!(hospital(&scripts, "elsewhere/other.toml"), std::path::Path::new("elsewhere/other.toml"));
    }
}
