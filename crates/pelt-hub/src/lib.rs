//! Files of models, adapters and data sets from the Hugging Face Hub.
//!
//! [`Hub::fetch`] gives a folder that holds the wanted files of a [`Repository`], all of one commit. What lies in the cache is
//! taken from there without asking anybody. What does not is fetched into the cache that Hugging Face's own libraries use, so
//! that both find each other's files. A download that broke off goes on where it was; one that is complete gets its place only
//! if it has the digest that the Hub announced.
//!
//! Nothing that a server says is believed before it is checked: neither names, which become paths, nor sizes.
//!
//! ```
//! use pelt_hub::{Hub, Repository, model_files};
//!
//! let cache = tempfile::tempdir()?;
//! let hub = Hub {
//!     offline: true,
//!     ..Hub::new(cache.path().to_path_buf())
//! };
//! let repository = Repository::model("sentence-transformers/all-MiniLM-L6-v2@main")?;
//! let error = hub.fetch(&repository, &model_files, &mut ()).unwrap_err();
//! assert!(error.to_string().contains("config.json"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod choose;
mod client;
mod digest;
mod error;
mod hub;
mod progress;
mod repository;

pub use cache::repository_of;
pub use choose::{Choose, adapter_files, model_files};
pub use error::HubError;
pub use hub::{DEFAULT_ENDPOINT, Hub};
pub use progress::Progress;
pub use repository::{Repository, RepositoryKind};
