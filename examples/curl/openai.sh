#!/usr/bin/env bash
# The OpenAI dialect by hand: generate and edit, as any program that speaks to OpenAI does. Needs curl, jq.
#
#   DARKROOM_KEY=sk-test-… bash openai.sh
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}
picture=${1:-$(dirname "$0")/../mug.png}

# Reads a reply, saves its picture.
save() {
  local reply
  reply=$(cat)
  if jq -e '.error' >/dev/null <<<"$reply"; then
    jq -r '.error | "\(.code): \(.message)"' <<<"$reply" >&2
    return 1
  fi
  jq -r '.data[0].b64_json' <<<"$reply" | base64 -d >"$1"
  echo "saved $1, $(jq -r '.size' <<<"$reply")"
}

curl -sS --max-time 600 "$gateway/openai/v1/images/generations" \
  -H "Authorization: Bearer $key" -H "Content-Type: application/json" \
  -d '{"model": "gpt-image-1", "prompt": "A red fox in the snow", "size": "1024x1024", "quality": "low"}' |
  save fox.png

curl -sS --max-time 600 "$gateway/openai/v1/images/edits" -H "Authorization: Bearer $key" \
  -F model=gpt-image-1 -F "image=@$picture" -F "prompt=This mug on a beach" -F quality=low |
  save beach.png
