//! Gets the prerequisites of the stages before the first stage: parallel stages then do not install at the
//! same time, and downloads have a row of their own.

use std::path::Path;

use anyhow::Result;

use super::Stage;
use crate::guest::{kmodule, makedumpfile};
use crate::host::packages;
use crate::kernels;
use crate::toolchain::Toolchain;

/// Gets the prerequisites of these stages. A missing one is printed: its stage fails later, or does without.
pub(super) fn get(root: &Path, is_chosen: impl Fn(Stage) -> bool) {
    let report = |result: Result<()>| {
        if let Err(error) = result {
            println!("{error:#}");
        }
    };
    for (stage, need) in [(Stage::Browser, &packages::BROWSER), (Stage::Fuzz, &packages::FUZZ)] {
        if is_chosen(stage) {
            report(packages::ensure(need));
        }
    }
    if is_chosen(Stage::LintsEbpf) {
        report(Toolchain::ensure().map(drop));
    }
    if is_chosen(Stage::Cost) || is_chosen(Stage::Guests) {
        report(packages::ensure(&packages::GUEST));
        for kernel in kernels::select(root, &kernels::TESTED).found {
            report(kmodule::build(root, &kernel).map(drop));
        }
    }
    if is_chosen(Stage::Guests) {
        report(makedumpfile::tree().map(drop));
    }
}
