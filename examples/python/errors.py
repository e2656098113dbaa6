"""Everything that can go wrong, and what to do about each.

A test key plays all of it by words in the prompt; under a live key the same words are a text like any other.

    DARKROOM_KEY=sk-test-… python3 errors.py
"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

GATEWAY = os.environ.get("DARKROOM_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("DARKROOM_KEY") or sys.exit("DARKROOM_KEY is not set; give it an API key")
TRIES_MAX = 2


class Refusal(Exception):
    """A refused request. No task was made, and nothing was charged."""

    def __init__(self, status, reply):
        super().__init__(f"{reply['error']['message']} ({reply['request_id']})")
        self.status = status
        self.reason = reply["error"]["reason"]


def call(path, body=None, key=KEY):
    """The `data` of a reply. Repeats what may pass: no reply at all, 429, 500, 503.

    All tries of a submit have one Idempotency-Key, so at most one task is made.
    """
    headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
    if body is not None:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    data = None if body is None else json.dumps(body).encode()
    for tries in range(1, TRIES_MAX + 1):
        pause = tries
        try:
            request = urllib.request.Request(GATEWAY + path, data=data, headers=headers)
            with urllib.request.urlopen(request, timeout=90) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            refusal = Refusal(error.code, json.load(error))
            if error.code not in (429, 500, 503) or tries == TRIES_MAX:
                raise refusal from None
            pause = int(error.headers.get("Retry-After", tries))
        except (OSError, http.client.HTTPException):
            if tries == TRIES_MAX:
                raise
        time.sleep(pause)


def make_pictures(**wishes):
    """The ended task."""
    body = {"model": "gemini-3.1-flash-image-preview", "resolution": "0.5K", **wishes}
    return wait_for(call("/v1/images/generations", body)[0]["task_id"])


def wait_for(task_id):
    while True:
        task = call(f"/v1/tasks/{task_id}?wait=30")
        if task["status"] not in ("pending", "processing"):
            return task


def cancel_under_way():
    body = {"model": "flux-2-pro", "prompt": "A fox [[slow:1s]]"}
    task_id = call("/v1/images/generations", body)[0]["task_id"]
    # Pending: it ends at once. Processing: no further attempt starts, and what arrives is delivered.
    call(f"/v1/tasks/{task_id}/cancel", {})
    return wait_for(task_id)


def advise_on_refusal(refusal):
    """What a program does about a refused request. The reason decides; the message is for people."""
    if refusal.status in (401, 403):
        return "give the program another key, or the key other permissions"
    if refusal.status == 402:
        return "raise the key's cap" if refusal.reason == "spend_cap_reached" else "add credit"
    if refusal.status in (429, 503):
        return "put the work back into the queue: it did not pass in time"
    return "correct the request: repeating it would not help"


# What a program does about a task that has failed. It costs nothing.
ADVICE = {
    "content_policy_violation": "change the prompt: the same one is refused again",
    "provider_rejected": "change the prompt: the same one is refused again",
    "invalid_reference_image": "send another picture",
    "invalid_mask": "send another picture",
    "provider_unavailable": "submit it again later, as a new task",
    "generation_timeout": "submit it again later, as a new task",
    "internal_error": "submit it again later, as a new task",
    "no_image": "submit it again once, as a new task",
    "outcome_unknown": "submit it again once, as a new task",
    "cancelled": "nothing: it was asked for",
}


def report(what, work):
    try:
        task = work()
    except Refusal as refusal:
        print(f"{what}: refused with {refusal.status} {refusal.reason}")
        print(f"  {refusal}")
        print(f"  {advise_on_refusal(refusal)}")
        return
    result = task.get("result", {})
    print(f"{what}: {task['status']}, {len(result.get('images', []))} pictures, {task['cost']} USD")
    for error in result.get("errors", []):
        print(f"  picture {error['index'] + 1}: {error['code']}; {ADVICE[error['code']]}")
    if "error" in task:
        print(f"  {task['error']['code']}: {task['error']['message']}")
        print(f"  {ADVICE[task['error']['code']]}")


report("a wrong size", lambda: make_pictures(prompt="A fox", size="3:7"))
report("a wrong key", lambda: call("/v1/balance", key="sk-test-wrong"))
report("an unknown task", lambda: call("/v1/tasks/task_unknown"))
for status in (402, 429, 503):
    report(f"HTTP {status}", lambda: make_pictures(prompt=f"A fox [[submit:{status}]]"))
for code in [code for code in ADVICE if code != "cancelled"]:
    report(f"the failure {code}", lambda: make_pictures(prompt=f"A fox [[fail:{code}]]"))
report("one picture of two", lambda: make_pictures(prompt="A fox [[partial:1]]", n=2))
report("a task cancelled under way", cancel_under_way)
