#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the configuration file and the files it names, once"
)]
//! The configuration from its file.

use std::fs;
use std::path::Path;

use super::{Config, ConfigError};

/// Reads and checks a file, and whether the files that it names can be read; the defaults without one.
pub fn read(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| ConfigError(vec![format!("{name}: {error}")]))?;
    Config::parse_with_files(&name, &text, can_read)
}

/// So that a mistake ends the start, and not the first export.
fn can_read(path: &Path) -> Result<(), String> {
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Err("it is empty".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_token_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let (config, token) = (
            folder.path().join("agent.yaml"),
            folder.path().join("token"),
        );
        let text = format!("export:\n  token_file: {}\n", token.display());
        fs::write(&config, text).unwrap();
        let check = |why: Option<&str>| {
            let said = read(Some(&config)).err().map(|error| error.to_string());
            let (config, token) = (config.display(), token.display());
            let place = "2: export.token_file: must be a file that can be read";
            let want = why.map(|why| format!("{config}:{place}: {token}: {why}"));
            assert_eq!(said, want);
        };
        check(Some("No such file or directory (os error 2)"));
        fs::write(&token, "").unwrap();
        check(Some("it is empty"));
        fs::write(&token, "secret").unwrap();
        check(None);
        assert_eq!(read(None).unwrap(), Config::default());
        let error = read(Some(&folder.path().join("none.yaml"))).unwrap_err();
        assert!(
            error.to_string().contains("none.yaml: No such file"),
            "{error}"
        );
    }
}
