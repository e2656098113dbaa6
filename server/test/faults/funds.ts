import { credit } from "../../src/billing/ledger.ts";
import type { Installation } from "../../src/installation.ts";
import { must } from "../../src/lib/errors.ts";
import type { Micros } from "../../src/lib/money.ts";

/** Gives live money to the account `default`. */
export async function creditLive(
  { db, clock, accounts }: Installation,
  amount: Micros,
): Promise<void> {
  const account = must(await accounts.findAccountByName("default"), "the account");
  const book = { accountId: account.id, mode: "live" } as const;
  const now = clock.now();
  await db.transaction((tx) =>
    credit(tx, { ...book, amount, reference: "funds", note: null, now }),
  );
}
