"""Makes a picture from another one: uploads a file, refers to it, saves the result.

    DARKROOM_KEY=sk-test-… python3 references.py mug.png "This mug on a beach"
"""

import json
import os
import pathlib
import sys
import urllib.error
import urllib.request
import uuid

GATEWAY = os.environ.get("DARKROOM_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("DARKROOM_KEY") or sys.exit("DARKROOM_KEY is not set; give it an API key")


def call(path, data=None, headers=None):
    """The parsed reply; with data (bytes) it is a POST."""
    request = urllib.request.Request(
        GATEWAY + path, data=data, headers={"Authorization": "Bearer " + KEY, **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {json.load(error)['error']['message']}")


def upload(picture):
    """The link of an uploaded file. It can be used for three days, by any number of tasks."""
    boundary = uuid.uuid4().hex
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{picture.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    form = head.encode() + picture.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    reply = call("/v1/uploads/images", form, {"Content-Type": "multipart/form-data; boundary=" + boundary})
    print(f"uploaded {picture.name}, {reply['bytes']} bytes")
    return reply["url"]


default = pathlib.Path(__file__).parent.parent / "mug.png"
picture = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
prompt = sys.argv[2] if len(sys.argv) > 2 else "This mug on a beach"

submit = {
    "model": "gemini-3.1-flash-image-preview",
    "resolution": "0.5K",
    "prompt": prompt,
    # Small pictures can also go here directly, as data URIs, and pictures on the web as their URLs.
    "image_urls": [upload(picture)],
}
submitted = call(
    "/v1/images/generations",
    json.dumps(submit).encode(),
    {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
)
task_id = submitted["data"][0]["task_id"]
task = {"status": "pending"}
while task["status"] in ("pending", "processing"):
    task = call(f"/v1/tasks/{task_id}?wait=30")["data"]
    print(task_id, "is", task["status"])
if task["status"] != "completed":
    sys.exit(task.get("error", {}).get("message", task["status"]))

for image in task["result"]["images"]:
    link = image["url"][0]
    file = "beach." + link.rsplit(".", 1)[1]
    with urllib.request.urlopen(link, timeout=90) as download, open(file, "wb") as target:
        target.write(download.read())
    print(f"saved {file}, {image['width']}x{image['height']}")
