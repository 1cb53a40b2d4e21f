"""Tools for a program that runs beside this one: newline-delimited JSON over
standard input and output, with nothing but the standard library."""

import json
import statistics
import sys
import threading
import traceback

writing = threading.Lock()
cancelled = {}


def send(message):
    with writing:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def describe(arguments, say, gone):
    numbers = arguments["numbers"]
    if len(numbers) < 2:
        raise ValueError("at least 2 numbers are needed")
    return {
        "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers),
        "deviation": round(statistics.stdev(numbers), 3),
    }


def factors(arguments, say, gone):
    left, divisor = arguments["number"], 2
    while divisor * divisor <= left and not gone.is_set():
        if left % divisor == 0:
            say(f"{divisor} ")
            left //= divisor
        else:
            divisor += 1
    say(str(left))
    # No result: what was said is the answer.


tools = {
    "describe": (
        describe,
        "Mean, median and standard deviation of some numbers.",
        {"numbers": {"type": "array", "items": {"type": "number"}, "description": "at least 2"}},
    ),
    "factors": (
        factors,
        "The prime factors of a whole number.",
        {"number": {"type": "integer", "minimum": 2}},
    ),
}


def call(message):
    name = message["call"]
    try:
        run = tools[message["tool"]][0]
        say = lambda text: send({"type": "tool_partial", "call": name, "text": text})
        value = run(message["arguments"], say, cancelled[name])
        answer = {"type": "tool_result", "call": name}
        send(answer if value is None else {**answer, "value": value})
    except Exception as error:
        traceback.print_exc()
        send({"type": "tool_failed", "call": name, "message": str(error)})
    finally:
        cancelled.pop(name, None)


send({
    "type": "register_tools",
    "tools": [
        {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": list(properties)},
        }
        for name, (_, description, properties) in tools.items()
    ],
})

for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "tool_call":
        cancelled[message["call"]] = threading.Event()
        threading.Thread(target=call, args=(message,), daemon=True).start()
    elif message["type"] == "tool_cancel" and message["call"] in cancelled:
        cancelled[message["call"]].set()
    elif message["type"] == "bridge_error":
        print(message["message"], file=sys.stderr)
