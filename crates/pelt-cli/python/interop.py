"""Adapters and heads go from pelt's files to adapters, peft and transformers and back, and compute the same.

Two kinds of cases. Every adapter folder of the recorded runs is imported by `pelt import`. And every method of `pelt methods` is trained
for a moment, on BERT and on RoBERTa, for classification and for questions, with both kinds of heads, alone, on top of another
adapter, and in a mixture. All of these are exported in each format that can hold them, and loaded by the library of that format, also with
the lines of the model card; the outputs are compared with those of `pelt forward`. What was exported is imported and exported once more,
and must be the same bytes. Prints one line a case; exits with 1 if one differs, or was refused without need.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOLERANCE = 1e-4
# A merged model is an ordinary one.
MERGED_TOLERANCE = 1e-5
FORMATS = ["adapterhub", "peft", "safetensors-merged"]
HEADS = ("classifier.", "qa_outputs.")


# Exit code of pelt for what a user can cause.
USER = 2
# What a refusal says.
REFUSALS = re.compile("cannot hold|computes stacks in another way|cannot be merged|is no adapter|which no class of transformers has")


class Refused(Exception):
    """pelt ended with a sentence that says why a format is not for this adapter."""


def pelt(arguments, *words):
    run = subprocess.run([arguments.pelt, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    said = run.stderr.strip().removeprefix("error: ")
    if run.returncode == USER and words[0] == "export" and REFUSALS.search(said):
        raise Refused(said)
    if run.returncode:
        raise RuntimeError(f"pelt {' '.join(map(str, words))}: {run.returncode}: {said}")
    return run.stdout


def inputs(model, out, types=True, padded=False):
    """Random tokens. Without padding, gates have the same to average over everywhere."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((model / "config.json").read_text())
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(5, config["vocab_size"], (3, 9), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if padded:
        batch["attention_mask"][1, 6:] = 0
        ids[1, 6:] = config["pad_token_id"]
    if types and config["type_vocab_size"] > 1:
        batch["token_type_ids"] = (torch.arange(9) > 4).long().expand_as(ids).contiguous() * batch["attention_mask"]
    save_file(batch, out)


def auto_class(head):
    import transformers

    return transformers.AutoModelForQuestionAnswering if head == "qa" else transformers.AutoModelForSequenceClassification


def base_model(model, case):
    """The model of transformers, its head overwritten: what computes the right outputs later comes from the export."""
    import torch

    labels = {} if case["head"] == "qa" else {"num_labels": case["labels"]}
    loaded = auto_class(case["head"]).from_pretrained(model, attn_implementation="eager", **labels)
    with torch.no_grad():
        for name, parameter in loaded.named_parameters():
            if name.startswith(HEADS):
                parameter.normal_()
    return loaded


def with_adapters(model, folder, case, safetensors):
    import adapters

    if case["flexible"]:
        loaded = adapters.AutoAdapterModel.from_pretrained(model, attn_implementation="eager")
    else:
        loaded = base_model(model, case)
        adapters.init(loaded)
    load = lambda place, **more: loaded.load_adapter(str(place), use_safetensors=safetensors, **more)
    members = sorted(path for path in folder.iterdir() if path.is_dir())
    if not members:
        load(folder, set_active=True)
    elif (folder / "adapter_fusion_config.json").exists():
        names = [load(member) for member in members]
        loaded.load_adapter_fusion(str(folder), use_safetensors=safetensors)
        loaded.set_active_adapters(adapters.Fuse(*names))
        if case["flexible"]:
            loaded.active_head = ",".join(names)
    else:
        names = [load(member) for member in members]
        loaded.set_active_adapters(adapters.Stack(*names))
    return loaded


def with_card(folder):
    """The model that the lines of Python on the model card load."""
    text = (folder / "README.md").read_text()
    code = re.search("```python\n(.*?)```", text, re.DOTALL).group(1)
    # The recorded encoders have no tokenizers.
    lines = [line for line in code.splitlines() if not line.startswith("tokenizer = ")]
    names = {}
    exec("\n".join(lines).replace("FOLDER", str(folder)), names)
    return names["model"]


def loaded(format, model, folder, case):
    """The models that can be made of an export, by how."""
    if format == "adapterhub":
        yield "", with_adapters(model, folder, case, safetensors=False)
        yield " safetensors", with_adapters(model, folder, case, safetensors=True)
    elif format == "peft":
        from peft import PeftModel

        yield "", PeftModel.from_pretrained(base_model(model, case), str(folder))
    else:
        yield "", auto_class(case["head"]).from_pretrained(folder, attn_implementation="eager")
    # The card leaves the kind of attention to the library, and with its own prompts are computed in another way there.
    if not case["prompt"]:
        yield " by its card", with_card(folder)


def outputs(model, path):
    import torch
    from safetensors.torch import load_file

    batch = load_file(path)
    with torch.no_grad():
        found = model.eval()(**batch)
    if hasattr(found, "logits"):
        return {"logits": found["logits"]}
    # There are no answers in padding.
    return {name: found[name] for name in ["start_logits", "end_logits"]}


def difference(ours, theirs):
    """The largest difference; positions of a prompt, which some give and others leave out, are in front."""
    largest = 0.0
    for name, value in theirs.items():
        own = ours[name]
        if own.shape != value.shape and own.dim() == 2:
            width = min(own.shape[1], value.shape[1])
            own, value = own[:, -width:], value[:, -width:]
        if own.shape != value.shape:
            return float("inf")
        largest = max(largest, (own - value).abs().max().item())
    return largest


def same_files(one, other):
    names = sorted(path.name for path in one.iterdir() if path.name != "README.md")
    if names != sorted(path.name for path in other.iterdir() if path.name != "README.md"):
        return False
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def described(folder):
    """What a recorded run says of itself, or why it is no single adapter with a head."""
    case = json.loads((folder / "meta.json").read_text())
    if not (folder / "adapter").is_dir():
        return None, "several adapters"
    if case["head"] in ("none", "base", None):
        return None, "no head"
    if case["head"] == "mlm":
        return None, "a head for tokens"
    return case, None


def recorded(arguments, folder, out):
    """Lines of what was found about a recorded adapter, and whether all is well."""
    case, why = described(folder)
    name = f"{folder.parent.name}/{folder.name}"
    if case is None:
        return [f"{name}: left out: {why}"], True
    case["flexible"] = case.get("flexible_head", False)
    case["prompt"] = "prompt" in folder.name
    case["padded"] = False
    case["single"] = True
    model = arguments.fixtures / case["model"]
    out.mkdir(parents=True)
    words = ["import", "--adapter", folder / "adapter", "--model", model, "--out", out / "run"]
    own_head = (folder / "adapter" / "head_config.json").exists() or folder.parent.name == "peft"
    if not own_head:
        words += ["--head", model]
    pelt(arguments, *words)
    return compare(arguments, name, case, model, out)


def compare(arguments, name, case, model, out):
    """Exports the run in `out` in every format, and compares what the libraries make of it with `pelt forward`."""
    from safetensors.torch import load_file

    record = json.loads((out / "run" / "run.json").read_text())
    case["labels"] = record["config"]["head"]["labels"]
    lines, good = [], True
    for format in FORMATS:
        export = ["export", "--model", model, "--format", format, "--name", "exported", "--base-name", model]
        try:
            pelt(arguments, *export, "--run", out / "run", "--out", out / format)
        except Refused as refusal:
            needed = format in case.get("formats", [])
            good &= not needed
            lines.append(f"{name} {format}: refused{' WITHOUT NEED' if needed else ''}: {refusal}")
            continue
        # PEFT's model for questions runs BERT without token types.
        batch, answer = out / f"{format}.in.safetensors", out / f"{format}.out.safetensors"
        inputs(model, batch, types=(format, case["head"]) != ("peft", "qa"), padded=case["padded"])
        pelt(arguments, "forward", "--model", model, "--inputs", batch, "--output", answer, "--adapter", out / "run")
        ours = load_file(answer)
        tolerance = MERGED_TOLERANCE if format == "safetensors-merged" else TOLERANCE
        for how, theirs in loaded(format, model, out / format, case):
            found = difference(ours, outputs(theirs, batch))
            good &= found <= tolerance
            lines.append(f"{name} {format}{how}: {found:.1e}{'' if found <= tolerance else ' DIFFERENT'}")
        if format == "safetensors-merged" or not case["single"]:
            continue
        pelt(arguments, "import", "--adapter", out / format, "--model", model, "--out", out / "again")
        pelt(arguments, *export, "--run", out / "again", "--out", out / f"{format}-again")
        shutil.rmtree(out / "again")
        if not same_files(out / format, out / f"{format}-again"):
            good = False
            lines.append(f"{name} {format}: the second export DIFFERS from the first")
    return lines, good


WORDS = "good great fine nice happy bad awful poor sad dull the movie was a film story and it plot acting this very".split()


def write_models(arguments, out):
    """The tiny encoders with tokenizers, and rows to train on."""
    for family in ("bert", "roberta"):
        shutil.copytree(arguments.fixtures / "models" / family / "base", out / family)
    (out / "bert" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", *letters, "oo"]
    (out / "roberta" / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (out / "roberta" / "merges.txt").write_text("#version: 0.2\no o\n")
    rows = [f"the {WORDS[number % 10]} movie\t{'negative' if number % 10 > 4 else 'positive'}" for number in range(20)]
    (out / "rows.tsv").write_text("\n".join(["text\tlabel", *rows]))
    paragraphs = []
    for number in range(20):
        answer = WORDS[number % 5]
        questions = [{"id": f"q{number}", "question": "was it", "answers": [{"text": answer, "answer_start": 4}]}]
        paragraphs.append({"context": f"the {answer} movie", "qas": questions})
    text = json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})
    (out / "squad").mkdir()
    for split in ("train", "dev"):
        (out / "squad" / f"{split}-v1.1.json").write_text(text)


# Kinds of methods that only PEFT has.
OF_PEFT = {
    "prefix_positions": ["--method", "prefix_flat", "--set", "prefix.shift_positions=true"],
    "prompt_words": ["--method", "prompt", "--set", "prompt.word_embeddings=true", "--set", "prompt.prompt_init=random_normal"],
}
# Settings for so narrow an encoder.
NARROW = {name: ["--method", name, "--set", "bottleneck.reduction_factor=8"] for name in ("compacter", "compacter++")}
# Trained into the encoder itself.
WITHOUT_ADAPTER = ("full", "bitfit")
# Methods whose parts have gates, which average over padding there.
GATED = ("unipelt",)
# Below and inside of others.
STACKED = ["lora", "seq_bn", "par_bn", "prefix", "unipelt", "unipelt-prompt", "ia3"]


def formats(family, task, method, head):
    """Where a method must have a place."""
    found = [] if method in (*OF_PEFT, *WITHOUT_ADAPTER, "ia3_peft") else ["adapterhub"]
    if head == "auto" and method in ("lora", "ia3", "ia3_peft", *WITHOUT_ADAPTER):
        found.append("safetensors-merged")
    if head == "auto" and method in ("lora", "ia3_peft", *OF_PEFT):
        # PEFT fails on these itself.
        if (family, task, method) != ("roberta", "cls", "prefix_positions"):
            found.append("peft")
    return found


def trained_cases(arguments):
    """Name, options and expectations of every run."""
    methods = [method["name"] for method in json.loads(pelt(arguments, "methods", "--json"))]
    methods.remove("fusion")
    for family in ("bert", "roberta"):
        for task in ("cls", "qa"):
            for head in ("auto", "flexible"):
                shared = {"family": family, "head": task, "flexible": head == "flexible"}
                for method in [*methods, *OF_PEFT]:
                    yield f"{family}_{task}_{head}_{method}", {**OF_PEFT, **NARROW}.get(method, ["--method", method]), {
                        **shared,
                        "prompt": "prompt" in method,
                        "padded": task == "cls" and "prompt" not in method and not method.startswith(GATED),
                        "single": method != "unipelt-stack-3",
                        "formats": formats(family, task, method, head),
                    }
                several = {**shared, "padded": False, "single": False, "formats": ["adapterhub"]}
                for method in STACKED:
                    rules = ["--stacked-parallel", "last"]
                    yield f"{family}_{task}_{head}_on_{method}", ["--stack", method, *rules, "--method", method], {
                        **several,
                        "prompt": "prompt" in method,
                    }
                fuse = ["--method", "fusion", "--fuse", "seq_bn,seq_bn_2"]
                yield f"{family}_{task}_{head}_fusion", fuse, {**several, "prompt": False}


def train(arguments, home, case, options, run):
    model = home / case["family"]
    rows = ["--train-file", home / "rows.tsv", "--max-length", 16]
    if case["head"] == "qa":
        rows = ["--task", "squad", "--data", home, "--max-length", 16, "--doc-stride", 4]
    head = ["--head", "flexible" if case["flexible"] else "auto"]
    steps = ["--epochs", 2, "--batch-size", 8, "--lr", 0.02, "--quiet"]
    pelt(arguments, "train", "--model", model, *rows, *head, *steps, *options, "--out", run)


def trained(arguments, home, name, options, case, out):
    """Lines of what was found about a method that is trained here, and whether all is well."""
    out.mkdir(parents=True)
    options = list(options)
    for option in ("--stack", "--fuse"):
        if option not in options:
            continue
        place = options.index(option) + 1
        below = []
        for number, method in enumerate(options[place].split(",")):
            run = out / f"below-{method}"
            train(arguments, home, case, ["--method", method.removesuffix("_2"), "--seed", number], run)
            below.append(str(run))
        options[place] = ",".join(below)
    train(arguments, home, case, options, out / "run")
    return compare(arguments, name, case, home / case["family"], out)


def without_head(folder):
    """PEFT combines no adapters that bring heads."""
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": None, "task_type": None}))
    weights = folder / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if "lora" in name}, weights)


