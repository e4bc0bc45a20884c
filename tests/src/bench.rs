//! What is measured, each as a function that a benchmark calls.

pub mod imds;
