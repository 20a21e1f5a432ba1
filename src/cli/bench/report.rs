//! The page with plots.
