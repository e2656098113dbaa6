"""Makes twenty pictures: submits them a few at a time, follows all of them with one request a second.

    DARKROOM_KEY=sk-test-… python3 batch.py
"""

import concurrent.futures
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

GATEWAY = os.environ.get("DARKROOM_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("DARKROOM_KEY") or sys.exit("DARKROOM_KEY is not set; give it an API key")
MODEL = "gemini-3.1-flash-image-preview"
PROMPTS = [
    f"A {colour} {animal}"
    for colour in ("red", "blue", "green", "golden")
    for animal in ("fox", "owl", "whale", "hare", "bear")
]
SUBMITS_AT_ONCE = 4
TRIES_MAX = 5


def call(path, body=None, headers=None):
    """The `data` of a reply; with a body it is a POST."""
    for tries in range(1, TRIES_MAX + 1):
        request = urllib.request.Request(
            GATEWAY + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + KEY, "Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            # Over a limit, or overloaded: the reply says when to come back.
            if error.code not in (429, 503) or tries == TRIES_MAX:
                raise RuntimeError(f"HTTP {error.code}: {json.load(error)['error']['message']}") from error
            time.sleep(int(error.headers.get("Retry-After", 1)))


# Keep the name of an order with your own records: after a crash, submitting all of it again makes only
# the tasks that are missing.
order = uuid.uuid4()
started_at = int(time.time())


def submit(index):
    body = {"model": MODEL, "resolution": "0.5K", "prompt": PROMPTS[index]}
    headers = {"Idempotency-Key": f"{order}-{index}"}
    return call("/v1/images/generations", body, headers)[0]["task_id"]


with concurrent.futures.ThreadPoolExecutor(SUBMITS_AT_ONCE) as pool:
    prompt_of = dict(zip(pool.map(submit, range(len(PROMPTS))), PROMPTS))
print(f"submitted {len(prompt_of)} tasks")

unfinished = list(prompt_of)
cost = 0.0
while unfinished:
    time.sleep(1)
    # Up to a hundred ids a request; the reply has them in the same order.
    for task in call("/v1/tasks/batch", {"task_ids": unfinished}):
        if task["status"] in ("pending", "processing"):
            continue
        unfinished.remove(task["id"])
        cost += task["cost"]
        done = task["status"] == "completed"
        outcome = task["result"]["images"][0]["url"][0] if done else task["error"]["message"]
        print(f"{prompt_of[task['id']]}: {task['status']}, {outcome}")

# The list is how to find tasks whose ids are not at hand.
query = urllib.parse.urlencode({"status": "failed", "created_after": started_at, "limit": 100})
failed = call("/v1/tasks?" + query)
print(f"done for {cost:.3f} USD, {len(failed)} failed")
