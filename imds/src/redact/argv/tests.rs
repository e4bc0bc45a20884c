//! Command lines, and what is shown of them.

use super::*;
use crate::Key;

fn check(argv: &[&str], expected: &str) {
    let redactor = Redactor::new(&Key([7; 32]));
    let bytes = argv.join("\0") + "\0";
    let line = redactor.command_line(bytes.as_bytes(), 4096);
    // Sixteen hex digits in brackets are a hash.
    let mut shown = String::new();
    let mut rest = line.as_str();
    while let Some((before, hash)) = rest.split_once('[') {
        let is_hash = hash.get(..17).is_some_and(|hash| hash.ends_with(']'));
        shown.push_str(before);
        shown.push_str(if is_hash { "#" } else { "[" });
        rest = hash.get(17..).filter(|_| is_hash).unwrap_or(hash);
    }
    shown.push_str(rest);
    assert_eq!(shown, expected);
}

#[test]
fn options_and_variables() {
    check(&["app", "--password", "hunter2"], "app --password #");
    check(
        &["app", "--password", "hunter 2", "x"],
        "app --password # x",
    );
    check(&["app", "--password=hunter2", "-v"], "app --password=# -v");
    check(
        &["app", "--token=X", "--api-key", "k"],
        "app --token=# --api-key #",
    );
    check(&["app", "-Ddb.password=hunter2"], "app -Ddb.password=#");
    check(
        &["env", "PGPASSWORD=hunter2", "psql"],
        "env PGPASSWORD=# psql",
    );
    check(
        &["env", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=eu-west-1"],
        "env AWS_SECRET_ACCESS_KEY=# AWS_REGION=eu-west-1",
    );
    check(&["app", "pass:hunter2"], "app pass:#");
    check(
        &["app", "--token-file", "/a/b", "--auth-mode", "x"],
        "app --token-file /a/b --auth-mode x",
    );
    check(
        &["kubelet", "--authentication-token-webhook=true"],
        "kubelet --authentication-token-webhook=true",
    );
    check(
        &["app", "--private-key=abc", "--public-key=abc"],
        "app --private-key=# --public-key=abc",
    );
    check(&["secrets-driver", "x"], "secrets-driver x");
    check(&["app", "--password"], "app --password");
}

#[test]
fn short_options_of_known_programs() {
    check(
        &["/usr/bin/mysql", "-u", "root", "-phunter2", "db"],
        "/usr/bin/mysql -u root -p# db",
    );
    check(&["mysql", "-p", "db"], "mysql -p db");
    check(
        &["sshpass", "-p", "hunter2", "ssh", "h"],
        "sshpass -p # ssh h",
    );
    check(&["ss", "-p", "x"], "ss -p x");
    check(&["docker", "run", "-p80:80"], "docker run -p80:80");
    check(&["curl", "-u", "me:hunter2", "h"], "curl -u # h");
    check(
        &["sh", "-c", "cd /; mysql -phunter2 db"],
        "sh -c cd /; mysql -p# db",
    );
}

#[test]
fn headers_and_documents() {
    check(
        &["curl", "-H", "Authorization: Bearer a b", "x"],
        "curl -H Authorization: # x",
    );
    check(
        &["curl", "-H", "X-aws-ec2-metadata-token: abc"],
        "curl -H X-aws-ec2-metadata-token: #",
    );
    check(
        &["curl", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"],
        "curl -H X-aws-ec2-metadata-token-ttl-seconds: 60",
    );
    check(
        &["sh", "-c", "curl -H 'Authorization: Bearer a' h"],
        "sh -c curl -H 'Authorization: #' h",
    );
    check(
        &["app", r#"{"password": "hunter 2", "a":"b"}"#],
        r##"app {"password": "#", "a":"b"}"##,
    );
    check(
        &["sh", "-c", "x --password 'hunter 2' y"],
        "sh -c x --password '#' y",
    );
    check(
        &["sh", "-c", "PASSWORD='hunter 2' y"],
        "sh -c PASSWORD='#' y",
    );
    check(
        &["curl", "http://h/?token=abc&a=b"],
        "curl http://h/?token=#&a=b",
    );
}

#[test]
fn user_information_of_urls() {
    check(
        &["git", "clone", "https://me:hunter2@h/x"],
        "git clone https://#@h/x",
    );
    check(
        &["git", "clone", "https://ghp@h/x"],
        "git clone https://#@h/x",
    );
    check(&["psql", "postgres://u:p/w@h/x"], "psql postgres://#@h/x");
    check(&["x", "--url=https://u:p@h:80"], "x --url=https://#@h:80");
    check(
        &["x", "http://h:80/a@b", "http://[::1]:80/a@b"],
        "x http://h:80/a@b http://[::1]:80/a@b",
    );
    check(&["x", "--password=http://u:p@h"], "x --password=#");
    check(
        &["sh", "-c", "git clone 'https://u:p@h/x' y"],
        "sh -c git clone 'https://#@h/x' y",
    );
}

#[test]
fn key_material_by_its_shape() {
    let token = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3amR3w5w==";
    check(&["x", token, token.get(..20).unwrap()], "x # #");
    check(&["x", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], "x #");
    check(&["x", &format!("v={token}")], "x #");
    let long = "z".repeat(9000);
    check(&["x", "y", &long], &format!("x y {}", "z".repeat(4092)));
    let cut = format!("{}hunter", "a ".repeat(2045));
    check(&[&cut], "a ".repeat(2045).as_str());
}

#[test]
fn a_limit_cuts_after_blanking() {
    let redactor = Redactor::new(&Key([7; 32]));
    let line = redactor.command_line(b"app\0--password\0hunter2\0", 20);
    assert_eq!(line.len(), 20);
    assert!(!line.contains("hunter"), "{line}");
}

/// Each form in which a client takes a password, and its neighbours that are none.
#[test]
fn passwords_under_other_names() {
    let cases: &[(&str, &str)] = &[
        ("curl --user admin:hunter2 h", "curl --user # h"),
        ("curl --user=admin:hunter2 h", "curl --user=# h"),
        ("curl -uadmin:hunter2 h", "curl -u# h"),
        ("curl -su admin:hunter2 h", "curl -su # h"),
        ("curl -sSfuadmin:hunter2 h", "curl -sSfu# h"),
        ("curl --proxy-user p:hunter2 h", "curl --proxy-user # h"),
        ("curl -U p:hunter2 h", "curl -U # h"),
        ("curl --cookie a=hunter2 h", "curl --cookie # h"),
        ("curl -o out -s h", "curl -o out -s h"),
        ("curl -out h", "curl -out h"),
        ("curl --user-agent x h", "curl --user-agent x h"),
        (
            "docker login -u me -p hunter2 r",
            "docker login -u me -p # r",
        ),
        (
            "docker login --password-stdin r",
            "docker login --password-stdin r",
        ),
        ("docker run -p 80:80 i", "docker run -p 80:80 i"),
        (
            "helm registry login -phunter2 r",
            "helm registry login -p# r",
        ),
        (
            "aws configure set aws_secret_access_key hunter2",
            "aws configure set aws_secret_access_key #",
        ),
        (
            "aws configure set profile.x.aws_secret_access_key hunter2",
            "aws configure set profile.x.aws_secret_access_key #",
        ),
        (
            "aws --profile x configure set default.aws_session_token hunter2",
            "aws --profile x configure set default.aws_session_token #",
        ),
        (
            "aws configure set profile.x.region eu-west-1",
            "aws configure set profile.x.region eu-west-1",
        ),
        ("aws s3 ls", "aws s3 ls"),
        ("ldapsearch -x -whunter2", "ldapsearch -x -w#"),
        ("sqlcmd -U sa -P hunter2", "sqlcmd -U sa -P #"),
        ("mongosh -u me -p hunter2", "mongosh -u me -p #"),
        ("7z x -phunter2 a.7z", "7z x -p# a.7z"),
        ("app --db-pass hunter2", "app --db-pass #"),
        (
            "env DB_PASS=hunter2 DBPASS=hunter2 app",
            "env DB_PASS=# DBPASS=# app",
        ),
        (
            "sudo timeout 5 curl -u a:hunter2 h",
            "sudo timeout 5 curl -u # h",
        ),
        ("app --bypass x", "app --bypass x"),
        ("ncat --proxy-auth a:hunter2 h", "ncat --proxy-auth # h"),
        ("app --anonymous-auth --v 2", "app --anonymous-auth --v 2"),
        ("app --client-auth=need", "app --client-auth=need"),
        ("wget --http-password=hunter2 h", "wget --http-password=# h"),
        ("app url=db;Password=hunter2", "app url=db;Password=#"),
        ("app --set auth.token=hunter2", "app --set auth.token=#"),
    ];
    for (line, expected) in cases {
        check(&line.split(' ').collect::<Vec<_>>(), expected);
        let in_shell = format!("sh -c {expected}");
        check(&["sh", "-c", line], &in_shell);
    }
}

/// One program starts another, and each is read as itself.
#[test]
fn passwords_of_programs_that_others_start() {
    let cases: &[(&str, &str)] = &[
        ("docker exec db mysql -phunter2", "docker exec db mysql -p#"),
        (
            "podman exec -it db mysql -uroot -phunter2",
            "podman exec -it db mysql -uroot -p#",
        ),
        (
            "nerdctl exec db redis-cli -a hunter2 ping",
            "nerdctl exec db redis-cli -a # ping",
        ),
        (
            "docker run --rm curlimages/curl:8.1 -u a:hunter2 h",
            "docker run --rm curlimages/curl:8.1 -u # h",
        ),
        (
            "docker run -p 80:80 --name mysql -p3306:3306 i",
            "docker run -p 80:80 --name mysql -p3306:3306 i",
        ),
        (
            "kubectl exec db -- mysql -phunter2",
            "kubectl exec db -- mysql -p#",
        ),
        (
            "nsenter -t 1 -m mysql -phunter2",
            "nsenter -t 1 -m mysql -p#",
        ),
        ("sudo -u curl mysql -phunter2", "sudo -u curl mysql -p#"),
        ("curl -o mysql -u a:hunter2 h", "curl -o mysql -u # h"),
        ("sudo docker login -p hunter2 r", "sudo docker login -p # r"),
        (
            "sudo sshpass -p hunter2 docker ps",
            "sudo sshpass -p # docker ps",
        ),
        ("docker exec db ls -p", "docker exec db ls -p"),
    ];
    for (line, expected) in cases {
        check(&line.split(' ').collect::<Vec<_>>(), expected);
        check(&["sh", "-c", line], &format!("sh -c {expected}"));
    }
    check(
        &["sh", "-c", "mysqldump db; ls -p80"],
        "sh -c mysqldump db; ls -p80",
    );
}

#[test]
fn headers_in_every_spelling() {
    let headers: &[(&str, &str)] = &[
        ("Authorization: Bearer hunter2", "Authorization: #"),
        ("Authorization:Bearer hunter2", "Authorization:# #"),
        ("authorization:Basic dXNlcjpwYXNz", "authorization:# #"),
        ("X-Authorization:Bearer hunter2", "X-Authorization:# #"),
        (
            "Proxy-Authorization:Basic hunter2",
            "Proxy-Authorization:# #",
        ),
        ("X-Auth-Token:hunter2", "X-Auth-Token:#"),
        ("X-Auth-Token:  hunter2", "X-Auth-Token:  #"),
        ("X-Auth:Basic hunter2", "X-Auth:# #"),
        ("x-registry-auth: hunter2", "x-registry-auth: #"),
        ("Cookie:a=hunter2; b=hunter2", "Cookie:#; #"),
        ("X-Api-Key:hunter2 hunter3", "X-Api-Key:# #"),
        ("Accept:text/html, */*", "Accept:text/html, */*"),
        ("X-Auth-User:me and you", "X-Auth-User:me and you"),
    ];
    for (header, shown) in headers {
        for (options, joined) in [
            (["curl", "-H"], ""),
            (["curl", "--header"], ""),
            (["curl", "-s"], "-H"),
            (["curl", "-s"], "--header="),
            (["git", "-c"], "http.extraHeader="),
            (["http", "h"], ""),
        ] {
            let [program, option] = options;
            check(
                &[program, option, &format!("{joined}{header}"), "h"],
                &format!("{program} {option} {joined}{shown} h"),
            );
            for quote in ['\'', '"'] {
                check(
                    &[
                        "sh",
                        "-c",
                        &format!("{program} {option} {quote}{joined}{header}{quote} h; ls"),
                    ],
                    &format!("sh -c {program} {option} {quote}{joined}{shown}{quote} h; ls"),
                );
            }
            check(
                &[
                    "sh",
                    "-c",
                    &format!("sh -c \"{program} {option} {joined}'{header}' h\"; ls"),
                ],
                &format!("sh -c sh -c \"{program} {option} {joined}'{shown}' h\"; ls"),
            );
        }
    }
    // Not the first word of its argument, and in no quotes.
    for (before, header, shown) in [
        ("-H ", "Authorization:Bearer hunter2", "Authorization:# #"),
        ("--header ", "X-Auth:Bearer hunter2", "X-Auth:# #"),
        (
            "Accept: x, ",
            "authorization:Basic hunter2",
            "authorization:# #",
        ),
        ("Host: h ", "Cookie:a=b hunter2; c=hunter2", "Cookie:# #"),
        (
            "cat <<E ",
            "Proxy-Authorization:Basic hunter2",
            "Proxy-Authorization:# #",
        ),
    ] {
        check(
            &["app", &format!("{before}{header}")],
            &format!("app {before}{shown}"),
        );
    }
    check(
        &["sh", "-c", r#"curl -d '{"X-Auth": "hunter2", "a": "b"}' h"#],
        r##"sh -c curl -d '{"X-Auth": "#", "a": "b"}' h"##,
    );
}

/// In a script what is not quoted ends with its word.
#[test]
fn scripts() {
    check(
        &["sh", "-c", "openssl enc -pass pass:hunter2 -in a -out b"],
        "sh -c openssl enc -pass # -in a -out b",
    );
    check(
        &["sh", "-c", "cd '/a b' && app pass:hunter2 -in a"],
        "sh -c cd '/a b' && app pass:# -in a",
    );
    check(
        &["sh", "-c", r"curl -H X-Auth:Basic\ hunter2"],
        r"sh -c curl -H X-Auth:# #",
    );
}
