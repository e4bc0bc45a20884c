//! What each container uses: samples, deltas, windows.
//!
//! ```text
//!  cgroup files, kept open ─┐
//!  eBPF totals ─────────────┼─► Sampler ──► Sample ──► Delta ──► Windows ──► wire::UsageWindow
//!  procfs (fallback) ───────┘   shell       pure       pure      pure
//!                                                       ▲
//!                                          Timeline: monotonic time → wall clock
//! ```
//!
//! A sample's groups say where they came from, and any source can stand in for another; a window
//! only ever sees samples. It knows neither the cluster nor how windows are sent.

pub mod clock;
pub mod delta;
pub mod kernel_time;
pub mod sample;
pub mod sampler;
pub mod self_usage;
mod tally;
pub mod timeline;
pub mod window;

pub use kernel_time::KernelTime;
pub use sample::Sample;
pub use sampler::Sampler;
pub use timeline::Timeline;
pub use window::Windows;
