#!/usr/bin/env bash
# Follows a task as it moves, over one stream that may break off and goes on where it was. Needs curl, jq.
#
#   DARKROOM_KEY=sk-test-… bash events.sh "A red fox [[slow:3s]]"
set -euo pipefail

gateway=${DARKROOM_URL:-http://127.0.0.1:8787}
key=${DARKROOM_KEY:?is not set; give it an API key}
prompt=${1:-A red fox in the snow}
breaks_max=10

new_id() { od -An -N16 -tx4 /dev/urandom | tr -d ' '; }

submitted=$(
  jq -n --arg prompt "$prompt" \
    '{model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt: $prompt}' |
    curl -sS --fail-with-body --max-time 90 -H "Authorization: Bearer $key" \
      -H "Content-Type: application/json" -H "Idempotency-Key: $(new_id)" \
      --data-binary @- "$gateway/v1/images/generations"
) || { jq -r .error.message <<<"$submitted" >&2; exit 1; }
id=$(jq -r '.data[0].task_id' <<<"$submitted")

last_event_id=
status=pending
for ((breaks = 0; breaks < breaks_max; breaks += 1)); do
  # The id of the last event seen: the server tells only what is newer. It says something every fifteen
  # seconds, so a minute of silence means that the connection is dead.
  while IFS=: read -r name value; do
    value=${value# }
    case $name in
      id) last_event_id=$value ;;
      data)
        task=$value
        status=$(jq -r .data.status <<<"$task")
        echo "$id is $status, $(jq -r .data.progress <<<"$task") %"
        ;;
    esac
  done < <(
    curl -sN --fail --speed-limit 1 --speed-time 60 -H "Authorization: Bearer $key" \
      ${last_event_id:+-H "Last-Event-ID: $last_event_id"} "$gateway/v1/tasks/$id/events"
  )
  case $status in
    completed)
      jq -r '.data.result.images[].url[0]' <<<"$task"
      exit
      ;;
    failed | cancelled)
      jq -r .data.error.message <<<"$task" >&2
      exit 1
      ;;
  esac
  echo "the stream broke off after event $last_event_id, connecting again"
  sleep 2
done
echo "the stream of $id broke off $breaks_max times" >&2
exit 1
