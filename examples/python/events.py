"""Follows a task as it moves, over one stream that may break off and goes on where it was.

    DARKROOM_KEY=sk-test-… python3 events.py "A red fox [[slow:3s]]"
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
BREAKS_MAX = 10


def open_url(path, body=None, headers=None):
    request = urllib.request.Request(
        GATEWAY + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + KEY, "Content-Type": "application/json", **(headers or {})},
    )
    try:
        # The stream says something every fifteen seconds: after a minute of silence it is dead.
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {json.load(error)['error']['message']}")


def read_events(stream):
    """The fields of each event: lines of `name: value`, up to an empty line. Comments are heartbeats."""
    fields = {}
    for line in stream:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            fields[name] = value.lstrip()
        elif fields and not value:
            yield fields
            fields = {}


def follow(task_id):
    """The task at its end; prints every step on the way."""
    last_event_id, retry_ms = "", 2000
    for _ in range(BREAKS_MAX):
        try:
            # With the id of the last event seen, the server tells only what is newer.
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            with open_url(f"/v1/tasks/{task_id}/events", headers=headers) as stream:
                for event in read_events(stream):
                    retry_ms = int(event.get("retry", retry_ms))
                    last_event_id = event.get("id", last_event_id)
                    if event.get("event") != "task":
                        continue
                    task = json.loads(event["data"])["data"]
                    print(f"{task_id} is {task['status']}, {task['progress']} %")
                    if task["status"] not in ("pending", "processing"):
                        return task
        except (OSError, http.client.HTTPException):
            pass
        print(f"the stream broke off after event {last_event_id}, connecting again")
        time.sleep(retry_ms / 1000)
    sys.exit(f"the stream of {task_id} broke off {BREAKS_MAX} times")


prompt = sys.argv[1] if len(sys.argv) > 1 else "A red fox in the snow"
body = {"model": "gemini-3.1-flash-image-preview", "resolution": "0.5K", "prompt": prompt}
with open_url("/v1/images/generations", body, {"Idempotency-Key": str(uuid.uuid4())}) as reply:
    submitted = json.load(reply)["data"][0]["task_id"]
ended = follow(submitted)
if ended["status"] != "completed":
    sys.exit(ended.get("error", {}).get("message", ended["status"]))
for image in ended["result"]["images"]:
    print(image["url"][0])
