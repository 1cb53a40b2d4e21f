"""DSPy's own optimizers in the same worlds, as the reference.

    python -m venv dspy && dspy/bin/pip install 'dspy==3.3.1' optuna
    node --import tsx bench/src/worlds/server.ts --port 4020 --latency 2 &
    dspy/bin/python bench/src/worlds/dspy_reference.py --url http://127.0.0.1:4020 --worlds mixed --seeds 5

Prints one line of JSON for every run, and DSPy's progress as errors: the share of right answers on the test set, before and after, and what the run cost. The
metric is that of problem.ts.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
import urllib.request
import zlib

import dspy

parser = argparse.ArgumentParser()
parser.add_argument("--url", required=True)
parser.add_argument("--worlds", default="mixed")
parser.add_argument("--optimizers", default="LabeledFewShot,BootstrapFewShot,MIPROv2,GEPA")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--first-seed", type=int, default=0)
parser.add_argument("--feedback", choices=["rich", "poor"], default="rich")
parser.add_argument("--threads", type=int, default=16)
parser.add_argument("--no-fallback", action="store_true", help="an answer that cannot be read is not asked for again as JSON")
options = parser.parse_args()


def get(path):
    with urllib.request.urlopen(options.url + path) as response:
        return json.load(response)


class One(dspy.Module):
    def __init__(self):
        super().__init__()
        self.berth = dspy.ChainOfThought(dspy.Signature("manifest -> berth", "Name the berth of the ship."))

    def forward(self, manifest):
        return self.berth(manifest=manifest)


class Two(dspy.Module):
    def __init__(self):
        super().__init__()
        self.grade = dspy.ChainOfThought(dspy.Signature("manifest -> grade", "Name the grade of the ship."))
        self.berth = dspy.ChainOfThought(dspy.Signature("manifest, grade -> berth", "Name the berth of the ship."))

    def forward(self, manifest):
        grade = self.grade(manifest=manifest).grade
        berth = self.berth(manifest=manifest, grade=grade)
        return dspy.Prediction(grade=grade, berth=berth.berth, reasoning=berth.reasoning)


def examples(world, name):
    return [
        dspy.Example(manifest=row["manifest"], berth=row["right"][-1]["words"][0], right=row["right"]).with_inputs("manifest")
        for row in world[name]
    ]


def said(prediction, field):
    return str(getattr(prediction, field, "") or "").strip().lower()


def make_metrics(world):
    def score(example, prediction, trace=None):
        return said(prediction, "berth") == example.berth

    def noisy(example, prediction):
        right = score(example, prediction)
        if world["noise"] == 0:
            return right
        note = f"{world['seed']}/{example.manifest}/{getattr(prediction, 'reasoning', '')}"
        return right != (zlib.crc32(note.encode()) / 2**32 < world["noise"])

    def seen(example, prediction, trace=None):
        return noisy(example, prediction)

    def explain(example, prediction):
        lines = ["Wrong."]
        for step, field in enumerate(world["fields"]):
            right = example.right[step]
            given = said(prediction, field)
            if given in right["words"]:
                continue
            dialect = 1 if given in world["second"][step] else 0
            lines.append(f"The {field} should be {right['words'][dialect]}, not {given}. {right['rules'][dialect]}")
        return " ".join(lines)

    def feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if noisy(gold, pred):
            return dspy.Prediction(score=1.0, feedback="Right.")
        if score(gold, pred) or options.feedback == "poor":
            return dspy.Prediction(score=0.0, feedback="Wrong.")
        return dspy.Prediction(score=0.0, feedback=explain(gold, pred))

    return score, seen, feedback


def visible(rows):
    """What an optimizer may see of an example."""
    return [dspy.Example(manifest=row.manifest, berth=row.berth).with_inputs("manifest") for row in rows]


def compile_with(name, world, seed, program, train, validation, seen, feedback, lm):
    threads = options.threads
    # What the metric needs is looked up by the manifest, so that no optimizer finds it in its examples.
    hidden = {row.manifest: row for row in train + validation}

    def metric(example, prediction, trace=None):
        return seen(hidden[example.manifest], prediction)

    def feedback_metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return feedback(hidden[gold.manifest], pred)

    train, validation = visible(train), visible(validation)
    if name == "LabeledFewShot":
        return dspy.LabeledFewShot(k=16).compile(program, trainset=train)
    if name == "BootstrapFewShot":
        return dspy.BootstrapFewShot(metric=metric).compile(program, trainset=train)
    if name == "RandomSearch":
        return dspy.BootstrapFewShotWithRandomSearch(metric=metric, num_threads=threads).compile(
            program, trainset=train, valset=validation
        )
    if name == "MIPROv2":
        optimizer = dspy.MIPROv2(
            metric=metric, auto="light", num_threads=threads, seed=seed + 1, prompt_model=lm, task_model=lm
        )
        return optimizer.compile(program, trainset=train, valset=validation)
    if name == "GEPA":
        optimizer = dspy.GEPA(metric=feedback_metric, auto="light", num_threads=threads, seed=seed, reflection_lm=lm)
        return optimizer.compile(program, trainset=train, valset=validation)
    if name == "SIMBA":
        return dspy.SIMBA(metric=metric, num_threads=threads).compile(program, trainset=train, seed=seed)
    if name == "COPRO":
        return dspy.COPRO(metric=metric, prompt_model=lm).compile(
            program, trainset=train, eval_kwargs={"num_threads": threads, "display_progress": False}
        )
    if name == "InferRules":
        return dspy.InferRules(metric=metric, num_threads=threads).compile(program, trainset=train, valset=validation)
    raise SystemExit(f"no optimizer named {name}")


as_given = {}


def run(optimizer, name, seed):
    world = get(f"/worlds/{name}/{seed}")
    score, seen, feedback = make_metrics(world)
    # A cache would hide calls from the meter between runs, but within one run it is part of DSPy: a new one for each.
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    lm = dspy.LM(f"openai/{name}/{seed}", api_base=options.url + "/v1", api_key="none", max_tokens=2000)
    dspy.configure(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=not options.no_fallback))
    program = One() if len(world["fields"]) == 1 else Two()
    train, validation, test = (examples(world, part) for part in ["train", "validation", "test"])
    evaluate = dspy.Evaluate(devset=test, metric=score, num_threads=options.threads, display_progress=False, max_errors=1000)
    if (name, seed) not in as_given:
        as_given[name, seed] = evaluate(program).score / 100
    before = as_given[name, seed]
    get("/meter")
    start = time.perf_counter()
    compiled = compile_with(optimizer, world, seed, program, train, validation, seen, feedback, lm)
    wall = time.perf_counter() - start
    spent = get("/meter")
    after = evaluate(compiled).score / 100
    return {"optimizer": optimizer, "world": name, "seed": seed, "before": before, "after": after, "wall": wall, **spent}


for noise in ["dspy", "httpx", "LiteLLM", "optuna"]:
    logging.getLogger(noise).setLevel(logging.ERROR)
for name in options.worlds.split(","):
    for optimizer in options.optimizers.split(","):
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            with contextlib.redirect_stdout(sys.stderr):  # where DSPy shows its progress
                result = run(optimizer, name, seed)
            print(json.dumps(result), flush=True)
