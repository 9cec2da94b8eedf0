//! The training loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use pelt_encoder::Precision;
use pelt_hooks::{Method, NamedParam, ParamGradients, ParamValues, Pass, load, values};
use pelt_metrics::Metric;

use crate::activations::Activations;
use crate::adamw::{clipping_scale, gradient_norm};
use crate::batch::Batch;
use crate::evaluate::evaluate;
use crate::gradients::{Objective, add, batch_gradients};
use crate::loss_scale::LossScale;
use crate::masked::evaluate_masked;
use crate::prefetch::{StepData, prefetched};
use crate::questions::evaluate_questions;
use crate::record::Record;
use crate::state::{self, CHECKPOINT_FILE, Counters, State};
use crate::{
    AdamW, AdamWConfig, AdapterDrop, Development, EvaluateEvery, EvaluationReport, LinearSchedule,
    Observer, PeftModel, StepReport, TrainConfig, TrainError, TrainingRows,
};

/// Trains a model on labelled rows or masked texts.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// Settings.
    pub config: &'a TrainConfig,
    /// Rows to train on.
    pub train: TrainingRows<'a>,
    /// Rows that choose the best weights; without any, the last weights are kept.
    pub development: Option<Development<'a>>,
    /// Metrics of an evaluation.
    pub metrics: &'a [Metric],
    /// The metric that chooses the best weights; for masked texts the loss does.
    pub primary_metric: Metric,
    /// Folder of `metrics.jsonl` and of the checkpoint; it must exist.
    pub folder: &'a Path,
    /// A JSON object of everything that must be equal for a run to be resumed.
    pub identity: &'a str,
}

/// What a run ended with.
#[derive(Debug)]
pub struct Outcome<M: burn::module::Module> {
    /// The model with the best weights.
    pub model: PeftModel<M>,
    /// Optimiser steps taken.
    pub steps: usize,
    /// Step of the best evaluation; the last step without evaluations.
    pub best_step: usize,
    /// Metrics of the best evaluation.
    pub best_values: BTreeMap<String, f64>,
    /// Seconds of training and evaluation.
    pub seconds: f64,
    /// Whether patience ran out.
    pub stopped_early: bool,
}

