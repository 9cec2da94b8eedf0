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
    for manner in [
        Manner {
            redirected: Some(String::new()),
            ..Manner::default()
        },
        Manner {
            redirected: Some(String::new()),
            linked_size: true,
            ..Manner::default()
        },
        Manner {
            moved: true,
            weak: true,
            ..Manner::default()
        },
    ] {
        assert_whole(&setting(manner).fetch().unwrap());
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let elsewhere = Server::start();
    elsewhere.add("model.safetensors", &weights(), Manner::default());
    let setting = setting(Manner {
        redirected: Some(elsewhere.address.clone()),
        ..Manner::default()
    });
    // The small files are private and have another address there.
    let moved = Manner {
        moved: true,
        ..Manner::default()
    };
    setting.server.add("config.json", CONFIG, moved);
    setting.server.ask_for("secret");
    let with_token = |token: &str| Hub {
        token: Some(token.into()),
        ..setting.hub.clone()
    };
    let repository = Repository::model("owner/name").unwrap();
    // One that is refused is not one that is missing.
    let expired = with_token("expired").fetch(&repository, &model_files, &mut ());
    assert!(
        matches!(expired, Err(HubError::Token { .. })),
        "{expired:?}"
    );
    let hub = with_token("secret");
    assert_whole(&hub.fetch(&repository, &model_files, &mut ()).unwrap());
    let with_token = |request: &String| request.ends_with(" with token");
    assert!(setting.server.requests().iter().all(with_token));
    let requests = elsewhere.requests();
    assert!(
        !requests.is_empty() && !requests.iter().any(with_token),
        "{requests:?}"
    );
}

#[test]
fn an_empty_file_is_a_file() {
    let setting = setting(Manner::default());
    setting
        .server
        .add("special_tokens_map.json", b"", Manner::default());
    let folder = setting.fetch().unwrap();
    let content = std::fs::read(folder.join("special_tokens_map.json")).unwrap();
    assert!(content.is_empty());
}

#[test]
fn a_commit_that_was_not_asked_for_is_refused() {
    let setting = setting(Manner::default());
    let commit = "f".repeat(40);
    setting.server.also_answers_for(&commit);
    let repository = Repository::model(&format!("owner/name@{commit}")).unwrap();
    let error = setting.hub.fetch(&repository, &model_files, &mut ());
    assert!(matches!(error, Err(HubError::Answer { .. })), "{error:?}");
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
        assert!(!blob.with_extension("part").exists());
    }
}

#[test]
fn a_server_that_breaks_off_and_knows_no_ranges_is_asked_for_all_of_it_again() {
    let setting = setting(Manner {
        breaks: Some((150_000, 2)),
        ignores_ranges: true,
        ..Manner::default()
    });
    assert_whole(&setting.fetch().unwrap());
}

