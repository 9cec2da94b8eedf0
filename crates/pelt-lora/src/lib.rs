//! LoRA: low-rank updates of frozen linear layers
