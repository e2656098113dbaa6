#!/usr/bin/env bash
# Makes one picture and saves it: submit, wait, poll, download. Needs curl and jq.
#
#   DARKROOM_KEY=sk-test-… bash generate.sh "A red fox in the snow"
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}
prompt=${1:-A red fox in the snow}
echo "asking for: $prompt"

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

# With Prefer, the reply is the finished task, or the usual ticket if that takes more than ten seconds.
# Whoever repeats a submit with the same Idempotency-Key gets the same task, and pays once.
reply=$(
  jq -n --arg prompt "$prompt" \
    '{model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: $prompt}' |
    call /v1/images/generations -H "Content-Type: application/json" -H "Prefer: wait=10" \
      -H "Idempotency-Key: $(new_id)" --data-binary @-
)
id=$(jq -r '.data | if type == "array" then .[0].task_id else .id end' <<<"$reply")

# Every task ends, by its deadline at the latest. Each poll answers as soon as the task has ended.
while status=$(jq -r '.data.status? // "pending"' <<<"$reply") && [[ $status == pending || $status == processing ]]; do
  echo "$id is $status"
  reply=$(call "/v1/tasks/$id?wait=30")
done
if [[ $status != completed ]]; then
  jq -r '.data | "\(.id) \(.status): \(.error.message)"' <<<"$reply" >&2
  exit 1
fi

cost=$(jq -r .data.cost <<<"$reply")
while read -r link size; do
  file=fox.${link##*.}
  curl -fsS --max-time 90 -o "$file" "$link"
  echo "saved $file, $size, for $cost USD"
done < <(jq -r '.data.result.images[] | "\(.url[0]) \(.width)x\(.height)"' <<<"$reply")
