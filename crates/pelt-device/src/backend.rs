//! The backends, and which of them are compiled in.

/// A backend of burn that this project supports, with what it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The processor, in pure Rust, with the kernels of `pelt-ops`.
    Flex,
    /// LibTorch on the processor.
    TchCpu,
    /// LibTorch on NVIDIA's GPUs.
    TchCuda,
    /// CubeCL on NVIDIA's GPUs.
    Cuda,
    /// CubeCL on GPUs through Vulkan, in SPIR-V.
    Vulkan,
    /// CubeCL on Apple's GPUs.
    Metal,
    /// CubeCL on any GPU through WGPU: in WGSL, unless `vulkan` or `metal` is compiled in beside it and serves the GPU.
    Wgpu,
}

impl Backend {
    /// All of them, in the order in which a binary without `flex` chooses its default.
    pub const ALL: [Self; 7] = [
        Self::Flex,
        Self::TchCpu,
        Self::TchCuda,
        Self::Cuda,
        Self::Vulkan,
        Self::Metal,
        Self::Wgpu,
    ];

    /// Its name in front of a device's number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::TchCpu => "tch-cpu",
            Self::TchCuda => "tch-cuda",
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Wgpu => "wgpu",
        }
    }

    /// The cargo feature that compiles it in.
    pub fn feature(self) -> &'static str {
        match self {
            Self::TchCpu | Self::TchCuda => "tch",
            other => other.name(),
        }
    }

    /// Whether it is compiled in.
    pub fn is_built(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::TchCpu | Self::TchCuda => cfg!(feature = "tch"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// Whether it can have several devices, which are numbered from 0.
    pub fn is_numbered(self) -> bool {
        !matches!(self, Self::Flex | Self::TchCpu)
    }

    /// The backend of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// The name of its device of this number: `flex`, `cuda:0`.
    pub fn device_name(self, number: usize) -> String {
        match self.is_numbered() {
            true => format!("{}:{number}", self.name()),
            false => self.name().to_string(),
        }
    }

    /// What its devices are.
    pub fn description(self) -> &'static str {
        match self {
            Self::Flex => "the processor, in pure Rust",
            Self::TchCpu => "the processor, through LibTorch",
            Self::TchCuda => "an NVIDIA GPU, through LibTorch",
            Self::Cuda => "an NVIDIA GPU",
            Self::Vulkan => "a device of a Vulkan driver",
            Self::Metal => "a GPU of Apple's",
            Self::Wgpu => "a device of any graphics driver",
        }
    }

    /// What may be missing where it finds no device.
    pub fn why_none(self) -> &'static str {
        match self {
            Self::Flex | Self::TchCpu => "the processor was not found",
            Self::TchCuda => {
                "LibTorch sees no CUDA device; it needs a LibTorch built for CUDA, and NVIDIA's driver"
            }
            Self::Cuda => "no CUDA device was found; it needs NVIDIA's driver",
            Self::Vulkan => {
                "no Vulkan driver was found; it needs the Vulkan loader (libvulkan.so.1) and a driver that the loader knows"
            }
            Self::Metal => "no Metal device was found",
            Self::Wgpu => {
                "no graphics driver was found; on Linux it needs the Vulkan loader (libvulkan.so.1) and a driver that the loader knows"
            }
        }
    }
}
