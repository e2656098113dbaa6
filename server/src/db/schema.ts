/**
 * The rows of every table, one type a table, for both databases. Times are unix milliseconds,
 * money is micro-USD, flags are 0 or 1, `…_json` columns hold JSON text; no column holds picture bytes.
 * The store.ts of the room named above each group is the only file that reads or writes it.
 */

export type Mode = "live" | "test";

// accounts/

export type AccountRow = {
  id: string;
  name: string;
  /** Price ratio in millionths: 1_000_000 charges list prices as they are. */
  ratio_ppm: number;
  created_at: number;
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
};

export type KeyUsageRow = {
  account_id: string;
  key_id: string;
  held: number;
  captured: number;
  /** Tasks of this key that have not ended. */
  in_flight: number;
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
};

export type PriceRow = {
  model: string;
  /** A row of the model's price table, or `*` for a whole model that the operator made free. */
  price_row: string;
  price: number;
  updated_at: number;
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
  references: ReferenceRow;
  uploads: UploadRow;
  outputs: OutputRow;
  balances: BalanceRow;
  ledger: LedgerRow;
  prices: PriceRow;
  settings: SettingRow;
};
