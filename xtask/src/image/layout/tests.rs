use std::io::Read as _;

use super::*;
use crate::image::plan::COLLECTOR;

fn about() -> About {
    About {
        architecture: "amd64",
        epoch_s: 1_700_000_000,
        created: "2023-11-14T22:13:20Z".to_owned(),
        version: "1.2.3".to_owned(),
        revision: "0123abc".to_owned(),
        licence: "Apache-2.0".to_owned(),
    }
}

fn layers() -> Vec<Layer> {
    let base = Layer::from([
        (
            "etc/ssl/certs/ca.crt".to_owned(),
            Entry::File(b"authorities".to_vec()),
        ),
        ("var/lib/data".to_owned(), Entry::Own(65532)),
    ]);
    let top = Layer::from([(
        "program".to_owned(),
        Entry::Program(b"\x7fELF".repeat(1000)),
    )]);
    vec![base, top]
}

fn layout() -> Layout {
    Layout::of(&COLLECTOR, &about(), &layers()).unwrap()
}

fn json_at(layout: &Layout, path: &str) -> Value {
    serde_json::from_slice(&layout.files[path]).unwrap()
}

fn config(layout: &Layout) -> Value {
    let manifest = json_at(
        layout,
        &blob_path(&json_at(layout, "index.json")["manifests"][0]),
    );
    json_at(layout, &blob_path(&manifest["config"]))
}

#[test]
fn a_layout_is_what_the_specification_says() {
    let layout = layout();
    assert_eq!(
        layout.files["oci-layout"],
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    let index = json_at(&layout, "index.json");
    assert_eq!(
        (&index["schemaVersion"], &index["mediaType"]),
        (&json!(2), &json!(INDEX))
    );
    let named = &index["manifests"][0];
    assert_eq!(named["digest"], layout.digest.as_str());
    assert_eq!(
        named["platform"],
        json!({ "architecture": "amd64", "os": "linux" })
    );
    assert_eq!(
        named["annotations"]["org.opencontainers.image.ref.name"],
        "1.2.3"
    );
    let manifest = json_at(&layout, &blob_path(named));
    assert_eq!(manifest["config"]["mediaType"], CONFIG);
    let layers = manifest["layers"].as_array().unwrap();
    assert!(layers.iter().all(|layer| layer["mediaType"] == LAYER));
    for descriptor in layers.iter().chain([named, &manifest["config"]]) {
        let blob = &layout.files[&blob_path(descriptor)];
        assert_eq!(descriptor["digest"], digest(blob).as_str());
        assert_eq!(descriptor["size"], blob.len());
    }
    let sum: u64 = layers
        .iter()
        .map(|layer| layer["size"].as_u64().unwrap())
        .sum();
    assert_eq!(layout.compressed_bytes, sum);
    // Nothing but what is described.
    assert_eq!(layout.files.len(), 3 + layers.len() + 2);
    let docker = json_at(&layout, "manifest.json");
    assert_eq!(docker[0]["RepoTags"], json!(["plimsoll-collector:1.2.3"]));
    for path in docker[0]["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&docker[0]["Config"]])
    {
        assert!(layout.files.contains_key(path.as_str().unwrap()), "{path}");
    }
}

#[test]
fn a_configuration_says_how_it_is_started() {
    let config = config(&layout());
    let inner = &config["config"];
    assert_eq!(inner["User"], "65532:65532");
    assert_eq!(inner["Entrypoint"], json!(["/plimsoll-collector"]));
    assert_eq!(inner["Cmd"], json!(COLLECTOR.arguments));
    assert_eq!(
        inner["ExposedPorts"],
        json!({ "4317/tcp": {}, "8443/tcp": {} })
    );
    assert_eq!(
        inner["Labels"]["org.opencontainers.image.revision"],
        "0123abc"
    );
    assert_eq!(
        (&config["architecture"], &config["os"]),
        (&json!("amd64"), &json!("linux"))
    );
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
}

#[test]
fn layers_have_sorted_entries_fixed_times_and_numbers_for_owners() {
    let layout = layout();
    let manifest = json_at(
        &layout,
        &blob_path(&json_at(&layout, "index.json")["manifests"][0]),
    );
    let mut found = Vec::new();
    for (layer, id) in manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(config(&layout)["rootfs"]["diff_ids"].as_array().unwrap())
    {
        let mut tar = Vec::new();
        let gzip = layout.files[&blob_path(layer)].as_slice();
        flate2::read::GzDecoder::new(gzip)
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(id.as_str().unwrap(), digest(&tar));
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            assert_eq!(header.uid().unwrap(), header.gid().unwrap());
            let path = entry.path().unwrap().display().to_string();
            found.push(format!(
                "{path} {:o} {}",
                header.mode().unwrap(),
                header.uid().unwrap()
            ));
        }
    }
    let expected = [
        "etc/ 755 0",
        "etc/ssl/ 755 0",
        "etc/ssl/certs/ 755 0",
        "etc/ssl/certs/ca.crt 644 0",
        "var/ 755 0",
        "var/lib/ 755 0",
        "var/lib/data/ 700 65532",
        "program 755 0",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_same_input_makes_the_same_bytes_and_another_does_not() {
    assert_eq!(layout(), layout());
    assert_eq!(layout().archive(7).unwrap(), layout().archive(7).unwrap());
    let mut later = about();
    later.epoch_s += 1;
    let other = Layout::of(&COLLECTOR, &later, &layers()).unwrap();
    assert_ne!(other.digest, layout().digest);
}

#[test]
fn an_archive_holds_the_layout() {
    let layout = layout();
    let tar = layout.archive(0).unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
    }
    assert_eq!(files, layout.files);
}

#[test]
fn a_layout_is_read_back_and_a_changed_one_is_refused() {
    use crate::image::check::unpack;
    let folder = std::env::temp_dir().join(format!("plimsoll-layout-{}", std::process::id()));
    let mut layout = layout();
    // As root its folders are given to their users; what is compared here is what lies in them.
    let config = unpack(&layout, &folder);
    let read = std::fs::read(folder.join("program"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(config.unwrap()["config"]["User"], "65532:65532");
    assert_eq!(read.unwrap(), b"\x7fELF".repeat(1000));

    let manifest = json_at(
        &layout,
        &blob_path(&json_at(&layout, "index.json")["manifests"][0]),
    );
    let layer = blob_path(&manifest["layers"][1]);
    *layout.files.get_mut(&layer).unwrap().last_mut().unwrap() ^= 1;
    let error = unpack(&layout, &folder).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.contains("of another digest"), "{error}");
}
