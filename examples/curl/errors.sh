#!/usr/bin/env bash
# Everything that can go wrong, and what to do about each. Needs curl and jq.
# A test key plays all of it by words in the prompt; under a live key the same words are a text like any other.
#
#   DARKROOM_KEY=sk-test-… bash errors.sh
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}
reply=$(mktemp)
trap 'rm -f "$reply"' EXIT

new_id() { od -An -N16 -tx4 /dev/urandom | tr -d ' '; }

# Writes the reply to its file and prints the HTTP status. curl repeats what may pass (no reply, 429, 500,
# 503) after the time that Retry-After gives; all tries have one Idempotency-Key, so they make one task.
call() {
  curl -sS --max-time 90 --retry 1 --retry-connrefused -o "$reply" -w '%{http_code}' \
    -H "Authorization: Bearer $key" -H "Content-Type: application/json" \
    -H "Idempotency-Key: $(new_id)" "${@:2}" "$gateway$1"
}

# What a program does about a refused request. The reason decides; the message is for people.
advise_on_refusal() {
  case $1 in
    401 | 403) echo "give the program another key, or the key other permissions" ;;
    402) echo "add credit, or raise the key's cap" ;;
    429 | 503) echo "put the work back into the queue: it did not pass in time" ;;
    *) echo "correct the request: repeating it would not help" ;;
  esac
}

# What a program does about a task that has failed. It costs nothing.
advise_on_failure() {
  case $1 in
    content_policy_violation | provider_rejected) echo "change the prompt: the same one is refused again" ;;
    invalid_reference_image | invalid_mask) echo "send another picture" ;;
    provider_unavailable | generation_timeout | internal_error) echo "submit it again later, as a new task" ;;
    no_image | outcome_unknown) echo "submit it again once, as a new task" ;;
    *) echo "nothing: it was asked for" ;;
  esac
}

# Submits a prompt, with other fields if they are given, waits for the end, and says what came of it.
report() {
  local what=$1 prompt=$2 fields=${3:-"{}"} status id code
  status=$(
    jq -n --arg prompt "$prompt" --argjson fields "$fields" \
      '{model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: $prompt} + $fields' |
      call /v1/images/generations --data-binary @-
  )
  if [[ $status != 200 ]]; then
    jq -r --arg what "$what" '.error | "\($what): refused with \(.code) \(.reason)\n  \(.message)"' "$reply"
    echo "  $(advise_on_refusal "$status")"
    return
  fi
  id=$(jq -r '.data[0].task_id' "$reply")
  status=pending
  while [[ $status == pending || $status == processing ]]; do
    call "/v1/tasks/$id?wait=30" >/dev/null
    status=$(jq -r .data.status "$reply")
  done
  jq -r --arg what "$what" \
    '.data | "\($what): \(.status), \(.result.images // [] | length) pictures, \(.cost) USD"' "$reply"
  for code in $(jq -r '.data | (.result.errors // [])[].code, (.error // empty).code' "$reply"); do
    echo "  $code; $(advise_on_failure "$code")"
  done
}

report "a wrong size" "A fox" '{"size": "3:7"}'
key=sk-test-wrong report "a wrong key" "A fox"
for status in 402 429 503; do
  report "HTTP $status" "A fox [[submit:$status]]"
done
for code in content_policy_violation invalid_mask provider_unavailable outcome_unknown; do
  report "the failure $code" "A fox [[fail:$code]]"
done
report "one picture of two" "A fox [[partial:1]]" '{"n": 2}'
