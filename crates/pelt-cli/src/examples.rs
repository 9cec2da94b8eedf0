//! Examples at the end of a subcommand's help.

pub const TRAIN: &str = "Examples:
  pelt train --model DIR --data DATA --task mrpc --out RUN --epochs 5 --lr 5e-4
  pelt train --model DIR --train-file train.tsv --validation-file dev.tsv --method lora --set lora.r=16 --out RUN
  pelt train --model DIR --data DATA --task mrpc --out RUN --epochs 5 --lr 5e-4 --resume";

pub const PRETRAIN: &str = "Examples:
  pelt pretrain --model DIR --corpus texts/ --method full --out DAPT --epochs 10 --lr 1e-4
  pelt pretrain --model DIR --corpus chemprot --data DATA --packing lines --method unipelt --out TAPT --epochs 100";

pub const EVALUATE: &str = "Examples:
  pelt evaluate --run RUN --model DIR --data DATA --task mrpc
  pelt evaluate --run RUN --model DIR --file test.tsv --predictions OUT --json";

pub const PREDICT: &str = "Examples:
  echo 'a film to see twice' | pelt predict --run RUN --model DIR
  pelt predict --run RUN --model DIR --file pairs.tsv";

pub const EXPORT: &str = "Examples:
  pelt export --run RUN --model DIR --format adapterhub --name sentiment --base-name OWNER/NAME --out SHIPPED
  pelt export --run RUN --model DIR --format safetensors-merged --out MODEL";

pub const IMPORT: &str = "Examples:
  pelt import --adapter ADAPTER --model DIR --task mrpc --out RUN
  pelt import --adapter ADAPTER --head MODEL --labels negative,positive --model DIR --out RUN";

pub const MERGE: &str = "Examples:
  pelt merge --run RUN --model DIR --out MODEL
  pelt merge --adapter RUN_A,RUN_B --weights 0.7,0.3 --model DIR --out LORA";
