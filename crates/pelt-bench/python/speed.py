#!/usr/bin/env python3
"""What `pelt-bench speed` measures, done with PyTorch, transformers, adapters and peft.

Prints one JSON object on one line with the fields of pelt-bench's reports. `cargo xtask bench speed --against python`
runs both sides in turn. Exit code 3: there is no counterpart of the method.

    python speed.py versions
    python speed.py step  --model DIR --method lora-qv --batch 32 --length 64 --rounds 10
    python speed.py epoch --model DIR --method unipelt-prompt --task mrpc --data DIR --steps 40 --padding dynamic
    python speed.py ceiling --precision bf16 --device cuda:0
    python speed.py infer --model DIR --method unipelt-prompt --task mrpc --data DIR

Needs torch 2.9.0, transformers 4.57.6, adapters 1.3.0, peft 0.21.2 and pyarrow.
"""

import argparse
import json
import logging
import math
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

# Models are folders here; nothing may be asked of the network while the clock runs.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# adapters says of every model, before it has its first adapter, that none is active.
logging.disable(logging.WARNING)

NO_COUNTERPART = 3
WARM_UP = 2
# Between two looks at the clock, in seconds and in products.
LONG_ENOUGH, MOST_AT_ONCE = 5e-3, 1000
SETTLED_STEP = 50

# Where the tasks keep their texts, in the Hub's files.
TEXTS = {
    "cola": ["sentence"],
    "sst2": ["sentence"],
    "mrpc": ["sentence1", "sentence2"],
    "stsb": ["sentence1", "sentence2"],
    "rte": ["sentence1", "sentence2"],
    "wnli": ["sentence1", "sentence2"],
    "qqp": ["question1", "question2"],
    "qnli": ["question", "sentence"],
    "mnli": ["premise", "hypothesis"],
}
VALIDATION = {"mnli": "validation_matched"}

# Methods that the adapters library has under a name of its own.
ADAPTERS = {
    "lora": "lora",
    "bottleneck": "seq_bn",
    "seq_bn": "seq_bn",
    "double_seq_bn": "double_seq_bn",
    "par_bn": "par_bn",
    "scaled_par_bn": "scaled_par_bn",
    "prefix": "prefix_tuning",
    "prefix_flat": "prefix_tuning_flat",
    "prompt": "prompt_tuning",
    "mam": "mam",
    "unipelt": "unipelt",
}


def memory_mib(key):
    """A line of this process's status in MiB, or None where the system has no such file."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return None


def build(arguments, labels):
    """The model with a new adapter and the head that transformers gives it."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=labels)
    method = arguments.method
    if method == "full":
        return model
    if method == "bitfit":
        for name, parameter in model.named_parameters():
            in_head = name.startswith("classifier.")
            parameter.requires_grad_(in_head or name.endswith(".bias"))
        return model
    if method == "lora-qv":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
        return get_peft_model(model, config)

    import adapters

    if method == "unipelt-prompt":
        parts = [*adapters.UniPELTConfig().configs, adapters.PromptTuningConfig(prompt_length=10)]
        config = adapters.ConfigUnion(*parts)
    elif method in ADAPTERS:
        config = ADAPTERS[method]
    else:
        print(f"error: there is no counterpart of {method} in PEFT or AdapterHub", file=sys.stderr)
        sys.exit(NO_COUNTERPART)
    adapters.init(model)
    model.add_adapter("speed", config=config)
    model.train_adapter("speed")
    return model