def combined(arguments, home, out):
    """Two LoRAs as one, by `pelt merge` and by PEFT."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    out.mkdir(parents=True)
    model, weights = home / "bert", [0.7, 0.3]
    case = {"family": "bert", "head": "cls", "flexible": False}
    for number, letter in enumerate("ab"):
        train(arguments, home, case, ["--method", "lora", "--seed", number], out / letter)
        words = ["--run", out / letter, "--model", model, "--format", "peft", "--out", out / f"peft-{letter}"]
        pelt(arguments, "export", *words)
        without_head(out / f"peft-{letter}")
    batch = out / "in.safetensors"
    inputs(model, batch, padded=True)
    mask = load_file(batch)["attention_mask"].bool()
    lines, good = [], True
    for ours, theirs in (("linear", "linear"), ("concatenated", "cat")):
        merged, answer = out / ours, out / f"{ours}.out.safetensors"
        words = ["--adapter", f"{out / 'a'},{out / 'b'}", "--weights", ",".join(map(str, weights)), "--combination", ours]
        pelt(arguments, "merge", *words, "--model", model, "--out", merged)
        pelt(arguments, "forward", "--model", model, "--adapter", merged, "--inputs", batch, "--output", answer)
        base = AutoModelForSequenceClassification.from_pretrained(model, attn_implementation="eager")
        both = PeftModel.from_pretrained(base, str(out / "peft-a"), adapter_name="a")
        both.load_adapter(str(out / "peft-b"), adapter_name="b")
        both.add_weighted_adapter(["a", "b"], weights, "both", combination_type=theirs)
        both.set_adapter("both")
        with torch.no_grad():
            hidden = both.eval()(**load_file(batch), output_hidden_states=True).hidden_states[-1]
        found = (hidden - load_file(answer)["last_hidden_state"])[mask].abs().max().item()
        good &= found <= TOLERANCE
        lines.append(f"combined/{ours}: {found:.1e}{'' if found <= TOLERANCE else ' DIFFERENT'}")
    return lines, good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pelt", type=Path, required=True)
    parser.add_argument("--fixtures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder for all files, which is replaced")
    parser.add_argument("--only", default="", help="only cases with this in their names")
    arguments = parser.parse_args()
    # Heads that are overwritten later are no news.
    logging.disable(logging.WARNING)
    shutil.rmtree(arguments.out, ignore_errors=True)
    home = arguments.out / "home"
    home.mkdir(parents=True)
    write_models(arguments, home)
    cases = []
    for library in ("adapters", "peft"):
        for folder in sorted((arguments.fixtures / "cases" / library).iterdir()):
            cases.append((f"{library}/{folder.name}", lambda out, folder=folder: recorded(arguments, folder, out)))
    for name, options, case in trained_cases(arguments):
        name = f"trained/{name}"
        run = lambda out, name=name, options=options, case=case: trained(arguments, home, name, options, case, out)
        cases.append((name, run))
    cases.append(("combined/lora", lambda out: combined(arguments, home, out)))
    failed, refused, compared = [], 0, 0
    for name, run in cases:
        if arguments.only not in name:
            continue
        try:
            lines, good = run(arguments.out / name)
        except Exception as error:  # A case that cannot be run must not hide the others.
            lines, good = [f"{name}: FAILED: {type(error).__name__}: {error}"], False
        if good:
            shutil.rmtree(arguments.out / name, ignore_errors=True)
        print("\n".join(lines), flush=True)
        refused += sum(": refused" in line for line in lines)
        compared += sum(line[-1].isdigit() and "FAILED" not in line for line in lines)
        if not good:
            failed.append(name)
    if not compared:
        failed.append("nothing was compared")
    print(f"{compared} models compute the same, {refused} exports were refused, {len(failed)} cases failed {failed or ''}".strip())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
