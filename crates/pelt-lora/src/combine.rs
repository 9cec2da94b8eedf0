//! Several LoRAs as one.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::{CombineError, Lora, LoraConfig, LoraSite, LowRank};

/// How several low-rank updates become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Combination {
    /// Their matrices lie side by side: exactly the weighted sum of the updates. The rank is the sum of the ranks.
    #[default]
    Concatenated,
    /// Their matrices are added, each times the root of its weight and scale, as PEFT's `linear` does: the rank stays, and
    /// products of one adapter's A and another's B come in, so this is not the sum of the updates.
    Linear,
}

/// A trained LoRA and how much of it is taken.
#[derive(Debug, Clone, Copy)]
pub struct Weighted<'a> {
    /// Its settings.
    pub config: &'a LoraConfig,
    /// Its parameters.
    pub lora: &'a Lora,
    /// What its update is multiplied by; may be negative.
    pub weight: f64,
}

/// One LoRA in the place of several, with `alpha = r`. Its dropout is the first one's.
///
/// # Errors
/// [`CombineError`]: without any, with gates, or if they adapt different projections; and for a linear combination if their
/// ranks differ.
pub fn combine(
    loras: &[Weighted<'_>],
    combination: Combination,
) -> Result<(LoraConfig, Lora), CombineError> {
    let first = loras.first().ok_or(CombineError::Empty)?;
    for (number, one) in loras.iter().enumerate() {
        if one.config.use_gating {
            return Err(CombineError::Gated { number });
        }
        if sites(one) != sites(first) || one.config.bias != first.config.bias {
            return Err(CombineError::OtherSites { number });
        }
        if combination == Combination::Linear && one.config.r != first.config.r {
            return Err(CombineError::OtherRank {
                number,
                expected: first.config.r,
                found: one.config.r,
            });
        }
    }
    let r = match combination {
        Combination::Concatenated => loras.iter().map(|one| one.config.r).sum(),
        Combination::Linear => first.config.r,
    };
    let config = LoraConfig {
        r,
        alpha: r as f64,
        use_rslora: false,
        ..first.config.clone()
    };
    let mut lora = first.lora.clone();
    for (site, _) in first.lora.sites() {
        let blocks = loras
            .iter()
            .filter_map(|one| Some((one.lora.site(site)?, one.weight)));
        let blocks: Vec<(&LoraSite, f64)> = blocks.collect();
        lora.set(site, one_of(&blocks, combination));
    }
    Ok((config, lora))
}

/// The adapted projections, in an order of their own.
fn sites(one: &Weighted<'_>) -> Vec<String> {
    let sites = one.lora.sites().into_iter();
    sites.map(|(site, _)| site.path()).collect()
}

fn one_of(blocks: &[(&LoraSite, f64)], combination: Combination) -> Option<LoraSite> {
    let (first, _) = blocks.first()?;
    let factors = blocks.iter().map(|(block, weight)| {
        let scale = weight * block.low_rank.scale;
        match combination {
            Combination::Concatenated => (1.0, scale),
            Combination::Linear => (scale.abs().sqrt(), scale.abs().sqrt() * scale.signum()),
        }
    });
    let factors: Vec<(f64, f64)> = factors.collect();
    let with = |matrix: fn(&LowRank) -> &Param<Tensor<2>>, factor: fn(&(f64, f64)) -> f64| {
        let scaled = blocks
            .iter()
            .zip(&factors)
            .map(|((block, _), factors)| matrix(&block.low_rank).val() * factor(factors));
        scaled.collect::<Vec<Tensor<2>>>()
    };
    let lora_a = with(|one| &one.lora_a, |factors| factors.0);
    let lora_b = with(|one| &one.lora_b, |factors| factors.1);
    let (lora_a, lora_b) = match combination {
        Combination::Concatenated => (Tensor::cat(lora_a, 1), Tensor::cat(lora_b, 0)),
        Combination::Linear => (sum(lora_a)?, sum(lora_b)?),
    };
    let biases = blocks.iter().filter_map(|(block, weight)| {
        let delta = block.bias_delta.as_ref()?;
        Some(delta.val() * *weight)
    });
    Some(LoraSite {
        low_rank: LowRank {
            lora_a: Param::from_tensor(lora_a.detach()),
            lora_b: Param::from_tensor(lora_b.detach()),
            scale: 1.0,
        },
        gate: None,
        bias_delta: sum(biases).map(|delta| Param::from_tensor(delta.detach())),
        dropout: first.dropout,
    })
}

fn sum<const D: usize>(tensors: impl IntoIterator<Item = Tensor<D>>) -> Option<Tensor<D>> {
    tensors.into_iter().reduce(|sum, one| sum + one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};
    use pelt_hooks::EncoderShape;

    const SHAPE: EncoderShape = EncoderShape {
        layers: 2,
        hidden_size: 8,
        heads: 2,
        intermediate_size: 16,
        vocab_size: 10,
        max_positions: 16,
        pooler: true,
    };

    /// A LoRA with values everywhere.
    fn trained(config: &LoraConfig) -> Lora {
        let device = Device::flex();
        let mut lora = config.init(&SHAPE, &device).unwrap();
        for (site, block) in lora.clone().sites() {
            let mut block = block.clone();
            let like = block.low_rank.lora_b.val();
            let random = Tensor::random(like.dims(), Distribution::Default, &device);
            block.low_rank.lora_b = Param::from_tensor(random);
            lora.set(site, Some(block));
        }
        lora
    }

    fn updates(lora: &Lora) -> Vec<f32> {
        let sites = lora.sites().into_iter();
        let weights = sites.map(|(_, block)| block.low_rank.delta_weight());
        weights
            .flat_map(|weight| weight.into_data().try_to_vec::<f32>().unwrap())
            .collect()
    }

    fn config(r: usize) -> LoraConfig {
        LoraConfig {
            r,
            intermediate_lora: true,
            ..LoraConfig::default()
        }
    }

    #[test]
    fn side_by_side_they_are_the_weighted_sum() {
        let configs = [config(2), config(3)];
        let [a, b] = [&configs[0], &configs[1]].map(trained);
        let weighted = [(&configs[0], &a, 0.7), (&configs[1], &b, -0.2)];
        let weighted = weighted.map(|(config, lora, weight)| Weighted {
            config,
            lora,
            weight,
        });
        let (config, one) = combine(&weighted, Combination::Concatenated).unwrap();
        assert_eq!((config.r, config.alpha), (5, 5.0));
        let expected = updates(&a).into_iter().zip(updates(&b));
        let expected = expected.map(|(a, b)| 0.7 * a - 0.2 * b);
        for (found, expected) in updates(&one).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        let again = config.init(&SHAPE, &Device::flex()).unwrap();
        assert_eq!(again.sites().len(), one.sites().len());
    }

    #[test]
    fn one_alone_stays_what_it_is_either_way() {
        let config = config(2);
        let lora = trained(&config);
        for combination in [Combination::Concatenated, Combination::Linear] {
            let weighted = Weighted {
                config: &config,
                lora: &lora,
                weight: 1.0,
            };
            let (_, one) = combine(&[weighted], combination).unwrap();
            for (found, expected) in updates(&one).into_iter().zip(updates(&lora)) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let settings = [
            config(2),
            config(3),
            LoraConfig::default(),
            LoraConfig {
                use_gating: true,
                ..config(2)
            },
        ];
        let loras = settings.each_ref().map(trained);
        let with = |other: usize, combination| {
            let weighted = [0, other].map(|at| Weighted {
                config: &settings[at],
                lora: &loras[at],
                weight: 0.5,
            });
            combine(&weighted, combination).unwrap_err()
        };
        let rank = CombineError::OtherRank {
            number: 1,
            expected: 2,
            found: 3,
        };
        assert_eq!(with(1, Combination::Linear), rank);
        let sites = CombineError::OtherSites { number: 1 };
        assert_eq!(with(2, Combination::Concatenated), sites);
        let gated = CombineError::Gated { number: 1 };
        assert_eq!(with(3, Combination::Concatenated), gated);
        let none = combine(&[], Combination::Linear).unwrap_err();
        assert_eq!(none, CombineError::Empty);
    }
}