def trained(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def wait(arguments):
    """Until the device has done what it was asked for."""
    if arguments.device != "cpu":
        import torch

        torch.cuda.synchronize(arguments.device)


def dtype(arguments):
    import torch

    return {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[arguments.precision]


def half(arguments):
    """What users of half precision write around the forward pass; weights stay in float32."""
    import torch

    kind = torch.device(arguments.device).type
    return torch.autocast(kind, dtype=dtype(arguments), enabled=arguments.precision != "f32")


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def optimizer_of(arguments, model):
    import torch

    return torch.optim.AdamW(trained(model), lr=arguments.lr, weight_decay=0.01)


def update(model, optimizer):
    import torch

    torch.nn.utils.clip_grad_norm_(trained(model), 1.0)
    optimizer.step()


def step(arguments):
    """Equal padded work: random tokens, every sequence of the same length."""
    import torch

    model = build(arguments, 2).to(arguments.device)
    model.train(arguments.dropout == "on")
    shape = (arguments.batch, arguments.length)
    inputs = {
        "input_ids": torch.randint(5, model.config.vocab_size, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
    }
    inputs = {name: tensor.to(arguments.device) for name, tensor in inputs.items()}
    labels = (torch.arange(arguments.batch) % 2).to(arguments.device)
    optimizer = optimizer_of(arguments, model)
    times = []
    for number in range(WARM_UP + arguments.rounds):
        started = time.perf_counter()
        with half(arguments):
            loss = model(**inputs, labels=labels).loss
        loss.item()
        loss.backward()
        if arguments.update:
            update(model, optimizer)
        wait(arguments)
        seconds = time.perf_counter() - started
        optimizer.zero_grad(set_to_none=True)
        times.append(seconds)
    first, times = times[0], times[WARM_UP:]
    median = statistics.median(times)
    return {
        "batch": arguments.batch,
        "length": arguments.length,
        "rounds": arguments.rounds,
        "dropout": arguments.dropout,
        "update": arguments.update,
        "precision": arguments.precision,
        "trainable": count(trained(model)),
        "first_ms": first * 1e3,
        "median_ms": median * 1e3,
        "fastest_ms": min(times) * 1e3,
        "sequences_per_s": arguments.batch / median,
        "tokens_per_s": arguments.batch * arguments.length / median,
    }


def ceiling(arguments):
    """The products of an encoder layer's linear layers, weighed as a layer has them."""
    import torch

    kind = dtype(arguments)
    hidden, intermediate = arguments.hidden, arguments.intermediate
    flops = best = middle = 0.0
    for inputs, outputs, layers in [(hidden, hidden, 4), (hidden, intermediate, 1), (intermediate, hidden, 1)]:
        left = torch.randn(arguments.tokens, inputs, device=arguments.device, dtype=kind)
        right = torch.randn(inputs, outputs, device=arguments.device, dtype=kind)

        def products(count):
            """Seconds of one of so many, between two looks at the clock: a GPU is handed one after another."""
            wait(arguments)
            started = time.perf_counter()
            for _ in range(count):
                left @ right
            wait(arguments)
            return (time.perf_counter() - started) / count

        products(1 + WARM_UP)
        at_once = min(max(math.ceil(LONG_ENOUGH / max(products(1), 1e-9)), 1), MOST_AT_ONCE)
        times = []
        end = time.perf_counter() + arguments.seconds
        while len(times) < 3 or time.perf_counter() < end:
            times.append(products(at_once))
        flops += layers * 2.0 * arguments.tokens * inputs * outputs
        best += layers * min(times)
        middle += layers * statistics.median(times)
    return {
        "tokens": arguments.tokens,
        "precision": arguments.precision,
        "gflops": flops / best / 1e9,
        "median_gflops": flops / middle / 1e9,
    }


def read_rows(arguments, split):
    """Texts (one column or two) and labels of a split."""
    import pyarrow.parquet

    folders = [Path(arguments.data) / part / arguments.task for part in ("glue", "")]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        sys.exit(f"error: {arguments.data} has no folder {arguments.task}")
    texts, labels = [[] for _ in TEXTS[arguments.task]], []
    for file in sorted(folder.glob(f"{split}-*.parquet")):
        table = pyarrow.parquet.read_table(file)
        for values, column in zip(texts, TEXTS[arguments.task]):
            values.extend(table[column].to_pylist())
        labels.extend(table["label"].to_pylist())
    if not labels:
        sys.exit(f"error: {folder} has no rows of the split {split}")
    return texts, labels


class Rows:
    """Tokenised rows, and batches of them."""

    def __init__(self, arguments, split):
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        self.padding = {"padding": True}
        if arguments.padding == "max":
            self.padding = {"padding": "max_length", "max_length": arguments.max_length}
        texts, self.labels = read_rows(arguments, split)
        started = time.perf_counter()
        columns = self.tokenizer(*texts, truncation=True, max_length=arguments.max_length)
        self.inputs = [dict(zip(columns, row)) for row in zip(*columns.values())]
        self.seconds = time.perf_counter() - started
        self.is_regression = arguments.task == "stsb"
        self.outputs = 1 if self.is_regression else len(set(self.labels))

    def __len__(self):
        return len(self.labels)

    def tokens(self, chosen):
        return sum(len(self.inputs[row]["input_ids"]) for row in chosen)

    def batch(self, chosen):
        import torch

        batch = self.tokenizer.pad([self.inputs[row] for row in chosen], return_tensors="pt", **self.padding)
        kind = torch.float if self.is_regression else torch.long
        return {**batch, "labels": torch.tensor([self.labels[row] for row in chosen], dtype=kind)}


def epoch(arguments):
    """The loop that users write: shuffle, pad each batch, clip, AdamW, linear schedule."""
    from transformers import get_linear_schedule_with_warmup

    rows = Rows(arguments, "train")
    model = build(arguments, rows.outputs)
    model.train()
    order = list(range(len(rows)))
    random.shuffle(order)
    batches = [order[start : start + arguments.batch] for start in range(0, len(order), arguments.batch)]
    epoch_steps = len(batches)
    batches = batches[: arguments.steps]
    optimizer = optimizer_of(arguments, model)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * len(batches)), len(batches))
    losses, settled = [], None
    started = time.perf_counter()
    for number, chosen in enumerate(batches, start=1):
        loss = model(**rows.batch(chosen)).loss
        loss.backward()
        update(model, optimizer)
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if number == SETTLED_STEP:
            settled = memory_mib("VmRSS")
    seconds = time.perf_counter() - started
    sequences = sum(map(len, batches))
    tokens = sum(map(rows.tokens, batches))
    return {
        "task": arguments.task,
        "batch": arguments.batch,
        "padding": arguments.padding,
        "trainable": count(trained(model)),
        "steps": len(batches),
        "epoch_steps": epoch_steps,
        "sequences": sequences,
        "tokens": tokens,
        "seconds": seconds,
        "sequences_per_s": sequences / seconds,
        "tokens_per_s": tokens / seconds,
        "tokenise_s": rows.seconds,
        "loss_first": statistics.mean(losses[:10]),
        "loss_last": statistics.mean(losses[-10:]),
        "resident_step_50_mib": settled,
        "resident_end_mib": memory_mib("VmRSS"),
    }


def infer(arguments):
    """Labels of the validation rows in their order, as transformers' Trainer evaluates: the median of three passes."""
    import torch

    rows = Rows(arguments, VALIDATION.get(arguments.task, "validation"))
    model = build(arguments, rows.outputs)
    model.eval()
    order = range(len(rows))
    batches = [order[start : start + arguments.batch] for start in range(0, len(rows), arguments.batch)]

    def predict(chosen):
        inputs = rows.batch(chosen)
        del inputs["labels"]
        return model(**inputs).logits.tolist()

    with torch.no_grad():
        predict(batches[0])
        passes = []
        for _ in range(3):
            started = time.perf_counter()
            for chosen in batches:
                predict(chosen)
            passes.append(time.perf_counter() - started)
        seconds = statistics.median(passes)
    tokens = rows.tokens(order)
    return {
        "task": arguments.task,
        "batch": arguments.batch,
        "padding": arguments.padding,
        "trainable": count(trained(model)),
        "sequences": len(rows),
        "tokens": tokens,
        "seconds": seconds,
        "sequences_per_s": len(rows) / seconds,
        "tokens_per_s": tokens / seconds,
        "tokenise_s": rows.seconds,
    }


KINDS = {"ceiling": ceiling, "step": step, "epoch": epoch, "infer": infer}


def versions():
    import adapters
    import peft
    import pyarrow
    import torch
    import transformers

    modules = [torch, transformers, adapters, peft, pyarrow]
    return {"python": platform.python_version(), **{module.__name__: str(module.__version__) for module in modules}}


def parse():
    parser = argparse.ArgumentParser(description="Measure one thing, and print one JSON object on one line.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("versions")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="cpu", help="cpu, or one that PyTorch knows, such as cuda:0")
    device.add_argument("--precision", choices=["f32", "bf16", "f16"], default="f32")
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--seed", type=int, default=42)
    every.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", required=True)
    common.add_argument("--method", default="lora-qv")
    common.add_argument("--batch", type=int, default=32)
    common.add_argument("--lr", type=float, default=5e-4)
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--task", required=True, choices=sorted(TEXTS))
    data.add_argument("--data", required=True)
    data.add_argument("--max-length", type=int, default=128)
    data.add_argument("--padding", choices=["dynamic", "max"], default="dynamic")
    products = kinds.add_parser("ceiling", parents=[every, device])
    products.add_argument("--tokens", type=int, default=2048)
    products.add_argument("--hidden", type=int, default=384)
    products.add_argument("--intermediate", type=int, default=1536)
    products.add_argument("--seconds", type=float, default=2.0)
    steps = kinds.add_parser("step", parents=[every, device, common])
    steps.add_argument("--length", type=int, default=64)
    steps.add_argument("--rounds", type=int, default=10)
    steps.add_argument("--dropout", choices=["on", "off"], default="off")
    steps.add_argument("--update", action="store_true")
    epochs = kinds.add_parser("epoch", parents=[every, common, data])
    epochs.add_argument("--steps", type=int, help="stop after this many steps of the epoch")
    kinds.add_parser("infer", parents=[every, common, data])
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.kind == "versions":
        print(json.dumps({"kind": "versions", **versions()}))
        return
    import torch

    torch.set_num_threads(arguments.threads)
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    measured = KINDS[arguments.kind](arguments)
    report = {
        "kind": arguments.kind,
        "method": getattr(arguments, "method", None),
        **measured,
        "threads": arguments.threads,
        "peak_memory_mib": memory_mib("VmHWM"),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
