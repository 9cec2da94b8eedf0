//! GLUE metrics
