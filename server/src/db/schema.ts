/**
 * The rows of every table, one type a table, for both databases. Times are unix milliseconds,
 * money is micro-USD, flags are 0 or 1, `…_json` columns hold JSON text; no column holds picture bytes.
 * The store.ts of the room named above each group is the only file that reads or writes it.
 */

import type {
  DeliveryRow,
  DeliveryTryRow,
  EventRow,
  WebhookEndpointRow,
  WebhookSecretRow,
} from "./webhook-rows.ts";

export type Mode = "live" | "test";

// accounts/

export type AccountRow = {
  id: string;
  name: string;
  /** Price ratio in millionths: 1_000_000 charges list prices as they are. */
  ratio_ppm: number;
  created_at: number;
  /** Limits over all keys of one mode together; null sets none. */
  requests_per_minute: number | null;
  tasks_in_flight: number | null;
  spend_per_day: number | null;
};

export type ApiKeyRow = {
  account_id: string;
  id: string;
  mode: Mode;
  name: string;
  /** Keyed digest of the whole key, in hex; the key itself is stored nowhere. */
  digest: string;
  /** Last four characters, so that people can tell keys apart. */
  hint: string;
  cap: number | null;
  models_json: string | null;
  ips_json: string | null;
  requests_per_minute: number | null;
  tasks_in_flight: number | null;
  expires_at: number | null;
  revoked_at: number | null;
  created_at: number;
  spend_per_day: number | null;
};

export type KeyUsageRow = {
  account_id: string;
  key_id: string;
  held: number;
  captured: number;
  /** Tasks of this key that have not ended. */
  in_flight: number;
  /** The last day (UTC, counted from 1970) on which it submitted, and what it spent with that day's tasks. */
  day: number;
  day_spent: number;
};

// tasks/

export type TaskState = "pending" | "processing" | "completed" | "failed" | "cancelled";

export type TaskRow = {
  account_id: string;
  id: string;
  mode: Mode;
  key_id: string;
  model: string;
  state: TaskState;
  /** Grows by one with every change a caller can see. */
  revision: number;
  pictures: number;
  open_slots: number;
  done_slots: number;
  request_json: string;
  warnings_json: string | null;
  price_json: string;
  held: number;
  captured: number;
  webhook: string | null;
  language: string | null;
  error_json: string | null;
  usage_json: string | null;
  created_at: number;
  deadline_at: number;
  cancel_requested_at: number | null;
  ended_at: number | null;
  /** When the result's links stop working; set when the task completes. */
  expires_at: number | null;
};

export type SlotState = "open" | "done" | "failed";

/** Written when the slot ends. Earlier versions wrote it with the task, as `open`. */
export type SlotRow = {
  account_id: string;
  task_id: string;
  slot: number;
  state: SlotState;
  captured: number;
  error_json: string | null;
};

export type QueueState = "ready" | "parked" | "claimed";

export type QueueRow = {
  account_id: string;
  task_id: string;
  lane: string;
  /** Place in the lane's fair order; a virtual time, not a clock. */
  tag: number;
  state: QueueState;
  /** When a parked task becomes ready again. */
  run_at: number;
  worker_id: string | null;
  /** Claims since the last committed step. */
  claims: number;
};

export type AttemptState = "sent" | "running" | "done" | "failed" | "unknown";

export type AttemptRow = {
  account_id: string;
  task_id: string;
  id: string;
  /** The slots this attempt makes pictures for, as a JSON array of numbers. */
  slots_json: string;
  channel: string;
  upstream_model: string;
  state: AttemptState;
  handle_json: string | null;
  failure_json: string | null;
  usage_json: string | null;
  /** What the vendor charges us. */
  cost: number;
  sent_at: number;
  ended_at: number | null;
  /** Whose price the pictures of this attempt have. */
  tier: ChannelTier;
  /** Until when the attempt holds a place of its channel, if it does not end before; null: it holds none. */
  place_until: number | null;
};

export type IdempotencyRow = {
  account_id: string;
  mode: Mode;
  route: string;
  key: string;
  /** Digest of the parsed body, in hex. */
  digest: string;
  task_id: string;
  expires_at: number;
};

export type WorkerRow = {
  id: string;
  /** Raised at every heartbeat; an observer that sees it stand still for long enough takes over. */
  beats: number;
  started_at: number;
};

/** A process that serves this database; only on PostgreSQL. */
export type NodeRow = {
  id: string;
  is_api: number;
  /** Raised at every heartbeat. */
  beats: number;
  started_at: number;
};

// images/

