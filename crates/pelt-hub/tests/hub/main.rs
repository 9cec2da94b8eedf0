//! Fetching from a server on this machine that answers as the Hub does, and as it should not.

#![allow(clippy::unwrap_used)] // Helpers of tests may unwrap as tests do.

mod server;

use std::path::{Path, PathBuf};

use pelt_hub::{Hub, HubError, Progress, Repository, adapter_files, model_files};
use tempfile::TempDir;

use server::{COMMIT, Manner, Server};

const CONFIG: &[u8] = b"{\"model_type\":\"bert\"}";

/// A server with a model, and a client with an empty cache.
struct Setting {
    server: Server,
    hub: Hub,
    _folder: TempDir,
}

fn weights() -> Vec<u8> {
    (0..100_000_u32)
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn setting(weights_manner: Manner) -> Setting {
    let server = Server::start();
    server.add("config.json", CONFIG, Manner::default());
    server.add("README.md", b"not needed", Manner::default());
    server.add("tokenizer.json", b"{}", Manner::default());
    server.add("model.safetensors", &weights(), weights_manner);
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub {
        endpoint: server.address.clone(),
        ..Hub::new(folder.path().join("hub"))
    };
    Setting {
        server,
        hub,
        _folder: folder,
    }
}

impl Setting {
    fn fetch(&self) -> Result<PathBuf, HubError> {
        let repository = Repository::model("owner/name").unwrap();
        self.hub.fetch(&repository, &model_files, &mut ())
    }

    fn offline(&self) -> Hub {
        Hub {
            offline: true,
            ..self.hub.clone()
        }
    }

    fn blobs(&self) -> Vec<String> {
        let folder = self.hub.cache.join("models--owner--name/blobs");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }
}

fn assert_whole(folder: &Path) {
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
}

#[test]
fn a_model_is_fetched_once_and_then_found_without_the_server() {
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    assert_whole(&folder);
    assert!(folder.ends_with(format!("models--owner--name/snapshots/{COMMIT}")));
    assert_eq!(
        pelt_hub::repository_of(&folder).as_deref(),
        Some("owner/name")
    );
    assert!(!folder.join("README.md").exists());
    let asked = setting.server.requests().len();
    assert_eq!(setting.fetch().unwrap(), folder);
    assert_eq!(setting.server.requests().len(), asked);
    let repository = Repository::model("owner/name").unwrap();
    let found = setting.offline().fetch(&repository, &model_files, &mut ());
    assert_eq!(found.unwrap(), folder);
    let commit = Repository::model(&format!("owner/name@{COMMIT}")).unwrap();
    let found = setting.offline().fetch(&commit, &model_files, &mut ());
    assert_eq!(found.unwrap(), folder);
    assert_eq!(setting.blobs().len(), 3, "{:?}", setting.blobs());
}

#[test]
fn progress_is_told_in_bytes() {
    #[derive(Default)]
    struct Counted(Vec<(String, u64, u64)>);
    impl Progress for Counted {
        fn begin(&mut self, file: &str, bytes: u64) {
            self.0.push((file.into(), bytes, 0));
        }
        fn advance(&mut self, bytes: u64) {
            self.0.last_mut().unwrap().2 += bytes;
        }
    }
    let setting = setting(Manner::default());
    let mut counted = Counted::default();
    let repository = Repository::model("owner/name").unwrap();
    setting
        .hub
        .fetch(&repository, &model_files, &mut counted)
        .unwrap();
    let last = counted.0.last().unwrap();
    assert_eq!(last, &("model.safetensors".to_string(), 400_000, 400_000));
}

#[test]
fn redirects_are_followed() {
    let setting = setting(Manner {
        redirected: true,
        ..Manner::default()
    });
    assert_whole(&setting.fetch().unwrap());
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let setting = setting(Manner {
        breaks: Some((150_000, 2)),
        ..Manner::default()
    });
    assert_whole(&setting.fetch().unwrap());
    let requests = setting.server.requests();
    let went_on = |request: &String| request.ends_with("/model.safetensors 150000-");
    assert!(requests.iter().any(went_on), "{requests:?}");
}

#[test]
fn a_download_that_keeps_breaking_off_leaves_what_the_next_command_goes_on_from() {
    let setting = setting(Manner {
        breaks: Some((50_000, 3)),
        ..Manner::default()
    });
    let error = setting.fetch().unwrap_err();
    assert!(matches!(error, HubError::BrokenOff { .. }), "{error:?}");
    assert!(
        error.to_string().contains("owner/name/model.safetensors"),
        "{error}"
    );
    let repository = Repository::model("owner/name").unwrap();
    let offline = setting.offline().fetch(&repository, &model_files, &mut ());
    assert!(offline.is_err(), "an unfinished download does not count");
    assert_whole(&setting.fetch().unwrap());
    let requests = setting.server.requests();
    assert!(
        requests.last().unwrap().ends_with(" 150000-"),
        "{requests:?}"
    );
}

#[test]
fn a_part_that_is_spoilt_is_fetched_again() {
    for (content, ignores_ranges) in [
        (vec![7; 1000], false),
        (vec![7; 500_000], false),
        (weights(), false),
        (weights()[..1000].to_vec(), true),
    ] {
        let length = content.len();
        let setting = setting(Manner {
            ignores_ranges,
            ..Manner::default()
        });
        let folder = setting.fetch().unwrap();
        let blob = std::fs::canonicalize(folder.join("model.safetensors")).unwrap();
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(blob.with_extension("part"), content).unwrap();
        assert_whole(
            &setting
                .fetch()
                .unwrap_or_else(|error| panic!("{length}: {error}")),
        );
    }
}

#[test]
fn a_file_with_another_digest_is_removed() {
    for announced in ["0".repeat(64), "0".repeat(40)] {
        let setting = setting(Manner {
            announced: Some(announced.clone()),
            ..Manner::default()
        });
        let error = setting.fetch().unwrap_err();
        assert!(matches!(error, HubError::Digest { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("model.safetensors") && text.contains(&announced),
            "{text}"
        );
        // Configuration and tokenizer are there, and nothing is left of the weights.
        assert_eq!(setting.blobs().len(), 2, "{:?}", setting.blobs());
        assert!(setting.fetch().is_err());
    }
}

#[test]
fn a_file_whose_digest_was_never_compared_is_fetched_again() {
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    let blob = std::fs::canonicalize(folder.join("model.safetensors")).unwrap();
    std::fs::write(&blob, "cut off").unwrap();
    std::fs::write(blob.with_extension("unverified"), "").unwrap();
    assert_whole(&setting.fetch().unwrap());
}

#[test]
fn a_repository_that_is_not_public_needs_its_token() {
    let setting = setting(Manner::default());
    setting.server.ask_for("secret");
    let error = setting.fetch().unwrap_err();
    assert!(
        matches!(error, HubError::NoRepository { status: 401, .. }),
        "{error:?}"
    );
    let hub = Hub {
        token: Some("secret".into()),
        ..setting.hub.clone()
    };
    let repository = Repository::model("owner/name").unwrap();
    assert_whole(&hub.fetch(&repository, &model_files, &mut ()).unwrap());
}

#[test]
fn what_is_not_there_is_said_with_the_place_where_it_would_be() {
    let setting = setting(Manner::default());
    let fetch = |hub: &Hub, name: &str| {
        let repository = Repository::model(name).unwrap();
        hub.fetch(&repository, &model_files, &mut ())
            .unwrap_err()
            .to_string()
    };
    let text = fetch(&setting.hub, "owner/other");
    assert!(
        text.contains("404") && text.contains("models--owner--other"),
        "{text}"
    );
    let text = fetch(&setting.offline(), "owner/name");
    for part in ["config.json", "models--owner--name", "offline"] {
        assert!(text.contains(part), "{text}");
    }
    let repository = Repository::model("owner/name").unwrap();
    let lacks = setting.hub.fetch(&repository, &adapter_files, &mut ());
    assert!(matches!(lacks, Err(HubError::Lacks { .. })), "{lacks:?}");
    // A port on which nobody listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let hub = Hub {
        endpoint: format!("http://{nobody}"),
        ..setting.hub.clone()
    };
    let text = fetch(&hub, "owner/name");
    assert!(
        text.contains("cannot be reached") && text.contains("config.json"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_refused_is_named() {
    let setting = setting(Manner {
        status: Some(503),
        ..Manner::default()
    });
    let text = setting.fetch().unwrap_err().to_string();
    assert!(
        text.contains("owner/name/model.safetensors") && text.contains("503"),
        "{text}"
    );
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let outside = setting(Manner::default());
    outside
        .server
        .add("../../../elsewhere.json", b"{}", Manner::default());
    let error = outside.fetch().unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error:?}");

    let commit = setting(Manner::default());
    commit.server.set_commit("../../outside");
    let error = commit.fetch().unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error:?}");

    for tag in ["../../outside", "/outside", ""] {
        let tagged = setting(Manner {
            announced: Some(tag.into()),
            ..Manner::default()
        });
        let error = tagged.fetch().unwrap_err();
        assert!(
            matches!(error, HubError::Answer { .. }),
            "{tag:?}: {error:?}"
        );
    }
}

#[test]
fn a_redirect_to_nowhere_is_an_error_and_no_panic() {
    let setting = setting(Manner {
        status: Some(302),
        ..Manner::default()
    });
    assert!(setting.fetch().is_err());
}
