//! The registry of methods, and their file formats