export type ReferenceRow = {
  account_id: string;
  task_id: string;
  /** Order in `image_urls`; the mask stands at -1. */
  position: number;
  object: string;
  content_type: string;
  width: number;
  height: number;
  bytes: number;
  /** When the sweeper may remove the bytes; null while that is not known, and after it has. */
  remove_at: number | null;
};

export type UploadRow = {
  account_id: string;
  mode: Mode;
  id: string;
  object: string;
  filename: string;
  content_type: string;
  width: number;
  height: number;
  bytes: number;
  created_at: number;
  expires_at: number;
};

export type OutputRow = {
  account_id: string;
  task_id: string;
  slot: number;
  object: string;
  content_type: string;
  width: number;
  height: number;
  bytes: number;
  created_at: number;
  /** When the sweeper may remove the bytes; null while that is not known, and after it has. */
  remove_at: number | null;
};

// billing/

export type BalanceRow = {
  account_id: string;
  mode: Mode;
  available: number;
  held: number;
};

export type LedgerKind = "credit" | "hold" | "capture" | "release";

export type LedgerRow = {
  account_id: string;
  /** `hold:<task>`, `capture:<task>:<slot>`, `release:<task>`, `credit:<reference>`: never twice. */
  id: string;
  mode: Mode;
  kind: LedgerKind;
  /** What the entry adds to the account's spendable and held money; the house's side is the negative sum. */
  available: number;
  held: number;
  task_id: string | null;
  key_id: string | null;
  note: string | null;
  created_at: number;
  /** What a capture was for; the tokens of a whole task stand in its first capture. */
  model: string | null;
  input_tokens: number | null;
  output_tokens: number | null;
};

export type PriceRow = {
  model: string;
  /** A row of the model's price table, or `*` for a whole model that the operator made free. */
  price_row: string;
  price: number;
  updated_at: number;
};

export type CostFate = "delivered" | "wasted";

/** What a vendor charges us for one attempt; no row where that is nothing. Append-only. */
export type CostRow = {
  account_id: string;
  attempt_id: string;
  task_id: string;
  channel: string;
  upstream_model: string;
  amount: number;
  fate: CostFate;
  created_at: number;
};

// channels/

export type ChannelTier = "standard" | "official";

export type ChannelRow = {
  name: string;
  provider: string;
  /** Made by the operator's command, or by variables of the environment. */
  source: "operator" | "environment";
  base_url: string;
  /** The sealed key; null for upstreams that ask for none. */
  secret: string | null;
  /** Last four characters of the key, so that people can tell keys apart. */
  secret_hint: string | null;
  /** Array of `{model, upstreamModel}`. */
  models_json: string;
  /** Array of `ChannelTier`. */
  tiers_json: string;
  priority: number;
  weight: number;
  /** What the upstream charges us, in millionths of its list price. */
  cost_ratio_ppm: number;
  /** Object: upstream model, or `*` for the whole channel, to places; `{}` bounds nothing. */
  caps_json: string;
  timeout_ms: number;
  unknown_outcome: "fail" | "retry_once";
  /** Array of CIDRs that this channel may reach although they are not public. */
  allow_json: string;
  /** What only the provider of this channel understands. */
  settings_json: string;
  disabled_at: number | null;
  disabled_reason: string | null;
  /** Set while the upstream refuses our account: the key, or its money. */
  fault: "unauthorized" | "exhausted" | null;
  fault_reason: string | null;
  fault_at: number | null;
  /** When live work may try the channel again. */
  fault_until: number | null;
  /** Grows by one with every change, faults included. */
  revision: number;
  created_at: number;
  updated_at: number;
};

export type ChannelLoadRow = {
  channel: string;
  /** An upstream model, or `*` for the whole channel; only those that have a cap. */
  upstream_model: string;
  in_flight: number;
};

// db/

export type SettingRow = { name: string; value: string };

export type Tables = {
  accounts: AccountRow;
  api_keys: ApiKeyRow;
  key_usage: KeyUsageRow;
  tasks: TaskRow;
  slots: SlotRow;
  queue: QueueRow;
  attempts: AttemptRow;
  idempotency: IdempotencyRow;
  workers: WorkerRow;
  nodes: NodeRow;
  references: ReferenceRow;
  uploads: UploadRow;
  outputs: OutputRow;
  balances: BalanceRow;
  ledger: LedgerRow;
  prices: PriceRow;
  costs: CostRow;
  channels: ChannelRow;
  channel_load: ChannelLoadRow;
  webhook_endpoints: WebhookEndpointRow;
  webhook_secrets: WebhookSecretRow;
  events: EventRow;
  deliveries: DeliveryRow;
  delivery_tries: DeliveryTryRow;
  settings: SettingRow;
};