#[test]
fn a_part_that_is_whole_is_not_fetched_again() {
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    let link = folder.join("model.safetensors");
    let blob = std::fs::canonicalize(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::fs::rename(&blob, blob.with_extension("part")).unwrap();
    let before = setting.server.requests().len();
    assert_whole(&setting.fetch().unwrap());
    // The list, and what is announced of the file.
    assert_eq!(setting.server.requests().len(), before + 2);
}

#[test]
fn content_that_another_commit_had_is_not_fetched_again() {
    let setting = setting(Manner::default());
    setting.fetch().unwrap();
    let commit = "f".repeat(40);
    setting.server.set_commit(&commit);
    let repository = Repository::model(&format!("owner/name@{commit}")).unwrap();
    // The server has no address for that commit's list but its branch's.
    setting.server.also_answers_for(&commit);
    let folder = setting
        .hub
        .fetch(&repository, &model_files, &mut ())
        .unwrap();
    assert_whole(&folder);
    assert!(folder.ends_with(&commit));
    let contents = |request: &&String| request.ends_with("/model.safetensors 0-");
    let requests = setting.server.requests();
    // Announced twice, and sent once.
    assert_eq!(requests.iter().filter(contents).count(), 3, "{requests:?}");
}

#[test]
fn a_snapshot_that_another_library_began_is_completed() {
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    std::fs::remove_dir_all(setting.hub.cache.join("models--owner--name/listings")).unwrap();
    // It stays at its commit, whatever the branch is now.
    setting.server.also_answers_for(COMMIT);
    setting.server.add(
        "tokenizer_config.json",
        b"{\"do_lower_case\":false}",
        Manner::default(),
    );
    // Without the Hub it is as good as it gets.
    let repository = Repository::model("owner/name").unwrap();
    let offline = setting.offline().fetch(&repository, &model_files, &mut ());
    assert_eq!(offline.unwrap(), folder);
    let nobody = Hub {
        endpoint: nobody(),
        ..setting.hub.clone()
    };
    assert!(nobody.fetch(&repository, &model_files, &mut ()).is_ok());
    assert!(!folder.join("tokenizer_config.json").exists());
    assert_eq!(setting.fetch().unwrap(), folder);
    assert!(folder.join("tokenizer_config.json").exists());
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
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
fn a_link_that_leads_nowhere_is_replaced() {
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    let blob = std::fs::canonicalize(folder.join("model.safetensors")).unwrap();
    std::fs::remove_file(&blob).unwrap();
    assert_whole(&setting.fetch().unwrap());
    // A blob that somebody has spoilt, and no link to it.
    std::fs::write(&blob, "cut off").unwrap();
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert_whole(&setting.fetch().unwrap());
}

#[test]
fn a_file_that_another_program_is_fetching_is_waited_for() {
    #[derive(Default)]
    struct Waits(Vec<String>);
    impl Progress for Waits {
        fn wait(&mut self, file: &str) {
            self.0.push(file.into());
        }
    }
    let setting = setting(Manner::default());
    let folder = setting.fetch().unwrap();
    let link = folder.join("model.safetensors");
    let blob = std::fs::canonicalize(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    let lock = std::fs::File::create(blob.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let hub = setting.hub.clone();
    let waiting = std::thread::spawn(move || {
        let mut waits = Waits::default();
        let repository = Repository::model("owner/name").unwrap();
        let folder = hub.fetch(&repository, &model_files, &mut waits).unwrap();
        (folder, waits.0)
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!waiting.is_finished());
    drop(lock);
    let (folder, waits) = waiting.join().unwrap();
    assert_whole(&folder);
    assert_eq!(waits, ["model.safetensors"]);
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
    let hub = Hub {
        endpoint: nobody(),
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
fn a_file_for_those_with_access_says_so() {
    let setting = setting(Manner {
        status: Some(403),
        ..Manner::default()
    });
    let error = setting.fetch().unwrap_err();
    assert!(
        matches!(error, HubError::NoAccess { status: 403, .. }),
        "{error:?}"
    );
}

/// Everything below a folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let refused = |setting: &Setting| {
        let error = setting.fetch().unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error:?}");
        let folder = setting.hub.cache.parent().unwrap();
        let outside = |path: &&PathBuf| !path.starts_with(&setting.hub.cache);
        let everything = everything(folder);
        assert_eq!(everything.iter().find(outside), None);
        let weights = |path: &&PathBuf| path.ends_with("model.safetensors");
        assert_eq!(everything.iter().find(weights), None);
    };
    let outside = setting(Manner::default());
    outside
        .server
        .add("../../../elsewhere.json", b"{}", Manner::default());
    refused(&outside);

    let commit = setting(Manner::default());
    commit.server.set_commit("../../outside");
    refused(&commit);

    let place = tempfile::tempdir().unwrap();
    let absolute = place.path().join("outside").display().to_string();
    for tag in ["../../outside", &absolute, "", "abc", "a.unverified"] {
        refused(&setting(Manner {
            announced: Some(tag.into()),
            ..Manner::default()
        }));
    }
    assert!(everything(place.path()).is_empty());
}

#[test]
fn what_is_said_later_of_a_file_counts_for_nothing() {
    let place = tempfile::tempdir().unwrap();
    let setting = setting(Manner {
        later: Some(place.path().join("outside").display().to_string()),
        ..Manner::default()
    });
    assert_whole(&setting.fetch().unwrap());
    assert!(everything(place.path()).is_empty());
}

#[test]
fn a_file_that_is_longer_than_announced_is_refused() {
    let setting = setting(Manner {
        hides: 1000,
        ..Manner::default()
    });
    let text = setting.fetch().unwrap_err().to_string();
    assert!(text.contains("399000 bytes"), "{text}");
    let parts = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "part");
    assert_eq!(everything(&setting.hub.cache).iter().find(parts), None);
}

#[test]
fn redirects_to_nowhere_or_without_end_are_errors() {
    for place in ["", "/owner/name/resolve/x/model.safetensors"] {
        let setting = setting(Manner {
            sends_away: Some(place.into()),
            ..Manner::default()
        });
        let error = setting.fetch().unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error:?}");
    }
}

#[test]
fn a_token_is_shown_to_nobody() {
    let hub = Hub {
        token: Some("secret".into()),
        ..Hub::new(PathBuf::from("cache"))
    };
    assert!(!format!("{hub:?}").contains("secret"));
}
