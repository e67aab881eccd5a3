//! The one error type of the engine.

/// What went wrong, in a sentence for the person who sees it: the thing, what was expected, what was found,
/// what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A weights file that is not well-formed safetensors, or does not hold the tensors a configuration asks for.
    #[error("The weights file {0}")]
    Weights(String),
    /// A `config.json` or `scheduler_config.json` that cannot be read or asks for something unsupported.
    #[error("{file}: {problem}")]
    Config {
        /// Which configuration, by its place in a diffusers pipeline folder.
        file: &'static str,
        /// What is wrong with it and what is supported.
        problem: String,
    },
    /// Settings of a run that the model or the scheduler cannot carry out.
    #[error("{0}")]
    Settings(String),
    /// Tensors whose shapes do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape {
        /// The operation, or the place in the network, that was given the tensors.
        op: String,
        /// The shape or relation it needs.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A file or folder that cannot be read or written, or is not what it should be.
    #[error("{path}: {problem}")]
    File {
        /// Where it is.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A saved state that cannot be gone on with.
    #[error("{0}")]
    State(String),
    /// No usable GPU, a GPU that is too small for the model, or one that was lost during a run.
    #[error("{0}")]
    Gpu(String),
}

impl Error {
    /// An [`Error::Shape`].
    pub(crate) fn shape(op: &str, expected: impl ToString, found: impl ToString) -> Self {
        Error::Shape { op: op.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// An [`Error::File`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn file(path: &std::path::Path, problem: impl ToString) -> Self {
        Error::File { path: path.display().to_string(), problem: problem.to_string() }
    }
}

/// A result with the engine's error.
pub type Result<T> = std::result::Result<T, Error>;
