//! The training loop: optimiser, schedule, checkpoints, evaluation
