//! A file of weights on its way into a network.

use super::Parameters;
use crate::{Result, WeightsReader};

/// Takes the bytes of a file as they come, and packs each tensor that the network wants when its last byte has come.
#[derive(Default)]
pub struct WeightsFile {
    reader: WeightsReader,
    /// Whether the header has come, and what the network wants of it is known.
    named: bool,
    /// The tensors that the network has received.
    received: Vec<String>,
}

impl WeightsFile {
    /// The next bytes of the file, for a network with these parameters. Whether it has received tensors.
    ///
    /// # Errors
    /// When they are damaged or not supported, or the file is of another network, which its header tells; the file then has
    /// to begin anew, after what was [received](WeightsFile::received) is forgotten.
    pub(crate) fn push_to(&mut self, parameters: &mut Parameters, bytes: &[u8]) -> Result<bool> {
        let rest = self.reader.push_header(bytes)?;
        if !self.named
            && let Some(tensors) = self.reader.awaited()
        {
            parameters.name(&mut tensors.iter_mut())?;
            self.named = true;
        }
        self.reader.push(rest)?;
        let before = self.received.len();
        for (path, tensor) in self.reader.take() {
            parameters.receive(&path, tensor)?;
            self.received.push(path);
        }
        Ok(self.received.len() > before)
    }

    /// The file is complete. If it is not, it may begin anew: what was received of it is still known.
    ///
    /// # Errors
    /// When it is not.
    pub fn end(&mut self) -> Result<()> {
        std::mem::take(&mut self.reader).finish()?;
        *self = Self::default();
        Ok(())
    }

    /// The paths of the tensors that the network has received of it.
    pub fn received(&self) -> &[String] {
        &self.received
    }
}
