//! The contract between a frozen encoder and the methods that adapt it
