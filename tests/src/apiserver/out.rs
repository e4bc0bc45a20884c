#![expect(
    clippy::disallowed_methods,
    reason = "shell: slow answers wait between their bytes"
)]
//! The body of an answer on its way: items are gathered into chunks and flushed, or go through the
//! fault that was scripted for them one by one.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::Socket;
use super::fault::{Fault, Point};
use super::store::Name;

/// A chunk is sent when it is as large as this.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks under way before the one who makes them waits.
const CHUNKS: usize = 2;
/// Until what was said before a reset has left.
const LEAVING: Duration = Duration::from_millis(20);

/// The client has left, or the fault has ended the answer.
#[derive(Debug)]
pub(super) struct Over;

/// What stands between two items.
#[derive(Clone, Copy, Debug)]
pub(super) enum Separator {
    /// A list's items.
    Comma,
    /// Events: each ends its line.
    Line,
}

#[derive(Debug)]
pub(super) struct Out {
    sender: mpsc::Sender<io::Result<Bytes>>,
    separator: Separator,
    fault: Option<Fault>,
    socket: Socket,
    buffer: String,
    /// Items that were sent, those of the fault not counted.
    items: usize,
    /// Whether no item was written yet.
    first: bool,
    held: Option<(Name, String)>,
}

impl Out {
    pub(super) fn new(separator: Separator, fault: Option<Fault>, socket: Socket) -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let out = Self {
            sender,
            separator,
            fault,
            socket,
            buffer: String::new(),
            items: 0,
            first: true,
            held: None,
        };
        (out, Body::from_stream(ReceiverStream::new(receiver)))
    }

    /// When the client has left.
    pub(super) async fn left(&self) {
        self.sender.closed().await;
    }

    /// Bytes that are no item: the head and the end of a list.
    pub(super) async fn raw(&mut self, text: &str) -> Result<(), Over> {
        self.buffer.push_str(text);
        self.when_large().await
    }

    /// An event of no object: it overtakes none.
    pub(super) async fn bookmark(&mut self, text: String) -> Result<(), Over> {
        self.release().await?;
        if matches!(self.fault, Some(Fault::Swapped)) {
            return self.write(&text).await;
        }
        self.item(&Name::default(), text).await
    }

    /// An item of a list, or an event.
    pub(super) async fn item(&mut self, of: &Name, text: String) -> Result<(), Over> {
        match self.fault.clone() {
            None => self.write(&text).await,
            Some(Fault::Twice) => {
                self.write(&text).await?;
                self.write(&text).await
            }
            Some(Fault::Swapped) => match self.held.take() {
                Some((held, before)) if held != *of => {
                    self.write(&text).await?;
                    self.write(&before).await
                }
                Some((_, before)) => {
                    self.held = Some((of.clone(), text));
                    self.write(&before).await
                }
                None => {
                    self.held = Some((of.clone(), text));
                    Ok(())
                }
            },
            Some(Fault::Insert {
                at,
                text: odd,
                last,
            }) => {
                if self.items == at {
                    self.insert(&odd, last).await?;
                }
                self.write(&text).await
            }
            Some(Fault::Drip { bytes, pause }) => {
                self.write(&text).await?;
                self.drip(bytes, pause).await
            }
            Some(fault) => {
                self.at_point(&fault, &text).await?;
                self.write(&text).await?;
                self.at_point(&fault, "").await
            }
        }
    }

    /// What a fault does before the first item comes: some need none.
    pub(super) async fn begin(&mut self) -> Result<(), Over> {
        match self.fault.clone() {
            Some(Fault::Insert { at: 0, text, last }) => {
                self.insert(&text, last).await?;
                self.flush().await
            }
            Some(fault) => self.at_point(&fault, "").await,
            None => Ok(()),
        }
    }

    /// What was held back for its neighbour has none.
    async fn release(&mut self) -> Result<(), Over> {
        match self.held.take() {
            Some((_, text)) => self.write(&text).await,
            None => Ok(()),
        }
    }

    /// Everything up to here is on its way.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        if let Some((_, text)) = self.held.take() {
            self.items += 1;
            self.append(&text);
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Over> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.send(Ok(bytes)).await.map_err(|_| Over)
    }

    /// The end.
    pub(super) async fn end(mut self) -> Result<(), Over> {
        self.flush().await
    }

    async fn insert(&mut self, text: &str, last: bool) -> Result<(), Over> {
        self.write(text).await?;
        // Once: the items after it are not counted from the beginning again.
        self.fault = None;
        if last {
            self.flush().await?;
            return Err(Over);
        }
        Ok(())
    }

    async fn write(&mut self, text: &str) -> Result<(), Over> {
        self.items += 1;
        self.append(text);
        self.when_large().await
    }

    fn append(&mut self, text: &str) {
        match self.separator {
            Separator::Comma if self.first => self.buffer.push_str(text),
            Separator::Comma => {
                self.buffer.push(',');
                self.buffer.push_str(text);
            }
            Separator::Line => {
                self.buffer.push_str(text);
                self.buffer.push('\n');
            }
        }
        self.first = false;
    }

    async fn when_large(&mut self) -> Result<(), Over> {
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.send().await
    }

    async fn drip(&mut self, bytes: usize, pause: Duration) -> Result<(), Over> {
        let text = Bytes::from(std::mem::take(&mut self.buffer));
        for part in text.chunks(bytes.max(1)) {
            let part = Bytes::copy_from_slice(part);
            self.sender.send(Ok(part)).await.map_err(|_| Over)?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Ends the answer if this is the point; `next` is the item that would follow.
    async fn at_point(&mut self, fault: &Fault, next: &str) -> Result<(), Over> {
        let (Fault::Reset(point) | Fault::Cut(point) | Fault::Stall(point) | Fault::End(point)) =
            fault
        else {
            return Ok(());
        };
        let Point { items, bytes } = *point;
        if self.items != items || (next.is_empty() && bytes > 0) {
            return Ok(());
        }
        if bytes > 0 {
            let part: Vec<_> = next.bytes().take(bytes).collect();
            self.append(&String::from_utf8_lossy(&part));
            if matches!(self.separator, Separator::Line) {
                self.buffer.pop();
            }
        }
        self.flush().await?;
        match fault {
            Fault::Stall(_) => self.left().await,
            Fault::End(_) => {}
            _ => {
                tokio::time::sleep(LEAVING).await;
                if matches!(fault, Fault::Reset(_)) {
                    self.socket.reset_when_closed();
                }
                let cut = Err(io::Error::other("scripted"));
                self.sender.send(cut).await.map_err(|_| Over)?;
            }
        }
        Err(Over)
    }
}
