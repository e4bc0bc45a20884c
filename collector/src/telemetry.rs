//! The set-up of the collector's log. Its metrics are registered by the components that own them.

/// The log goes to standard error, as JSON lines where `json` is set. `filter` is in the syntax of
/// `tracing_subscriber::EnvFilter`; one that cannot be read falls back to `info`, and says so.
pub fn start_log(filter: Option<&str>, json: bool) {
    let wanted = filter.unwrap_or("info");
    let (filter, refused) = match tracing_subscriber::EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (tracing_subscriber::EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    if let Some(error) = refused {
        tracing::warn!(%error, filter = wanted, "log filter is not usable, taking info");
    }
}
