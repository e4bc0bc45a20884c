//! One file of one container: open, opened for each read, or not there.

use std::os::fd::OwnedFd;

use crate::cgroup::fs::{Buffer, Folder, FsError};

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    name: &'static str,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(OwnedFd),
    ByName,
    Absent,
}

impl Slot {
    /// A file that is not there.
    pub(super) const fn absent(name: &'static str) -> Self {
        Self {
            name,
            state: State::Absent,
        }
    }

    /// Looks for a file in a folder; keeps it open while `left` descriptors remain.
    pub(super) fn keep(
        folder: Option<&Folder>,
        name: &'static str,
        left: &mut usize,
    ) -> Result<Self, FsError> {
        let Some(file) = folder
            .map(|folder| folder.file(name))
            .transpose()?
            .flatten()
        else {
            return Ok(Self::absent(name));
        };
        let state = if *left > 0 {
            *left -= 1;
            State::Open(file)
        } else {
            State::ByName
        };
        Ok(Self { name, state })
    }

    /// Looks for a file that is read seldom, so that 4.5 KiB of kernel memory cost more than an open.
    pub(super) fn seldom(folder: Option<&Folder>, name: &'static str) -> Result<Self, FsError> {
        Self::keep(folder, name, &mut 0)
    }

    /// Keeps a seldom file open for a while, if one descriptor is left. True if it does now.
    pub(super) fn hold(&mut self, folder: Option<&Folder>, left: usize) -> Result<bool, FsError> {
        if left == 0 || !self.is_by_name() {
            return Ok(false);
        }
        let mut left = 1;
        *self = Self::keep(folder, self.name, &mut left)?;
        Ok(self.is_open())
    }

    /// Closes the file; from now on it is opened for each read. True if it was open.
    pub(super) fn let_go(&mut self) -> bool {
        let was_open = self.is_open();
        if was_open {
            self.state = State::ByName;
        }
        was_open
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) const fn is_by_name(&self) -> bool {
        matches!(self.state, State::ByName)
    }

    /// The file's bytes; `None` if it is not there or has nothing to show.
    pub(super) fn read<'b>(
        &self,
        folder: Option<&Folder>,
        buffer: &'b mut Buffer,
    ) -> Result<Option<&'b [u8]>, FsError> {
        match &self.state {
            State::Absent => Ok(None),
            State::Open(file) => buffer.read(file, self.name),
            // It was there when the container was added: the folder is gone.
            State::ByName => match folder
                .map(|folder| folder.file(self.name))
                .transpose()?
                .flatten()
            {
                Some(file) => buffer.read(&file, self.name),
                None => Err(FsError::Gone),
            },
        }
    }
}
