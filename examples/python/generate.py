"""Makes one picture and saves it: submit, wait, poll, download.

    DARKROOM_KEY=sk-test-… python3 generate.py "A red fox in the snow"
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid

GATEWAY = os.environ.get("DARKROOM_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("DARKROOM_KEY") or sys.exit("DARKROOM_KEY is not set; give it an API key")


def call(path, body=None, headers=None):
    """The `data` of a reply; with a body it is a POST."""
    request = urllib.request.Request(
        GATEWAY + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + KEY, "Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as reply:
            return json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {json.load(error)['error']['message']}")


prompt = sys.argv[1] if len(sys.argv) > 1 else "A red fox in the snow"
print("asking for:", prompt)

# With Prefer, the reply is the finished task, or the usual ticket if that takes more than ten seconds.
# Whoever repeats a submit with the same Idempotency-Key gets the same task, and pays once.
task = call(
    "/v1/images/generations",
    {"model": "gemini-3.1-flash-image-preview", "resolution": "0.5K", "prompt": prompt},
    {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=10"},
)
if isinstance(task, list):
    task = call("/v1/tasks/" + task[0]["task_id"])

# Every task ends, by its deadline at the latest. Each poll answers as soon as the task has ended.
while task["status"] in ("pending", "processing"):
    print(task["id"], "is", task["status"])
    task = call(f"/v1/tasks/{task['id']}?wait=30")
if task["status"] != "completed":
    sys.exit(f"{task['id']} {task['status']}: {task.get('error', {}).get('message')}")

for image in task["result"]["images"]:
    link = image["url"][0]
    file = "fox." + link.rsplit(".", 1)[1]
    with urllib.request.urlopen(link, timeout=90) as download, open(file, "wb") as target:
        target.write(download.read())
    print(f"saved {file}, {image['width']}x{image['height']}, for {task['cost']} USD")
