//! The page with plots.

use super::compare::comparison::Comparison;
use super::outcome::Outcome;
use std::{io, path::Path};

/// Writes a page about one run.
pub fn write(_path: &Path, _outcome: &Outcome) -> io::Result<()> {
    Ok(())
}

/// Writes a page about a comparison.
pub fn write_comparison(_path: &Path, _comparison: &Comparison) -> io::Result<()> {
    Ok(())
}
