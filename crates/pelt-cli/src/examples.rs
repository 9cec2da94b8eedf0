//! Examples at the end of a subcommand's help.

pub const PELT: &str = "Examples:
  pelt train --model sentence-transformers/all-MiniLM-L6-v2 --task mrpc --method lora --out RUN
  pelt evaluate --run RUN --model sentence-transformers/all-MiniLM-L6-v2 --task mrpc
  pelt methods
  pelt help train

--model, --adapter, --init-adapter, --stack and --fuse take folders, or owner/name and owner/name@revision on the Hugging Face Hub.";

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

pub const EJECT: &str = "Example:
  pelt eject --run RUN --model DIR --out SMALL";

pub const DIFF: &str = "Examples:
  pelt diff RUN_A RUN_B
  pelt diff SHIPPED owner/name --json";

pub const INSPECT: &str = "Examples:
  pelt inspect --model DIR
  pelt inspect --model DIR --method lora --set lora.r=16 --labels 3";

pub const FORWARD: &str = "Examples:
  pelt forward --model DIR --adapter ADAPTER --inputs inputs.safetensors --output outputs.safetensors
  pelt forward --model DIR --adapter LOWER --adapter UPPER --inputs inputs.safetensors --output outputs.safetensors";

pub const TASKS: &str = "Examples:
  pelt tasks
  pelt tasks --fetch mrpc";

pub const COMPLETIONS: &str = "Examples:
  pelt completions bash > ~/.local/share/bash-completion/completions/pelt
  pelt completions zsh > ~/.zfunc/_pelt";

pub const METHODS: &str = "Examples:
  pelt methods
  pelt methods --json";

pub const DEVICES: &str = "Examples:
  pelt devices
  pelt devices --device cuda:0";
