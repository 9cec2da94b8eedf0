//! Fixtures and helpers for the tests of this workspace
