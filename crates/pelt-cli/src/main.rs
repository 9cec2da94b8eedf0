//! `pelt`: train, evaluate and ship adapters of text encoders.
#![allow(clippy::print_stderr, clippy::exit)] // A command line talks to its user.

mod activations;
mod args;
mod column_args;
mod corpus;
mod data;
mod device;
mod devices;
mod diff;
mod eject;
mod evaluate;
mod examples;
mod export;
mod forward;
mod gates;
mod hub;
mod import;
mod inference;
mod inspect;
mod interrupt;
mod kept_head;
mod levels;
mod merge;
mod method;
mod model;
mod model_folder;
mod optimiser_args;
mod output;
mod predict;
mod predictions;
mod pretrain;
mod pretrain_args;
mod pretrain_folder;
mod probe;
mod progress;
mod questions;
mod rows;
mod run_folder;
mod run_record;
mod source;
mod stack_args;
mod talk;
mod tasks;
mod train;
mod trained_adapter;
mod training;

use std::io::Write;

use clap::{CommandFactory, Parser};
use pelt_train::TrainError;

use crate::args::{Cli, Command};
use crate::talk::Volume;

#[global_allocator]
static MEMORY: pelt_ops::Memory = pelt_ops::Memory { none_left };

/// Ends the program where the system has no memory for it. Nothing here takes any, and nobody is left to tell if it fails.
fn none_left() -> ! {
    let words = "error: there is no memory left; --gradient-checkpointing, --precision bf16 or a smaller --batch-size (with \
                 --gradient-accumulation) need less\n";
    let _ = std::io::stderr().write_all(words.as_bytes());
    std::process::exit(EXIT_USER)
}

/// Exit code of `pelt diff` where there is a difference.
const EXIT_DIFFERENT: i32 = 1;
/// Exit code of every error that a user can cause.
const EXIT_USER: i32 = 2;
/// Exit code of a defect of the program itself.
const EXIT_INTERNAL: i32 = 70;

fn main() {
    pelt_ops::keep_freed_memory();
    join_thread_pool();
    let cli = Cli::parse();
    talk::choose(match (cli.quiet, cli.verbose) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    });
    // A library's panic becomes one sentence below; the default report would come on top of it.
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(|| run(cli));
    match result {
        Ok(Ok(())) => {}
        // A closed pipe (`pelt predict | head`) is no error.
        Ok(Err(error)) if is_broken_pipe(&error) => {}
        Ok(Err(error)) if is_interrupted(&error) => {
            talk::error(format_args!("{error:#}; {}", interrupt::GO_ON));
            std::process::exit(interrupt::EXIT_INTERRUPTED);
        }
        Ok(Err(error)) => {
            talk::error(format_args!("{error:#}"));
            std::process::exit(EXIT_USER);
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            if device::is_out_of_memory(text) {
                talk::error(format_args!(
                    "the device {} has no memory left; --gradient-checkpointing, --precision bf16 or a smaller --batch-size \
                     (with --gradient-accumulation) need less",
                    device::name()
                ));
                std::process::exit(EXIT_USER);
            }
            talk::error(format_args!(
                "pelt failed in a way it should not ({text}); please report this with the command"
            ));
            std::process::exit(EXIT_INTERNAL);
        }
    }
}

fn run(mut cli: Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Command::Devices) {
        // Whatever the device is, what there is to choose from comes first.
        devices::run()?;
    }
    device::choose(&cli.device)?;
    cli.command.fetch()?;
    match cli.command {
        Command::Train(args) => train::run(*args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Forward(args) => forward::run(&args),
        Command::Methods(args) => inspect::methods(&args),
        Command::Tasks(args) => tasks::run(&args),
        Command::Devices => Ok(()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pelt", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Probe(args) => probe::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Eject(args) => eject::run(&args),
        Command::Diff(args) => {
            if !diff::run(&args)? {
                std::process::exit(EXIT_DIFFERENT);
            }
            Ok(())
        }
    }
}

/// Makes this thread one of the pool's, so that a parallel loop starts without a hand-over to the pool and back.
fn join_thread_pool() {
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    // An error means that the pool exists already, which is slower and nothing else.
    drop(pool.build_global());
}

fn is_interrupted(error: &anyhow::Error) -> bool {
    let found = error.downcast_ref::<TrainError>();
    matches!(found, Some(TrainError::Interrupted { .. }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes
        .into_iter()
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
