use plimsoll_settings::Lines;

use super::*;

/// All mistakes of a text, each as `agent.yaml` says it without its name; `/missing` cannot be read.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let look = |_, path: &Path| match path.to_str() {
        Some("/missing") => Err("No such file".to_owned()),
        _ => Ok(()),
    };
    let said = match Config::parse_with_files("agent.yaml", text, "n1", look) {
        Ok(_) => Vec::new(),
        Err(ConfigError(lines)) => lines,
    };
    // That https:// needs an authority has a test of its own.
    let is_of_https = |line: &&String| line.contains("export.ca_file: must be given for ");
    let said: Vec<_> = said
        .iter()
        .filter(|line| !is_of_https(line))
        .map(|line| line.strip_prefix("agent.yaml").unwrap())
        .collect();
    assert_eq!(said, expect);
}

#[test]
fn the_documented_file_is_the_default() {
    assert_eq!(
        Config::parse("default.yaml", DOCUMENTED).unwrap(),
        Config::default()
    );
    assert_eq!(Config::parse("empty.yaml", "").unwrap(), Config::default());
    assert_eq!(
        Config::parse("comment.yaml", "# nothing\n").unwrap(),
        Config::default()
    );
}

/// Every setting is known to the diagnosis, and documented.
#[test]
fn no_setting_is_forgotten() {
    let mut names: Vec<_> = sections().map(|(name, _)| name).to_vec();
    names.push("node");
    let mut all = names_of::<Config>().to_vec();
    names.sort_unstable();
    all.sort_unstable();
    assert_eq!(names, all);
    let documented = Lines::of(DOCUMENTED);
    for (section, settings) in sections() {
        assert!(!settings.is_empty(), "{section}");
        for setting in settings {
            let place = format!("{section}.{setting}");
            assert!(documented.find(&place).is_some(), "{place}");
        }
    }
}

#[test]
fn all_mistakes_of_a_file_come_at_once_with_line_and_field() {
    check(
        "node: a\n\
         usage:\n\
         \x20 intervall_ms: 500\n\
         \x20 window_s: 7\n\
         \x20 startup_s: two minutes\n\
         kernal:\n\
         \x20 enabled: true\n\
         spool:\n\
         \x20 max_bytes: 256MiB\n\
         export:\n\
         \x20 endpoint: collector:4317\n\
         \x20 token_file: /missing\n\
         \x20 insecure: perhaps\n\
         admin: 9464\n",
        &[
            ":3: usage.intervall_ms: there is no such setting; did you mean interval_ms?",
            ":4: usage.window_s: must divide an hour (3600 s) without rest",
            ":5: usage.startup_s: must be a plain number of seconds, as 60, not two minutes",
            ":6: kernal: there is no such setting; did you mean kernel?",
            ":9: spool.max_bytes: must be a plain number of bytes, as 1048576, not 256MiB",
            ":11: export.endpoint: must be a URL, as https://host:4317",
            ":12: export.token_file: must be a file with a token that can be read: /missing: No such file",
            ":13: export.insecure: must be true or false, not perhaps",
            ":14: admin: must be a section of settings",
        ],
    );
}

#[test]
fn unknown_settings_are_refused_with_the_nearest_or_with_all() {
    check(
        "usage: { windows_s: 60 }\n",
        &[":1: usage.windows_s: there is no such setting; did you mean window_s?"],
    );
    check(
        "admin: { color: blue }\n",
        &[":1: admin.color: there is no such setting; there are listen"],
    );
    check(
        "colours: {}\n",
        &[
            ":1: colours: there is no such setting; there are node, host, usage, kernel, imds, spool, \
             export, admin",
        ],
    );
}

