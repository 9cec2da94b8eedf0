//! How many vectors, where they go and how they start.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use pelt_hooks::{ConfigError, EncoderShape, PromptPlace, normal, uniform};
use serde::{Deserialize, Serialize};

use crate::PromptTuning;

const METHOD: &str = "prompt";

/// How the prompt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptInit {
    /// Uniform in ±0.5 (AdapterHub).
    #[default]
    RandomUniform,
    /// N(0, 1) (PEFT).
    RandomNormal,
    /// The word embeddings of `prompt_init_text`, special tokens included.
    FromString,
    /// Word embeddings of random rows of the vocabulary.
    SampledVocab,
}

impl PromptInit {
    /// Whether [`PromptConfig::init_with`] has to be given rows of the word-embedding table.
    pub fn needs_rows(self) -> bool {
        matches!(self, Self::FromString | Self::SampledVocab)
    }

    fn name(self) -> &'static str {
        match self {
            Self::RandomUniform => "random_uniform",
            Self::RandomNormal => "random_normal",
            Self::FromString => "from_string",
            Self::SampledVocab => "sampled_vocab",
        }
    }
}

/// Where the prompt goes in a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// In front of it.
    #[default]
    Prefix,
    /// Behind its first token, which heads then still read.
    PrefixAfterBos,
}

/// Settings of [`PromptTuning`]; the names are AdapterHub's where it has the setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptConfig {
    /// Number of vectors. Default 10.
    pub prompt_length: usize,
    /// How they start. Default `random_uniform`.
    pub prompt_init: PromptInit,
    /// The text for `prompt_init = "from_string"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_init_text: Option<String>,
    /// Where they go. Default `prefix`.
    pub combine: Combine,
    /// Whether they are put among the word embeddings, where they get positions, token types, norm and dropout like
    /// words (PEFT), instead of behind the embedding block (AdapterHub). Default false.
    pub word_embeddings: bool,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            prompt_length: 10,
            prompt_init: PromptInit::RandomUniform,
            prompt_init_text: None,
            combine: Combine::Prefix,
            word_embeddings: false,
        }
    }
}

impl PromptConfig {
    /// Checks the settings against an encoder.
    ///
    /// # Errors
    /// If the length is out of range, or two settings exclude each other.
    pub fn validate(&self, shape: &EncoderShape) -> Result<(), ConfigError> {
        // Prompts among the word embeddings take positions, of which one must be left for a real token.
        let longest = shape
            .max_positions
            .saturating_sub(usize::from(self.word_embeddings));
        if self.prompt_length == 0 || self.prompt_length > longest {
            let expected = format!("from 1 to {longest}");
            let found = self.prompt_length;
            return Err(ConfigError::new(METHOD, "prompt_length", expected, found));
        }
        if self.word_embeddings && self.combine != Combine::Prefix {
            let expected = "`prefix` together with word_embeddings";
            return Err(ConfigError::new(
                METHOD,
                "combine",
                expected,
                "`prefix_after_bos`",
            ));
        }
        let text = self.prompt_init_text.as_deref().unwrap_or_default();
        if self.prompt_init == PromptInit::FromString && text.is_empty() {
            let expected = "a text for prompt_init = \"from_string\"";
            return Err(ConfigError::new(
                METHOD,
                "prompt_init_text",
                expected,
                "empty",
            ));
        }
        Ok(())
    }

    /// Creates the parameters on `device`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and where `prompt_init` copies word embeddings: use
    /// [`init_with`](Self::init_with) then.
    pub fn init(&self, shape: &EncoderShape, device: &Device) -> Result<PromptTuning, ConfigError> {
        self.init_with(shape, device, None)
    }

    /// Creates the parameters on `device`, from `rows` of the word-embedding table where `prompt_init` asks for them.
    ///
    /// # Shapes
    /// `rows`: `[k, d]` with any `k` from 1, repeated or cut to `prompt_length`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and if rows are needed but missing, empty or of another width.
    pub fn init_with(
        &self,
        shape: &EncoderShape,
        device: &Device,
        rows: Option<Tensor<2>>,
    ) -> Result<PromptTuning, ConfigError> {
        self.validate(shape)?;
        let size = [self.prompt_length, shape.hidden_size];
        let embedding = match self.prompt_init {
            PromptInit::RandomUniform => uniform(size, 0.5, device),
            PromptInit::RandomNormal => normal(size, 1.0, device),
            PromptInit::FromString | PromptInit::SampledVocab => {
                // Moving a plain tensor to a device with autodiff would leave it plain, so the values are read instead.
                let rows = self.fit(shape, rows)?.into_data();
                Param::from_tensor(Tensor::from_data(rows, device))
            }
        };
        Ok(PromptTuning {
            embedding,
            place: match (self.word_embeddings, self.combine) {
                (true, _) => PromptPlace::BeforeWordEmbeddings,
                (false, Combine::Prefix) => PromptPlace::BeforeSequence,
                (false, Combine::PrefixAfterBos) => PromptPlace::AfterFirstToken,
            },
        })
    }