impl Trainer<'_> {
    /// Runs all steps, from the start or from the folder's checkpoint, and restores the best weights at the end.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] if the observer asks for it, with the state saved; a bad setting, a loss that is no number, a checkpoint of another run, or a file that cannot be written.
    pub fn run<M: Method>(
        &self,
        mut model: PeftModel<M>,
        resume: bool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome<M>, TrainError> {
        self.config.validate()?;
        let precision = self.config.precision;
        model = model.with_precision(precision);
        let rows = self.train.count();
        if rows == 0 || !self.train.are_labelled() {
            return Err(TrainError::Rows(
                "there are no labelled training rows".into(),
            ));
        }
        let mut activations = self.activations(&model)?;
        let device = model.device();
        let params = model.named_params();
        let steps_per_epoch = self.config.steps_per_epoch(rows);
        let total_steps = steps_per_epoch * self.config.epochs;
        let schedule = LinearSchedule {
            peak: self.config.learning_rate,
            warmup_steps: (self.config.warmup_ratio * total_steps as f64).ceil() as usize,
            total_steps,
        };
        let optimizer = AdamW::new(AdamWConfig {
            weight_decay: self.config.weight_decay,
            ..AdamWConfig::default()
        });
        let mut state = State {
            counters: Counters::default(),
            optimizer,
            best: None,
        };
        let checkpoint = self.folder.join(CHECKPOINT_FILE);
        if resume {
            let loaded = state::load(
                &checkpoint,
                state.optimizer,
                &params,
                self.identity,
                &device,
            )?;
            state = loaded.0;
            model = load(model, loaded.1);
        } else if precision == Precision::F16 {
            state.counters.loss_scale = Some(LossScale::new());
        }
        let mut record = Record::open(&self.folder.join("metrics.jsonl"), &state.counters)?;
        let started = Instant::now();
        let seconds_before = state.counters.seconds;
        let save = |state: &mut State, model: &PeftModel<M>, observer: &mut dyn Observer| {
            state.counters.seconds = seconds_before + started.elapsed().as_secs_f64();
            state::save(&checkpoint, state, &params, &values(model), self.identity)?;
            observer.on_checkpoint(state.counters.step);
            Ok::<_, TrainError>(())
        };
        if state.counters.evaluation_due {
            self.evaluate(&model, &mut state, &mut record, observer)?;
        }
        let mut stopped_early = self.out_of_patience(&state.counters);
        let steps = match stopped_early {
            true => 0..0,
            false => state.counters.step..total_steps,
        };
        model = prefetched(self.train, self.config, &device, steps, |data| {
            for data in data {
                let place = Place {
                    step: state.counters.step,
                    epoch: state.counters.step / steps_per_epoch,
                    step_in_epoch: state.counters.step % steps_per_epoch,
                    rate: schedule.rate(state.counters.step),
                };
                let mut report;
                let known = activations.as_mut();
                (model, report) = self.step(model, &mut state, &params, data, &place, known)?;
                report.total_steps = total_steps;
                state.counters.step += 1;
                record.step(&report)?;
                observer.on_step(&report);

                let step = state.counters.step;
                let last = step == total_steps;
                let due = match self.config.evaluate_every {
                    EvaluateEvery::Epoch => step.is_multiple_of(steps_per_epoch),
                    EvaluateEvery::Steps(every) => step.is_multiple_of(every) || last,
                };
                state.counters.evaluation_due = due && self.development.is_some();
                let every = self.config.checkpoint_every;
                let interrupted = observer.is_interrupted();
                // Before the evaluation, which may take long: whoever ends the program there loses nothing else.
                if interrupted || every.is_some_and(|every| step.is_multiple_of(every)) {
                    save(&mut state, &model, observer)?;
                }
                if interrupted {
                    return Err(TrainError::Interrupted { step, total_steps });
                }
                if state.counters.evaluation_due {
                    self.evaluate(&model, &mut state, &mut record, observer)?;
                    stopped_early = self.out_of_patience(&state.counters);
                    if stopped_early {
                        break;
                    }
                    if !last && observer.is_interrupted() {
                        save(&mut state, &model, observer)?;
                        return Err(TrainError::Interrupted { step, total_steps });
                    }
                }
            }
            Ok::<_, TrainError>(model)
        })?;
        let counters = state.counters;
        if let Some(best) = state.best {
            model = load(model, best);
        }
        let best_step = match counters.best_score {
            Some(_) => counters.best_step,
            None => counters.step,
        };
        Ok(Outcome {
            model,
            steps: counters.step,
            best_step,
            best_values: counters.best_values,
            seconds: seconds_before + started.elapsed().as_secs_f64(),
            stopped_early,
        })
    }

    /// An empty store of what the layers below the method give, where it is asked for.
    fn activations<M: Method>(
        &self,
        model: &PeftModel<M>,
    ) -> Result<Option<Activations<'_>>, TrainError> {
        if !self.config.cache_activations {
            return Ok(None);
        }
        match (self.train, model.layers_left_alone()) {
            (TrainingRows::Labelled(examples), layers) if layers > 0 => {
                let width = model.encoder().shape().hidden_size;
                Activations::new(examples, self.config, layers, width).map(Some)
            }
            _ => Err(TrainError::Setting {
                field: "cache_activations",
                expected: "false for masked texts, and where what the first layer gives is trained",
                found: "true".into(),
            }),
        }
    }

    fn out_of_patience(&self, counters: &Counters) -> bool {
        self.config
            .patience
            .is_some_and(|patience| counters.without_improvement >= patience)
    }

    /// One optimiser step over one or several batches.
    fn step<M: Method>(
        &self,
        model: PeftModel<M>,
        state: &mut State,
        params: &[NamedParam],
        data: StepData,
        place: &Place,
        mut activations: Option<&mut Activations<'_>>,
    ) -> Result<(PeftModel<M>, StepReport), TrainError> {
        let started = Instant::now();
        let StepData {
            batches,
            rows,
            tokens,
        } = data;
        let first_batch = place.step_in_epoch * self.config.gradient_accumulation;
        let dropped = match self.config.adapter_drop {
            AdapterDrop::Off => 0,
            AdapterDrop::Robust => {
                let layers = model.encoder().shape().layers;
                dropped_layers(self.config.seed, place.step, layers)
            }
        };
        let mut total = ParamGradients::new();
        let mut loss = 0.0;
        let loss_scale = state.counters.loss_scale.map_or(1.0, |scale| scale.scale);
        let weights: Vec<usize> = batches
            .iter()
            .map(|parts| parts.iter().map(Batch::weight).sum())
            .collect();
        let weight: usize = weights.iter().sum();
        for (index, (mut batch, own)) in batches.into_iter().zip(weights).enumerate() {
            if let Some(activations) = &mut activations {
                activations.give(&model, &mut batch)?;
            }
            let share = own as f64 / weight.max(1) as f64;
            let seed = pass_seed(self.config.seed, place.step, index);
            let pass = || Pass::train(seed).skipping(0..dropped);
            // The penalty counts once a step, and is no part of the loss that is reported.
            let objective = Objective {
                share: share * loss_scale,
                penalty: if index == 0 { loss_scale } else { 0.0 },
                checkpointing: self.config.gradient_checkpointing,
            };
            let found = batch_gradients(&model, batch, &objective, pass)?;
            place.check("the loss", found.loss, first_batch + index)?;
            loss += found.loss * share;
            add(&mut total, found.gradients);
        }
        let gradient_norm = gradient_norm(&total) / loss_scale;
        let finite = gradient_norm.is_finite();
        let left_out = match &mut state.counters.loss_scale {
            Some(scale) => scale.after(finite) && !finite,
            None => false,
        };
        let mut updated = ParamValues::new();
        if !left_out {
            place.check("the gradient norm", gradient_norm, first_batch)?;
            let scale = clipping_scale(gradient_norm, self.config.max_grad_norm) / loss_scale;
            let optimizer = &mut state.optimizer;
            updated = optimizer.step(params, values(&model), total, scale, place.rate);
        }
        let report = StepReport {
            step: place.step + 1,
            total_steps: 0,
            epoch: place.epoch + 1,
            loss,
            learning_rate: place.rate,
            gradient_norm: if left_out { 0.0 } else { gradient_norm },
            left_out,
            rows,
            tokens,
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok((load(model, updated), report))
    }

    /// The evaluation after the last step, in the record and the state.
    fn evaluate<M: Method>(
        &self,
        model: &PeftModel<M>,
        state: &mut State,
        record: &mut Record,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if let Some(development) = self.development {
            let report = self.evaluation(model, development, state)?;
            record.evaluation(&report)?;
            observer.on_evaluation(&report);
        }
        state.counters.evaluation_due = false;
        Ok(())
    }

    fn evaluation<M: Method>(
        &self,
        model: &PeftModel<M>,
        development: Development<'_>,
        state: &mut State,
    ) -> Result<EvaluationReport, TrainError> {
        let started = Instant::now();
        let batch_size = self.config.batch_size;
        let evaluation = match development {
            Development::Rows(rows) => evaluate(model, rows, self.metrics, batch_size)?,
            Development::Questions(questions) => evaluate_questions(model, questions, batch_size)?,
            Development::Masked(texts) => evaluate_masked(model, texts, batch_size)?,
        };
        let name = match development {
            Development::Masked(_) => "loss",
            Development::Rows(_) | Development::Questions(_) => self.primary_metric.name(),
        };
        let value = evaluation.values.get(name).copied().ok_or_else(|| {
            TrainError::Rows(format!("the metric {name} is not among those evaluated"))
        })?;
        if !value.is_finite() {
            return Err(TrainError::Rows(format!(
                "{name} on the development rows is {value} after step {}; training stopped, and what was last saved is untouched",
                state.counters.step
            )));
        }
        let larger_is_better = match development {
            Development::Masked(_) => false,
            Development::Rows(_) | Development::Questions(_) => {
                self.primary_metric.larger_is_better()
            }
        };
        let score = if larger_is_better { value } else { -value };
        let steps_per_epoch = self.config.steps_per_epoch(self.train.count());
        let counters = &mut state.counters;
        let best = counters.best_score.is_none_or(|best| score > best);
        if best {
            counters.best_score = Some(score);
            counters.best_step = counters.step;
            counters.best_values = evaluation.values.clone();
            counters.without_improvement = 0;
            state.best = Some(values(model));
        } else {
            counters.without_improvement += 1;
        }
        Ok(EvaluationReport {
            step: counters.step,
            epoch: counters.step.div_ceil(steps_per_epoch),
            values: evaluation.values,
            warnings: evaluation.warnings,
            score,
            best,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// Where in the run a step is, and its learning rate.
struct Place {
    step: usize,
    epoch: usize,
    step_in_epoch: usize,
    rate: f64,
}

impl Place {
    fn check(&self, what: &'static str, value: f64, batch: usize) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainError::NotFinite {
            what,
            value,
            step: self.step + 1,
            epoch: self.epoch + 1,
            batch: batch + 1,
        })
    }
}

/// How many leading layers a step of robust AdapterDrop leaves out: uniformly from zero to `layers - 1`.
fn dropped_layers(seed: u64, step: usize, layers: usize) -> usize {
    // No step has a batch of this number, so the draw has nothing to do with any dropout mask.
    let draw = Pass::train(pass_seed(seed, step, (1 << 20) - 1)).dropout_key();
    let share = u128::from(draw.unwrap_or_default()) * layers as u128;
    (share >> 64) as usize
}

/// A seed for every forward pass of a run.
fn pass_seed(seed: u64, step: usize, batch: usize) -> u64 {
    let place = (step as u64) << 20 | batch as u64;
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place.wrapping_mul(0xD134_2543_DE82_EF95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_leading_layers_is_dropped_equally_often() {
        let draws = |seed| (0..6000).map(move |step| dropped_layers(seed, step, 6));
        let mut counts = [0; 6];
        draws(7).for_each(|dropped| counts[dropped] += 1);
        for count in counts {
            assert!((850..1150).contains(&count), "{counts:?}");
        }
        assert!(draws(7).eq(draws(7)));
        assert!(!draws(7).eq(draws(8)));
        assert!(draws(7).zip(draws(7).skip(1)).any(|(a, b)| a != b));
    }
}
