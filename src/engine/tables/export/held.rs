//! A store whose new files stay invisible until they are released: DataFusion ends a file well also when the query
//! behind it has failed, and a part of a result must not look like one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Writes go to `inner`, and appear there with [`HeldStore::release`]. What is not released goes with the store.
#[derive(Debug)]
pub struct HeldStore {
    inner: Arc<dyn ObjectStore>,
    held: Arc<Mutex<Vec<Held>>>,
}

/// A file that is written, but for its last step.
#[derive(Debug)]
enum Held {
    Small { location: Path, payload: PutPayload, options: PutOptions },
    Large(Upload),
}

/// An upload in parts. It is aborted if it is dropped.
#[derive(Debug)]
struct Upload(Option<Box<dyn MultipartUpload>>);

/// What the writer has of an upload.
#[derive(Debug)]
struct HeldUpload {
    upload: Upload,
    held: Arc<Mutex<Vec<Held>>>,
}

const NOTHING: PutResult = PutResult { e_tag: None, version: None };

impl HeldStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> HeldStore {
        HeldStore { inner, held: Arc::default() }
    }

    /// Makes everything appear that was written.
    pub async fn release(&self) -> Result<()> {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for file in held {
            match file {
                Held::Small { location, payload, options } => {
                    self.inner.put_opts(&location, payload, options).await?;
                }
                Held::Large(mut upload) => {
                    if let Some(inner) = &mut upload.0 {
                        inner.complete().await?;
                    }
                    upload.0 = None;
                }
            }
        }
        Ok(())
    }
}

fn hold(held: &Mutex<Vec<Held>>, file: Held) {
    held.lock().unwrap_or_else(PoisonError::into_inner).push(file);
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(%error, "parts of a file that was not finished could not be removed");
            }
        });
    }
}

#[async_trait]
impl MultipartUpload for HeldUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match &mut self.upload.0 {
            Some(upload) => upload.put_part(data),
            None => Box::pin(std::future::ready(Err(object_store::Error::NotImplemented {
                operation: "a part of a file that is complete".to_owned(),
                implementer: self.to_string(),
            }))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        hold(&self.held, Held::Large(Upload(self.upload.0.take())));
        Ok(NOTHING)
    }

    async fn abort(&mut self) -> Result<()> {
        match self.upload.0.take() {
            Some(mut upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ObjectStore for HeldStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        hold(&self.held, Held::Small { location: location.clone(), payload, options });
        Ok(NOTHING)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = Upload(Some(self.inner.put_multipart_opts(location, options).await?));
        Ok(Box::new(HeldUpload { upload, held: Arc::clone(&self.held) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for HeldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held {}", self.inner)
    }
}

impl fmt::Display for HeldUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held upload")
    }
}
