"""Adapters and heads go from pelt's files to adapters, peft and transformers and back, and compute the same.

Every adapter folder of the recorded runs is imported by `pelt import`, exported in each format that can hold it, and loaded by
the library of that format; the outputs are compared with those of `pelt forward`. What was exported for AdapterHub is imported
and exported once more, and must be the same bytes. Prints one line a case; exits with 1 if one differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

TOLERANCE = 1e-4
FORMATS = ["adapterhub", "peft", "safetensors-merged"]
HEADS = ("classifier.", "qa_outputs.")


class Refused(Exception):
    """pelt ended with a sentence."""


def pelt(arguments, *words):
    run = subprocess.run([arguments.pelt, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if run.returncode:
        raise Refused(run.stderr.strip().removeprefix("error: "))
    return run.stdout


def inputs(model, out):
    """Random tokens without padding, so that gates have the same to average over everywhere."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((model / "config.json").read_text())
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(5, config["vocab_size"], (3, 9), generator=generator)
    save_file({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, out)


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


def with_adapters(model, folder, case):
    import adapters

    if case["flexible"]:
        loaded = adapters.AutoAdapterModel.from_pretrained(model, attn_implementation="eager")
    else:
        loaded = base_model(model, case)
        adapters.init(loaded)
    members = sorted(path for path in folder.iterdir() if path.is_dir())
    if not members:
        loaded.load_adapter(str(folder), set_active=True)
        return loaded
    names = [loaded.load_adapter(str(member), set_active=member == members[-1]) for member in members]
    loaded.set_active_adapters(adapters.Stack(*names))
    return loaded


def loaded(format, model, folder, case):
    if format == "adapterhub":
        return with_adapters(model, folder, case)
    if format == "peft":
        from peft import PeftModel

        return PeftModel.from_pretrained(base_model(model, case), str(folder))
    return auto_class(case["head"]).from_pretrained(folder, attn_implementation="eager")


def outputs(model, path):
    import torch
    from safetensors.torch import load_file

    with torch.no_grad():
        found = model.eval()(**load_file(path))
    names = ["logits"] if hasattr(found, "logits") else ["start_logits", "end_logits"]
    return {name: found[name] for name in names}


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


def check(arguments, folder, out):
    """Lines of what was found, and whether all is well."""
    from safetensors.torch import load_file

    case, why = described(folder)
    name = f"{folder.parent.name}/{folder.name}"
    if case is None:
        return [f"{name}: left out: {why}"], True
    case["flexible"] = case.get("flexible_head", False)
    model = arguments.fixtures / case["model"]
    out.mkdir(parents=True)
    words = ["import", "--adapter", folder / "adapter", "--model", model, "--out", out / "run"]
    own_head = (folder / "adapter" / "head_config.json").exists() or folder.parent.name == "peft"
    if not own_head:
        words += ["--head", model]
    pelt(arguments, *words)
    record = json.loads((out / "run" / "run.json").read_text())
    case["labels"] = record["config"]["head"]["labels"]
    inputs(model, out / "inputs.safetensors")
    forward = ["forward", "--model", model, "--inputs", out / "inputs.safetensors", "--output", out / "out.safetensors"]
    pelt(arguments, *forward, "--adapter", out / "run")
    ours = load_file(out / "out.safetensors")
    lines, good = [], True
    for format in FORMATS:
        export = ["export", "--model", model, "--format", format, "--name", "exported"]
        try:
            pelt(arguments, *export, "--run", out / "run", "--out", out / format)
        except Refused as refusal:
            lines.append(f"{name} {format}: refused: {refusal}")
            continue
        found = difference(ours, outputs(loaded(format, model, out / format, case), out / "inputs.safetensors"))
        good &= found <= TOLERANCE
        lines.append(f"{name} {format}: {found:.1e}{'' if found <= TOLERANCE else ' DIFFERENT'}")
        if format == "safetensors-merged":
            continue
        pelt(arguments, "import", "--adapter", out / format, "--model", model, "--out", out / "again")
        pelt(arguments, *export, "--run", out / "again", "--out", out / f"{format}-again")
        shutil.rmtree(out / "again")
        if not same_files(out / format, out / f"{format}-again"):
            good = False
            lines.append(f"{name} {format}: the second export DIFFERS from the first")
    return lines, good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pelt", type=Path, required=True)
    parser.add_argument("--fixtures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder for all files, which is replaced")
    parser.add_argument("--only", default="", help="only cases with this in their names")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    folders = sorted(arguments.fixtures.glob("cases/adapters/*")) + sorted(arguments.fixtures.glob("cases/peft/*"))
    failed, refused, compared = [], 0, 0
    for folder in folders:
        if arguments.only not in folder.name:
            continue
        name = f"{folder.parent.name}/{folder.name}"
        try:
            lines, good = check(arguments, folder, arguments.out / folder.parent.name / folder.name)
        except Exception as error:  # A case that cannot be run must not hide the others.
            lines, good = [f"{name}: FAILED: {type(error).__name__}: {error}"], False
        print("\n".join(lines), flush=True)
        refused += sum(": refused: " in line for line in lines)
        compared += sum(line[-1].isdigit() for line in lines)
        if not good:
            failed.append(name)
    print(f"{compared} exports compute the same, {refused} were refused, {len(failed)} cases failed {failed or ''}".strip())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
