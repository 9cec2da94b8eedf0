#!/usr/bin/env python3
"""SQuAD 1.1 with PyTorch, transformers and adapters: the same rows and settings as `pelt train --task squad`.

    python squad.py slice --data DIR --questions 1000 --out SLICE
    python squad.py train --model DIR --data SLICE --method full --lr 1e-4 --out OUT
    python squad.py train --model DIR --data SLICE --method unipelt-prompt --lr 1e-3 --out OUT

`slice` writes the training rows and the first questions of the development set in the official layout, which
`pelt train --data SLICE --task squad` reads too. `train` prints one JSON object with EM and F1 and writes predictions.json.

Needs torch 2.9.0, transformers 4.57.6, adapters 1.3.0 and pyarrow.
"""

import argparse
import collections
import json
import logging
import os
import random
import re
import string
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
logging.disable(logging.WARNING)

PROMPT_LENGTH = 10

# Windows that go through the model together.
PART = 2


def slice_rows(arguments):
    """Parquet rows in the official layout: one paragraph for each question."""
    import pyarrow.parquet

    out = Path(arguments.out) / "squad"
    out.mkdir(parents=True, exist_ok=True)
    for split, name, count in [("train", "train", None), ("validation", "dev", arguments.questions)]:
        folder = Path(arguments.data) / "squad" / "plain_text"
        rows = [row for file in sorted(folder.glob(f"{split}-*.parquet")) for row in pyarrow.parquet.read_table(file).to_pylist()]
        entries = []
        for row in rows[:count]:
            starts = zip(row["answers"]["text"], row["answers"]["answer_start"])
            answers = [{"text": text, "answer_start": int(start)} for text, start in starts]
            question = {"id": row["id"], "question": row["question"], "answers": answers}
            entries.append({"title": row["title"], "paragraphs": [{"context": row["context"], "qas": [question]}]})
        text = json.dumps({"version": "1.1", "data": entries}, ensure_ascii=False)
        (out / f"{name}-v1.1.json").write_text(text, encoding="utf-8")
    return {"out": str(out)}


