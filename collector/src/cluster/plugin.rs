//! The plugin (`exec`) of a kubeconfig's user, as messages name it. Pure.
//!
//! Of its command only the program is told: arguments and environment may hold secrets.

use std::error::Error;

use kube::client::AuthError;
use kube::config::AuthInfo;

/// Characters of a hint that are repeated.
const MAX_HINT: usize = 300;

/// `, plugin aws`, or nothing where there is none; with the kubeconfig's hint where it cannot be started.
pub fn named(user: &AuthInfo, failed: Option<&(dyn Error + 'static)>) -> String {
    let Some(exec) = &user.exec else {
        return String::new();
    };
    let command = exec.command.as_deref().unwrap_or("without a command");
    let hint = exec
        .install_hint
        .as_deref()
        .filter(|_| failed.is_some_and(is_not_started));
    match hint.map(one_line).filter(|hint| !hint.is_empty()) {
        Some(hint) => format!(", plugin {command}; how to install it: {hint}"),
        None => format!(", plugin {command}"),
    }
}

fn is_not_started(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(AuthError::AuthExecStart(_)) = error.downcast_ref() {
            return true;
        }
        next = error.source();
    }
    false
}

fn one_line(hint: &str) -> String {
    let words: Vec<&str> = hint.split_whitespace().collect();
    words.join(" ").chars().take(MAX_HINT).collect()
}
