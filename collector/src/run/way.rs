//! How a sink of the configuration is sent to.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::config::Data;
use crate::config::sinks::{Sink, SinkKind};
use crate::outlet::lake::LakeOutlet;
use crate::outlet::{Outlet, Stats};
use crate::reader::Reader;
use crate::trail::Trail;

/// How a sink is sent to.
pub(super) enum Way {
    /// Call by call.
    Calls(Box<Outlet>),
    /// Window by window.
    Windows(Box<LakeOutlet>),
}

impl Way {
    pub(super) fn of(
        sink: Sink,
        data: &Data,
        (runtime, last_call): (&Handle, &CancellationToken),
    ) -> Self {
        let (runtime, last_call) = (runtime.clone(), last_call.clone());
        if let SinkKind::SecurityLake(settings) = &sink.kind {
            let of = (sink.name.as_str(), &**settings, &sink.route);
            return Self::Windows(Box::new(LakeOutlet::new(of, data, runtime, last_call)));
        }
        let apart = data.path.join("quarantine");
        let outlet = Outlet::new(sink, &apart, runtime, last_call);
        Self::Calls(Box::new(outlet.keeping(data.max_quarantine_bytes)))
    }

    /// Sends until `stop`.
    pub(super) async fn run(
        self,
        reader: Arc<Reader<Trail>>,
        stop: CancellationToken,
    ) -> Result<&'static str, RunError> {
        match self {
            Self::Calls(outlet) => reader.carry(*outlet, stop).await?,
            Self::Windows(outlet) => reader.gather(*outlet, stop).await?,
        }
        Ok("a sink")
    }

    pub(super) fn stats(&self) -> Arc<Stats> {
        match self {
            Self::Calls(outlet) => outlet.stats(),
            Self::Windows(outlet) => outlet.stats(),
        }
    }
}
