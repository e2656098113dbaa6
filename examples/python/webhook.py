"""Receives a webhook and verifies its signature; submits a task to have one.

    DARKROOM_KEY=sk-test-… python3 webhook.py

The gateway must be able to reach this program: at WEBHOOK_URL if that is set, else on this machine, for
which a gateway has to be started with DARKROOM_EGRESS_ALLOW=127.0.0.0/8.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

GATEWAY = os.environ.get("DARKROOM_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("DARKROOM_KEY") or sys.exit("DARKROOM_KEY is not set; give it an API key")
BODY_BYTES_MAX = 1_048_576
AGE_SECONDS_MAX = 300


def call(path, body=None):
    """The `data` of a reply; with a body it is a POST."""
    request = urllib.request.Request(
        GATEWAY + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": "Bearer " + KEY,
            "Content-Type": "application/json",
            **({} if body is None else {"Idempotency-Key": str(uuid.uuid4())}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as reply:
            return json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {json.load(error)['error']['message']}")


# The secret of the account; a registered endpoint has one of its own.
secret = base64.b64decode(call("/v1/webhooks/secret")["secret"][len("whsec_") :])
told = queue.Queue()


def is_signed(headers, body):
    """True when the body, byte for byte, was signed with our secret, and not long ago."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > AGE_SECONDS_MAX:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
    # There are two signatures for a day after the secret was changed.
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(one, wanted) for one in given)


class Receiver(http.server.BaseHTTPRequestHandler):
    timeout = 15
    seen = set()

    def do_POST(self):
        self.send_response(self.receive())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def receive(self):
        """The status to answer with. Anything but 2xx is sent again."""
        if self.path != "/callback":
            return 404
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            return 413
        body = self.rfile.read(int(length))
        if not is_signed(self.headers, body):
            print("refused a call that is not signed by the gateway", flush=True)
            return 401
        # The same event can come twice, and is the same at every try; a service keeps this in its database.
        event_id = self.headers["webhook-id"]
        if event_id not in self.seen:
            self.seen.add(event_id)
            # Answer first and work later: a call that is not answered within 15 seconds counts as failed.
            told.put(json.loads(body))
        return 204

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "0"))), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
webhook = os.environ.get("WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}")
print(f"receiving at {webhook}/callback", flush=True)

submit = {
    "model": "gemini-3.1-flash-image-preview",
    "resolution": "0.5K",
    "prompt": "A red fox in the snow",
    "webhook": webhook,
}
print("submitted", call("/v1/images/generations", submit)[0]["task_id"])

task = told.get()
print(f"verified: {task['id']} {task['status']}")
completed = task["status"] == "completed"
print(task["result"]["images"][0]["url"][0] if completed else task["error"]["message"])
server.shutdown()