#[test]
fn durations() {
    for (text, must) in [
        (
            "interval_ms: 1s",
            "must be a plain number of milliseconds, as 1000, not 1s",
        ),
        (
            "interval_ms: -5",
            "must be a plain number of milliseconds, as 1000, not -5",
        ),
        ("interval_ms: 499", "must lie between 500 and 2000"),
        (
            "interval_ms: 18446744073709551615",
            "must lie between 500 and 2000",
        ),
        (
            "interval_ms: 18446744073709551616",
            "must be a plain number of milliseconds, as 1000, not 18446744073709551616",
        ),
        ("interval_ms: [1000]", "must be a single value"),
        ("rescan_s: 0", "must lie between 1 and 86400"),
        (
            "rescan_s: 1e3",
            "must be a plain number of seconds, as 60, not 1e3",
        ),
        (
            "startup_s: 18446744073709551615",
            "must lie between 0 and 86400",
        ),
        (
            "memory_stat_every: 4294967295",
            "must lie between 1 and 3600",
        ),
    ] {
        let place = text.split(':').next().unwrap();
        // The second line of a text says the second line.
        let text = format!("usage:\n  {text}\n");
        let shorter = must.contains("2000") && text.contains("1844");
        let want = format!(":2: usage.{place}: {must}");
        if shorter {
            let also = "usage.window_s: must be no shorter than usage.interval_ms";
            check(&text, &[&format!(":1: {also}"), &want]);
        } else {
            check(&text, &[&want]);
        }
    }
    check(
        "usage: { window_s: 18446744073709551615 }",
        &[":1: usage.window_s: must divide an hour (3600 s) without rest"],
    );
    check(
        "imds: { response_timeout_ms: 0 }\nexport: { timeout_ms: 600001, drain_ms: 600001 }",
        &[
            ":1: imds.response_timeout_ms: must lie between 1 and 600000",
            ":2: export.timeout_ms: must lie between 1 and 600000",
            ":2: export.drain_ms: must lie between 0 and 600000",
        ],
    );
}

#[test]
fn sizes() {
    check(
        "spool: { max_bytes: 1048575 }",
        &[":1: spool.max_bytes: must be at least 1048576 (1 MiB)"],
    );
    check(
        "kernel:\n  security_ring_bytes: 100000\n  process_ring_bytes: 5000000000\n  max_cgroups: 63\n",
        &[
            ":2: kernel.security_ring_bytes: must be a power of two between 65536 and 268435456",
            ":3: kernel.process_ring_bytes: must be a plain number of bytes, as 1048576, not 5000000000",
            ":4: kernel.max_cgroups: must lie between 64 and 1048576",
        ],
    );
    check(
        "export: { batch_records: many }",
        &[":1: export.batch_records: must be a whole number within its bounds, not many"],
    );
}

#[test]
fn addresses_and_paths() {
    const URL: &str = "must be a URL, as https://host:4317";
    const PORT: &str = "must have a port: the usual one is 4317";
    const NO_PORT: &str = "must have a port between 1 and 65535";
    const USER: &str =
        "must have no user and no password: the collector knows an agent by its token";
    for (endpoint, must) in [
        ("https://collector:4317", None),
        ("http://127.0.0.1:4317", None),
        ("http://[::1]:4317/", None),
        ("collector", Some(URL)),
        ("https://", Some(URL)),
        ("ftp://collector:21", Some(URL)),
        ("http://127.0.0.1", Some(PORT)),
        ("https://collector/", Some(PORT)),
        ("\"http://127.0.0.1:\"", Some(PORT)),
        ("http://[::1]", Some(PORT)),
        ("http://127.0.0.1:0", Some(NO_PORT)),
        ("http://127.0.0.1:99999", Some(NO_PORT)),
        ("http://user:word@127.0.0.1:4317", Some(USER)),
        ("https://user@collector:4317", Some(USER)),
        ("http://user:w rd@127.0.0.1:4317", Some(USER)),
        ("https://a b", Some(URL)),
        ("\"\"", Some(URL)),
        (
            "https://collector:4317/v1/logs",
            Some("must have no path: OTLP over gRPC has its own"),
        ),
        (
            "http://collector:4317",
            Some("must be https:// to another machine, unless export.insecure permits plain text"),
        ),
    ] {
        let want: Vec<_> = must
            .iter()
            .map(|must| format!(":2: export.endpoint: {must}"))
            .collect();
        let want: Vec<_> = want.iter().map(String::as_str).collect();
        check(&format!("export:\n  endpoint: {endpoint}\n"), &want);
    }
    check(
        "export: { endpoint: \"http://collector:4317\", insecure: true }",
        &[],
    );
    check(
        "admin: { listen: localhost }\nspool: { path: \"\" }\n",
        &[
            ":1: admin.listen: must be an address and port, as 127.0.0.1:9464",
            ":2: spool.path: must not be empty",
        ],
    );
}

