//! What of the log is wanted: a level, or `module=level` pairs. Pure.
//!
//! The reader of filters behind it takes a bare word that is no level for the name of a module, and
//! then logs nothing else: `inof` silences everything. So what it is given is judged here first.

/// Levels, from least to most.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter that can be handed on: of nothing `info`, else the levels in lower case.
///
/// # Errors
/// What is wrong with the first part that cannot be used.
pub fn log_filter(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok("info".to_owned());
    }
    let parts: Result<Vec<String>, String> = text.split(',').map(part).collect();
    Ok(parts?.join(","))
}

fn part(text: &str) -> Result<String, String> {
    let text = text.trim();
    let level = |word: &str| {
        let word = word.trim();
        LEVELS
            .into_iter()
            .find(|level| level.eq_ignore_ascii_case(word))
            .ok_or_else(|| {
                format!(
                    "`{}` is no level: {}",
                    word.escape_debug(),
                    LEVELS.join(", ")
                )
            })
    };
    let Some((module, word)) = text.split_once('=') else {
        return level(text).map(str::to_owned);
    };
    let module = module.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    if module.is_empty() || !module.chars().all(is_name) {
        return Err(format!(
            "`{}` is no name of a module",
            module.escape_debug()
        ));
    }
    Ok(format!("{module}={}", level(word)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_pairs_are_taken_in_any_case_and_nothing_is_info() {
        for (text, filter) in [
            ("", "info"),
            (" \n", "info"),
            ("WARN", "warn"),
            ("Debug", "debug"),
            ("off", "off"),
            ("info, h2::client = Off", "info,h2::client=off"),
            ("plimsoll_agent=trace", "plimsoll_agent=trace"),
        ] {
            assert_eq!(log_filter(text).as_deref(), Ok(filter), "{text:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_module() {
        let levels = "off, error, warn, info, debug, trace";
        for (text, why) in [
            ("inof", format!("`inof` is no level: {levels}")),
            ("Warning", format!("`Warning` is no level: {levels}")),
            ("info,", format!("`` is no level: {levels}")),
            ("h2=", format!("`` is no level: {levels}")),
            ("info,h2=loud", format!("`loud` is no level: {levels}")),
            ("=info", "`` is no name of a module".to_owned()),
            ("a b=info", "`a b` is no name of a module".to_owned()),
        ] {
            assert_eq!(log_filter(text), Err(why), "{text:?}");
        }
    }
}
