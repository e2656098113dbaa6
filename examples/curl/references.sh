#!/usr/bin/env bash
# Makes a picture from another one: uploads a file, refers to it, saves the result. Needs curl and jq.
#
#   DARKROOM_KEY=sk-test-… bash references.sh mug.png "This mug on a beach"
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}
picture=${1:-$(dirname "$0")/../mug.png}
prompt=${2:-This mug on a beach}

new_id() { od -An -N16 -tx4 /dev/urandom | tr -d ' '; }

# Prints the reply; a refused request ends the script with what the gateway says.
call() {
  local path=$1 reply
  shift
  reply=$(curl -sS --max-time 90 -H "Authorization: Bearer $key" "$@" "$gateway$path")
  if jq -e '.error' >/dev/null <<<"$reply"; then
    jq -r '.error | "HTTP \(.code): \(.message)"' <<<"$reply" >&2
    return 1
  fi
  printf '%s' "$reply"
}

# One file a request, at most 20 MB. The link can be used for three days, by any number of tasks.
upload=$(call /v1/uploads/images -F "file=@$picture")
echo "uploaded $(basename "$picture"), $(jq -r .bytes <<<"$upload") bytes"

# Pictures on the web can also go into image_urls directly, as their URLs.
reply=$(
  jq --arg prompt "$prompt" \
    '{model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: $prompt, image_urls: [.url]}' \
    <<<"$upload" |
    call /v1/images/generations -H "Content-Type: application/json" \
      -H "Idempotency-Key: $(new_id)" --data-binary @-
)
id=$(jq -r '.data[0].task_id' <<<"$reply")
status=pending
while [[ $status == pending || $status == processing ]]; do
  reply=$(call "/v1/tasks/$id?wait=30")
  status=$(jq -r .data.status <<<"$reply")
  echo "$id is $status"
done
if [[ $status != completed ]]; then
  jq -r .data.error.message <<<"$reply" >&2
  exit 1
fi

while read -r link size; do
  file=beach.${link##*.}
  curl -fsS --max-time 90 -o "$file" "$link"
  echo "saved $file, $size"
done < <(jq -r '.data.result.images[] | "\(.url[0]) \(.width)x\(.height)"' <<<"$reply")
