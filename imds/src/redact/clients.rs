//! Words that clients of metadata services put into their user agent, and that are therefore no
//! secret whatever stands in the bytes that were not captured.

/// Products, platforms and the keys that SDKs put before a value, in lower case.
const NAMES: &[&str] = &[
    "amazon-ssm-agent",
    "amd64",
    "api",
    "apn",
    "app",
    "arm64",
    "aws-cli",
    "aws-chalice",
    "aws-for-fluent-bit",
    "aws-sdk-cpp",
    "aws-sdk-dotnet",
    "aws-sdk-go",
    "aws-sdk-go-v2",
    "aws-sdk-java",
    "aws-sdk-js",
    "aws-sdk-kotlin",
    "aws-sdk-nodejs",
    "aws-sdk-php",
    "aws-sdk-ruby",
    "aws-sdk-ruby3",
    "aws-sdk-rust",
    "aws-sdk-swift",
    "boto",
    "boto3",
    "botocore",
    "bottlerocket",
    "cfg",
    "cloud-init",
    "cpython",
    "curl",
    "ec2imds",
    "exec-env",
    "ft",
    "go",
    "go-http-client",
    "goarch",
    "goos",
    "guzzlehttp",
    "hyper",
    "java",
    "javascript",
    "karpenter",
    "kotlin",
    "lang",
    "libcurl",
    "linux",
    "ls",
    "m",
    "md",
    "md/arch",
    "node",
    "okhttp",
    "openjdk",
    "os",
    "php",
    "prompt",
    "pyimpl",
    "python",
    "python-requests",
    "python-urllib",
    "retry-mode",
    "ruby",
    "rust",
    "standard",
    "legacy",
    "adaptive",
    "ua",
    "ureq",
    "vault",
    "wget",
    "x86_64",
];
/// Longest version, bytes.
const VERSION_BYTES: usize = 12;

/// Whether a word is made of known names and versions alone and begins with a name:
/// `Boto3/1.29.0`, `lang/go#1.21.5`.
pub(super) fn is_known(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| matches!(byte, b'/' | b'#'));
    parts.next().is_some_and(is_name) && parts.all(|part| is_version(part) || is_name(part))
}

fn is_name(part: &[u8]) -> bool {
    NAMES
        .iter()
        .any(|name| name.as_bytes().eq_ignore_ascii_case(part))
}

/// Digits and dots, with a `v` before them perhaps.
fn is_version(part: &[u8]) -> bool {
    let digits = part.strip_prefix(b"v").unwrap_or(part);
    (1..=VERSION_BYTES).contains(&digits.len())
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words() {
        for word in [
            "curl/8.5.0",
            "lang/go#1.21.5",
            "Boto3/1.29",
            "md/GOOS#linux",
            "ft/ec2imds",
        ] {
            assert!(is_known(word.as_bytes()), "{word}");
        }
        for word in [
            "hunter2",
            "curl/8.5.0-hunter2",
            "123456789012345",
            "curl8",
            "",
            "8",
            "curl//////",
        ] {
            assert!(!is_known(word.as_bytes()), "{word}");
        }
    }
}
