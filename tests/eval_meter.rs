//! `cargo xtask eval meter`: every capture of the corpus through the whole engine, against `capinfos` and, conversation by
//! conversation, against `tshark`. What must hold and what may differ is written in `harness::meter`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use harness::{capinfos::walk, conversations::Tshark, meter::Report};

fn main() -> Result<ExitCode> {
    let corpus = std::env::var_os("AUSCULT_CORPUS").map(PathBuf::from).context("set AUSCULT_CORPUS to a folder of captures")?;
    let mut files = Vec::new();
    walk(&corpus, &mut files)?;
    files.sort();
    let report = Report::of(&files, Some(&Tshark::new()?), |_| true)?;
    for complaint in &report.complaints {
        println!("{complaint}");
    }
    report.print();
    Ok(if report.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
