//! Reading and writing tensor files: safetensors and PyTorch checkpoints