def read(path):
    """Questions of a file in the official layout."""
    for article in json.loads(Path(path).read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield {"context": paragraph["context"], **question}


def build(arguments):
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(arguments.model)
    if arguments.method == "full":
        return model, 0
    import adapters

    adapters.init(model)
    parts = [*adapters.UniPELTConfig().configs, adapters.PromptTuningConfig(prompt_length=PROMPT_LENGTH)]
    model.add_adapter("squad", config=adapters.ConfigUnion(*parts))
    model.train_adapter("squad")
    return model, PROMPT_LENGTH


def windows_of(tokenizer, rows):
    """Overlapping windows of every question, with the tokens that answer it."""
    columns = tokenizer(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=384,
        stride=128,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    windows = []
    for number, source in enumerate(columns["overflow_to_sample_mapping"]):
        parts = columns.sequence_ids(number)
        offsets = columns["offset_mapping"][number]
        inside = [place for place, part in enumerate(parts) if part == 1]
        answer = rows[source]["answers"][0]
        first, last = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        labels = (0, 0)
        if offsets[inside[0]][0] <= first and offsets[inside[-1]][1] >= last:
            start = max(place for place in inside if offsets[place][0] <= first)
            end = min(place for place in inside if offsets[place][1] >= last)
            labels = (start, end)
        inputs = {key: columns[key][number] for key in ("input_ids", "token_type_ids", "attention_mask")}
        windows.append({"inputs": inputs, "labels": labels, "row": source, "offsets": offsets, "inside": set(inside)})
    return windows


def batch_of(tokenizer, windows):
    return tokenizer.pad([window["inputs"] for window in windows], return_tensors="pt")


def answers(model, shift, tokenizer, rows, windows):
    """The best answer of every question: 20 best starts and ends of each window, answers of up to 30 tokens."""
    import torch

    model.eval()
    best = {}
    order = sorted(range(len(windows)), key=lambda place: -len(windows[place]["inputs"]["input_ids"]))
    for begin in range(0, len(order), 32):
        chosen = [windows[place] for place in order[begin : begin + 32]]
        with torch.no_grad():
            output = model(**batch_of(tokenizer, chosen))
        for window, starts, ends in zip(chosen, output.start_logits, output.end_logits):
            length = len(window["inputs"]["input_ids"])
            starts, ends = starts[shift : shift + length], ends[shift : shift + length]
            top = lambda logits: torch.topk(logits, min(20, length)).indices.tolist()
            for start in top(starts):
                for end in top(ends):
                    if {start, end} <= window["inside"] and start <= end < start + 30:
                        score = (starts[start] + ends[end]).item()
                        row = rows[window["row"]]
                        if score > best.get(row["id"], (float("-inf"), ""))[0]:
                            offsets = window["offsets"]
                            best[row["id"]] = (score, row["context"][offsets[start][0] : offsets[end][1]])
    return {row["id"]: best.get(row["id"], (0.0, ""))[1] for row in rows}


def normalised(text):
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(found, gold):
    found, gold = normalised(found), normalised(gold)
    common = sum((collections.Counter(found) & collections.Counter(gold)).values())
    return 2 * common / (len(found) + len(gold)) if common else 0.0


def scores(rows, predictions):
    exact = overlap = 0.0
    for row in rows:
        golds = [answer["text"] for answer in row["answers"]]
        found = predictions[row["id"]]
        exact += max(normalised(found) == normalised(gold) for gold in golds)
        overlap += max(f1(found, gold) for gold in golds)
    return 100 * exact / len(rows), 100 * overlap / len(rows)


def train(arguments):
    import torch
    from transformers import AutoTokenizer, get_linear_schedule_with_warmup

    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    folder = Path(arguments.data) / "squad"
    rows, held_out = (list(read(folder / f"{name}-v1.1.json")) for name in ("train", "dev"))
    windows = windows_of(tokenizer, rows)
    model, shift = build(arguments)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=arguments.lr, weight_decay=0.01)
    epoch_steps = -(-len(windows) // arguments.batch)
    steps = epoch_steps * arguments.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * steps), steps)
    model.train()
    started = time.perf_counter()
    for _ in range(arguments.epochs):
        random.shuffle(windows)
        for begin in range(0, len(windows), arguments.batch):
            chosen = windows[begin : begin + arguments.batch]
            # Windows of like length have little padding; the gradients add up to that of the whole batch.
            chosen.sort(key=lambda window: len(window["inputs"]["input_ids"]))
            for place in range(0, len(chosen), PART):
                part = chosen[place : place + PART]
                # adapters leaves the prompt's rows in the logits and does not move the labels past them.
                start, end = torch.tensor([window["labels"] for window in part]).T + shift
                loss = model(**batch_of(tokenizer, part), start_positions=start, end_positions=end).loss
                (loss * len(part) / len(chosen)).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    predictions = answers(model, shift, tokenizer, held_out, windows_of(tokenizer, held_out))
    exact_match, mean_f1 = scores(held_out, predictions)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "predictions.json").write_text(json.dumps(predictions, ensure_ascii=False), encoding="utf-8")
    return {
        "method": arguments.method,
        "lr": arguments.lr,
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "windows": len(windows),
        "trainable": sum(parameter.numel() for parameter in trained),
        "seconds": seconds,
        "exact_match": exact_match,
        "f1": mean_f1,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("slice", help="write the rows that both sides read")
    command.add_argument("--data", required=True)
    command.add_argument("--questions", type=int, default=1000)
    command.add_argument("--out", required=True)
    command.set_defaults(run=slice_rows)
    command = commands.add_parser("train", help="train, answer, score")
    command.add_argument("--model", required=True)
    command.add_argument("--data", required=True)
    command.add_argument("--method", choices=["full", "unipelt-prompt"], default="unipelt-prompt")
    command.add_argument("--lr", type=float, required=True)
    command.add_argument("--epochs", type=int, default=2)
    command.add_argument("--batch", type=int, default=12)
    command.add_argument("--seed", type=int, default=42)
    command.add_argument("--out", required=True)
    command.set_defaults(run=train)
    arguments = parser.parse_args()
    print(json.dumps(arguments.run(arguments)))


if __name__ == "__main__":
    main()