    /// Repeats or cuts `rows` to the prompt's length.
    fn fit(&self, shape: &EncoderShape, rows: Option<Tensor<2>>) -> Result<Tensor<2>, ConfigError> {
        let error = |expected: String| {
            let found = format!("`{}`", self.prompt_init.name());
            Err(ConfigError::new(METHOD, "prompt_init", expected, found))
        };
        let Some(rows) = rows else {
            return error("a random one where no word embeddings are given".into());
        };
        let [count, width] = rows.dims();
        if count == 0 || width != shape.hidden_size {
            let d = shape.hidden_size;
            return error(format!(
                "a random one, or given word embeddings of at least one row and width {d} \
                 instead of [{count}, {width}]"
            ));
        }
        let repeats = self.prompt_length.div_ceil(count);
        let repeated = rows.without_autodiff().repeat_dim(0, repeats);
        Ok(repeated.narrow(0, 0, self.prompt_length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelt_hooks::{EncoderHooks, Method};

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 3,
        heads: 1,
        intermediate_size: 4,
        vocab_size: 10,
        max_positions: 16,
        pooler: true,
    };

    fn config(prompt_init: PromptInit) -> PromptConfig {
        PromptConfig {
            prompt_length: 5,
            prompt_init,
            prompt_init_text: Some("a text".into()),
            ..PromptConfig::default()
        }
    }

    fn values(prompt: &PromptTuning) -> Vec<f32> {
        prompt.embedding.val().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_file_gives_the_fields_that_differ_from_the_defaults() {
        let text =
            "prompt_length = 4\ncombine = \"prefix_after_bos\"\nprompt_init = \"random_normal\"";
        let config: PromptConfig = toml::from_str(text).unwrap();
        assert_eq!(config.prompt_length, 4);
        assert_eq!(config.combine, Combine::PrefixAfterBos);
        assert_eq!(config.prompt_init, PromptInit::RandomNormal);
        let again: PromptConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert!(toml::from_str::<PromptConfig>("length = 4").is_err());
    }

    #[test]
    fn random_prompts_have_their_spread() {
        let shape = EncoderShape {
            hidden_size: 200,
            ..SHAPE
        };
        let largest = |init| {
            let prompt = config(init).init(&shape, &Device::flex()).unwrap();
            values(&prompt).iter().fold(0.0_f32, |a, b| a.max(b.abs()))
        };
        let uniform = largest(PromptInit::RandomUniform);
        assert!((0.45..=0.5).contains(&uniform), "{uniform}");
        assert!(largest(PromptInit::RandomNormal) > 2.0);
    }

    #[test]
    fn rows_are_repeated_or_cut_to_the_prompt() {
        let rows = |count: usize| {
            let data = (0..count * 3).map(|value| value as f32).collect();
            Tensor::from_data(
                burn::tensor::TensorData::new(data, [count, 3]),
                &Device::flex(),
            )
        };
        for device in [Device::flex(), Device::flex().autodiff()] {
            let start = |count| {
                let config = config(PromptInit::FromString);
                values(
                    &config
                        .init_with(&SHAPE, &device, Some(rows(count)))
                        .unwrap(),
                )
            };
            let two = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
            assert_eq!(start(2), [&two[..], &two[..], &two[..3]].concat());
            assert_eq!(
                start(7),
                (0..15).map(|value| value as f32).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_prompt_from_rows_trains_like_any_other() {
        let device = Device::flex().autodiff();
        let rows = Tensor::ones([1, 3], &Device::flex());
        let prompt = config(PromptInit::SampledVocab)
            .init_with(&SHAPE, &device, Some(rows))
            .unwrap();
        let loss = prompt.prompt().unwrap().embeddings.sum();
        let gradients = pelt_hooks::gradients(&prompt, &loss.backward());
        assert!(gradients.contains_key(&prompt.named_params()[0].id));
    }

    #[test]
    fn missing_or_unfit_rows_are_refused() {
        let config = config(PromptInit::FromString);
        let message = config
            .init(&SHAPE, &Device::flex())
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "prompt: prompt_init must be a random one where no word embeddings are given, \
             but is `from_string`"
        );
        let wide = Some(Tensor::ones([2, 4], &Device::flex()));
        let error = config.init_with(&SHAPE, &Device::flex(), wide).unwrap_err();
        assert!(error.to_string().contains("instead of [2, 4]"), "{error}");
    }

    #[test]
    fn every_placement_has_its_setting() {
        let place = |combine, word_embeddings| {
            let config = PromptConfig {
                combine,
                word_embeddings,
                ..PromptConfig::default()
            };
            let prompt = config.init(&SHAPE, &Device::flex()).unwrap();
            let found = prompt.prompt().unwrap();
            assert_eq!(found.embeddings.dims(), [10, 3]);
            found.place
        };
        assert_eq!(place(Combine::Prefix, false), PromptPlace::BeforeSequence);
        assert_eq!(
            place(Combine::PrefixAfterBos, false),
            PromptPlace::AfterFirstToken
        );
        assert_eq!(
            place(Combine::Prefix, true),
            PromptPlace::BeforeWordEmbeddings
        );
    }

    #[test]
    fn settings_that_cannot_work_name_their_field() {
        let check = |field: &str, change: fn(&mut PromptConfig)| {
            let mut config = PromptConfig::default();
            change(&mut config);
            assert_eq!(config.validate(&SHAPE).unwrap_err().field, field);
        };
        check("prompt_length", |config| config.prompt_length = 0);
        check("prompt_length", |config| config.prompt_length = 17);
        check("prompt_length", |config| {
            config.prompt_length = 16;
            config.word_embeddings = true;
        });
        check("combine", |config| {
            config.combine = Combine::PrefixAfterBos;
            config.word_embeddings = true;
        });
        check("prompt_init_text", |config| {
            config.prompt_init = PromptInit::FromString
        });
    }

    #[test]
    fn counts_are_the_published_ones() {
        let shape = EncoderShape {
            hidden_size: 768,
            max_positions: 512,
            ..SHAPE
        };
        let count = |prompt_length| {
            let config = PromptConfig {
                prompt_length,
                ..PromptConfig::default()
            };
            let prompt = config.init(&shape, &Device::flex()).unwrap();
            prompt.named_params()[0].count()
        };
        assert_eq!(count(10), 7_680);
        assert_eq!(count(20), 15_360);
    }
}
