#!/usr/bin/env bash
# Makes twenty pictures: submits them, follows all of them with one request a second. Needs curl and jq.
#
#   DARKROOM_KEY=sk-test-… bash batch.sh
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}

new_id() { od -An -N16 -tx4 /dev/urandom | tr -d ' '; }

# Prints the reply; a refused request ends the script with what the gateway says. What is over a limit or
# overloaded (429, 503) is repeated when the reply says so: curl reads Retry-After.
call() {
  local path=$1 reply
  shift
  reply=$(curl -sS --max-time 90 --retry 4 -H "Authorization: Bearer $key" "$@" "$gateway$path")
  # What was refused before comes first: the last reply counts.
  reply=$(jq -cs last <<<"$reply")
  if jq -e '.error' >/dev/null <<<"$reply"; then
    jq -r '.error | "HTTP \(.code): \(.message)"' <<<"$reply" >&2
    return 1
  fi
  printf '%s' "$reply"
}

# Keep the name of an order with your own records: after a crash, submitting all of it again makes only
# the tasks that are missing.
order=$(new_id)
started_at=$(date +%s)
ids=()
for colour in red blue green golden; do
  for animal in fox owl whale hare bear; do
    body=$(jq -n --arg prompt "A $colour $animal" \
      '{model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: $prompt}')
    reply=$(call /v1/images/generations -H "Content-Type: application/json" \
      -H "Idempotency-Key: $order-$colour-$animal" --data-binary "$body")
    ids+=("$(jq -r '.data[0].task_id' <<<"$reply")")
  done
done
echo "submitted ${#ids[@]} tasks"

# Up to a hundred ids a request; the reply has them in the same order.
body=$(jq -n '{task_ids: $ARGS.positional}' --args "${ids[@]}")
while
  tasks=$(call /v1/tasks/batch -H "Content-Type: application/json" --data-binary "$body")
  open=$(jq '[.data[] | select(.status == "pending" or .status == "processing")] | length' <<<"$tasks")
  echo "$open are not finished"
  ((open > 0))
do sleep 1; done
jq -r '.data[] | "\(.id): \(.status), \(.result.images[0].url[0] // .error.message)"' <<<"$tasks"

# The list is how to find tasks whose ids are not at hand.
failed=$(call "/v1/tasks?status=failed&created_after=$started_at&limit=100")
jq -r --argjson failed "$(jq '.data | length' <<<"$failed")" \
  '"done for \([.data[].cost] | add * 1000 | round / 1000) USD, \($failed) failed"' <<<"$tasks"