#[test]
fn files_that_are_named_must_be_there() {
    check(
        "export:\n  ca_file: /missing\n  token_file: /there\n",
        &[
            ":2: export.ca_file: must be a PEM file of certificates that can be read: /missing: No such file",
        ],
    );
}

/// A duplicate hides nothing.
#[test]
fn a_setting_given_twice_is_one_mistake_among_others() {
    check(
        "usage:\n  rescan_s: 5\n  rescan_s: 6\n  window_s: 7\nexport:\n  insecure: \"true\"\n  \
         batch_records: 0x10\n  server_name: a b\nusage: {}\nnode:\n",
        &[
            ":3: usage.rescan_s: is given twice, first in line 2",
            ":4: usage.window_s: must divide an hour (3600 s) without rest",
            ":6: export.insecure: must be true or false without quotes, not \"true\"",
            ":7: export.batch_records: must be a whole number in decimal digits, not 0x10",
            ":8: export.server_name: must be the name or address in a certificate, as collector.example",
            ":9: usage: is given twice, first in line 1",
            ":10: node: must have a value",
        ],
    );
}

#[test]
fn https_needs_an_authority() {
    let said = |text: &str| {
        let read = Config::parse_with_files("a", text, "n1", |_, _| Ok(()));
        read.err().map(|error| error.to_string())
    };
    assert_eq!(
        said("export:\n  endpoint: https://c:4317\n").unwrap(),
        "a:1: export.ca_file: must be given for https://c:4317: no authorities are trusted but those in it"
    );
    assert_eq!(
        said("export: { endpoint: 'https://c:4317', ca_file: /ca }"),
        None
    );
    assert_eq!(said("export: { endpoint: 'http://127.0.0.1:4317' }"), None);
    let told = said("export: { endpoint: 'https://name:pass@c:4317' }").unwrap();
    assert_eq!(
        told,
        "a:1: export.endpoint: must have no user and no password: the collector knows an agent by its token\n\
         a:1: export.ca_file: must be given for an https:// endpoint: no authorities are trusted but those in it"
    );
    for wrong in [
        "https://c:4317/?token=hunter2",
        "https://c:4317/hunter2",
        "https://c:hunter2",
        "https://hunter2",
    ] {
        let told = said(&format!("export: {{ endpoint: '{wrong}' }}")).unwrap();
        assert!(
            told.contains("ca_file: must be given for an https:// endpoint"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }
}

/// What the reader took before it is still taken.
#[test]
fn what_is_read_as_a_whole_is_not_diagnosed() {
    let config = Config::parse("a", "node: 12\nexport: { insecure: yes }\n").unwrap();
    assert_eq!((config.node.as_str(), config.export.insecure), ("12", true));
}

#[test]
fn a_text_that_is_no_settings_says_where_reading_stopped() {
    check("node: a\nusage: [", &[":2: unclosed bracket '['"]);
    check("usage:\n", &[":1: usage: must be a section of settings"]);
    check(
        "- usage\n",
        &[":1: must be settings, as `usage:` and below it `  interval_ms: 1000`"],
    );
    check(
        "usage:\n  rescan_s: 5\n  rescan_s: 6\n",
        &[":3: usage.rescan_s: is given twice, first in line 2"],
    );
}

#[test]
fn the_name_of_a_node() {
    let long = "n".repeat(253);
    for fine in ["a", "ip-10-0-0-5.ec2.internal", "My_Laptop", "7", &long] {
        check(&format!("node: '{fine}'\n"), &[]);
    }
    let must = ":1: node: must be a node's name: 253 letters, digits, `-`, `.` and `_` at the most, the \
                first and the last a letter or digit";
    for bad in ["a/b", "a b", "-a", "a.", "n\u{f6}", &format!("{long}n")] {
        check(&format!("node: '{bad}'\n"), &[must]);
    }
}
